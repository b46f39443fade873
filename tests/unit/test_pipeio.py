"""Descriptors as ends of a stream: every kind is read and written to its end, and left to its other users as it was."""

from __future__ import annotations

import gc
import os
import pty
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from commands import PATIENCE

from hvcopy import pipeio
from hvcopy.errors import Interrupted, LocalFailure, ReaderGone
from hvcopy.pipeio import PIPE_SIZE, WORTH_SHARING, Inlet, Outlet, open_inlet

MIB = 1 << 20


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes what is entered or pushed."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def pipe(opened: ExitStack) -> tuple[int, int]:
    """A pipe whose ends wait, as a shell makes them: (what is read, what is written)."""
    ends = os.pipe()
    for fd in ends:
        opened.callback(_close, fd)
    return ends


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass


@pytest.fixture(params=["proc", "no proc"])
def _reopening(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without the way by which a pipe is opened once more: another user's may not be."""
    if request.param == "no proc":
        really = os.open

        def refuse(path: object, *arguments: object, **keywords: object) -> int:
            if str(path).startswith("/proc/self/fd"):
                raise PermissionError
            return really(path, *arguments, **keywords)  # type: ignore[arg-type]

        monkeypatch.setattr(pipeio.os, "open", refuse)


def everything(inlet: Inlet, size: int = MIB) -> bytes:
    """What the inlet has until its end."""
    work, found = memoryview(bytearray(size)), b""
    while count := inlet.read(work):
        found += work[:count]
    return found


# ---- reading


@pytest.mark.usefixtures("_reopening")
def test_a_pipe_is_read_to_its_end_and_its_mode_is_left_alone(pipe: tuple[int, int]) -> None:
    data = os.urandom(3 * MIB)
    with closing(open_inlet(pipe[0])) as inlet, ThreadPoolExecutor(1) as pool:

        def write() -> None:
            with open(pipe[1], "wb") as file:
                file.write(data)

        writing = pool.submit(write)
        assert everything(inlet) == data
        writing.result()
        assert inlet.size is None
        assert os.get_blocking(pipe[0])


@pytest.mark.usefixtures("_reopening")
def test_read_returns_a_line_at_once_and_read_more_never_waits(pipe: tuple[int, int]) -> None:
    work = memoryview(bytearray(MIB))
    with closing(open_inlet(pipe[0])) as inlet:
        assert inlet.read_more(work) == 0
        os.write(pipe[1], b"line\n")
        assert inlet.read(work) == 5
        assert inlet.read_more(work) == 0
        os.write(pipe[1], b"more")
        assert inlet.read_more(work) == 4


@pytest.mark.usefixtures("_reopening")
def test_end_ends_a_blocked_read_quietly_and_cancel_does_not(pipe: tuple[int, int]) -> None:
    for stop, outcome in ((Inlet.end, 0), (Inlet.cancel, Interrupted)):
        with closing(open_inlet(pipe[0])) as inlet, ThreadPoolExecutor(1) as pool:
            reading = pool.submit(inlet.read, memoryview(bytearray(10)))
            began = time.monotonic()
            stop(inlet)
            if outcome == 0:
                assert reading.result() == 0
            else:
                with pytest.raises(Interrupted):
                    reading.result()
            assert time.monotonic() - began < PATIENCE


def test_a_file_is_read_from_where_it_stands_and_moved_along_for_who_shares_it(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"head" + bytes(range(256)) * 8192)
    with open(tmp_path / "f", "rb", buffering=0) as file:
        assert file.read(4) == b"head"
        inlet = open_inlet(file.fileno())
        assert inlet.size == 2 * MIB
        assert not inlet.is_terminal
        assert everything(inlet, 100_000) == bytes(range(256)) * 8192
        inlet.close()
        assert file.tell() == 4 + 2 * MIB
        inlet.close()


def test_a_file_that_says_it_is_empty_is_read_all_the_same() -> None:
    with open("/proc/self/status", "rb", buffering=0) as file:
        inlet = open_inlet(file.fileno())
        assert inlet.size is None
        assert b"Name:" in everything(inlet)


def test_a_file_that_was_written_to_is_known_as_changed(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"before")
    inlet = open_inlet(os.open(tmp_path / "f", os.O_RDONLY), owned=True)
    assert not inlet.changed
    (tmp_path / "f").write_bytes(b"longer than before")
    assert inlet.changed
    inlet.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(inlet.fd)


def test_a_directory_is_told_by_its_name(tmp_path: Path) -> None:
    inlet = open_inlet(os.open(tmp_path, os.O_RDONLY), "the folder", owned=True)
    with pytest.raises(LocalFailure, match="the folder: Is a directory"):
        inlet.read(memoryview(bytearray(1)))
    inlet.close()


def test_a_device_is_read() -> None:
    inlet = open_inlet(os.open("/dev/zero", os.O_RDONLY), owned=True)
    work = memoryview(bytearray(b"x" * MIB))
    assert inlet.read(work) == MIB
    assert bytes(work) == bytes(MIB)
    inlet.close()


def test_a_socket_is_read_to_its_end() -> None:
    near, far = socket.socketpair()
    with near, far:
        inlet = open_inlet(near.fileno())
        far.sendall(b"one")
        assert inlet.read(memoryview(bytearray(10))) == 3
        assert inlet.read_more(memoryview(bytearray(10))) == 0
        far.close()
        assert everything(inlet) == b""


@pytest.mark.usefixtures("_reopening")
def test_a_terminal_gives_lines_and_its_end_once(opened: ExitStack) -> None:
    master, slave = pty.openpty()
    opened.callback(_close, master)
    opened.callback(_close, slave)
    with closing(open_inlet(slave)) as inlet:
        assert inlet.is_terminal
        work = memoryview(bytearray(100))
        os.write(master, b"one\ntwo\n\x04")
        assert bytes(work[: inlet.read(work)]) == b"one\n"
        assert inlet.read_more(work) == 0
        assert bytes(work[: inlet.read(work)]) == b"two\n"
        assert inlet.read(work) == 0
        assert os.get_blocking(slave)


# ---- by reference


def test_a_file_can_be_sent_from_where_the_chunk_began(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    inlet = open_inlet(os.open(tmp_path / "f", os.O_RDONLY), owned=True)
    work = memoryview(bytearray(4))
    for offset in (0, 4):
        inlet.mark()
        assert inlet.read(work) == 4
        assert inlet.reference(4) == (inlet.fd, offset)
    inlet.close()


def test_a_well_filled_pipe_is_held_by_a_second_one_as_well(pipe: tuple[int, int]) -> None:
    inlet = open_inlet(pipe[0])
    data, work = os.urandom(PIPE_SIZE), memoryview(bytearray(PIPE_SIZE))
    for _ in range(3):
        assert os.write(pipe[1], data) == PIPE_SIZE
        inlet.mark()
        assert inlet.read(work) == PIPE_SIZE
        assert inlet.read_more(work) == 0, "what came in since the mark belongs to the next chunk"
        reference = inlet.reference(PIPE_SIZE)
        assert reference is not None
        assert reference[1] == -1
        assert os.read(reference[0], PIPE_SIZE) == data == bytes(work)
    inlet.close()


def test_a_pipe_with_little_in_it_is_copied(pipe: tuple[int, int]) -> None:
    inlet = open_inlet(pipe[0])
    os.write(pipe[1], bytes(WORTH_SHARING - 1))
    inlet.mark()
    assert inlet.read(memoryview(bytearray(MIB))) == WORTH_SHARING - 1
    assert inlet.reference(WORTH_SHARING - 1) is None
    inlet.close()


def test_a_second_pipe_that_was_not_emptied_is_not_used_again(pipe: tuple[int, int]) -> None:
    """As where the system cannot send from a pipe, so that the bytes left from the copy."""
    inlet = open_inlet(pipe[0])
    work = memoryview(bytearray(MIB))
    for expected in (True, False, False):
        os.write(pipe[1], bytes(MIB))
        inlet.mark()
        assert inlet.read(work) == MIB
        assert (inlet.reference(MIB) is not None) == expected
    inlet.close()


def test_half_of_what_was_shared_is_not_sent_from_there(pipe: tuple[int, int]) -> None:
    inlet = open_inlet(pipe[0])
    os.write(pipe[1], bytes(MIB))
    inlet.mark()
    assert inlet.read(memoryview(bytearray(MIB // 2))) == MIB // 2
    assert inlet.reference(MIB // 2) is None
    inlet.close()


@pytest.mark.parametrize("taken", [MIB, MIB // 2])
def test_what_is_forgotten_is_not_sent_later_and_the_next_is_copied(pipe: tuple[int, int], taken: int) -> None:
    inlet = open_inlet(pipe[0])
    work, data = memoryview(bytearray(MIB)), os.urandom(MIB)
    os.write(pipe[1], bytes(taken) + data[taken:])
    inlet.mark()
    assert inlet.read(work[:taken]) == taken
    inlet.forget()
    os.write(pipe[1], data[:taken])
    for shared in (False, True):
        inlet.mark()
        assert inlet.read(work) == MIB
        assert work == data[taken:] + data[:taken]
        reference = inlet.reference(MIB)
        assert (reference is not None) == shared
        assert reference is None or os.read(reference[0], MIB) == work
        os.write(pipe[1], data[taken:] + data[:taken])
    inlet.close()


def test_no_descriptor_is_left_open(pipe: tuple[int, int]) -> None:
    gc.collect()  # what earlier tests forgot is not closed meanwhile
    before = os.listdir("/proc/self/fd")
    for _ in range(20):
        inlet, outlet = open_inlet(pipe[0]), Outlet(pipe[1], stays=True)
        outlet.write(bytes(MIB))
        inlet.mark()
        inlet.read(memoryview(bytearray(MIB)))
        outlet.finish()
        for end in (inlet, outlet):
            end.close()
            end.close()
    assert not {*os.listdir("/proc/self/fd")} - {*before}


# ---- writing


@pytest.mark.usefixtures("_reopening")
def test_a_pipe_is_written_whole_however_slowly_it_is_read(pipe: tuple[int, int]) -> None:
    data, found = os.urandom(3 * MIB + 1), b""
    outlet = Outlet(pipe[1])
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(outlet.write, memoryview(data))
        while len(found) < len(data):
            found += os.read(pipe[0], 50_001)
        writing.result()
    assert found == data
    assert os.get_blocking(pipe[1])
    outlet.close()


@pytest.mark.usefixtures("_reopening")
def test_finish_shows_the_reader_the_end_and_keeps_the_number(pipe: tuple[int, int]) -> None:
    outlet = Outlet(pipe[1])
    outlet.write(b"all")
    assert outlet.finish() == "passed"
    assert os.read(pipe[0], 10) == b"all"
    assert os.read(pipe[0], 10) == b""
    assert os.readlink(f"/proc/self/fd/{pipe[1]}") == os.devnull
    outlet.close()


def test_finish_of_one_that_stays_leaves_the_reader_waiting(pipe: tuple[int, int]) -> None:
    outlet = Outlet(pipe[1], stays=True)
    outlet.write(b"one")
    outlet.finish()
    outlet.close()
    again = Outlet(pipe[1], stays=True)
    again.write(b"two")
    assert os.read(pipe[0], 10) == b"onetwo"
    again.close()


@pytest.mark.usefixtures("_reopening")
def test_a_reader_that_is_gone_is_noticed_before_and_by_writing(pipe: tuple[int, int]) -> None:
    outlet = Outlet(pipe[1], "standard output")
    assert outlet.lost() is None
    outlet.write(b"12345")
    os.close(pipe[0])
    lost = outlet.lost()
    assert isinstance(lost, ReaderGone)
    with pytest.raises(ReaderGone, match="the reader of standard output closed it after 5 bytes"):
        outlet.write(b"x")
    outlet.close()


def test_a_reader_of_a_socket_that_is_gone_is_noticed() -> None:
    near, far = socket.socketpair()
    with near, far:
        outlet = Outlet(near.fileno())
        outlet.write(b"read")
        assert far.recv(10) == b"read"
        far.close()
        assert outlet.lost()
        with pytest.raises(ReaderGone):
            outlet.write(b"x")


@pytest.mark.usefixtures("_reopening")
def test_cancel_ends_a_blocked_write(pipe: tuple[int, int]) -> None:
    outlet = Outlet(pipe[1])
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(outlet.write, bytes(3 * MIB))
        began = time.monotonic()
        outlet.cancel()
        with pytest.raises(Interrupted):
            writing.result()
    assert time.monotonic() - began < PATIENCE
    outlet.close()


def test_a_full_device_is_told_with_its_name() -> None:
    outlet = Outlet(os.open("/dev/full", os.O_WRONLY), "/dev/full", owned=True)
    with pytest.raises(LocalFailure, match="/dev/full: No space left") as caught:
        outlet.write(b"x")
    assert "make room" in caught.value.hint
    outlet.close()


def test_a_file_is_written_where_it_stands_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with open(path, "ab", buffering=0) as file:
        outlet = Outlet(file.fileno())
        outlet.write(b"new")
        assert outlet.lost() is None
        outlet.finish()
    assert path.read_bytes() == b"oldnew"


def test_waits_longer_than_the_backstop_go_on(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer may be silent, and a consumer asleep, for longer than any one call waits."""
    monkeypatch.setattr(pipeio, "BACKSTOP_MS", 20)
    waited = threading.Event()

    def after(seconds: float, act: Callable[[], object]) -> None:
        waited.wait(seconds)
        act()

    inlet, outlet = open_inlet(pipe[0]), Outlet(pipe[1])
    with ThreadPoolExecutor(1) as pool:
        pool.submit(after, 0.1, lambda: os.write(pipe[1], b"late"))
        assert everything_of(inlet, 4) == b"late"
        reading = pool.submit(after, 0.1, lambda: None)
        writing = threading.Thread(target=outlet.write, args=(bytes(2 * MIB),))
        writing.start()
        reading.result()
        assert everything_of(inlet, 2 * MIB) == bytes(2 * MIB)
        writing.join()
    inlet.close()
    outlet.close()


def everything_of(inlet: Inlet, size: int) -> bytes:
    """The next *size* bytes."""
    work, found = memoryview(bytearray(MIB)), b""
    while len(found) < size:
        found += work[: inlet.read(work)]
    return found


def test_a_terminal_is_left_in_its_mode(opened: ExitStack) -> None:
    master, slave = pty.openpty()
    opened.callback(_close, master)
    opened.callback(_close, slave)
    before = tty.tcgetattr(slave), os.get_blocking(slave)  # type: ignore[attr-defined]
    inlet, outlet = open_inlet(slave), Outlet(slave, stays=True)
    outlet.write(b"shown")
    assert os.read(master, 100) == b"shown"
    for end in (inlet, outlet):
        end.close()
    assert (tty.tcgetattr(slave), os.get_blocking(slave)) == before  # type: ignore[attr-defined]
