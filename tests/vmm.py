"""Looks like a VMM to /proc, and answers on a unix socket what its plan says.  Started by programs.vmm_called.

The plan is JSON: ``socket`` where to listen, ``answers`` bodies by resource, ``status`` of all, ``chroot`` where to be locked up,
``silent`` to accept and say nothing, ``drip`` the seconds between two bytes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

PLAN = json.loads(Path(sys.argv[1]).read_text())


class Drip(io.RawIOBase):
    """Writes to a socket one byte after the other, as long as somebody is there."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def write(self, data: Any) -> int:
        with contextlib.suppress(BrokenPipeError):
            for byte in bytes(data):
                if select.select([self._sock], [], [], PLAN["drip"])[0]:  # all was asked, so this is the client's end
                    break
                self._sock.sendall(bytes([byte]))
        return len(data)


class Api(BaseHTTPRequestHandler):
    """Answers GET."""

    def setup(self) -> None:
        super().setup()
        if "drip" in PLAN:
            self.wfile = Drip(self.connection)

    def do_GET(self) -> None:
        if PLAN.get("silent"):
            threading.Event().wait()
        body = PLAN.get("answers", {}).get(self.path)
        self.send_response(PLAN.get("status", 200) if body is not None else 404)
        raw = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingMixIn, UnixStreamServer):
    """One thread a question."""

    daemon_threads = True


if "chroot" in PLAN:
    os.chroot(PLAN["chroot"])
    os.chdir("/")
if "socket" in PLAN:
    threading.Thread(target=Server(PLAN["socket"], Api).serve_forever, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
