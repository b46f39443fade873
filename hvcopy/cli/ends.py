"""What `hvcopy pipe` reads from and writes to: standard input and output, or the files of -i and -o."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import re
import sys
from types import TracebackType
from typing import TYPE_CHECKING

from hvcopy.console import is_screen
from hvcopy.descriptors import READ, WRITE, in_foreground, open_device
from hvcopy.errors import LocalFailure, closed_output, printable
from hvcopy.pipeio import Outlet, open_inlet
from hvcopy.wire.messages import PASSED

if TYPE_CHECKING:
    from hvcopy.pipeio import Inlet
    from hvcopy.transfer.streaming import Sink

STDIN, STDOUT, STDERR = 0, 1, 2
LINKS = 40  # path_resolution(7)
PLAIN_CONTROLS = frozenset("\t\n\r\b\f\a")


def fill_standard_descriptors() -> None:
    """Open the null device where descriptors 0 to 2 are closed, so that no socket gets one of these numbers."""
    for fd in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def descriptor_called(output: str) -> int | None:
    """Return the open descriptor that *output* is a name of, standard output by default; None for a file's own name.

    What others write to it stays: to open it anew, or to replace what it leads to, would cut that off.
    """
    if output in ("", "-"):
        return STDOUT
    mine = f"/proc/{os.getpid()}/fd"
    for _ in range(LINKS):
        folder, _, number = output.rpartition("/")
        if re.fullmatch("[0-9]{1,9}", number) and os.path.realpath(folder) == mine:
            return int(number)
        try:
            output = os.path.join(folder, os.readlink(output))
        except OSError:
            break
    return None


class Ends:
    """Opens both ends: once, or for each of *many* sessions, which then read no standard input.

    The ``with`` block begins by opening them, so that what is wrong is told before anything is sent (LocalFailure).
    """

    def __init__(self, input_file: str, output_file: str, *, sync: bool, force: bool, many: bool) -> None:
        self._input = input_file
        self._output = output_file
        self._sync = sync
        self._force = force
        self._many = many
        self._opened: tuple[Inlet | None, Sink] | None = None

    def __enter__(self) -> Ends:
        self._opened = self._both()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in self._opened or ():
            if end:
                end.close()

    def take(self) -> tuple[Inlet | None, Sink]:
        """Return what to send and where to write for the next session; each is used once."""
        taken, self._opened = self._opened, None
        return taken or self._both()

    def _both(self) -> tuple[Inlet | None, Sink]:
        inlet = self._inlet()
        try:
            return inlet, self._sink()
        except BaseException:
            if inlet:
                inlet.close()
            raise

    def _inlet(self) -> Inlet | None:
        if self._input not in ("", "-"):
            return open_inlet(_open(self._input, READ), self._input, owned=True)
        if sys.stdin is None or (self._many and not self._input):
            return None
        if not self._input and os.isatty(STDIN) and not self._is_conversation():
            return None
        return open_inlet(STDIN)

    def _is_conversation(self) -> bool:
        """Whether somebody sits at a terminal, reads there what comes, and has no other program to type to."""
        with contextlib.suppress(OSError):
            here = in_foreground(STDIN)
            return here and descriptor_called(self._output) == STDOUT and os.isatty(STDOUT)
        return False

    def _sink(self) -> Sink:
        opened = descriptor_called(self._output)
        if opened is None:
            from hvcopy.files.output import OutputFile, is_replaceable

            if is_replaceable(self._output):
                return OutputFile(self._output, sync=self._sync)
            outlet = Outlet(_open(self._output, WRITE), self._output, owned=True)
        elif opened != STDOUT:
            outlet = Outlet(_duplicate(opened, self._output), self._output, owned=True)
        elif sys.stdout is None:
            return Closed()
        else:
            outlet = Outlet(STDOUT, stays=self._many)
        return outlet if self._force or not is_screen(outlet.fd) else Screen(outlet)


def _open(path: str, flags: int) -> int:
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return open_device(path) if flags == WRITE else os.open(path, flags)
    except OSError as error:
        hint = "check the path, or choose another" if flags == WRITE else "nothing was sent; check the path"
        raise LocalFailure(f"{printable(path)}: {error.strerror}", hint=hint) from None


def _duplicate(fd: int, name: str) -> int:
    try:
        return os.dup(fd)
    except OSError as error:
        raise LocalFailure(f"{printable(name)}: {error.strerror}", hint="open it, as 3>FILE does for /dev/fd/3") from None


class Screen:
    """A terminal: text passes, and what could take it over or only clutter it does not."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._text = codecs.getincrementaldecoder("utf-8")()
        self.lost, self.finish, self.cancel, self.close = outlet.lost, outlet.finish, outlet.cancel, outlet.close

    def write(self, data: memoryview) -> None:
        """Show *data*.  Raises LocalFailure when it is not plain text."""
        try:
            text = self._text.decode(data)
        except UnicodeDecodeError:
            text = "\0"
        if not all(one.isprintable() or one in PLAIN_CONTROLS for one in text):
            raise LocalFailure(
                f"what comes is not plain text, and {printable(self._outlet.name)} is a terminal",
                hint="send it on with > FILE or | PROGRAM, give -o FILE, or --force it",
            )
        self._outlet.write(data)


class Closed:
    """A standard output that was closed from the beginning: fine as long as nothing comes."""

    def write(self, data: memoryview) -> None:
        """Raise LocalFailure."""
        raise closed_output()

    def lost(self) -> None:
        """Nothing: nobody was there that could leave."""

    def finish(self) -> str:
        """Nothing came."""
        return PASSED

    def cancel(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""
