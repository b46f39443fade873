"""send_all on a non-blocking socket that takes no more: it waits for room, and for whatever else ends the wait."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from hvcopy import _core as core

from .clock import IN_TIME, SLOW_MS
from .conftest import Pair, tcp_pair

MORE = 64 << 20
"""Bytes, above what the buffers of any system take."""


@pytest.fixture
def ends() -> Iterator[Pair]:
    near, far = tcp_pair()
    near.setblocking(False)
    with near, far:
        yield near, far


@contextmanager
def full(near: socket.socket, data: bytes, meter: core.Meter) -> Iterator[Future[None]]:
    """A send that can do no more for now."""
    probe = core.Meter()
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(TimeoutError):
            core.send_all(near.fileno(), [data], probe, 250)
        sending = pool.submit(core.send_all, near.fileno(), [data[probe.moved :]], meter, SLOW_MS)
        try:
            yield sending
        finally:
            meter.cancel()


def test_it_goes_on_when_the_peer_reads(ends: Pair) -> None:
    near, far = ends
    data, got = os.urandom(MORE), bytearray()
    with full(near, data, core.Meter()) as sending:
        while len(got) < MORE:
            got += far.recv(1 << 20)
        sending.result(IN_TIME)
    assert got == data


def test_it_goes_on_while_another_thread_receives_from_the_same_socket(ends: Pair) -> None:
    near, far = ends
    answer, got = bytearray(3), 0
    with ThreadPoolExecutor(1) as pool, full(near, bytes(MORE), core.Meter()) as sending:
        receiving = pool.submit(core.recv_exact, near.fileno(), answer, core.Meter(), SLOW_MS)
        while got < MORE:
            got += len(far.recv(1 << 20))
        sending.result(IN_TIME)
        far.sendall(b"yes")
        receiving.result(IN_TIME)
    assert answer == b"yes"


def test_a_cancelled_meter_ends_it(ends: Pair) -> None:
    meter = core.Meter()
    with full(ends[0], bytes(MORE), meter) as sending:
        meter.cancel()
        error = sending.exception(IN_TIME)
    assert isinstance(error, OSError)
    assert error.errno == errno.ECANCELED


def test_the_end_of_this_socket_ends_it(ends: Pair) -> None:
    with full(ends[0], bytes(MORE), core.Meter()) as sending:
        ends[0].shutdown(socket.SHUT_RDWR)
        with pytest.raises(BrokenPipeError):
            sending.result(IN_TIME)


def test_a_peer_that_is_gone_ends_it(ends: Pair) -> None:
    with full(ends[0], bytes(MORE), core.Meter()) as sending:
        ends[1].close()  # with unread bytes: a reset
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            sending.result(IN_TIME)
