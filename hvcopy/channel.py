"""A connected socket with a no-progress deadline and meters.

With ``fileio`` and ``pipeio`` it alone imports ``hvcopy._core``.  It moves bytes and
turns the system's errors into ours.  It knows no frame, no address grammar and no retry.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import time
from typing import TYPE_CHECKING

from hvcopy._core import Meter, recv_exact, recv_some, send_all, send_from
from hvcopy.errors import ConnectionLost, HvcopyError, Interrupted, LocalFailure, TimedOut

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["Channel", "Meter"]

_NO_SENDFILE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ESPIPE, errno.EIO)
"""What sendfile(2) says of files that can only be read; a file that cannot be read either says so when it is."""


class Channel:
    """One connected stream socket.  One thread may send while another receives; neither call is shared.

    *peer* is how messages name the other end; *identity* is what an allow-list compares (``vsock:3``).
    *timeout* is seconds without any byte moving before a call fails.  *window* is the effective buffer in bytes,
    as the system reports it, 0 when unknown.
    """

    __slots__ = ("identity", "peer", "received", "sent", "sock", "timeout", "window")

    def __init__(
        self, sock: socket.socket, *, peer: str, identity: str = "", timeout: float = 30.0, window: int = 0
    ) -> None:
        self.sock = sock
        self.peer = peer
        self.identity = identity
        self.timeout = timeout
        self.window = window
        self.sent = Meter()
        self.received = Meter()

    def send(self, *parts: ReadableBuffer, timeout: float | None = None) -> None:
        """Send every byte of 1 to 8 buffers as one gathered write.  Blocks; raises ConnectionLost or TimedOut."""
        try:
            send_all(self.sock.fileno(), parts, self.sent, self._ms(timeout))
        except TimeoutError:
            raise TimedOut(self._stuck("sent")) from None
        except OSError as error:
            raise self._explained(error) from error

    @property
    def takes_pages(self) -> bool:
        """Whether ``send_from`` pays: AF_VSOCK would copy page by page, a message for each (net/vmw_vsock/af_vsock.c)."""
        return self.sock.family in (getattr(socket, "AF_UNIX", None), socket.AF_INET, socket.AF_INET6)

    def send_from(self, fd: int, offset: int, count: int, *, timeout: float | None = None) -> int:
        """Send a range of a regular file, or with offset -1 what a pipe holds, without copying it.  Blocks.

        Returns the bytes sent: fewer than *count* when there are no more, or they cannot be sent this way.
        Raises ConnectionLost or TimedOut.
        """
        before = self.sent.moved
        try:
            return send_from(self.sock.fileno(), fd, offset, count, self.sent, self._ms(timeout))
        except TimeoutError:
            raise TimedOut(self._stuck("sent")) from None
        except OSError as error:
            if error.errno in _NO_SENDFILE:
                return self.sent.moved - before
            raise self._explained(error) from error

    def writable(self) -> bool:
        """Say whether a small write would not have to wait for the peer."""
        with contextlib.suppress(OSError, ValueError):
            if hasattr(select, "poll"):  # select(2) knows no descriptor above 1023
                poller = select.poll()
                poller.register(self.sock.fileno(), select.POLLOUT)
                return bool(poller.poll(0))
            return bool(select.select([], [self.sock.fileno()], [], 0)[1])
        return False

    def receive_exact(self, into: WriteableBuffer, *, timeout: float | None = None) -> int:
        """Fill *into*; returns its length, or fewer bytes when the peer's end of stream came first."""
        try:
            return recv_exact(self.sock.fileno(), into, self.received, self._ms(timeout))
        except TimeoutError:
            raise TimedOut(self._stuck("received")) from None
        except OSError as error:
            raise self._explained(error) from error

    def receive_some(self, into: WriteableBuffer, *, timeout: float | None = None) -> int:
        """Receive whatever is there, at least one byte; returns 0 at the end of the stream."""
        try:
            return recv_some(self.sock.fileno(), into, self.received, self._ms(timeout))
        except TimeoutError:
            raise TimedOut(self._stuck("received")) from None
        except OSError as error:
            raise self._explained(error) from error

    def cancel(self) -> None:
        """End calls under way in other threads within 200 ms; they raise Interrupted.  The socket stays open."""
        self.sent.cancel()
        self.received.cancel()

    def shutdown(self) -> None:
        """End both directions, which wakes threads that wait for the peer; harmless when it is over already."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

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

    def _explained(self, error: OSError) -> HvcopyError:
        if error.errno == errno.ECANCELED:
            return Interrupted(f"{self.peer}: the transfer was interrupted")
        if error.errno in (errno.ENOMEM, errno.ENOBUFS, errno.EBADF):
            return LocalFailure(f"{self.peer}: {error.strerror}")
        return ConnectionLost(f"{self.peer}: the connection broke: {error.strerror or error}")
