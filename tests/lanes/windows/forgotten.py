"""Ends the connections of a killed process that Wine's server has forgotten, as Windows would have ended them.

Wine 8 leaves a connection open when its process is killed between the answer to a request and the report of what came of
it: what it notes for a send or a poll holds the sockets, and only that report lets go of them (server/sock.c, server/async.c).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Collection, Iterator
from pathlib import Path

PIDFD_GETFD = 438
"""pidfd_getfd(2), of which Python knows nothing: the same number on every processor."""

Connection = tuple[str, str]
"""The addresses of its two ends, the process's own first, each as ``HOST:PORT``."""


def end(connections: Collection[Connection]) -> None:
    """End what is left of *connections* of a process whose end Wine's server has seen: a reset where that was wished for."""
    for server in _servers():
        for sock in _sockets(server):
            with sock, contextlib.suppress(OSError):
                if (_text(sock.getsockname()), _text(sock.getpeername())) not in connections:
                    continue
                wished, _ = struct.unpack("ii", sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
                if wished:
                    _reset(sock)
                else:
                    sock.shutdown(socket.SHUT_RDWR)


def _text(address: object) -> str:
    return "{}:{}".format(*address) if isinstance(address, tuple) else ""


def _servers() -> Iterator[int]:
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and (process / "comm").read_text().startswith("wineserver"):
                yield int(process.name)


def _sockets(pid: int) -> Iterator[socket.socket]:
    """Those of another process that are open now, each as one more descriptor of it."""
    with contextlib.suppress(OSError), open(os.pidfd_open(pid), "rb", buffering=0) as process:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(fd).startswith("socket:"):
                    got = ctypes.CDLL(None).syscall(PIDFD_GETFD, process.fileno(), int(fd.name), 0)
                    if got >= 0:
                        yield socket.socket(fileno=got)


def _reset(sock: socket.socket) -> None:
    """connect(2) to AF_UNSPEC, an address that Python has not."""
    ctypes.CDLL(None).connect(sock.fileno(), struct.pack("H14x", socket.AF_UNSPEC), 16)
