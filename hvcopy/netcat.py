"""Standard input and output over one raw connection, with nc's habits: who ends when (docs/nc.md has the table)."""

from __future__ import annotations

import os
import time

from msgspec import Struct

from hvcopy.channel import Channel
from hvcopy.descriptors import WRITE
from hvcopy.errors import ConnectionLost, HvcopyError, LocalFailure, TimedOut
from hvcopy.relay import Direction, End, peer_end, relay
from hvcopy.stdio import Stdio

LISTENER_PAUSE = 1.0
"""Seconds that standard input of a listener may pause after its peer's end: what it had to answer goes out, but an
input that nobody uses and nobody closed does not keep it for ever."""

LAST_LOOK = 0.2
"""Seconds in which standard input ends, too, when whoever started this has gone; or goes on when its writer does."""


class Habits(Struct, frozen=True):
    """When a conversation ends; times in seconds."""

    listening: bool = False
    keep_output: bool = False
    """Standard output is for the next connection, too."""
    fin: bool = False
    """Tell the peer when standard input has ended."""
    quit_after: float | None = None
    """End so long after standard input has; None: when the peer ends."""
    send_only: bool = False
    recv_only: bool = False
    idle: float | None = None


class Conversation:
    """One connection joined to standard input and output.  ``run`` blocks; ``Channel.cancel`` ends it."""

    def __init__(self, channel: Channel, stdio: Stdio, habits: Habits) -> None:
        self._channel = channel
        self._stdio = stdio
        self._habits = habits
        self._quits_at: float | None = None
        self._pause: float | None = None
        self._done = False
        self._failures: list[HvcopyError] = []

    def run(self) -> None:
        """Move bytes both ways until both sides have had their say.

        Raises ConnectionLost when bytes of this side could not be sent or the peer broke off, LocalFailure for
        standard input or output, ReaderGone when nobody reads that any more, TimedOut after *idle*, Interrupted.
        """
        output = self._stdio.output
        null = os.open(os.devnull, WRITE) if self._habits.send_only else None
        try:
            self._converse(output if null is None else null)
        finally:
            if null is not None:
                os.close(null)
        if self._failures:
            raise self._failures[0]

    def _converse(self, output: int) -> None:
        peer = peer_end(self._channel)
        up = Direction(End(self._stdio.input, "standard input", local=True), peer, self._channel.sent)
        down = Direction(peer, End(output, "standard output", local=True), self._channel.received)
        going = [down] if self._habits.recv_only else [up, down]
        while not self._done and self._move(going):
            for one in [one for one in going if one.over]:
                going.remove(one)
                if one is up:
                    self._input_over(up)
                elif down.unread and self._left_alone(up):
                    self._done = True
                else:
                    self._output_over(down)
            if down.over and up in going and not self._channel.takes_more():
                going.remove(up)
                self._cut_short()

    def _move(self, going: list[Direction]) -> bool:
        idle, silence, sent = self._habits.idle, 0.0, -1
        while True:
            left = None if self._quits_at is None else max(0.0, self._quits_at - time.monotonic())
            step = idle if self._pause is None else self._pause
            try:
                return relay(going, idle=step, limit=left)
            except TimedOut:
                if self._pause is not None and not any(one.waiting for one in going):
                    return False
            # With bytes on their way it is the peer that pauses, and standard input may have more to say.
            assert step is not None
            silence = step if sent != self._channel.sent.moved else silence + step
            sent = self._channel.sent.moved
            if idle is not None and silence >= idle:
                raise TimedOut(
                    f"{self._channel.peer}: nothing moved for {silence:g} s",
                    hint="bytes may be missing at either end; a longer -w waits longer",
                )

    def _left_alone(self, up: Direction) -> bool:
        """Whether standard input was closed along with standard output, as ssh does with its ProxyCommand when it ends."""
        if self._habits.listening or self._habits.recv_only:
            return False
        if not up.over:
            relay([up], idle=None, limit=LAST_LOOK)
        return up.delivered

    def _input_over(self, up: Direction) -> None:
        """Nothing more goes to the peer: standard input has ended, or the peer takes no more."""
        if up.failure:
            self._failures.append(up.failure)
        elif not up.delivered:
            self._cut_short()
        if not up.delivered:  # a peer that takes no more may still have something to say
            self._done = isinstance(up.failure, LocalFailure) or self._habits.send_only
            return
        if self._habits.fin or self._habits.send_only:
            self._channel.end_sending()
        if self._habits.quit_after is not None:
            self._quits_at = time.monotonic() + self._habits.quit_after
        self._done = self._habits.send_only or self._habits.quit_after == 0

    def _cut_short(self) -> None:
        """The peer takes no more while standard input has not ended: what it still says, whose end was to be told, is lost."""
        if (self._habits.fin or self._habits.send_only) and self._stdio.has_more(LAST_LOOK):
            self._failures.append(
                ConnectionLost(f"{self._channel.peer}: the peer closed before everything was sent: standard input goes on")
            )

    def _output_over(self, down: Direction) -> None:
        """Nothing more comes from the peer, or nobody takes it."""
        if down.failure:
            self._failures.append(down.failure)
        if not down.delivered:
            self._done = True
        elif not self._habits.send_only:
            if not self._habits.keep_output:
                self._stdio.end_output()
            if self._habits.listening:
                self._pause = LISTENER_PAUSE
            self._done = self._stdio.interactive
