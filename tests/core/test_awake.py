"""Receivers and relays that stay awake for a moment after bulk: nothing else about them is different."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hvcopy import _core as core
from hvcopy.address import parse_address
from hvcopy.descriptors import in_relay
from hvcopy.transport import tuning

from .clock import IN_TIME, SLOW_MS
from .conftest import Pair

MIB = 1 << 20
BULK = 64 << 10
SHORT_MS = 250


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0))
    yield fd
    os.close(fd)


def send_in_pieces(far: socket.socket, data: bytes, sizes: list[int], go_on: threading.Semaphore) -> None:
    """Send a piece each time that *go_on* is released, and the rest at once."""
    far.setblocking(True)
    at = 0
    for size in sizes:
        go_on.acquire()
        far.sendall(data[at : at + size])
        at += size
    far.sendall(data[at:])


@pytest.mark.parametrize("sizes", [[MIB], [BULK, 1, BULK, BULK - 1], [1, BULK + 1]], ids=str)
def test_all_bytes_arrive_in_order_whatever_pauses_there_are(pair: Pair, target: int, sizes: list[int]) -> None:
    near, far = pair
    data, meter, go_on = os.urandom(3 * MIB), core.Meter(), threading.Semaphore(1)
    first, landed, last = bytearray(BULK // 2), bytearray(2 * MIB), bytearray()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send_in_pieces, far, data, sizes, go_on)
        for _ in range(len(sizes)):
            go_on.release()
        assert core.recv_exact(near.fileno(), first, meter, SLOW_MS, core.AWAKE) == len(first)
        size = len(landed)
        assert core.recv_file(near.fileno(), landed, size, target, 0, False, BULK, meter, SLOW_MS, core.AWAKE) == (
            size,
            size,
        )
        while len(first) + size + len(last) < len(data):
            some = bytearray(MIB)
            last += some[: core.recv_some(near.fileno(), some, meter, SLOW_MS, core.AWAKE)]
        sending.result()
    assert first + landed + last == data
    os.lseek(target, 0, os.SEEK_SET)
    assert os.read(target, len(landed)) == landed
    assert meter.moved == len(data)


@pytest.mark.parametrize("before", [0, BULK], ids=["nothing yet", "after bulk"])
def test_a_peer_that_says_nothing_more_is_a_timeout(pair: Pair, before: int) -> None:
    near, far = pair
    far.setblocking(True)
    far.sendall(bytes(before))
    meter = core.Meter()
    with pytest.raises(TimeoutError):
        core.recv_exact(near.fileno(), bytearray(MIB), meter, SHORT_MS, core.AWAKE)
    assert meter.moved == before


def test_its_end_is_an_end(pair: Pair) -> None:
    near, far = pair
    far.setblocking(True)
    far.sendall(bytes(BULK))
    far.close()
    assert core.recv_exact(near.fileno(), bytearray(MIB), core.Meter(), SLOW_MS, core.AWAKE) == BULK


def test_cancelling_ends_it(pair: Pair) -> None:
    near, far = pair
    far.setblocking(True)
    far.sendall(bytes(BULK))
    meter = core.Meter()
    with ThreadPoolExecutor(1) as pool:
        receiving = pool.submit(core.recv_exact, near.fileno(), bytearray(MIB), meter, SLOW_MS, core.AWAKE)
        meter.cancel()
        error = receiving.exception(IN_TIME)
    assert isinstance(error, OSError)
    assert error.errno == errno.ECANCELED


@pytest.mark.parametrize("sizes", [[MIB], [BULK, 1, BULK], [1]], ids=str)
def test_a_relay_that_is_awake_passes_everything_on(pair: Pair, target: int, sizes: list[int]) -> None:
    near, far = pair
    data, meter, go_on = os.urandom(2 * MIB), core.Meter(), threading.Semaphore(1)
    flow = core.Flow(near.fileno(), in_relay(target), meter, MIB, 0, False, True)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send_in_pieces, far, data, sizes, go_on)
        for _ in range(len(sizes)):
            assert core.relay([flow], SLOW_MS, 20) is False
            go_on.release()
        while meter.moved < len(data):
            core.relay([flow], SLOW_MS, 20)
        sending.result()
        far.close()
        assert core.relay([flow], SLOW_MS, -1) is True
    assert flow.state == core.DELIVERED
    os.lseek(target, 0, os.SEEK_SET)
    assert os.read(target, len(data)) == data


@pytest.mark.parametrize(
    ("address", "awake"), [("hybrid:/run/vm.sock:5000", True), ("unix:/run/s", False), ("tcp:127.0.0.1:5000", False)]
)
def test_only_who_is_behind_a_vmm_stays_awake(address: str, awake: bool) -> None:
    assert tuning.stays_awake(parse_address(address)) is awake
