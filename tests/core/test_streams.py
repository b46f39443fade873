"""send_all, recv_exact and recv_some over real sockets."""

from __future__ import annotations

import errno
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hvcopy import _core as core

from .clock import IN_TIME, SLOW_MS

Pair = tuple[socket.socket, socket.socket]
SHORT_MS = 50


def both(send: Callable[[], object], receive: Callable[[], object]) -> tuple[object, object]:
    """Run the two ends in two threads."""
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(send), pool.submit(receive)
        return first.result(), second.result()


@pytest.mark.parametrize("size", [1, 4095, 65536, (1 << 20) - 1, 1 << 20, (9 << 20) + 7])
def test_stream_of_any_size_arrives_as_it_was_sent(pair: Pair, size: int) -> None:
    near, far = pair
    data, into = os.urandom(size), bytearray(size)
    out, back = core.Meter(), core.Meter()
    sent, got = both(
        lambda: core.send_all(near.fileno(), [data], out, SLOW_MS),
        lambda: core.recv_exact(far.fileno(), into, back, SLOW_MS),
    )
    assert sent is None
    assert got == out.moved == back.moved == size
    assert into == data


def test_send_all_of_many_parts_keeps_their_order_and_skips_empty_ones(pair: Pair) -> None:
    near, far = pair
    parts = [
        b"",
        os.urandom(17),
        b"",
        os.urandom(3 << 20),
        bytearray(b"x"),
        b"",
        memoryview(os.urandom(999)),
        b"",
    ]
    whole = b"".join(parts)
    into, meter = bytearray(len(whole)), core.Meter()
    both(
        lambda: core.send_all(near.fileno(), parts, meter, SLOW_MS),
        lambda: core.recv_exact(far.fileno(), into, core.Meter(), SLOW_MS),
    )
    assert into == whole
    assert meter.moved == len(whole)


def test_send_all_of_small_parts_arrives_as_one_message(unix_pair: Pair) -> None:
    near, far = unix_pair
    core.send_all(near.fileno(), [b"header", b"payload"], core.Meter(), SLOW_MS)
    far.setblocking(False)
    assert far.recv(100) == b"headerpayload"


def test_send_all_of_nothing_sends_nothing(unix_pair: Pair) -> None:
    near, far = unix_pair
    meter = core.Meter()
    core.send_all(near.fileno(), [b"", b""], meter, SLOW_MS)
    far.setblocking(False)
    with pytest.raises(BlockingIOError):
        far.recv(1)
    assert meter.moved == 0


@pytest.mark.parametrize("count", [0, 9])
def test_send_all_of_none_or_too_many_parts_is_misuse(unix_pair: Pair, count: int) -> None:
    with pytest.raises(ValueError, match="1 to 8 parts"):
        core.send_all(unix_pair[0].fileno(), [b"x"] * count, core.Meter(), SLOW_MS)


def test_send_all_of_something_that_is_no_buffer_sends_nothing(unix_pair: Pair) -> None:
    near, far = unix_pair
    with pytest.raises(TypeError):
        core.send_all(near.fileno(), [b"good", "text"], core.Meter(), SLOW_MS)  # type: ignore[list-item]
    far.setblocking(False)
    with pytest.raises(BlockingIOError):
        far.recv(1)


def test_send_all_takes_any_contiguous_buffer_and_refuses_others(unix_pair: Pair) -> None:
    near, far = unix_pair
    core.send_all(near.fileno(), [memoryview(bytes(8)).cast("d")], core.Meter(), SLOW_MS)
    assert far.recv(100) == bytes(8)
    with pytest.raises(BufferError):
        core.send_all(near.fileno(), [memoryview(b"abcd")[::2]], core.Meter(), SLOW_MS)


def test_recv_exact_of_nothing_returns_at_once(unix_pair: Pair) -> None:
    assert core.recv_exact(unix_pair[0].fileno(), bytearray(), core.Meter(), SLOW_MS) == 0


def test_recv_exact_at_end_of_stream_returns_what_came_before(pair: Pair) -> None:
    near, far = pair
    near.sendall(b"abc")
    near.close()
    into, meter = bytearray(10), core.Meter()
    assert core.recv_exact(far.fileno(), into, meter, SLOW_MS) == 3
    assert into == b"abc" + bytes(7)
    assert meter.moved == 3
    assert core.recv_exact(far.fileno(), into, meter, SLOW_MS) == 0


def test_recv_exact_fed_by_single_bytes_fills_the_buffer(pair: Pair) -> None:
    near, far = pair
    data, into = os.urandom(500), bytearray(500)
    both(
        lambda: [core.send_all(near.fileno(), [data[i : i + 1]], core.Meter(), SLOW_MS) for i in range(500)],
        lambda: core.recv_exact(far.fileno(), into, core.Meter(), SLOW_MS),
    )
    assert into == data


