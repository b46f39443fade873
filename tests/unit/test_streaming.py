"""Both ends of a stream session in one process: what leaves by reference, what is told to people, what is counted."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from hvcopy.channel import Channel
from hvcopy.errors import DigestMismatch, LocalFailure
from hvcopy.pipeio import FileInlet, Inlet, Outlet, open_inlet
from hvcopy.transfer import streaming as module
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.link import Link
from hvcopy.transfer.streaming import Streaming
from hvcopy.transfer.tally import StreamTally

MIB = 1 << 20
PATIENCE = 20


class Ends:
    """Two connected ends; ``start`` runs one in a thread."""

    def __init__(self, stack: ExitStack) -> None:
        self.lanes = []
        for sock in socket.socketpair():
            stack.enter_context(sock)
            sock.setblocking(False)
            link = Link(Channel(sock, peer="unix:/s", sends_files=True))
            link.early = False
            self.lanes.append(Lanes(link, granted=1, token=b"", timeout=PATIENCE))
        self._pool = stack.enter_context(ThreadPoolExecutor(2))

    def start(self, which: int, inlet: Inlet | None, outlet: Outlet, tally: StreamTally | None = None) -> Future[None]:
        """Run the client (0) or the server (1)."""
        lanes = self.lanes[which]
        streaming = Streaming(lanes, inlet, outlet, tally or StreamTally(), client=which == 0)

        def run() -> None:
            try:
                streaming.run()
            finally:
                lanes.close()
                outlet.close()
                if inlet:
                    inlet.close()

        return self._pool.submit(run)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ended with the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def ends(stack: ExitStack) -> Ends:
    """Two connected ends."""
    return Ends(stack)


def into(path: Path) -> Outlet:
    """Writes a file."""
    return Outlet(os.open(path, os.O_WRONLY | os.O_CREAT), str(path), owned=True)


def nowhere() -> Outlet:
    """Writes the null device."""
    return Outlet(os.open(os.devnull, os.O_WRONLY), owned=True)


class Meddled(FileInlet):
    """A file that somebody writes to just after it was read."""

    meddle: Callable[[int], object]

    def _read(self, into: memoryview, timeout_ms: int) -> int:
        count = super()._read(into, timeout_ms)
        self.meddle(self.fd)
        return count


def meddled(path: Path, content: bytes, meddle: Callable[[int], object]) -> Meddled:
    """Return such a file."""
    path.write_bytes(content)
    os.utime(path, (10**9, 10**9))
    inlet = Meddled(os.open(path, os.O_RDWR), str(path), owned=True)
    inlet.meddle = meddle
    return inlet


def test_a_file_that_is_overwritten_between_reading_and_sending_is_told_as_changed(ends: Ends, tmp_path: Path) -> None:
    inlet = meddled(tmp_path / "f", os.urandom(3 * MIB), lambda fd: os.pwrite(fd, b"changed", MIB // 2))
    sending, receiving = ends.start(0, inlet, nowhere()), ends.start(1, None, into(tmp_path / "copy"))
    mismatch, told = receiving.exception(PATIENCE), sending.exception(PATIENCE)
    assert isinstance(mismatch, DigestMismatch)
    assert "perhaps somebody wrote to its source" in mismatch.message
    assert isinstance(told, LocalFailure)
    assert "was changed while it was sent" in told.message


def test_a_file_that_is_cut_short_meanwhile_is_sent_as_it_was_read(ends: Ends, tmp_path: Path) -> None:
    content = os.urandom(MIB // 2)
    inlet = meddled(tmp_path / "f", content, lambda fd: os.ftruncate(fd, 1000))
    sending, receiving = ends.start(0, inlet, nowhere()), ends.start(1, None, into(tmp_path / "copy"))
    assert (sending.result(PATIENCE), receiving.result(PATIENCE)) == (None, None)
    assert (tmp_path / "copy").read_bytes() == content


def test_where_the_system_sends_nothing_by_reference_bytes_are_copied(
    ends: Ends, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(channel: Channel, fd: int, *numbers: int, timeout: float | None = None) -> int:
        asked.append(len(numbers))
        return 0

    monkeypatch.setattr(Channel, "send_file", refuse)
    monkeypatch.setattr(Channel, "send_pipe", refuse)
    content = os.urandom(5 * MIB)
    (tmp_path / "f").write_bytes(content)
    reads, writes = os.pipe()
    pool = stack.enter_context(ThreadPoolExecutor(1))

    def fill() -> None:
        with open(writes, "wb") as file:
            file.write(content)

    sources = open_inlet(os.open(tmp_path / "f", os.O_RDONLY), owned=True), open_inlet(reads, owned=True)
    pool.submit(fill)
    running = [ends.start(end, sources[end], into(tmp_path / f"copy{end}")) for end in (0, 1)]
    assert [one.result(PATIENCE) for one in running] == [None, None]
    assert (tmp_path / "copy0").read_bytes() == content
    assert (tmp_path / "copy1").read_bytes() == content
    assert 2 in asked
    assert asked.count(1) <= 1, "a pipe that could not be sent from is not tried again"


class Heard:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def failed(self, path: bytes, code: int, message: str) -> None:
        """Not in streams."""

    def noted(self, path: bytes, message: str) -> None:
        """Keep it."""
        self.notes.append(message)


def test_people_are_told_whose_input_is_waited_for_when_one_way_is_done(
    ends: Ends, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HINT_AFTER", 0.3)
    reads, writes = os.pipe()
    heard = Heard(), Heard()
    tallies = StreamTally(observer=heard[0]), StreamTally(observer=heard[1])
    idle = open_inlet(reads, owned=True)
    running = ends.start(0, None, nowhere(), tallies[0]), ends.start(1, idle, nowhere(), tallies[1])
    pool = stack.enter_context(ThreadPoolExecutor(1))

    def end_when_told() -> None:
        while not all(one.notes for one in heard):
            pass
        os.close(writes)

    pool.submit(end_when_told).result(PATIENCE)
    assert [one.result(PATIENCE) for one in running] == [None, None]
    assert [len(one.notes) for one in heard] == [1, 1], "told once"
    assert "the other side's input" in heard[0].notes[0]
    assert "the input of this side" in heard[1].notes[0]


def test_over_a_socket_that_takes_no_pages_everything_is_copied(ends: Ends, stack: ExitStack, tmp_path: Path) -> None:
    """As AF_VSOCK is; chunk after chunk comes from its own place."""
    content = os.urandom(3 * MIB + 7)
    (tmp_path / "f").write_bytes(content)
    for lanes in ends.lanes:
        lanes.control.channel.sends_files = False
    source = open_inlet(os.open(tmp_path / "f", os.O_RDONLY), owned=True)
    running = ends.start(0, source, nowhere()), ends.start(1, None, into(tmp_path / "copy"))
    assert [one.result(PATIENCE) for one in running] == [None, None]
    assert (tmp_path / "copy").read_bytes() == content


def test_both_ends_count_both_ways_and_know_the_digests(ends: Ends, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"one way")
    source = open_inlet(os.open(tmp_path / "f", os.O_RDONLY), owned=True)
    tallies = StreamTally(), StreamTally()
    running = ends.start(0, source, nowhere(), tallies[0]), ends.start(1, None, nowhere(), tallies[1])
    assert [one.result(PATIENCE) for one in running] == [None, None]
    assert [(one.sent, one.received, one.bytes, one.total_bytes, one.counted) for one in tallies] == [
        (7, 0, 7, 7, True),
        (0, 7, 7, 7, True),
    ]
    assert tallies[0].sent_digest == tallies[1].received_digest
    assert tallies[1].sent_digest == tallies[0].received_digest
    assert [one.durability for one in tallies] == ["passed", "passed"]
