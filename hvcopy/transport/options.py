"""Socket options as the system takes them, whatever CPython makes of the socket's family."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def plain(sock: socket.socket) -> Iterator[socket.socket]:
    """*sock*'s descriptor, lent to a socket object that believes in another family.

    CPython 3.11 reads and writes nothing but 64-bit numbers as options of AF_VSOCK sockets
    (Modules/socketmodule.c), too little for a timeval and, on big-endian machines, wrong for an int.
    Windows has no such sockets, and its CPython no AF_UNIX to lend to.
    """
    if sys.platform == "win32":
        yield sock
    else:
        lent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=sock.fileno())
        try:
            yield lent
        finally:
            lent.detach()