def test_recv_exact_into_a_read_only_buffer_is_misuse(unix_pair: Pair) -> None:
    with pytest.raises((BufferError, TypeError)):
        core.recv_exact(unix_pair[0].fileno(), b"1234", core.Meter(), SLOW_MS)


def test_recv_some_returns_what_is_there_without_waiting_for_more(pair: Pair) -> None:
    near, far = pair
    near.sendall(b"abc")
    into = bytearray(100)
    assert core.recv_some(far.fileno(), into, core.Meter(), SLOW_MS) == 3
    assert into[:3] == b"abc"


def test_recv_some_at_end_of_stream_returns_nothing(pair: Pair) -> None:
    near, far = pair
    near.shutdown(socket.SHUT_WR)
    assert core.recv_some(far.fileno(), bytearray(10), core.Meter(), SLOW_MS) == 0


def test_recv_some_without_room_is_misuse(unix_pair: Pair) -> None:
    with pytest.raises(ValueError, match="room"):
        core.recv_some(unix_pair[0].fileno(), bytearray(), core.Meter(), SLOW_MS)


@pytest.mark.parametrize("timeout_ms", [0, SHORT_MS])
def test_recv_exact_without_a_peer_that_speaks_times_out_and_keeps_count(pair: Pair, timeout_ms: int) -> None:
    near, far = pair
    near.sendall(b"ab")
    into, meter = bytearray(3), core.Meter()
    core.recv_some(far.fileno(), into, core.Meter(), SLOW_MS)
    with pytest.raises(TimeoutError, match="nothing moved"):
        core.recv_exact(far.fileno(), into, meter, timeout_ms)
    assert meter.moved == 0


def test_recv_exact_partly_filled_then_silence_times_out_with_an_exact_meter(unix_pair: Pair) -> None:
    near, far = unix_pair
    near.sendall(b"abc")
    into, meter = bytearray(10), core.Meter()
    with pytest.raises(TimeoutError):
        core.recv_exact(far.fileno(), into, meter, SHORT_MS)
    assert meter.moved == 3
    assert into[:3] == b"abc"


def test_send_all_to_a_peer_that_reads_nothing_times_out_with_an_exact_meter(unix_pair: Pair) -> None:
    near, far = unix_pair
    meter = core.Meter()
    with pytest.raises(TimeoutError):
        core.send_all(near.fileno(), [bytes(16 << 20)], meter, SHORT_MS)
    near.close()
    received = 0
    while more := far.recv(1 << 20):
        received += len(more)
    assert 0 < meter.moved == received


def test_send_all_to_a_slow_reader_outlives_its_timeout_as_long_as_bytes_move(unix_pair: Pair) -> None:
    near, far = unix_pair
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    size, timeout_ms = 1 << 20, 2000

    def read_slowly() -> tuple[int, float]:
        began, took, got, into = time.monotonic(), 0.0, 0, memoryview(bytearray(size))
        while more := core.recv_some(far.fileno(), into[: 10_000 if took <= timeout_ms else size], core.Meter(), SLOW_MS):
            got += more
            took = (time.monotonic() - began) * 1000
            threading.Event().wait(0.05 if took <= timeout_ms else 0)  # no longer slow than proves something
        return got, took

    def send() -> None:
        try:
            core.send_all(near.fileno(), [bytes(size)], core.Meter(), timeout_ms)
        finally:
            near.shutdown(socket.SHUT_WR)

    _, heard = both(send, read_slowly)
    assert isinstance(heard, tuple)
    got, took = heard
    assert got == size
    assert took > timeout_ms, "the reader was not slow enough to prove anything"


def test_send_all_to_a_closed_peer_raises_broken_pipe(unix_pair: Pair) -> None:
    near, far = unix_pair
    far.close()
    with pytest.raises(BrokenPipeError) as caught:
        core.send_all(near.fileno(), [b"x"], core.Meter(), SLOW_MS)
    assert caught.value.errno == errno.EPIPE
    assert caught.value.strerror == os.strerror(errno.EPIPE)


def test_recv_exact_after_a_reset_raises_connection_reset(unix_pair: Pair) -> None:
    near, far = unix_pair
    far.sendall(b"never read")
    near.close()  # with unread bytes: the other end sees a reset
    with pytest.raises(ConnectionResetError):
        core.recv_exact(far.fileno(), bytearray(1), core.Meter(), SLOW_MS)


