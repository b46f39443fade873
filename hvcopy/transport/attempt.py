"""One connect of one socket: started without blocking, waited for with patience, closed when it fails."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

from hvcopy.descriptors import socket_words
from hvcopy.transport.options import plain
from hvcopy.transport.patience import Patience

_UNDER_WAY = (errno.EINPROGRESS, errno.EWOULDBLOCK, 10035)  # 10035: WSAEWOULDBLOCK


def connect_socket(sock: socket.socket, target: Any, patience: Patience) -> None:
    """Connect *sock* to *target* and leave it non-blocking.

    Raises OSError with the system's errno, or what *patience* raises.  Never a blocking connect: a signal in
    the middle of one leaves an AF_VSOCK socket closed (af_vsock.c vsock_connect).
    """
    sock.setblocking(False)
    code = sock.connect_ex(target)
    if code in _UNDER_WAY:
        patience.writable(sock)
        with plain(sock) as raw:
            code = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, socket_words(code))


@contextlib.contextmanager
def closed_on_failure(sock: socket.socket) -> Iterator[socket.socket]:
    """Close *sock* when the block ends in an exception, whatever its kind; leave it open otherwise."""
    try:
        yield sock
    except BaseException:
        sock.close()
        raise
