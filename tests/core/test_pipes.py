"""read_some, write_all and send_from over real pipes, terminals, files and sockets."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import signal
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hvcopy import _core as core

from .clock import IN_TIME, SLOW_MS

SHORT_MS = 50
CAPACITY = 64 << 10
"""Bytes of a pipe as it is made (pipe(7))."""
Pipe = tuple[int, int]


@pytest.fixture(params=[False, True], ids=["non-blocking", "blocking"])
def blocking(request: pytest.FixtureRequest) -> bool:
    """Whether the descriptors may wait: both ways keep every promise."""
    return bool(request.param)


@pytest.fixture
def pipe(blocking: bool) -> Iterator[Pipe]:
    """A pipe: (what is read, what is written)."""
    ends = os.pipe2(os.O_CLOEXEC | (0 if blocking else os.O_NONBLOCK))
    try:
        yield ends
    finally:
        for fd in ends:
            try:
                os.close(fd)
            except OSError:
                pass


def read(fd: int, size: int, blocking: bool, timeout_ms: int = SLOW_MS, *, once: bool = False) -> bytes:
    """One call, as bytes."""
    into = bytearray(size)
    return bytes(into[: core.read_some(fd, into, core.Meter(), timeout_ms, blocking, once)])


def read_all(fd: int, blocking: bool) -> bytes:
    """Everything until the end."""
    found = b""
    while piece := read(fd, 100_000, blocking):
        found += piece
    return found


def test_read_some_returns_what_is_there_at_once(pipe: Pipe, blocking: bool) -> None:
    os.write(pipe[1], b"a line\n")
    assert read(pipe[0], 1 << 20, blocking) == b"a line\n"


def test_read_some_of_a_pipe_that_never_waits_takes_all_that_is_there_up_to_its_room() -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
    data = os.urandom(700_000)
    assert os.write(writer, data) == len(data)
    assert read(reader, 500_000, False) == data[:500_000]
    assert read(reader, 500_000, False) == data[500_000:]
    os.close(reader)
    os.close(writer)


def test_read_some_once_makes_one_call() -> None:
    """A terminal tells its end by one empty read: a second read in the same call would swallow it."""
    master, slave = pty.openpty()
    tty.setcbreak(slave)
    canonical = tty.tcgetattr(slave)
    canonical[tty.LFLAG] |= tty.ICANON  # type: ignore[attr-defined]
    tty.tcsetattr(slave, tty.TCSANOW, canonical)
    os.write(master, b"line\n\x04")
    own = os.open(os.ttyname(slave), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    assert read(own, 1000, False, once=True) == b"line\n"
    assert read(own, 1000, False, once=True) == b""
    with pytest.raises(TimeoutError):
        read(own, 1000, False, SHORT_MS, once=True)
    for fd in (own, master, slave):
        os.close(fd)


def test_read_some_at_the_end_returns_0_again_and_again(pipe: Pipe, blocking: bool) -> None:
    os.write(pipe[1], b"last")
    os.close(pipe[1])
    assert read(pipe[0], 100, blocking) == b"last"
    assert read(pipe[0], 100, blocking) == b""
    assert read(pipe[0], 100, blocking) == b""


def test_read_some_of_files_and_devices(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"contents")
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    assert read(fd, 5, False) == b"conte"
    assert read(fd, 5, False) == b"nts"
    assert read(fd, 5, False) == b""
    zero = os.open("/dev/zero", os.O_RDONLY)
    assert read(zero, 3 << 20, False) == bytes(3 << 20)
    for one in (fd, zero):
        os.close(one)


@pytest.mark.parametrize("size", [1, 4095, 4097, CAPACITY, CAPACITY + 1, (1 << 20) + 7])
def test_write_all_of_any_size_arrives_at_a_slow_reader(pipe: Pipe, blocking: bool, size: int) -> None:
    data, meter = os.urandom(size), core.Meter()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(core.write_all, pipe[1], data, meter, SLOW_MS, blocking)
        got = b""
        while len(got) < size:
            got += read(pipe[0], 3001, blocking)
        writing.result()
    assert got == data
    assert meter.moved == size


def test_every_byte_value_passes_unchanged(pipe: Pipe, blocking: bool) -> None:
    data = bytes(range(256)) * 20
    core.write_all(pipe[1], data, core.Meter(), SLOW_MS, blocking)
    os.close(pipe[1])
    assert read_all(pipe[0], blocking) == data


def test_write_all_without_a_reader_raises_broken_pipe(pipe: Pipe, blocking: bool) -> None:
    os.close(pipe[0])
    with pytest.raises(BrokenPipeError):
        core.write_all(pipe[1], b"x", core.Meter(), SLOW_MS, blocking)


def test_write_all_whose_reader_leaves_in_the_middle_raises_broken_pipe(pipe: Pipe, blocking: bool) -> None:
    meter = core.Meter()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(core.write_all, pipe[1], bytes(1 << 20), meter, SLOW_MS, blocking)
        while meter.moved < CAPACITY:
            time.sleep(0)
        os.close(pipe[0])
        with pytest.raises(BrokenPipeError):
            writing.result()
    assert meter.moved == CAPACITY


def test_what_does_not_move_for_the_whole_timeout_raises_timeout_error(pipe: Pipe, blocking: bool) -> None:
    with pytest.raises(TimeoutError):
        read(pipe[0], 1, blocking, SHORT_MS)
    meter = core.Meter()
    with pytest.raises(TimeoutError):
        core.write_all(pipe[1], bytes(1 << 20), meter, SHORT_MS, blocking)
    assert meter.moved == CAPACITY


def test_a_timeout_of_0_does_not_wait(pipe: Pipe, blocking: bool) -> None:
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(TimeoutError):
            read(pipe[0], 1, blocking, 0)
    os.write(pipe[1], b"x")
    assert read(pipe[0], 1, blocking, 0) == b"x"
    assert time.monotonic() - began < IN_TIME


@pytest.mark.parametrize("call", ["read_some", "write_all"])
def test_cancel_from_another_thread_ends_a_blocked_call_in_time(pipe: Pipe, blocking: bool, call: str) -> None:
    meter = core.Meter()

    def blocked() -> object:
        if call == "read_some":
            return core.read_some(pipe[0], bytearray(9), meter, SLOW_MS, blocking, False)
        return core.write_all(pipe[1], bytes(1 << 20), meter, SLOW_MS, blocking)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(blocked)
        while call == "write_all" and meter.moved < CAPACITY:
            time.sleep(0)
        began = time.monotonic()
        meter.cancel()
        with pytest.raises(OSError, match=os.strerror(errno.ECANCELED)) as caught:
            running.result()
    assert caught.value.errno == errno.ECANCELED
    assert time.monotonic() - began < IN_TIME


@pytest.mark.parametrize("call", ["read_some", "write_all"])
def test_ctrl_c_ends_a_blocked_call_in_time(pipe: Pipe, blocking: bool, call: str) -> None:
    meter = core.Meter()
    sent_at: list[float] = []

    def interrupt() -> None:
        while call == "write_all" and meter.moved < CAPACITY:
            time.sleep(0)
        sent_at.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    def blocked() -> object:
        if call == "read_some":
            return core.read_some(pipe[0], bytearray(9), meter, SLOW_MS, blocking, False)
        return core.write_all(pipe[1], bytes(1 << 20), meter, SLOW_MS, blocking)

    thread = threading.Timer(0.05, interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        blocked()
    assert time.monotonic() - sent_at[0] < IN_TIME
    thread.join()


def test_the_mode_of_a_descriptor_stays_as_it_is(pipe: Pipe, blocking: bool) -> None:
    core.write_all(pipe[1], b"x", core.Meter(), SLOW_MS, blocking)
    read(pipe[0], 1, blocking)
    assert [os.get_blocking(fd) for fd in pipe] == [blocking] * 2


def test_bad_descriptors_and_misuse_are_told(pipe: Pipe, blocking: bool) -> None:
    os.close(pipe[0])
    for call in (
        lambda: read(pipe[0], 1, blocking, SHORT_MS),
        lambda: core.write_all(pipe[0], b"x", core.Meter(), SHORT_MS, blocking),
    ):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()
    misuse: list[Callable[[], object]] = [
        lambda: read(pipe[1], 0, blocking),
        lambda: read(pipe[1], 1, blocking, -1),
    ]
    for call in misuse:
        with pytest.raises(ValueError):  # noqa: PT011
            call()


# ---- pipes into sockets

Sockets = tuple[socket.socket, socket.socket]


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    """Two connected unix sockets; the near one does not wait."""
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield near, far


def receive(far: socket.socket, size: int) -> bytes:
    """So many bytes."""
    found = bytearray(size)
    core.recv_exact(far.fileno(), found, core.Meter(), SLOW_MS)
    return bytes(found)


@pytest.fixture
def large_pipe() -> Iterator[Pipe]:
    """A pipe of 1 MiB that does not wait."""
    ends = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, 1 << 20)
    yield ends
    for fd in ends:
        os.close(fd)


def test_share_pipe_shares_what_is_there_and_takes_nothing_out(pipe: Pipe, large_pipe: Pipe) -> None:
    assert core.share_pipe(pipe[0], large_pipe[1], 1 << 20) == 0
    data = os.urandom(50_000)
    os.write(pipe[1], data)
    assert core.share_pipe(pipe[0], large_pipe[1], 20_000) == 20_000
    assert os.read(large_pipe[0], 1 << 20) == data[:20_000]
    assert os.read(pipe[0], 1 << 20) == data
    with pytest.raises(OSError, match="Invalid argument"):
        core.share_pipe(pipe[0], pipe[1], 1)


def test_send_pipe_sends_what_it_holds(sockets: Sockets, large_pipe: Pipe) -> None:
    near, far = sockets
    data, meter = os.urandom(900_000), core.Meter()
    assert os.write(large_pipe[1], data) == len(data)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(core.send_pipe, near.fileno(), large_pipe[0], len(data), meter, SLOW_MS)
        assert receive(far, len(data)) == data
        assert sending.result() == len(data)
    assert meter.moved == len(data)


def test_send_pipe_of_one_that_holds_less_says_how_much_it_was(sockets: Sockets, large_pipe: Pipe) -> None:
    near, far = sockets
    assert core.send_pipe(near.fileno(), large_pipe[0], 1, core.Meter(), SLOW_MS) == 0
    os.write(large_pipe[1], b"12345")
    assert core.send_pipe(near.fileno(), large_pipe[0], 100, core.Meter(), SLOW_MS) == 5
    assert receive(far, 5) == b"12345"


def test_send_pipe_to_a_peer_that_does_not_read_times_out_or_is_cancelled(sockets: Sockets, large_pipe: Pipe) -> None:
    meter = core.Meter()
    size = os.write(large_pipe[1], bytes(1 << 20))
    with pytest.raises(TimeoutError):
        core.send_pipe(sockets[0].fileno(), large_pipe[0], size, meter, SHORT_MS)
    assert 0 < meter.moved < size
    meter.cancel()
    with pytest.raises(OSError, match=os.strerror(errno.ECANCELED)):
        core.send_pipe(sockets[0].fileno(), large_pipe[0], size, meter, SLOW_MS)


def test_send_pipe_that_cannot_leaves_it_to_the_caller_to_find_out(sockets: Sockets, large_pipe: Pipe) -> None:
    near, far = sockets
    os.write(large_pipe[1], b"12345")
    zero = os.open("/dev/zero", os.O_RDONLY)
    assert core.send_pipe(near.fileno(), zero, 5, core.Meter(), SLOW_MS) == 0
    os.close(zero)
    far.close()
    assert core.send_pipe(near.fileno(), large_pipe[0], 5, core.Meter(), SLOW_MS) == 0