@pytest.mark.parametrize("call", ["send_all", "recv_exact", "recv_some"])
def test_stream_call_on_a_bad_descriptor_raises_ebadf(call: str) -> None:
    near, far = socket.socketpair()
    fd = near.detach()
    os.close(fd)
    far.close()
    buffer = [b"x"] if call == "send_all" else bytearray(1)
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        getattr(core, call)(fd, buffer, core.Meter(), SLOW_MS)
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("call", ["send_all", "recv_exact", "recv_some"])
def test_stream_call_on_a_closed_socket_raises_ebadf(call: str) -> None:
    """Its number is -1; on Windows that of an open one has no sign."""
    sock = socket.socket()
    sock.close()
    buffer = [b"x"] if call == "send_all" else bytearray(1)
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        getattr(core, call)(sock.fileno(), buffer, core.Meter(), SLOW_MS)
    assert caught.value.errno == errno.EBADF


def test_stream_call_on_no_socket_raises_enotsock() -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(OSError, match="socket") as caught:
            core.send_all(writer, [b"x"], core.Meter(), SLOW_MS)
        assert caught.value.errno == errno.ENOTSOCK
    finally:
        os.close(reader)
        os.close(writer)


def test_stream_call_with_negative_timeout_is_misuse(unix_pair: Pair) -> None:
    with pytest.raises(ValueError, match="timeout_ms"):
        core.recv_exact(unix_pair[0].fileno(), bytearray(1), core.Meter(), -1)


def test_stream_call_leaves_the_mode_of_the_socket_alone(pair: Pair) -> None:
    near, far = pair
    before = near.gettimeout(), os.get_blocking(near.fileno()), os.get_blocking(far.fileno())
    core.send_all(near.fileno(), [b"x"], core.Meter(), SLOW_MS)
    core.recv_exact(far.fileno(), bytearray(1), core.Meter(), SLOW_MS)
    with pytest.raises(TimeoutError):
        core.recv_exact(far.fileno(), bytearray(1), core.Meter(), 1)
    assert (near.gettimeout(), os.get_blocking(near.fileno()), os.get_blocking(far.fileno())) == before


def test_meter_moves_while_the_call_is_still_running(unix_pair: Pair) -> None:
    near, far = unix_pair
    meter = core.Meter()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(core.send_all, near.fileno(), [bytes(4 << 20)], meter, SLOW_MS)
        while not meter.moved:
            time.sleep(0)
        assert not sending.done()
        assert core.recv_exact(far.fileno(), bytearray(4 << 20), core.Meter(), SLOW_MS) == 4 << 20
        sending.result()
    assert meter.moved == 4 << 20


@pytest.mark.parametrize("call", ["send_all", "recv_exact", "recv_some"])
def test_cancel_from_another_thread_ends_a_blocked_call(pair: Pair, call: str) -> None:
    near, _far = pair
    meter = core.Meter()
    buffer = [bytes(64 << 20)] if call == "send_all" else bytearray(10)
    with ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(getattr(core, call), near.fileno(), buffer, meter, SLOW_MS)
        while call == "send_all" and not meter.moved:
            time.sleep(0)
        began = time.monotonic()
        meter.cancel()
        with pytest.raises(OSError) as caught:  # noqa: PT011
            blocked.result()
    assert caught.value.errno == errno.ECANCELED
    assert time.monotonic() - began < IN_TIME


def test_cancelled_meter_stops_the_next_call_before_it_moves_anything(unix_pair: Pair) -> None:
    near, far = unix_pair
    meter = core.Meter()
    assert not meter.cancelled
    meter.cancel()
    assert meter.cancelled
    with pytest.raises(OSError) as caught:  # noqa: PT011
        core.send_all(near.fileno(), [b"x"], meter, SLOW_MS)
    assert caught.value.errno == errno.ECANCELED
    far.setblocking(False)
    with pytest.raises(BlockingIOError):
        far.recv(1)


def test_meter_shared_by_threads_counts_every_byte() -> None:
    meter = core.Meter()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: [meter.add(1) for _ in range(20_000)], range(4)))
    assert meter.moved == 80_000


def test_meter_counts_beyond_32_bits_and_only_up() -> None:
    meter = core.Meter()
    meter.add(1 << 40)
    meter.add(0)
    with pytest.raises(ValueError, match="counts up"):
        meter.add(-1)
    assert meter.moved == 1 << 40


