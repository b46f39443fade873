"""Signals while a call blocks: handlers run in time, what they raise comes out, else the call goes on."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from hvcopy import _core as core

from .clock import IN_TIME, SLOW_MS

Pair = tuple[socket.socket, socket.socket]


class Rang(Exception):
    """What the handler raises."""


@contextmanager
def alarm_in(seconds: float, *, every: float = 0, raising: bool) -> Iterator[list[float]]:
    """Let SIGALRM come; yields the times at which its Python handler ran."""
    rang: list[float] = []

    def handler(_number: int, _frame: FrameType | None) -> None:
        rang.append(time.monotonic())
        if raising:
            raise Rang

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds, every)
    try:
        yield rang
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("call", ["recv_exact", "recv_some", "send_all"])
def test_signal_whose_handler_raises_ends_a_blocked_call_in_time(pair: Pair, call: str) -> None:
    near, _far = pair
    meter = core.Meter()
    buffer = [bytes(64 << 20)] if call == "send_all" else bytearray(10)
    began = time.monotonic()
    with alarm_in(0.05, raising=True) as rang, pytest.raises(Rang):
        getattr(core, call)(near.fileno(), buffer, meter, SLOW_MS)
    assert rang
    assert time.monotonic() - began < IN_TIME


def test_signal_after_a_partial_receive_ends_the_call_in_time(unix_pair: Pair) -> None:
    near, far = unix_pair
    near.sendall(b"half")
    meter = core.Meter()
    began = time.monotonic()
    with alarm_in(0.05, raising=True), pytest.raises(Rang):
        core.recv_exact(far.fileno(), bytearray(8), meter, SLOW_MS)
    assert meter.moved == 4
    assert time.monotonic() - began < IN_TIME


def test_signal_between_two_system_calls_is_served_though_no_call_is_interrupted(unix_pair: Pair) -> None:
    # Another thread catches the signal, so no call here sees EINTR; bytes trickle in, so no wait is ever in vain.
    near, far = unix_pair
    stop = threading.Event()

    def trickle() -> None:
        while not stop.wait(0.002):
            near.send(b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    began = time.monotonic()
    try:
        with alarm_in(0.05, raising=True), pytest.raises(Rang):
            core.recv_exact(far.fileno(), bytearray(1 << 20), core.Meter(), SLOW_MS)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        stop.set()
        thread.join()
    assert time.monotonic() - began < IN_TIME


def test_signal_whose_handler_returns_lets_the_transfer_go_on(pair: Pair) -> None:
    near, far = pair
    data, into = os.urandom(8 << 20), bytearray(8 << 20)
    started = threading.Event()

    def send_late() -> None:
        started.wait()
        core.send_all(near.fileno(), [data], core.Meter(), SLOW_MS)

    thread = threading.Thread(target=send_late)
    with alarm_in(0.001, every=0.001, raising=False) as rang:
        thread.start()
        while not rang:
            time.sleep(0)
        started.set()
        assert core.recv_exact(far.fileno(), into, core.Meter(), SLOW_MS) == len(data)
        thread.join()
    assert into == data


def test_signals_that_never_stop_do_not_put_off_the_timeout(unix_pair: Pair) -> None:
    began = time.monotonic()
    with alarm_in(0.01, every=0.01, raising=False) as rang, pytest.raises(TimeoutError):
        core.recv_exact(unix_pair[0].fileno(), bytearray(1), core.Meter(), 200)
    assert len(rang) > 3
    assert time.monotonic() - began < IN_TIME


CTRL_C = """
import os, signal, socket, threading, time
from hvcopy import _core as core
a, b = socket.socketpair()
meter = core.Meter()
b.sendall(b"half")
sent_at = []

def interrupt():
    while not meter.moved:    # so the call has begun, and moved some bytes
        time.sleep(0)
    sent_at.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
try:
    {call}
except KeyboardInterrupt:
    print(time.monotonic() - sent_at[0])
"""


@pytest.mark.parametrize(
    "call",
    [
        "core.recv_exact(a.fileno(), bytearray(10), meter, 20_000)",
        "core.send_all(a.fileno(), [bytes(64 << 20)], meter, 20_000)",
        "core.relay([core.Flow(a.fileno(), a.fileno(), meter, 4096, 0)], 20_000, -1)",
    ],
)
def test_ctrl_c_ends_a_call_that_already_moved_bytes_in_time(run_child: Callable[[str], str], call: str) -> None:
    assert float(run_child(CTRL_C.format(call=call))) < IN_TIME


PACK = """
import array, os, signal, struct, threading, time
from hvcopy import _core as core
os.mkdir("d")
fd = os.open("d", os.O_RDONLY)
count = 200_000
places = struct.pack(core.PLACE_RECORD, 0, 4, 0, 0o600, 0, 0, 0) * count
names = [b"%d" % i for i in range(count)]

def interrupt():
    while len(os.listdir("d")) < 10:
        time.sleep(0)
    os.kill(os.getpid(), signal.SIGINT)

descriptors = len(os.listdir("/proc/self/fd"))
thread = threading.Thread(target=interrupt)
thread.start()
try:
    core.write_files(array.array("i", [fd]) * count, names, places, b"data", b".hv-", {flags})
except KeyboardInterrupt:
    thread.join()   # it opens the folder, too
    there = os.listdir("d")
    whole = all(os.stat("d/" + name).st_size == 4 for name in there)
    print(10 <= len(there) < count, whole, not [name for name in there if name[0] == "."],
          len(os.listdir("/proc/self/fd")) - descriptors)
"""


@pytest.mark.parametrize("flags", ["0", "core.SYNC"])
def test_ctrl_c_in_a_pack_leaves_whole_files_and_nothing_else(run_child: object, flags: str) -> None:
    assert callable(run_child)
    assert run_child(PACK.format(flags=flags)) == "True True True 0"
