"""`hvcopy forward` as a process between a target and clients that the test plays itself, in threads of its own."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from commands import Running, eventually, forwarding
from peers import PIECE, Behaviour, Listening, connect


def place(kind: str, folder: Path, name: str) -> str:
    """Where somebody may listen: a socket file that is not there yet, or any port of this machine's own."""
    return {"unix": f"unix:{folder}/{name}", "tcp": "tcp:127.0.0.1:0", "vsock": "vsock:local:0"}[kind]


class Route:
    """A target that does *behaviour* with each connection, and a forwarder to it; over *kinds*, as "unix-tcp"."""

    def __init__(self, stack: ExitStack, folder: Path, kinds: str, behaviour: Behaviour, *options: object) -> None:
        self._stack = stack
        near, _, far = kinds.partition("-")
        self.target = stack.enter_context(Listening(place(far, folder, "far"), behaviour))
        access = () if near == "unix" else ("--open",)
        listen_at = place(near, folder, "near")
        self.process, self.address = stack.enter_context(forwarding(listen_at, self.target.address, *access, *options))

    def client(self) -> socket.socket:
        """A new connection to the forwarder."""
        return self._stack.enter_context(connect(self.address))


class Swap:
    """Sends *content* and its end while it hears everything up to the peer's end; ``heard`` is that one's digest."""

    def __init__(self, sock: socket.socket, content: bytes) -> None:
        self._sock = sock
        self._content = content
        self._heard = hashlib.sha256()
        self.length = 0
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._send, self._hear)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        self._sock.sendall(self._content)
        self._sock.shutdown(socket.SHUT_WR)

    def _hear(self) -> None:
        while piece := self._sock.recv(PIECE):
            self._heard.update(piece)
            self.length += len(piece)

    def heard(self) -> str:
        """Wait for both ends."""
        for thread in self._threads:
            thread.join()
        return self._heard.hexdigest()


class Flood:
    """Sends *content* again and again, from a thread, until it has sent *limit* bytes or the connection breaks."""

    def __init__(self, sock: socket.socket, content: bytes, limit: int) -> None:
        self.sent = 0
        self._broke = "end"
        self._sock, self._content, self._limit = sock, content, limit
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while self.sent < self._limit:
                at = self.sent % len(self._content)
                self.sent += self._sock.send(self._content[at : at + self._limit - self.sent])
        except ConnectionResetError:
            self._broke = "reset"
        except OSError:  # EPIPE after an end, also when a reset follows (net/ipv4/tcp_input.c tcp_reset)
            pass

    def held_back(self) -> bool:
        """Whether nothing more is taken from it, though there is more; looks for a third of a second."""
        before = self.sent
        self._thread.join(0.3)
        return self._thread.is_alive() and 0 < self.sent == before

    def how_it_ends(self) -> str:
        """``how_it_ends`` for one that sends meanwhile: a reset is told once, to whichever call comes first."""
        heard = how_it_ends(self._sock)
        self._thread.join()
        return max(heard, self._broke)  # "end" comes first in the alphabet, too

    def over(self) -> int:
        """Wait for its end; the bytes that were sent."""
        self._thread.join()
        return self.sent


def in_thread(work: Callable[[], object]) -> threading.Thread:
    """Start *work*, which nobody waits for when the test is over."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def reset(sock: socket.socket) -> None:
    """Close so that the peer sees a reset, where the transport knows such (tcp(7), SO_LINGER)."""
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def how_it_ends(sock: socket.socket) -> str:
    """Hear everything: "end" when that was whole, "reset" when the connection broke."""
    try:
        while sock.recv(PIECE):
            pass
    except ConnectionError:
        return "reset"
    return "end"


def visited(address: str, said: bytes) -> str:
    """Connect, say something, and hear how that ends; the end may come before it is connected."""
    try:
        with connect(address) as sock:
            if said:  # to send nothing fails, too, where the peer has closed already
                sock.sendall(said)
            return how_it_ends(sock)
    except ConnectionError:
        return "reset"


def memory(running: Running) -> int:
    """Bytes of its own that a process has in memory (proc(5))."""
    status = Path(f"/proc/{running.pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) << 10


def stalled(floods: list[Flood]) -> None:
    """Wait until all of them are held back."""
    eventually(lambda: all(flood.held_back() for flood in floods), what="senders that have to wait")