@pytest.mark.parametrize("call", ["send_all", "recv_exact"])
def test_buffer_in_use_cannot_be_resized_until_the_call_ends(unix_pair: Pair, call: str) -> None:
    near, _far = unix_pair
    meter, buffer = core.Meter(), bytearray(16 << 20)
    _far.sendall(b"x")
    arguments = [buffer] if call == "send_all" else buffer
    with ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(getattr(core, call), near.fileno(), arguments, meter, SLOW_MS)
        while not meter.moved:
            time.sleep(0)
        with pytest.raises(BufferError):
            buffer.append(0)
        meter.cancel()
        assert isinstance(blocked.exception(), OSError)
        del blocked
    buffer.append(0)


def test_both_directions_of_one_socket_at_once_do_not_disturb_each_other(pair: Pair) -> None:
    near, far = pair
    there, back = random.Random(1).randbytes(5 << 20), random.Random(2).randbytes(5 << 20)
    near_in, far_in = bytearray(5 << 20), bytearray(5 << 20)
    with ThreadPoolExecutor(4) as pool:
        for work in [
            pool.submit(core.send_all, near.fileno(), [there], core.Meter(), SLOW_MS),
            pool.submit(core.send_all, far.fileno(), [back], core.Meter(), SLOW_MS),
            pool.submit(core.recv_exact, near.fileno(), near_in, core.Meter(), SLOW_MS),
            pool.submit(core.recv_exact, far.fileno(), far_in, core.Meter(), SLOW_MS),
        ]:
            work.result()
    assert far_in == there
    assert near_in == back


# ---- send_file


@pytest.fixture
def source(tmp_path: Path) -> Iterator[tuple[int, bytes]]:
    """An open file of 3 MiB and a little, and its contents."""
    content = random.Random(7).randbytes((3 << 20) + 777)
    path = tmp_path / "source"
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    yield fd, content
    os.close(fd)


@pytest.mark.parametrize(("offset", "length"), [(0, 1), (4095, 70_000), (1, 3 << 20), (0, (3 << 20) + 777), (5, 0)])
def test_send_file_sends_just_that_range(pair: Pair, source: tuple[int, bytes], offset: int, length: int) -> None:
    near, far = pair
    near.setblocking(False)
    fd, content = source
    into, meter = bytearray(length), core.Meter()
    sent, got = both(
        lambda: core.send_file(near.fileno(), fd, offset, length, meter, SLOW_MS),
        lambda: core.recv_exact(far.fileno(), into, core.Meter(), SLOW_MS),
    )
    assert sent == got == meter.moved == length
    assert into == content[offset : offset + length]


def test_send_file_beyond_the_end_sends_what_is_there(pair: Pair, source: tuple[int, bytes]) -> None:
    near, far = pair
    fd, content = source
    assert core.send_file(near.fileno(), fd, len(content) - 10, 100, core.Meter(), SLOW_MS) == 10
    assert core.send_file(near.fileno(), fd, len(content) + 10, 100, core.Meter(), SLOW_MS) == 0
    assert far.recv(100) == content[-10:]


def test_send_file_to_a_reader_that_stops_times_out(unix_pair: Pair, source: tuple[int, bytes]) -> None:
    near, _ = unix_pair  # a TCP connection may hold 3 MiB by itself
    near.setblocking(False)
    meter = core.Meter()
    with pytest.raises(TimeoutError):
        core.send_file(near.fileno(), source[0], 0, 3 << 20, meter, SHORT_MS)
    assert 0 < meter.moved < 3 << 20


def test_send_file_is_cancelled_from_another_thread(unix_pair: Pair, source: tuple[int, bytes]) -> None:
    near, _ = unix_pair
    near.setblocking(False)
    meter = core.Meter()
    threading.Timer(0.05, meter.cancel).start()
    with pytest.raises(OSError, match="anceled") as raised:
        core.send_file(near.fileno(), source[0], 0, 3 << 20, meter, SLOW_MS)
    assert raised.value.errno == errno.ECANCELED


def test_send_file_leaves_to_the_caller_what_cannot_be_sent_so(unix_pair: Pair, tmp_path: Path) -> None:
    near, far = unix_pair
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert core.send_file(near.fileno(), folder, 0, 10, core.Meter(), SLOW_MS) == 0
    finally:
        os.close(folder)
    far.close()
    with (tmp_path / "f").open("w+b", buffering=0) as file:
        file.write(b"0123456789")
        assert core.send_file(near.fileno(), file.fileno(), 0, 10, core.Meter(), SLOW_MS) == 0
    with pytest.raises(BrokenPipeError):
        core.send_all(near.fileno(), [b"x"], core.Meter(), SLOW_MS)


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1), ((1 << 63) - 1, 2)])
def test_send_file_refuses_an_impossible_range(unix_pair: Pair, offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="range"):
        core.send_file(unix_pair[0].fileno(), 0, offset, length, core.Meter(), SLOW_MS)
