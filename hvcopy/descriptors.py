"""Descriptors that this process shares with others, as this system has them: what can be done so that nobody waits.

The mode of none is changed: O_NONBLOCK belongs to the open file, which other processes have as well (fcntl(2)).
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import sys

PIPE_SIZE = 1 << 20
"""Bytes that a pipe is made to hold, as many as any user may (pipe(7)): fewer changes between two processes."""


def is_pipe(fd: int) -> bool:
    """Say whether it is a pipe."""
    return stat.S_ISFIFO(os.fstat(fd).st_mode)


if sys.platform == "win32":
    READ, WRITE = os.O_RDONLY | os.O_BINARY, os.O_WRONLY | os.O_BINARY
    """Flags to open something by its path."""
    _DESCRIPTOR = 1 << 40  # _core/sys/hv_windows_pipes.h

    def open_device(path: str) -> int:
        """Open something that is there for writing.  Raises OSError.

        A console for reading, too: else it cannot even be asked whether it is one (GetConsoleMode).
        """
        if path.lower() in ("con", "conout$"):
            return os.open("CONOUT$", os.O_RDWR | os.O_BINARY)
        return os.open(path, WRITE)

    def in_relay(fd: int) -> int:
        """Return what the core's relay knows *fd* by: a number that no socket has."""
        return fd | _DESCRIPTOR

    def own(fd: int, flags: int) -> tuple[int, bool]:
        """Return (descriptor, whether calls on it can wait for ever)."""
        return fd, is_pipe(fd) or os.isatty(fd)

    def enlarge(pipe: int) -> bool:
        """Let a pipe hold PIPE_SIZE bytes: never, who made it has decided."""
        return False

    def waiting_in(pipe: int) -> int:
        """Return how many bytes a pipe holds, 0 when unknown."""
        return 0

    def will_have(fd: int, seconds: float) -> bool:
        """Wait until there is something to read before the end of *fd*: nobody knows."""
        return False

    def takes_line(fd: int) -> bool:
        """Say whether a line can be written without waiting for a reader: nobody knows."""
        return True

    def new_twin() -> tuple[int, int]:
        """Make a pipe of PIPE_SIZE that nothing waits for.  Always OSError: nothing moves by reference here."""
        raise PermissionError

    def in_foreground(terminal: int) -> bool:
        """Say whether this process is the one that a terminal's user types to."""
        return os.isatty(terminal)

    class Watch:
        """Tells when nobody reads *fd* any more; here only a write does."""

        def __init__(self, fd: int) -> None:
            self._fd = fd

        def gone(self) -> bool:
            """Say so."""
            return False

else:
    import fcntl

    READ, WRITE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY
    """Flags to open something by its path."""
    _FIONREAD = 0x541B  # ioctl_pipe(2), asm-generic/ioctls.h; the module termios would be loaded for this number alone

    def open_device(path: str) -> int:
        """Open something that is there for writing.  Raises OSError."""
        return os.open(path, WRITE)

    def in_relay(fd: int) -> int:
        """Return what the core's relay knows *fd* by."""
        return fd

    def own(fd: int, flags: int) -> tuple[int, bool]:
        """Return (descriptor, whether calls on it can wait for ever): a pipe or terminal opened anew, non-blocking (proc(5)).

        Where that cannot be (another user's terminal, no /proc), *fd* itself, which is then polled before every call.
        Files never wait for anybody; what is none of these (an eventfd, /dev/kmsg) may, but cannot be opened anew.
        """
        if _never_waits(os.fstat(fd)):
            return fd, False
        if not is_pipe(fd) and not os.isatty(fd):
            return fd, flags == os.O_RDONLY  # what is polled is written in small pieces, and a tape makes records of them
        with contextlib.suppress(OSError):
            return os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), False
        return fd, True

    def _never_waits(status: os.stat_result) -> bool:
        """Say whether it is a file, a disk, or /dev/null and its kin; as _core/sys/hv_posix.h has it for the relay."""
        if stat.S_ISCHR(status.st_mode):
            return os.major(status.st_rdev) == 1 and os.minor(status.st_rdev) in (3, 5, 7, 8, 9)
        return stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)

    def enlarge(pipe: int) -> bool:
        """Let a pipe hold PIPE_SIZE bytes, unless it holds more; False when this user may not."""
        with contextlib.suppress(OSError):
            holds = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) >= PIPE_SIZE
            return holds or fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_SIZE) > 0
        return False

    def waiting_in(pipe: int) -> int:
        """Return how many bytes a pipe holds."""
        return int.from_bytes(fcntl.ioctl(pipe, _FIONREAD, bytes(4)), sys.byteorder)

    def will_have(fd: int, seconds: float) -> bool:
        """Wait until there is something to read before the end of *fd*, or for *seconds*; say whether there is."""
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        return bool(poller.poll(int(seconds * 1000))) and waiting_in(fd) > 0

    def takes_line(fd: int) -> bool:
        """Say whether a line, of up to 4 KiB, can be written without waiting for a reader (pipe(7): PIPE_BUF), or fails.

        So it is said of what cannot be asked, for want of memory or descriptors.
        """
        poller = select.poll()
        poller.register(fd, select.POLLOUT)
        try:
            return bool(poller.poll(0))
        except OSError:
            return True

    def new_twin() -> tuple[int, int]:
        """Make a pipe of PIPE_SIZE that nothing waits for.  Raises OSError."""
        ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        if not enlarge(ends[1]):
            for end in ends:
                os.close(end)
            raise PermissionError
        return ends

    def in_foreground(terminal: int) -> bool:
        """Say whether this process is the one that a terminal's user types to.  Raises OSError."""
        return os.tcgetpgrp(terminal) == os.getpgrp()

    class Watch:
        """Tells when nobody reads *fd* any more."""

        def __init__(self, fd: int) -> None:
            self._poll = select.poll()
            self._poll.register(fd, 0)

        def gone(self) -> bool:
            """Say so."""
            return any(events & (select.POLLERR | select.POLLHUP) for _, events in self._poll.poll(0))


def socket_words(code: int) -> str:
    """Return what an error of a socket means; Winsock's have words of their own (socket.errorTab)."""
    return getattr(socket, "errorTab", {}).get(code) or os.strerror(code)


def lead_to_null(fd: int, *, inheritable: bool = False) -> None:
    """Let *fd* lead to the null device: its reader sees the end, and no other file takes the number."""
    null = os.open(os.devnull, WRITE)
    os.dup2(null, fd, inheritable=inheritable)
    os.close(null)
