"""An HTTP server of the tests, and what it answers: it holds no files, and takes any."""

from __future__ import annotations

import hashlib
from http.server import BaseHTTPRequestHandler

from e2e.trees import noise

PIECE = 1 << 18


class Store(BaseHTTPRequestHandler):
    """Answers a PUT with the SHA-256 of its body, and a GET of .../N with N bytes; connections stay open."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        digest = hashlib.sha256()
        left = int(self.headers["Content-Length"])
        while left:
            piece = self.rfile.read(min(left, PIECE))
            digest.update(piece)
            left -= len(piece)
        self._answer(digest.hexdigest().encode())

    def do_GET(self) -> None:
        self._answer(noise(int(self.path.rpartition("/")[2])))  # a proxy is asked for the whole URL

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def contents(size: int) -> str:
    """The SHA-256 of what a GET of *size* brings."""
    return hashlib.sha256(noise(size)).hexdigest()
