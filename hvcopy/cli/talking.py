"""The connections of ``hvcopy nc``: one, or with -k one after another; and the probe of -z."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvcopy.channel import POLL_SECONDS, Channel
from hvcopy.cli.running import Command, say
from hvcopy.errors import HvcopyError, Interrupted, LocalFailure, ReaderGone, printable
from hvcopy.netcat import Conversation, Habits
from hvcopy.stdio import Stdio
from hvcopy.transport import Cancellation, dial, listen
from hvcopy.transport.closing import half_closes

if TYPE_CHECKING:
    from hvcopy.address import Address
    from hvcopy.admission import Admission

ANSWERS = ("the program that is to answer on {}", "hvcopy nc -l {}")


def probe_for(command: Command, address: Address, *, wait: float, timeout: float, verbose: bool) -> None:
    """Connect and close again.  Raises what connecting raises."""
    _call(address, wait=wait, timeout=timeout, buffer=None, cancellation=command.connecting()).close()
    if verbose:
        say(f"hvcopy: {address}: somebody listens")


class Talks:
    """Joins connections of *address* to standard input and output until the command is interrupted."""

    def __init__(self, command: Command, address: Address, stdio: Stdio, habits: Habits, *, verbose: bool) -> None:
        self._command = command
        self._address = address
        self._stdio = stdio
        self._habits = habits
        self._verbose = verbose
        self._cancellation = command.connecting()
        if habits.fin and not habits.send_only and not half_closes(address):
            say(f"hvcopy: {address}: most VMMs end both directions when one ends: an answer after that is lost (-N)")

    def dial(self, *, wait: float, timeout: float, buffer: int | None) -> None:
        """Connect, and talk until one side has had enough.  Raises HvcopyError."""
        self._talk(_call(self._address, wait=wait, timeout=timeout, buffer=buffer, cancellation=self._cancellation))

    def listen(self, admission: Admission, *, buffer: int | None) -> None:
        """Take one connection, or with -k any number.  Raises HvcopyError; with -k for this side's failures only."""
        with listen(self._address, buffer=buffer) as listener:
            say(f"hvcopy: listening on {listener.address}")
            while not self._cancellation.cancelled():
                channel = listener.accept(POLL_SECONDS)
                if channel is None or not self._admitted(admission, channel):
                    continue
                if not self._habits.keep_output:
                    listener.close()
                    self._talk(channel)
                    return
                self._talk_of_many(channel)
        raise Interrupted("interrupted")

    def _admitted(self, admission: Admission, channel: Channel) -> bool:
        try:
            admission.check(channel)
        except HvcopyError as error:
            self._command.log(f"hvcopy: {printable(channel.peer)}: {printable(error.message)}")
            channel.abort()
            return False
        return True

    def _talk_of_many(self, channel: Channel) -> None:
        try:
            self._talk(channel)
        except (LocalFailure, ReaderGone, Interrupted):
            raise
        except HvcopyError as error:
            self._command.log(f"hvcopy: {printable(error.message)}")

    def _talk(self, channel: Channel) -> None:
        self._cancellation.watch(channel)
        if self._verbose:
            self._command.log(f"hvcopy: connected to {printable(channel.peer)}, window {channel.window} bytes")
        try:
            Conversation(channel, self._stdio, self._habits).run()
        finally:
            channel.close()
            if self._verbose:
                moved = f"{channel.sent.moved} bytes sent, {channel.received.moved} received"
                self._command.log(f"hvcopy: {printable(channel.peer)}: {moved}")


def _call(address: Address, *, wait: float, timeout: float, buffer: int | None, cancellation: Cancellation) -> Channel:
    """See ``dial``.  Raw bytes are answered by any program, so the hint names no server of hvcopy's."""
    return dial(address, wait=wait, timeout=timeout, buffer=buffer, cancellation=cancellation, start=ANSWERS)
