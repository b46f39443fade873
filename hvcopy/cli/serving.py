"""What the listening commands share: opening the served folder, and telling of sessions."""

from __future__ import annotations

from hvcopy.cli.running import Command
from hvcopy.errors import HvcopyError, LocalFailure, printable, said_of
from hvcopy.files.confined import Handle, open_directory
from hvcopy.server import Events
from hvcopy.transfer.tally import Tally
from hvcopy.units import format_size


def open_root(path: str) -> Handle:
    """Open the folder to serve.  Raises LocalFailure."""
    try:
        return open_directory(path)
    except OSError as error:
        raise LocalFailure(f"{printable(path)}: {error.strerror}", hint="name a folder that exists") from None


class ServerLog(Events):
    """Tells of sessions on stderr: failures always, the others with --verbose."""

    def __init__(self, command: Command, *, verbose: bool) -> None:
        self._command = command
        self._verbose = verbose

    def done(self, peer: str, kind: str, tally: Tally) -> None:
        """Tell of a session that ended well."""
        if self._verbose:
            failed = f", {tally.failed} failed" if tally.failed else ""
            moved = f"{tally.files} files, {format_size(tally.bytes)}{failed}"
            self._command.log(f"hvcopy: {peer}: {kind}: {moved}, {tally.lanes} lanes, window {tally.window} bytes")

    def failed(self, peer: str, error: HvcopyError) -> None:
        """Tell of a connection or session that failed."""
        if not self._command.quiet:
            self._command.log(f"hvcopy: {printable(said_of(peer, error.message))}")
