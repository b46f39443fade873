"""Descriptors as the ends of a stream: pipes, terminals, sockets, devices and files, read or written from beginning to end.

Any wait can be ended by another thread, and the mode of no descriptor is changed: a pipe or terminal is shared with the
processes on both sides of it, and O_NONBLOCK would be theirs as well (fcntl(2)).  Knows no stream's meaning.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import stat
from typing import TYPE_CHECKING, NamedTuple

from hvcopy._core import Meter, read_at, read_some, recv_some, send_all, write_all
from hvcopy.errors import Interrupted, LocalFailure, ReaderGone, printable
from hvcopy.wire.messages import PASSED

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PIPE_SIZE = 1 << 20
"""Bytes that a pipe is made to hold, as many as any user may (pipe(7)): fewer changes between two processes."""
BACKSTOP_MS = 24 * 3600 * 1000
"""After so long a wait is begun anew: a producer may be silent for days."""


class Own(NamedTuple):
    """A descriptor to read or write by, and whether calls on it can wait for ever."""

    fd: int
    blocking: bool
    is_socket: bool


def _own(fd: int, flags: int) -> Own:
    """Return *fd* as this process alone may use it: a pipe or terminal is opened once more, non-blocking (proc(5)).

    Where that cannot be (another user's terminal, no /proc), *fd* itself, which is then polled before every call.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        return Own(fd, False, True)
    if not stat.S_ISFIFO(mode) and not os.isatty(fd):
        return Own(fd, False, False)
    if stat.S_ISFIFO(mode):
        with contextlib.suppress(OSError):
            if fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) < PIPE_SIZE:
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    with contextlib.suppress(OSError):
        return Own(os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), False, False)
    return Own(fd, True, False)


def _failure(name: str, error: OSError) -> LocalFailure | Interrupted | ReaderGone:
    if error.errno == errno.ECANCELED:
        return Interrupted("interrupted")
    hint = "make room there and run the same command again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return LocalFailure(f"{printable(name)}: {error.strerror or error}", hint=hint)


class Inlet:
    """Reads *fd* to its end.  One thread reads; ``end`` and ``cancel`` are for any.  *fd* stays open unless it is *owned*.

    ``size`` is how much is to come, None when nobody knows.  A regular file is read from where *fd* stands, and ``position``
    is how far; ``close`` leaves *fd* there.
    """

    def __init__(self, fd: int, name: str = "standard input", *, owned: bool = False) -> None:
        self.fd = fd
        self.name = name
        self._owned = owned
        found = os.fstat(fd)
        self.is_file = stat.S_ISREG(found.st_mode)
        self.is_terminal = os.isatty(fd)
        self.position = os.lseek(fd, 0, os.SEEK_CUR) if self.is_file else 0
        # a file of /proc says it is empty, and is not
        self.size = max(found.st_size - self.position, 0) if self.is_file and found.st_size else None
        self._as_opened = found.st_size, found.st_mtime_ns
        self._own = _own(fd, os.O_RDONLY)
        self._meter = Meter()
        self._ended = False

    def read(self, into: memoryview) -> int:
        """Wait until there is something, and read it.  Returns 0 at the end.  Raises LocalFailure or Interrupted."""
        while True:
            try:
                return self._read(into, BACKSTOP_MS)
            except TimeoutError:
                continue
            except Interrupted:
                if self._ended:
                    return 0
                raise

    def read_more(self, into: memoryview) -> int:
        """Read what is there at once.  Returns 0 when there is nothing just now, or nothing more at all."""
        if self.is_terminal:  # its end is told by one empty read, which belongs to ``read``
            return 0
        try:
            return self._read(into, 0)
        except TimeoutError:
            return 0

    def _read(self, into: memoryview, timeout_ms: int) -> int:
        try:
            if self.is_file:
                count = read_at(self.fd, into, self.position)
                self.position += count
                return count
            if self._own.is_socket:
                return recv_some(self._own.fd, into, self._meter, timeout_ms)
            return read_some(self._own.fd, into, self._meter, timeout_ms, self._own.blocking, self.is_terminal)
        except TimeoutError:
            raise
        except OSError as error:
            raise _failure(self.name, error) from error

    @property
    def changed(self) -> bool:
        """Whether a regular file is another one than it was at the beginning."""
        found = os.fstat(self.fd)
        return self.is_file and (found.st_size, found.st_mtime_ns) != self._as_opened

    def end(self) -> None:
        """Let ``read`` return 0 from now on, within 200 ms."""
        self._ended = True
        self._meter.cancel()

    def cancel(self) -> None:
        """Let ``read`` raise Interrupted from now on, within 200 ms."""
        self._meter.cancel()

    def close(self) -> None:
        """Let go of *fd*; harmless when done already."""
        if self.is_file:
            with contextlib.suppress(OSError):
                os.lseek(self.fd, self.position, os.SEEK_SET)
        if self._own.fd != self.fd:
            os.close(self._own.fd)
            self._own = Own(self.fd, True, False)
        if self._owned:
            self._owned = False
            os.close(self.fd)


class Outlet:
    """Writes *fd* to its end.  One thread writes; ``lost`` and ``cancel`` are for any.  *fd* stays open unless it is *owned*.

    ``finish`` lets the reader see the end: *fd* then leads to the null device; with *stays* it remains as it is.
    """

    def __init__(self, fd: int, name: str = "standard output", *, owned: bool = False, stays: bool = False) -> None:
        self.fd = fd
        self.name = name
        self._owned = owned
        self._stays = stays
        self._own = _own(fd, os.O_WRONLY)
        self._meter = Meter()
        self._watched = select.poll()
        self._watched.register(fd, 0)

    def write(self, data: ReadableBuffer) -> None:
        """Write all of *data*, however long its reader takes.  Raises ReaderGone, LocalFailure or Interrupted."""
        before = self._meter.moved
        while True:
            rest = memoryview(data)[self._meter.moved - before :]
            try:
                if self._own.is_socket:
                    send_all(self._own.fd, (rest,), self._meter, BACKSTOP_MS)
                else:
                    write_all(self._own.fd, rest, self._meter, BACKSTOP_MS, self._own.blocking)
                return
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                raise self._gone() from None
            except OSError as error:
                raise _failure(self.name, error) from error

    def _gone(self) -> ReaderGone:
        return ReaderGone(f"the reader of {printable(self.name)} closed it after {self._meter.moved} bytes")

    def lost(self) -> ReaderGone | None:
        """Return what ``write`` would raise when nobody is there any more to read, None while somebody is."""
        gone = any(events & (select.POLLERR | select.POLLHUP) for _, events in self._watched.poll(0))
        return self._gone() if gone else None

    def finish(self) -> str:
        """Let the reader see the end; returns how durable what was written is."""
        self._close_own()
        if not self._stays:
            null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(null, self.fd, inheritable=False)  # in its place, so that no other file takes the number
            os.close(null)
            self._own = Own(self.fd, False, False)
        return PASSED

    def cancel(self) -> None:
        """Let ``write`` raise Interrupted from now on, within 200 ms."""
        self._meter.cancel()

    def close(self) -> None:
        """Let go of *fd*, whatever was written; harmless when done already."""
        self._close_own()
        if self._owned:
            self._owned = False
            os.close(self.fd)

    def _close_own(self) -> None:
        if self._own.fd != self.fd:
            os.close(self._own.fd)
            self._own = Own(self.fd, self._own.blocking, False)
