"""One question to a VMM's API: an HTTP GET over its unix socket, bounded in time and size, with JSON as the answer."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import time
from typing import Any

LONGEST_ANSWER = 1 << 20
_AF_UNIX = getattr(socket, "AF_UNIX", 1)  # which Python lacks on Windows, where nothing calls this
_SO_PEERCRED = 17  # asm-generic/socket.h


class _Until(socket.socket):
    """A socket from which nothing is read after the moment *ends*, in however many pieces it comes."""

    ends = 0.0

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(left)
        return super().recv_into(buffer, nbytes, flags)


def get(path: str, pid: int, resource: str, seconds: float) -> dict[str, Any] | None:
    """Return the object that the API of process *pid* at the socket *path* answers, None when it answers none in time.

    Nothing is sent to another process: whoever starts a program may give it the socket of somebody else's.
    """
    connection = http.client.HTTPConnection("localhost", timeout=seconds)
    with (
        contextlib.closing(connection),
        contextlib.suppress(OSError, ValueError, RecursionError, http.client.HTTPException),
    ):
        connection.sock = _Until(_AF_UNIX, socket.SOCK_STREAM)
        connection.sock.ends = time.monotonic() + seconds
        connection.sock.settimeout(seconds)
        connection.sock.connect(path)
        if _listener(connection.sock) != pid:
            return None
        connection.request("GET", resource, headers={"Accept": "application/json"})
        response = connection.getresponse()
        body = b""
        while len(body) <= LONGEST_ANSWER and (piece := response.read1(1 << 16)):
            body += piece
        found = json.loads(body) if response.status == 200 else None
        return found if isinstance(found, dict) else None
    return None


def _listener(sock: socket.socket) -> int:
    """Return the process that listens at the other end (unix(7): SO_PEERCRED)."""
    return int(struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, 12))[0])
