"""send_all on a socket whose sends wait in the system, for 100 ms at most."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from hvcopy import _core as core

from .clock import IN_TIME, SLOW_MS
from .conftest import Pair, tcp_pair

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no send waits in the system on Windows")

SHORT_MS = 250


@pytest.fixture(params=["unix", "tcp"])
def waiting(request: pytest.FixtureRequest) -> Iterator[Pair]:
    near, far = socket.socketpair() if request.param == "unix" else tcp_pair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 0, 100_000))
    with near, far:
        yield near, far


def test_stream_arrives_as_it_was_sent_though_its_reader_is_slow(waiting: Pair) -> None:
    near, far = waiting
    data, meter = os.urandom(9 << 20), core.Meter()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(core.send_all, near.fileno(), [data[:7], data[7:]], meter, SLOW_MS, True)
        got = bytearray()
        while len(got) < len(data):
            got += far.recv(100_000)
        sending.result()
    assert got == data
    assert meter.moved == len(data)


def test_peer_that_reads_nothing_is_a_timeout_with_an_exact_meter(waiting: Pair) -> None:
    near, far = waiting
    meter = core.Meter()
    with pytest.raises(TimeoutError):
        core.send_all(near.fileno(), [bytes(64 << 20)], meter, SHORT_MS, True)
    near.close()
    assert 0 < meter.moved == sum(len(piece) for piece in iter(lambda: far.recv(1 << 20), b""))


@pytest.mark.parametrize("waiting", ["unix"], indirect=True)  # how much TCP takes at once is the system's affair
def test_slow_reader_outlives_the_timeout_as_long_as_bytes_move(waiting: Pair) -> None:
    near, far = waiting
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    pace = threading.Event()

    def read_slowly(size: int) -> None:
        while size:
            size -= len(far.recv(min(size, 5_000)))
            pace.wait(0.08)  # the slow reader itself, not a wait for a result

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_slowly, 60_000)
        began = time.monotonic()
        core.send_all(near.fileno(), [bytes(60_000)], core.Meter(), SHORT_MS, True)
        took = time.monotonic() - began
        reading.result()
    assert took * 1000 > SHORT_MS, "the reader was not slow enough to prove anything"


@contextmanager
def stuck(waiting: Pair, meter: core.Meter) -> Iterator[Future[None]]:
    """A send that has begun, and that a peer which reads nothing does not let end."""
    near, far = waiting
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(core.send_all, near.fileno(), [bytes(64 << 20)], meter, SLOW_MS, True)
        far.recv(1, socket.MSG_PEEK)
        yield sending


def test_cancelling_ends_a_send_that_waits_in_time(waiting: Pair) -> None:
    meter = core.Meter()
    with stuck(waiting, meter) as sending:
        began = time.monotonic()
        meter.cancel()
        with pytest.raises(OSError, match="cancel") as caught:
            sending.result()
    assert caught.value.errno == errno.ECANCELED
    assert time.monotonic() - began < IN_TIME


CTRL_C = """
import os, signal, socket, struct, threading, time
from hvcopy import _core as core
near, far = socket.socketpair()
near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 0, 100_000))
meter, sent_at = core.Meter(), []
def interrupt():
    far.recv(1, socket.MSG_PEEK)
    sent_at.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)
thread = threading.Thread(target=interrupt)
thread.start()
try:
    core.send_all(near.fileno(), [bytes(64 << 20)], meter, 20_000, True)
except KeyboardInterrupt:
    print(time.monotonic() - sent_at[0])
"""


def test_ctrl_c_ends_a_send_that_waits_in_time(run_child: Callable[[str], str]) -> None:
    assert float(run_child(CTRL_C)) < IN_TIME


def test_peer_that_leaves_ends_a_send_that_waits(waiting: Pair) -> None:
    with stuck(waiting, core.Meter()) as sending:
        waiting[1].close()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            sending.result()
