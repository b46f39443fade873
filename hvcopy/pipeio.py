"""Descriptors as the ends of a stream: pipes, terminals, sockets, devices and files, read or written from beginning to end.

Any wait can be ended by another thread, and the mode of no descriptor is changed: a pipe or terminal is shared with the
processes on both sides of it, and O_NONBLOCK would be theirs as well (fcntl(2)).  Knows no stream's meaning.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from hvcopy._core import Meter, read_at, read_some, recv_some, send_all, share_pipe, write_all
from hvcopy.console import own_input
from hvcopy.descriptors import PIPE_SIZE, Watch, enlarge, is_pipe, lead_to_null, new_twin, own, waiting_in
from hvcopy.errors import Interrupted, LocalFailure, ReaderGone, make_room, printable
from hvcopy.wire.messages import PASSED

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

WORTH_SHARING = 128 << 10
"""Bytes in a pipe from which on it takes less time to share its pages than to copy them."""
BACKSTOP_MS = 24 * 3600 * 1000
"""After so long a wait is begun anew: a producer may be silent for days."""


def _failure(name: str, error: OSError) -> LocalFailure | Interrupted | ReaderGone:
    if error.errno == errno.ECANCELED:
        return Interrupted("interrupted")
    return LocalFailure(f"{printable(name)}: {error.strerror or error}", hint=make_room(error.errno))


def open_inlet(fd: int, name: str = "standard input", *, owned: bool = False) -> Inlet:
    """Return what reads *fd*, whatever that is; it is left open at the end unless it is *owned*.  Raises LocalFailure."""
    kinds = {stat.S_IFREG: FileInlet, stat.S_IFIFO: PipeInlet, stat.S_IFSOCK: SocketInlet}
    try:
        kind = kinds.get(stat.S_IFMT(os.fstat(fd).st_mode), Inlet)
        return kind(fd, name, owned=owned)
    except OSError as error:
        raise _failure(name, error) from error


class Inlet:
    """Reads a descriptor to its end: here a terminal or device.  One thread reads; ``end`` and ``cancel`` are for any.

    ``size`` is how much is to come, None when nobody knows.
    """

    size: int | None = None

    def __init__(self, fd: int, name: str, *, owned: bool) -> None:
        self.fd = fd
        self.name = name
        self.is_terminal = os.isatty(fd)
        self._owned = owned
        self._own, self._blocking = own_input(fd)
        self._meter = Meter()
        self._ended = False

    def read(self, into: memoryview) -> int:
        """Wait until there is something, and read it.  Returns 0 at the end.  Raises LocalFailure or Interrupted."""
        while True:
            try:
                return self._told(into, BACKSTOP_MS)
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
            return self._told(into, 0)
        except TimeoutError:
            return 0

    def mark(self) -> None:
        """Prepare for ``reference`` to what is read from here on."""

    def reference(self, count: int) -> tuple[int, int] | None:
        """Return (descriptor, offset or -1) from where the *count* bytes read since ``mark`` can be sent, None if they cannot."""
        return None

    def forget(self) -> None:
        """What was read since ``mark`` will not be sent after all: it is zeros."""

    @property
    def changed(self) -> bool:
        """Whether what was read has certainly been changed by somebody since."""
        return False

    def end(self) -> None:
        """Let ``read`` return 0 from now on, within 200 ms."""
        self._ended = True
        self._meter.cancel()

    def cancel(self) -> None:
        """Let ``read`` raise Interrupted from now on, within 200 ms; a read of a file ends by itself."""
        self._meter.cancel()

    def close(self) -> None:
        """Let go of the descriptor; harmless when done already."""
        if self._own != self.fd:
            os.close(self._own)
            self._own = self.fd
        if self._owned and self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _told(self, into: memoryview, timeout_ms: int) -> int:
        try:
            return self._read(into, timeout_ms)
        except TimeoutError:
            raise
        except OSError as error:
            raise _failure(self.name, error) from error

    def _read(self, into: memoryview, timeout_ms: int) -> int:
        return read_some(self._own, into, self._meter, timeout_ms, self._blocking, self.is_terminal)


class SocketInlet(Inlet):
    """A socket, as a parent that is a server may give."""

    def _read(self, into: memoryview, timeout_ms: int) -> int:
        return recv_some(self.fd, into, self._meter, timeout_ms)


class FileInlet(Inlet):
    """A regular file, read from where the descriptor stands; that is moved along at the end, for whoever shares it.

    One that becomes shorter fails, for its size was known; one that grows is read to its end.
    """

    def __init__(self, fd: int, name: str, *, owned: bool) -> None:
        super().__init__(fd, name, owned=owned)
        found = os.fstat(fd)
        self._position = os.lseek(fd, 0, os.SEEK_CUR)
        self._marked: int | None = None
        self._as_opened = found.st_size, found.st_mtime_ns
        if found.st_size:  # a file of /proc says it is empty, and is not
            self.size = max(found.st_size - self._position, 0)

    def mark(self) -> None:
        """The position is enough."""
        self._marked = self._position

    def reference(self, count: int) -> tuple[int, int] | None:
        """The file itself."""
        return None if self._marked is None else (self.fd, self._marked)

    @property
    def changed(self) -> bool:
        """Whether the file is another one than it was when it was opened."""
        found = os.fstat(self.fd)
        return (found.st_size, found.st_mtime_ns) != self._as_opened

    def close(self) -> None:
        """Let go of the descriptor, and move it along first: whoever shares it goes on behind what was sent."""
        with contextlib.suppress(OSError):
            os.lseek(self.fd, self._position, os.SEEK_SET)
        super().close()

    def _read(self, into: memoryview, timeout_ms: int) -> int:
        count = read_at(self.fd, into, self._position)
        self._position += count
        size = self._as_opened[0]
        if not count and self._position < size > os.fstat(self.fd).st_size:  # files of /sys say more than they have
            raise LocalFailure(
                f"{printable(self.name)} became shorter while it was sent: {self._position} of {size} bytes were there",
                hint="run the same command again when nobody writes to it",
            )
        return count


class PipeInlet(Inlet):
    """A pipe.  When it is well filled, a second pipe is made to hold the same pages, which leave by reference."""

    def __init__(self, fd: int, name: str, *, owned: bool) -> None:
        super().__init__(fd, name, owned=owned)
        enlarge(fd)
        self._twin: tuple[int, int] | None = None
        self._left = self._shared = 0
        self._tries = not self._blocking
        self._after_zeros = False

    def mark(self) -> None:
        """Share what is there, if that pays; then no more than that is read until the next mark."""
        self._left = self._shared = 0
        after_zeros, self._after_zeros = self._after_zeros, False
        if after_zeros or not self._tries or waiting_in(self._own) < WORTH_SHARING:
            return
        try:
            self._twin = self._twin or new_twin()
            if waiting_in(self._twin[0]) == 0:  # else the system does not send from pipes
                self._left = self._shared = share_pipe(self._own, self._twin[1], PIPE_SIZE)
                return
        except OSError:
            pass
        self._tries = False

    def reference(self, count: int) -> tuple[int, int] | None:
        """The second pipe, when it holds just what was read."""
        return (self._twin[0], -1) if self._twin and count == self._shared and not self._left else None

    def forget(self) -> None:
        """Let go of what is shared, and share nothing the next time: zeros come in long runs."""
        self._after_zeros = True
        if self._shared:
            self._left = self._shared = 0
            self._close_twin()

    def close(self) -> None:
        """Let go of all pipes."""
        super().close()
        self._close_twin()

    def _close_twin(self) -> None:
        for end in self._twin or ():
            os.close(end)
        self._twin = None

    def _read(self, into: memoryview, timeout_ms: int) -> int:
        if not self._shared:
            return super()._read(into, timeout_ms)
        if not self._left:
            raise TimeoutError  # what came in since belongs to the next chunk
        count = super()._read(into[: self._left], timeout_ms)
        self._left -= count
        return count


class Outlet:
    """Writes *fd* to its end.  One thread writes; ``lost`` and ``cancel`` are for any.  *fd* stays open unless it is *owned*.

    ``finish`` lets the reader see the end: *fd* then leads to the null device; with *stays* it remains as it is.
    Raises LocalFailure for a descriptor that cannot even be looked at.
    """

    def __init__(self, fd: int, name: str = "standard output", *, owned: bool = False, stays: bool = False) -> None:
        self.fd = fd
        self.name = name
        self._owned = owned
        self._stays = stays
        try:
            self._is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
            if is_pipe(fd):
                enlarge(fd)
            self._own, self._blocking = own(fd, os.O_WRONLY)
        except OSError as error:
            raise _failure(name, error) from error
        self._meter = Meter()
        self._watch = Watch(fd)
        self._refused = False

    def write(self, data: ReadableBuffer) -> None:
        """Write all of *data*, however long its reader takes.  Raises ReaderGone, LocalFailure or Interrupted."""
        before = self._meter.moved
        while True:
            rest = memoryview(data)[self._meter.moved - before :]
            try:
                if self._is_socket:
                    send_all(self.fd, (rest,), self._meter, BACKSTOP_MS)
                else:
                    write_all(self._own, rest, self._meter, BACKSTOP_MS, self._blocking)
                return
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                self._refused = True  # on Windows nothing else tells
                raise self._gone() from None
            except OSError as error:
                raise _failure(self.name, error) from error

    def _gone(self) -> ReaderGone:
        return ReaderGone(f"the reader of {printable(self.name)} closed it after {self._meter.moved} bytes")

    def lost(self) -> ReaderGone | None:
        """Return what ``write`` would raise when nobody is there any more to read, None while somebody is."""
        return self._gone() if self._refused or self._watch.gone() else None

    def finish(self) -> str:
        """Let the reader see the end; returns how durable what was written is."""
        self._close_own()
        if not self._stays:
            lead_to_null(self.fd)
        return PASSED

    def cancel(self) -> None:
        """Let ``write`` raise Interrupted from now on, within 200 ms."""
        self._meter.cancel()

    def close(self) -> None:
        """Let go of *fd*, whatever was written; harmless when done already."""
        self._close_own()
        if self._owned and self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _close_own(self) -> None:
        if self._own != self.fd:
            os.close(self._own)
            self._own = self.fd
