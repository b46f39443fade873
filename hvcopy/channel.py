"""A connected socket with a no-progress deadline and meters.

With ``fileio``, ``pipeio`` and ``relay`` it alone imports ``hvcopy._core``.  It moves bytes and
turns the system's errors into ours.  It knows no frame, no address grammar and no retry.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import sys
import time
from typing import TYPE_CHECKING

from hvcopy._core import (
    ASLEEP,
    AWAKE,
    IN_SYSTEM,
    Meter,
    recv_exact,
    recv_file,
    recv_some,
    send_all,
    send_file,
    send_pipe,
)
from hvcopy.errors import ConnectionLost, HvcopyError, Interrupted, LocalFailure, TimedOut
from hvcopy.winsock import Fate, fault_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["AF_HYPERV", "AF_VSOCK", "POLL_SECONDS", "Channel", "Meter", "broken"]

AF_VSOCK = getattr(socket, "AF_VSOCK", 40)
AF_HYPERV = 34  # hvsocket.h
POLL_SECONDS = 0.2
"""After which a wait outside of the core looks whether it was cancelled, as the core does."""
_OF_THIS_MACHINE = (errno.ENOMEM, errno.ENOBUFS, errno.EBADF)


class Channel:
    """One connected stream socket.  One thread may send while another receives; neither call is shared.

    *peer* is how messages name the other end; *identity* is what an allow-list compares (``vsock:3``).
    *timeout* is seconds without any byte moving before a call fails.  *window* is the effective buffer in bytes,
    as the system reports it, 0 when unknown.  *sends_files* says that ``send_file`` gains something on this socket,
    *bounded* that a call which waits in the system comes back within 100 ms.  *piece* is how many bytes are dealt with at
    once while more is on its way.  *awake*: who receives looks again for a moment before it sleeps.
    """

    __slots__ = (
        "_waiting",
        "awake",
        "bounded",
        "identity",
        "peer",
        "piece",
        "received",
        "sends_files",
        "sent",
        "sock",
        "timeout",
        "window",
    )

    def __init__(
        self,
        sock: socket.socket,
        *,
        peer: str,
        identity: str = "",
        timeout: float = 30.0,
        window: int = 0,
        sends_files: bool = False,
        bounded: bool = False,
        piece: int = 1 << 20,
        awake: bool = False,
    ) -> None:
        self.sock = sock
        self.peer = peer
        self.identity = identity
        self.timeout = timeout
        self.window = window
        self.sends_files = sends_files
        self.bounded = bounded
        self.piece = piece
        self.awake = awake
        self._waiting = AWAKE if awake else ASLEEP
        self.sent = Meter()
        self.received = Meter()

    def wait_in_system(self) -> None:
        """From now on let calls wait in the system, where that is bounded: it spares a call or two for each piece moved.

        For a socket that is used by way of this object only: it is then a blocking one.
        """
        if self.bounded and self._waiting != IN_SYSTEM:
            self.sock.setblocking(True)
            self._waiting = IN_SYSTEM

    def send(self, *parts: ReadableBuffer, timeout: float | None = None) -> None:
        """Send every byte of 1 to 8 buffers as one gathered write.  Blocks; raises ConnectionLost or TimedOut."""
        try:
            send_all(self.sock.fileno(), parts, self.sent, self._ms(timeout), self._waiting)
        except OSError as error:
            raise self._explained(error, "sent") from error

    def send_file(self, fd: int, offset: int, length: int, *, timeout: float | None = None) -> int:
        """Send *length* bytes of file *fd* without a copy; returns the bytes sent, fewer when it cannot be done so.

        What is left is the caller's to read and send.  Blocks; raises TimedOut or Interrupted.
        """
        try:
            return send_file(self.sock.fileno(), fd, offset, length, self.sent, self._ms(timeout))
        except OSError as error:
            raise self._explained(error, "sent") from error

    def send_pipe(self, fd: int, length: int, *, timeout: float | None = None) -> int:
        """Send *length* bytes that pipe *fd* holds without a copy; otherwise as ``send_file``."""
        try:
            return send_pipe(self.sock.fileno(), fd, length, self.sent, self._ms(timeout))
        except OSError as error:
            raise self._explained(error, "sent") from error

    def writable(self) -> bool:
        """Say whether a small write would not have to wait for the peer."""
        return self._ready(writing=True)

    def readable(self) -> bool:
        """Say whether something has come from the peer: bytes, its end, or a failure."""
        return self._ready(writing=False)

    def _ready(self, *, writing: bool) -> bool:
        with contextlib.suppress(OSError, ValueError):
            fd = self.sock.fileno()
            if sys.platform == "win32":
                return any(select.select([] if writing else [fd], [fd] if writing else [], [], 0))
            else:  # select(2) knows no descriptor above 1023 there
                poller = select.poll()
                poller.register(fd, select.POLLOUT if writing else select.POLLIN)
                return bool(poller.poll(0))
        return False

    def receive_exact(self, into: WriteableBuffer, *, timeout: float | None = None) -> int:
        """Fill *into*; returns its length, or fewer bytes when the peer's end of stream came first."""
        try:
            return recv_exact(self.sock.fileno(), into, self.received, self._ms(timeout), self._waiting)
        except OSError as error:
            raise self._explained(error, "received") from error

    def receive_file(
        self, into: WriteableBuffer, size: int, fd: int, offset: int, *, sparse: bool, timeout: float | None = None
    ) -> tuple[int, int]:
        """Receive *size* bytes, and write them to file *fd* at *offset* while more is on its way; returns (received, written).

        More received, up to the room in *into*: it came along.  Fewer: the peer's end of stream came first.  Fewer
        written: the rest is the caller's to write, which tells what failed.
        """
        sock, ms = self.sock.fileno(), self._ms(timeout)
        try:
            return recv_file(sock, into, size, fd, offset, sparse, self.piece, self.received, ms, self._waiting)
        except OSError as error:
            raise self._explained(error, "received") from error

    def receive_some(self, into: WriteableBuffer, *, timeout: float | None = None) -> int:
        """Receive whatever is there, at least one byte; returns 0 at the end of the stream."""
        try:
            return recv_some(self.sock.fileno(), into, self.received, self._ms(timeout), self._waiting)
        except OSError as error:
            raise self._explained(error, "received") from error

    def exchange(self, message: ReadableBuffer, back: WriteableBuffer) -> int:
        """Send *message* while filling *back*: who answers as it reads may wait until somebody reads that.

        Returns as ``receive_exact``; when *back* was full too soon, not all of *message* was sent.
        """
        fd, rest, room = self.sock.fileno(), memoryview(message), memoryview(back)
        sent, got = self.sent.moved, self.received.moved
        moved, ends = -1, 0.0
        while True:
            try:
                with _AtOnce():
                    send_all(fd, (rest[self.sent.moved - sent :],), self.sent, 0)
                    break
                with _AtOnce():
                    if not recv_some(fd, room[self.received.moved - got :], self.received, 0):
                        return self.received.moved - got
            except OSError as error:
                raise self._explained(error, "sent") from error
            if self.received.moved - got == len(room):
                return len(room)
            if moved != self.sent.moved + self.received.moved:
                moved, ends = self.sent.moved + self.received.moved, time.monotonic() + self.timeout
            elif time.monotonic() >= ends:
                raise TimedOut(self._stuck("sent"))
            self._await_either(POLL_SECONDS)
        return self.received.moved - got + self.receive_exact(room[self.received.moved - got :])

    def _await_either(self, seconds: float) -> None:
        """Wait until something can be sent or received, or for so long."""
        from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector

        with DefaultSelector() as selector:
            selector.register(self.sock, EVENT_READ | EVENT_WRITE)
            selector.select(seconds)

    def cancel(self) -> None:
        """End calls under way in other threads within 200 ms; they raise Interrupted.  The socket stays open."""
        self.sent.cancel()
        self.received.cancel()

    @property
    def cancelled(self) -> bool:
        """True after ``cancel``."""
        return self.sent.cancelled

    def shutdown(self) -> None:
        """End both directions, which wakes threads that wait for the peer; harmless when it is over already."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def end_sending(self) -> None:
        """Tell the peer that nothing more comes (half-close); harmless when the connection is over already."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def takes_more(self) -> bool:
        """Say whether the peer, whose end of stream was read, may still be sent to.

        False when an AF_VSOCK peer has closed, of which poll(2) says nothing (net/vmw_vsock/af_vsock.c vsock_poll); other
        families either say so there or cannot tell.  Sends nothing.
        """
        if self.sock.family != AF_VSOCK:
            return True
        try:
            self.sock.send(b"")
        except BlockingIOError:
            return True
        except (OSError, ValueError):
            return False
        return True

    def abort(self) -> None:
        """Close so that the peer sees a broken connection and not an end, where the transport can say that (TCP)."""
        self.break_at_exit(True)
        self.close()

    def break_at_exit(self, breaks: bool) -> None:
        """Whether ``close``, and the system when this process is killed, breaks the connection where it can be told (TCP)."""
        with contextlib.suppress(OSError):
            if self.sock.family in (socket.AF_INET, socket.AF_INET6):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", breaks, 0))

    def discard(self, seconds: float) -> None:
        """Receive and throw away until the peer closes, for at most *seconds*; works after ``cancel``, raises nothing."""
        waste, meter, end = bytearray(1 << 16), Meter(), time.monotonic() + seconds
        with contextlib.suppress(OSError):
            while (left := end - time.monotonic()) > 0:
                if recv_some(self.sock.fileno(), waste, meter, max(1, int(left * 1000))) == 0:
                    return

    def close(self) -> None:
        """Close the socket; harmless when it is closed already."""
        with contextlib.suppress(OSError):
            self.sock.close()

    def _ms(self, timeout: float | None) -> int:
        return max(1, int((self.timeout if timeout is None else timeout) * 1000))

    def _stuck(self, verb: str) -> str:
        moved = self.sent.moved if verb == "sent" else self.received.moved
        return f"{self.peer}: nothing could be {verb} for {self.timeout:g} s ({moved} bytes before that)"

    def _explained(self, error: OSError, verb: str) -> HvcopyError:
        if _is_deadline(error):
            return TimedOut(self._stuck(verb))
        if error.errno == errno.ECANCELED:
            return Interrupted(f"{self.peer}: the transfer was interrupted")
        if error.errno in _OF_THIS_MACHINE and not (self.sock.family == AF_HYPERV and fault_of(error)):
            return LocalFailure(f"{self.peer}: {error.strerror}")
        return broken(self.peer, error, family=self.sock.family)


def _is_deadline(error: OSError) -> bool:
    """Whether it is the core's own deadline: Windows' word for a peer that has gone silent is a TimeoutError, too."""
    return isinstance(error, TimeoutError) and getattr(error, "winerror", None) is None


class _AtOnce:
    """Lets the deadline of a call pass that was not to wait."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, OSError) and _is_deadline(error)


def broken(peer: str, error: OSError, *, family: int, what: str = "the connection broke") -> HvcopyError:
    """The failure of a connection of that *family* that ended in *error*, with what the family's systems mean by it."""
    words = error.strerror or str(error)
    if family == AF_VSOCK and error.errno == errno.EIO:
        words = f"{words}; from Linux 6.17 on that may be a plain end on Hyper-V, which nothing here can tell (hv_sock)"
    if family == AF_HYPERV and (fault := fault_of(error)):
        words = f"{fault.cause_of_break or fault.cause} ({fault.name})"
        if fault.fate is Fate.EXHAUSTED:
            return LocalFailure(f"{peer}: {words}", hint=fault.advice)
    return ConnectionLost(f"{peer}: {what}: {words}")
