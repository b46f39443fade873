"""A fake VMM: the unix socket of a hybrid vsock device, with the manners and the faults of real ones.

    with Muxer(path, normal) as muxer:
        ... connect to path ...
        guest = muxer.guest()        the guest's end of the connection, a plain socket

Each connection is served by the next behaviour given, the last one for all further ones.
"""

from __future__ import annotations

import contextlib
import queue
import re
import select
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

Behaviour = Callable[["Muxer", socket.socket], None]


class Muxer:
    """Listens on *path* from the start of the block to its end; ``lines`` is what each client said first."""

    def __init__(self, path: str, *behaviours: Behaviour) -> None:
        self.lines: list[bytes] = []
        self._behaviours = list(behaviours)
        self._guests: queue.Queue[socket.socket] = queue.Queue()
        self._open: list[socket.socket] = []
        self._relays: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # a close alone would not wake a thread that waits on it
        for relay in self._relays:
            relay.join()
        for sock in self._open:
            sock.close()

    def guest(self) -> socket.socket:
        """The guest's end of the next connection that got its OK."""
        return self._guests.get(timeout=10)

    def connected(self, sock: socket.socket) -> None:
        self._guests.put(sock)

    def keep(self, sock: socket.socket) -> None:
        """Leave *sock* open until the end of the block."""
        self._open.append(sock)

    def relay(self, source: socket.socket, sink: socket.socket, at_end: Callable[[socket.socket], None]) -> None:
        """Pass on what comes from *source*, which is kept, until it ends and *at_end* has returned, or the block ends."""
        self._relays.append(threading.Thread(target=_relay, args=(source, sink, at_end)))
        self._relays[-1].start()

    def read_request(self, client: socket.socket) -> bool:
        """Firecracker's way: the whole line in one piece, at most 32 bytes; anything else is dropped."""
        line = client.recv(32)
        self.lines.append(line)
        return re.fullmatch(rb"CONNECT \d{1,10}\n", line) is not None

    def _serve(self) -> None:
        served = 0
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.keep(client)
            behaviour = self._behaviours[min(served, len(self._behaviours) - 1)]
            served += 1
            behaviour(self, client)


def normal(muxer: Muxer, client: socket.socket) -> None:
    """Says OK with the assigned host port, as Firecracker and Cloud Hypervisor do."""
    answering(b"OK 1073741824\n")(muxer, client)


def answering(*pieces: bytes) -> Behaviour:
    """Says *pieces*, each only when the one before was read, and hands the connection to the guest."""

    def behaviour(muxer: Muxer, client: socket.socket) -> None:
        if not muxer.read_request(client):
            client.close()
            return
        for piece in pieces:
            client.sendall(piece)
            if piece is not pieces[-1]:
                wait_until_read(client)
        muxer.connected(client)

    return behaviour


def silent(muxer: Muxer, client: socket.socket) -> None:
    """Reads the request and says nothing, like a paused VM."""
    muxer.read_request(client)


def hang_up(muxer: Muxer, client: socket.socket) -> None:
    """Reads the request and closes: nobody listens in the guest.  The client sees the end of the stream."""
    muxer.read_request(client)
    client.close()


def hang_up_unread(muxer: Muxer, client: socket.socket) -> None:
    """Closes without having read the request, which the client sees as ECONNRESET or EPIPE."""
    client.recv(1, socket.MSG_PEEK)
    client.close()


def half_close_is_full_close(muxer: Muxer, client: socket.socket) -> None:
    """As Firecracker and vhost-device-vsock do: what was sent arrives, then both directions are shut."""
    _join(muxer, client, lambda source: None)


def half_close_is_lost(muxer: Muxer, client: socket.socket) -> None:
    """As vhost-device-vsock does to a guest's: the other side hears nothing of it before the whole connection ends."""
    _join(muxer, client, wait_until_closed)


def _join(muxer: Muxer, client: socket.socket, at_end: Callable[[socket.socket], None]) -> None:
    if not muxer.read_request(client):
        return
    ours, guests = socket.socketpair()
    muxer.keep(ours)
    client.sendall(b"OK 5001\n")
    muxer.connected(guests)
    for source, sink in ((client, ours), (ours, client)):
        muxer.relay(source, sink, at_end)


def _relay(source: socket.socket, sink: socket.socket, at_end: Callable[[socket.socket], None]) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        at_end(source)
    except OSError:
        pass
    for sock in (source, sink):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def wait_until_closed(sock: socket.socket) -> None:
    """Wait until the other end, which may have ended one direction, is gone altogether."""
    poll = select.poll()
    poll.register(sock, 0)  # POLLHUP is always told
    poll.poll()


def wait_until_read(sock: socket.socket) -> None:
    """Wait until the other end has read everything (unix(7), SIOCOUTQ); gives up when it is gone."""
    from fcntl import ioctl
    from termios import TIOCOUTQ

    count = bytearray(4)
    while True:
        ioctl(sock, TIOCOUTQ, count)
        if struct.unpack("i", count)[0] == 0:
            return
        threading.Event().wait(0.001)
