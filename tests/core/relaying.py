"""Flows of the relay, threads beside it, and ends of every kind for it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hvcopy import _core as core

from .clock import SLOW_MS
from .conftest import Pair, tcp_pair

ALL = 1 << 62
ROOM = 1 << 18
KIB, MIB = 1 << 10, 1 << 20
FOREVER = -1


def flow(
    source: int,
    sink: int,
    *,
    meter: core.Meter | None = None,
    room: int = ROOM,
    by_reference: int = ALL,
) -> core.Flow:
    return core.Flow(source, sink, meter or core.Meter(), room, by_reference)


def drive(*flows: core.Flow) -> None:
    """Relay until all *flows* are over; nothing is passed on to sinks."""
    while going := [one for one in flows if one.state == core.FLOWING]:
        assert core.relay(going, SLOW_MS, FOREVER)


def drained(fd: int) -> bytes:
    """All bytes up to the end of the stream *fd*, which is a socket's or a pipe's."""
    got = bytearray()
    while part := os.read(fd, MIB):
        got += part
    return bytes(got)


@contextmanager
def in_thread(work: Callable[[], object]) -> Iterator[threading.Thread]:
    """Run *work* beside the block; its end is waited for, and its failure is the test's."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(30)
    assert not thread.is_alive()
    assert not failures, failures


class Ends:
    """Makes sources that hold given bytes and end, and sinks whose content can be had; all of them blocking."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._read: dict[int, Callable[[], bytes]] = {}

    def source(self, kind: str, data: bytes) -> int:
        if kind == "file":
            return self._file("source", data, os.O_RDONLY)
        near, far = self._pair(kind)
        self._stack.enter_context(in_thread(lambda: self._feed(far, data)))
        return near

    def sink(self, kind: str) -> int:
        if kind in ("file", "append"):
            append = os.O_APPEND if kind == "append" else 0
            fd = self._file("sink", b"", os.O_RDWR | append)
            self._read[fd] = (self._folder / "sink").read_bytes
            return fd
        far, near = self._pair(kind)
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(drained(far)))
        reader.start()

        def finish() -> bytes:
            os.close(near)
            reader.join(30)
            return got[0]

        self._read[near] = finish
        return near

    def content(self, sink: int) -> bytes:
        """End *sink*; all that came into it."""
        return self._read[sink]()

    def _file(self, name: str, data: bytes, flags: int) -> int:
        path = self._folder / name
        path.write_bytes(data)
        fd = os.open(path, flags)
        self._stack.callback(os.close, fd)
        return fd

    def _pair(self, kind: str) -> tuple[int, int]:
        """A descriptor to read from and one to write to; the caller closes the second."""
        if kind == "pipe":
            out, into = os.pipe()
        else:
            near, far = connected(kind)
            out, into = near.detach(), far.detach()
        self._stack.callback(os.close, out)
        return out, into

    @staticmethod
    def _feed(fd: int, data: bytes) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)


def connected(kind: str) -> Pair:
    """Two ends of a ``unix`` or ``tcp`` connection, blocking."""
    return socket.socketpair() if kind == "unix" else tcp_pair()
