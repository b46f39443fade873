"""recv_file: from a socket into a file, written while more is on its way."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from commands import eventually

from hvcopy import _core as core

from .clock import IN_TIME, SLOW_MS
from .conftest import Pair

MIB = 1 << 20
PAGE = 4096
SHORT_MS = 250
ALL = 1 << 40


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0))
    yield fd
    os.close(fd)


def contents(fd: int) -> bytes:
    os.lseek(fd, 0, os.SEEK_SET)
    return os.read(fd, 64 * MIB)


@pytest.mark.parametrize("grain", [1, PAGE, 100_000, ALL])
@pytest.mark.parametrize("size", [0, 1, PAGE, PAGE + 1, MIB, 3 * MIB + 17])
def test_what_is_received_stands_in_the_buffer_and_in_the_file(pair: Pair, target: int, size: int, grain: int) -> None:
    near, far = pair
    far.setblocking(True)
    data, into, meter = os.urandom(size), bytearray(size), core.Meter()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(far.sendall, data)
        assert core.recv_file(near.fileno(), into, len(into), target, PAGE, False, grain, meter, SLOW_MS) == (size, size)
        sending.result()
    assert into == data
    assert contents(target) == (bytes(PAGE) + data if size else b"")
    assert meter.moved == size
    assert not meter.storing


def wait_until_written(fd: int, data: bytes) -> None:
    end = time.monotonic() + IN_TIME
    while contents(fd) != data:
        assert time.monotonic() < end, "nothing was written while more was awaited"


def test_what_has_come_is_written_before_the_rest_comes(pair: Pair, target: int) -> None:
    near, far = pair
    far.setblocking(True)
    data, into = os.urandom(9 * PAGE), bytearray(9 * PAGE)
    with ThreadPoolExecutor(1) as pool:
        receiving = pool.submit(core.recv_file, near.fileno(), into, len(into), target, 0, False, ALL, core.Meter(), SLOW_MS)
        far.sendall(data[: 2 * PAGE + 5])
        wait_until_written(target, data[: 2 * PAGE])  # whole pages: the rest of the third may make it one of zeros
        far.sendall(data[2 * PAGE + 5 :])
        assert receiving.result() == (len(data), len(data))
    assert contents(target) == data


@pytest.mark.skipif(sys.platform == "win32", reason="no call waits in the system on Windows")
def test_call_that_waits_in_the_system_writes_once_its_grain_has_come(unix_pair: Pair, target: int) -> None:
    near, far = unix_pair
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 100_000))
    data, into = os.urandom(4 * PAGE), bytearray(4 * PAGE)
    with ThreadPoolExecutor(1) as pool:
        receiving = pool.submit(
            core.recv_file, near.fileno(), into, len(into), target, 0, False, PAGE, core.Meter(), SLOW_MS, True
        )
        far.sendall(data[: 3 * PAGE])
        wait_until_written(target, data[: 3 * PAGE])
        far.sendall(data[3 * PAGE :])
        assert receiving.result() == (len(data), len(data))


@pytest.mark.parametrize("waits", [False, pytest.param(True, marks=pytest.mark.skipif(sys.platform == "win32", reason=""))])
def test_silence_in_the_middle_is_a_timeout_and_can_be_cancelled(unix_pair: Pair, target: int, waits: bool) -> None:
    near, far = unix_pair
    if waits:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 100_000))
    far.sendall(bytes(100))
    meter, into = core.Meter(), bytearray(200)
    with pytest.raises(TimeoutError):
        core.recv_file(near.fileno(), into, len(into), target, 0, False, ALL, meter, SHORT_MS, waits)
    assert meter.moved == 100
    with ThreadPoolExecutor(1) as pool:
        receiving = pool.submit(core.recv_file, near.fileno(), into, len(into), target, 0, False, ALL, meter, SLOW_MS, waits)
        began = time.monotonic()
        meter.cancel()
        with pytest.raises(OSError, match="cancel") as caught:
            receiving.result()
    assert caught.value.errno == errno.ECANCELED
    assert time.monotonic() - began < IN_TIME


@pytest.mark.skipif(sys.platform == "win32", reason="no call waits in the system on Windows")
def test_end_of_stream_after_a_cancel_is_no_end(unix_pair: Pair, target: int) -> None:
    near, far = unix_pair
    far.sendall(bytes(100))
    meter, into = core.Meter(), bytearray(200)
    with ThreadPoolExecutor(1) as pool:
        receiving = pool.submit(
            core.recv_file, near.fileno(), into, len(into), target, 0, False, ALL, meter, SLOW_MS, core.IN_SYSTEM
        )
        eventually(lambda: meter.moved, what="the first bytes")
        meter.cancel()
        far.close()
        with pytest.raises(OSError, match="cancel") as caught:
            receiving.result()
    assert caught.value.errno == errno.ECANCELED


def test_end_of_stream_in_the_middle_returns_what_came(pair: Pair, target: int) -> None:
    near, far = pair
    data = os.urandom(PAGE + 10)
    far.sendall(data)
    far.shutdown(socket.SHUT_WR)
    into = bytearray(3 * PAGE)
    received, written = core.recv_file(near.fileno(), into, len(into), target, 0, False, ALL, core.Meter(), SLOW_MS)
    assert received == len(data)
    assert written in (0, PAGE)  # as the system said that nothing was there before it said that nothing follows
    assert into[:received] == data


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_file_that_takes_nothing_leaves_the_rest_to_the_callers_write(pair: Pair) -> None:
    near, far = pair
    far.setblocking(True)
    data, into = os.urandom(MIB), bytearray(MIB)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(far.sendall, data)
            assert core.recv_file(near.fileno(), into, MIB, full, 0, False, PAGE, core.Meter(), SLOW_MS) == (MIB, 0)
            sending.result()
        with pytest.raises(OSError, match="space"):
            core.write_at(full, into, 0, False)
    finally:
        os.close(full)
    assert into == data


@pytest.mark.skipif(not hasattr(os, "SEEK_DATA"), reason="needs to see holes")
@pytest.mark.parametrize("offset", [0, 1000])
def test_zero_pages_become_holes_wherever_the_pieces_are_cut(pair: Pair, offset: int) -> None:
    near, far = pair
    far.setblocking(True)
    data = b"x" * (PAGE - offset) + bytes(6 * PAGE) + b"y" * PAGE
    into = bytearray(len(data))
    fd = os.open("/dev/shm", os.O_RDWR | os.O_TMPFILE)
    try:
        os.ftruncate(fd, offset + len(data))
        cut = threading.Event()

        def send() -> None:
            for start in range(0, len(data), 1000):
                far.sendall(data[start : start + 1000])
                cut.wait(0.001)  # so that it comes in pieces; whether it does changes nothing of the result

        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(send)
            got = core.recv_file(near.fileno(), into, len(into), fd, offset, True, 1, core.Meter(), SLOW_MS)
            sending.result()
        assert got == (len(data), len(data))
        assert contents(fd) == bytes(offset) + data
        assert os.lseek(fd, 0, os.SEEK_HOLE) == PAGE
        assert os.lseek(fd, PAGE, os.SEEK_DATA) == 7 * PAGE
    finally:
        os.close(fd)


def test_impossible_offset_is_misuse_before_anything_is_received(unix_pair: Pair, target: int) -> None:
    near, far = unix_pair
    far.sendall(b"1234")
    for offset in (-1, (1 << 63) - 2):
        with pytest.raises((ValueError, OverflowError)):
            core.recv_file(near.fileno(), bytearray(4), 4, target, offset, False, ALL, core.Meter(), SLOW_MS)
    assert near.recv(10) == b"1234"


def test_what_comes_along_stands_behind_and_not_in_the_file(unix_pair: Pair, target: int) -> None:
    near, far = unix_pair
    data = os.urandom(PAGE)
    far.sendall(data + b"the next frame")
    into = bytearray(PAGE + 8)
    assert core.recv_file(near.fileno(), into, PAGE, target, 0, False, ALL, core.Meter(), SLOW_MS) == (PAGE + 8, PAGE)
    assert into == data + b"the next"
    assert contents(target) == data
    assert near.recv(10) == b" frame"


def test_room_is_not_waited_for(unix_pair: Pair, target: int) -> None:
    near, far = unix_pair
    far.sendall(b"12345")
    got = core.recv_file(near.fileno(), bytearray(100), 5, target, 0, False, ALL, core.Meter(), SLOW_MS)
    assert got == (5, 5)


def test_a_size_without_room_is_misuse(unix_pair: Pair, target: int) -> None:
    with pytest.raises(ValueError, match="room"):
        core.recv_file(unix_pair[0].fileno(), bytearray(4), 5, target, 0, False, ALL, core.Meter(), SLOW_MS)
