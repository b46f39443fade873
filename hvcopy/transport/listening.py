"""``listen``: connections from others, one at a time.  It knows no allow-list and no protocol."""

from __future__ import annotations

import errno
import math
import sys
from types import TracebackType
from typing import assert_never

from hvcopy.address import Address, HybridAddress, HypervAddress, TcpAddress, UnixAddress, VsockAddress, want_address
from hvcopy.channel import Channel
from hvcopy.errors import Interrupted, LocalFailure
from hvcopy.transport import tuning
from hvcopy.transport.bound import Bound
from hvcopy.transport.failures import no_unix_sockets, reason
from hvcopy.transport.patience import Patience

_UNUSABLE = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP)
"""After these the listener itself is of no use; any other error of accept(2) is one client's, or passes."""


class Listener:
    """A listening socket.  ``address`` is where it really listens, with the port chosen for port 0."""

    __slots__ = ("_bound", "_timeout", "address")

    def __init__(self, bound: Bound, *, timeout: float) -> None:
        self._bound = bound
        self._timeout = timeout
        self.address = bound.address

    def fileno(self) -> int:
        """The descriptor, to wait on; -1 once closed."""
        return self._bound.sock.fileno()

    def accept(self, poll_seconds: float | None) -> Channel | None:
        """The next connection, or None when none came within *poll_seconds* (None: wait for one).

        Blocks; Ctrl-C ends it at once, ``close`` in another thread within 100 ms with Interrupted.  While no
        descriptor is left, connections stay in the queue and this returns None after the time.
        """
        patience = Patience(math.inf if poll_seconds is None else poll_seconds, self._closed)
        try:
            while True:
                patience.readable(self._bound.sock)
                channel = self._take()
                if channel is not None:
                    return channel
                patience.pause(0.05)
        except TimeoutError:
            return None
        except Interrupted:
            raise Interrupted(f"{self.address}: listening was ended") from None
        except OSError as error:
            raise LocalFailure(f"{self.address}: waiting for a connection failed: {reason(error)}") from error

    def close(self) -> None:
        """Stop listening and remove the socket file that listening created; harmless when closed already."""
        if not self._closed():
            self._bound.release()
            self._bound.sock.close()

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _closed(self) -> bool:
        return self.fileno() < 0

    def _take(self) -> Channel | None:
        """One accepted channel; None when the client is gone again (accept(2)) or nothing can be opened."""
        try:
            sock, remote = self._bound.sock.accept()
        except (BlockingIOError, ConnectionError):
            return None
        except OSError as error:
            if self._closed() or error.errno not in _UNUSABLE:
                return None
            raise LocalFailure(f"{self.address}: accepting a connection failed: {reason(error)}") from error
        try:
            sock.setblocking(False)
            identity, peer = self._bound.welcome(sock, remote)
        except OSError:  # a client gone before it could be looked at
            sock.close()
            return None
        return Channel(
            sock,
            peer=peer,
            identity=identity,
            timeout=self._timeout,
            window=tuning.window(sock),
            sends_files=tuning.sends_files(sock),
            bounded=tuning.bound_waits(sock),
            piece=tuning.piece(self.address),
            awake=tuning.stays_awake(self.address),
        )


def listen(address: Address, *, buffer: int | None = None, backlog: int = 128, timeout: float = 30.0) -> Listener:
    """Listen on *address*; accepted channels get *buffer* (bytes) and *timeout* (seconds without progress).

    Does not block.  Raises NotAllowed, LocalFailure (in use, no such address, not a socket) or BadUsage.
    """
    want_address(address)
    return Listener(_bind(address, buffer, backlog), timeout=timeout)


def _bind(address: Address, buffer: int | None, backlog: int) -> Bound:
    match address:
        case UnixAddress():
            if sys.platform == "win32":
                raise no_unix_sockets(address)
            else:
                from hvcopy.transport import unix

                return unix.listen(address, buffer, backlog)
        case VsockAddress():
            from hvcopy.transport import vsock

            return vsock.listen(address, buffer, backlog)
        case HybridAddress():
            if sys.platform == "win32":
                raise no_unix_sockets(address)
            else:
                from hvcopy.transport import hybrid

                return hybrid.listen(address, buffer, backlog)
        case TcpAddress():
            from hvcopy.transport import tcp

            return tcp.listen(address, buffer, backlog)
        case HypervAddress():
            from hvcopy.transport import hyperv

            return hyperv.listen(address, buffer, backlog)
    assert_never(address)
