"""Standard input and output as ends of a stream: never waited for, whoever else has them open.

O_NONBLOCK belongs to the open file that other processes share (the shell, the other end of a terminal): setting it on
descriptor 0 or 1 would break them.  A pipe or terminal is opened anew instead, for itself, through /proc.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat

from hvcopy.errors import LocalFailure

STDIN, STDOUT = 0, 1
PIPE_SIZE = 1 << 20  # bytes; pipe(7): what an unprivileged user may ask for
_F_SETPIPE_SZ = 1031  # linux/fcntl.h


class Stdio:
    """The two descriptors, for the time of a ``with``.  Raises LocalFailure when standard output is closed."""

    def __init__(self) -> None:
        self._opened: list[int] = []
        if not _is_open(STDIN):  # or the next file that this process opens would be taken for it
            os.dup2(os.open(os.devnull, os.O_RDONLY), STDIN)
        if not _is_open(STDOUT):
            raise LocalFailure("standard output is closed", hint="to throw away what comes: >/dev/null")
        self.input = self._reopen(STDIN, os.O_RDONLY)
        self.output = self._reopen(STDOUT, os.O_WRONLY)

    def __enter__(self) -> Stdio:
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    @property
    def interactive(self) -> bool:
        """True when a person types at standard input."""
        return os.isatty(self.input)

    def end_output(self) -> None:
        """Let the reader of standard output see its end, as far as it is ours to give."""
        if stat.S_ISSOCK(os.fstat(STDOUT).st_mode):
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(STDOUT)) as sock:
                sock.shutdown(socket.SHUT_WR)
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        for fd in {STDOUT, self.output}:
            os.dup2(null, fd, inheritable=fd == STDOUT)
        os.close(null)

    def _reopen(self, fd: int, flags: int) -> int:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISFIFO(mode) and not os.isatty(fd):
            return fd
        if stat.S_ISFIFO(mode):
            _enlarge(fd)
        try:
            own = os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:  # no /proc, or it belongs to another user: the core asks poll before each call
            return fd
        self._opened.append(own)
        return own

    def _release(self) -> None:
        for fd in self._opened:
            os.close(fd)
        self._opened.clear()


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _enlarge(pipe: int) -> None:
    """What the other process writes at once is then read at once."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.fcntl(pipe, _F_SETPIPE_SZ, PIPE_SIZE)
