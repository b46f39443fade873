"""What ``hvcopy forward`` tells of its connections."""

from __future__ import annotations

from hvcopy.cli.running import Command
from hvcopy.errors import HvcopyError, printable, said_of
from hvcopy.forwarding import Events
from hvcopy.units import format_size


class ForwardLog(Events):
    """Tells on stderr: failures always, the rest with --verbose, nothing with --quiet."""

    def __init__(self, command: Command, *, verbose: bool) -> None:
        self._say = command.log
        self._verbose = verbose
        self._quiet = command.quiet
        self._told = False

    def opened(self, peer: str) -> None:
        """Tell of a new connection."""
        if self._verbose:
            self._say(f"hvcopy: {printable(peer)}: connected")

    def closed(self, peer: str, sent: int, received: int) -> None:
        """Tell of a connection's end."""
        if self._verbose:
            self._say(f"hvcopy: {printable(peer)}: closed; {format_size(sent)} there, {format_size(received)} back")

    def failed(self, peer: str, error: HvcopyError) -> None:
        """Tell of a connection that failed."""
        if not self._quiet:
            self._say(f"hvcopy: {printable(said_of(peer, error.message))}")

    def full(self, limit: int) -> None:
        """Tell, the first time, that connections wait."""
        if not self._quiet and not self._told:
            self._told = True
            self._say(f"hvcopy: {limit} connections at once: the next ones wait (--max-conns)")
