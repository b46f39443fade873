"""Standard input and output as ends of a stream: never waited for, whoever else has them open.

O_NONBLOCK belongs to the open file that other processes share (the shell, the other end of a terminal): setting it on
descriptor 0 or 1 would break them.  A pipe or terminal is opened anew instead, for itself, through /proc.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable

from hvcopy.console import own_input
from hvcopy.descriptors import enlarge, is_pipe, lead_to_null, own, will_have
from hvcopy.errors import LocalFailure, closed_output

STDIN, STDOUT = 0, 1


class Stdio:
    """The two descriptors, for the time of a ``with``.  Raises LocalFailure when the output is closed, or one has vanished.

    Not *reads*: nothing is taken from standard input, and what is typed there stays for whoever reads next.
    """

    def __init__(self, *, reads: bool = True) -> None:
        self._opened: list[int] = []
        if not _is_open(STDIN, "standard input"):  # or the next file that this process opens would be taken for it
            os.dup2(os.open(os.devnull, os.O_RDONLY), STDIN)
        if not _is_open(STDOUT, "standard output"):
            raise closed_output()
        self.interactive = os.isatty(STDIN)
        """A person types at standard input."""
        self.input = self._reopen(STDIN, own_input) if reads else STDIN
        self.output = self._reopen(STDOUT, _own_output)

    def __enter__(self) -> Stdio:
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    def has_more(self, seconds: float) -> bool:
        """Whether standard input has or gets something within *seconds*, before its end; False where that cannot be told."""
        with contextlib.suppress(OSError):
            return will_have(self.input, seconds)
        return False

    def end_output(self) -> None:
        """Let the reader of standard output see its end, as far as it is ours to give."""
        if stat.S_ISSOCK(os.fstat(STDOUT).st_mode):
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(STDOUT)) as sock:
                sock.shutdown(socket.SHUT_WR)
        for fd in {STDOUT, self.output}:
            lead_to_null(fd, inheritable=fd == STDOUT)

    def _reopen(self, fd: int, anew: Callable[[int], tuple[int, bool]]) -> int:
        if is_pipe(fd):
            enlarge(fd)
        opened, _ = anew(fd)
        if opened != fd:
            self._opened.append(opened)
        return opened

    def _release(self) -> None:
        for fd in self._opened:
            os.close(fd)
        self._opened.clear()


def _own_output(fd: int) -> tuple[int, bool]:
    return own(fd, os.O_WRONLY)


def _is_open(fd: int, name: str) -> bool:
    try:
        os.fstat(fd)
    except OSError as error:
        if error.errno == errno.EBADF:
            return False
        raise LocalFailure(f"{name}: {error.strerror}") from error  # what is open and has vanished is no empty one
    return True
