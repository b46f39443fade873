"""relay to a socket whose sends wait in the system for a moment, in which the other direction waits."""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hvcopy import _core as core

from .conftest import Pair
from .relaying import FOREVER, MIB, SLOW_MS, drive, in_thread


@pytest.fixture
def pair() -> Iterator[Pair]:
    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 0, 20_000))
    with near, far:
        yield near, far


def test_sends_that_wait_deliver_everything_to_a_slow_reader(pair: Pair, tmp_path: Path) -> None:
    near, far = pair
    data = random.Random(7).randbytes(9 * MIB)
    (tmp_path / "source").write_bytes(data)
    got = bytearray()

    def read() -> None:
        while part := far.recv(50_000):
            got.extend(part)

    with open(tmp_path / "source", "rb") as source, in_thread(read):
        meter = core.Meter()
        one = core.Flow(source.fileno(), near.fileno(), meter, MIB, 0, True)
        drive(one)
        assert (one.state, meter.moved) == (core.DELIVERED, len(data))
        near.shutdown(socket.SHUT_WR)
    assert got == data


def test_a_sink_that_takes_nothing_holds_up_the_other_direction_for_a_moment_only(pair: Pair) -> None:
    near, far = pair
    out_read, out_write = os.pipe()
    with ExitStack() as stack:
        for fd in (out_read, out_write):
            stack.callback(os.close, fd)
        zero = os.open("/dev/zero", os.O_RDONLY)
        stack.callback(os.close, zero)
        meter = core.Meter()
        up = core.Flow(zero, near.fileno(), meter, MIB, 0, True)
        down = core.Flow(near.fileno(), out_write, core.Meter(), MIB, 0)

        def talk() -> None:
            try:
                for _ in range(5):
                    far.sendall(b"answer")
                    assert os.read(out_read, 100) == b"answer"
            finally:
                meter.cancel()

        with in_thread(talk), pytest.raises(OSError, match="cancel"):
            core.relay([up, down], SLOW_MS, FOREVER)
        assert up.waiting


def test_a_peer_that_leaves_ends_a_send_that_waits(pair: Pair) -> None:
    near, far = pair
    zero = os.open("/dev/zero", os.O_RDONLY)
    try:
        one = core.Flow(zero, near.fileno(), core.Meter(), MIB, 0, True)

        def leave() -> None:
            far.recv(1, socket.MSG_PEEK)
            far.close()

        with in_thread(leave):
            assert core.relay([one], SLOW_MS, FOREVER)
        assert (one.state, one.errno) == (core.SINK_FAILED, errno.EPIPE)
    finally:
        os.close(zero)
