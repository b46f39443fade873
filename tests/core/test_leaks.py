"""No call keeps descriptors, references or memory, whether it works or fails."""

from __future__ import annotations

import array
import os
import socket
import struct
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from hvcopy import _core as core


def resident_kib() -> int:
    """The process's resident memory, in KiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


def relay_by_reference(near: socket.socket, far: socket.socket) -> None:
    """Leave a flow in the middle, with bytes in its pipe."""
    for sock in (near, far):
        sock.setblocking(False)
    near.send(bytes(1 << 17))
    flow = core.Flow(far.fileno(), far.fileno(), core.Meter(), 1 << 16, 1 << 40)
    core.relay([flow], 1000, 0)
    near.send(bytes(1 << 17))
    core.relay([flow], 1000, 0)


def exercise(folder: int, round_: int) -> None:
    """Every call once, well and badly."""
    near, far = socket.socketpair()
    with near, far:
        into = bytearray(1 << 16)
        core.send_all(near.fileno(), [b"head", into[:1000]], core.Meter(), 1000)
        core.recv_some(far.fileno(), into, core.Meter(), 1000)
        core.write_all(near.fileno(), into[:100], core.Meter(), 1000, False)
        core.read_some(far.fileno(), into, core.Meter(), 1000, True, False)
        for call in (
            lambda: core.recv_exact(far.fileno(), into, core.Meter(), 0),
            lambda: core.send_all(near.fileno(), [b"x", 5], core.Meter(), 0),  # type: ignore[list-item]
            lambda: core.recv_exact(-1, into, core.Meter(), 0),
            lambda: core.recv_some(far.fileno(), into, core.Meter(), -1),
            lambda: core.read_files(bytes(1), [b"a"], into, 10),
            lambda: core.read_files(bytes(4), [b"a", "b"], into, 10),  # type: ignore[list-item]
            lambda: core.write_files(bytes(4), [b"a"], b"", b"", b"t", 0),
            lambda: core.write_files(bytes(4), [b"a"], bytes(40), 5, b"t", 0),  # type: ignore[arg-type]
            lambda: core.read_at(folder, into, 0),
            lambda: core.read_some(folder, into, core.Meter(), 0, False, False),
            lambda: core.write_all(folder, into, core.Meter(), 0, True),
            lambda: core.send_pipe(near.fileno(), folder, 1, core.Meter(), 0),
            lambda: core.relay([core.Flow(folder, near.fileno(), core.Meter(), 4096, 0)], 0, 0),
            lambda: core.relay([core.Flow(-1, near.fileno(), core.Meter(), 4096, 0)], 0, 0),
            lambda: relay_by_reference(near, far),
        ):
            with suppress(OSError, ValueError, TypeError):
                call()
    # Not 20: CPython 3.11 keeps freed tuples of that length in a free list from which it takes none.
    names = [b"%d-%d" % (round_ % 4, i) for i in range(30)]
    places = struct.pack(core.PLACE_RECORD, 0, 100, 0, 0o644, os.getuid(), os.getgid(), 0) * 30
    handles = array.array("i", [folder] * 30)
    for flags in (0, core.REPLACE, core.REPLACE | core.SYNC if round_ == 0 else core.REPLACE):
        core.write_files(handles, names, places, bytes(100), b".t", flags)
    core.read_files(handles, [*names[:-1], b"missing"], into, 1000)
    core.all_zeros(into)


def test_calls_leak_no_descriptor_and_no_memory(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    for round_ in range(20):
        exercise(folder, round_)
    descriptors, resident = len(os.listdir("/proc/self/fd")), resident_kib()
    for round_ in range(150):
        exercise(folder, round_ + 20)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    if "asan" not in os.environ.get("LD_PRELOAD", ""):  # its quarantine keeps freed memory
        assert resident_kib() - resident < 4 * 1024
    os.close(folder)


def test_calls_leave_no_python_object_behind(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    exercise(folder, 0)
    tracemalloc.start()
    for round_ in range(20):
        exercise(folder, round_)
    before = tracemalloc.get_traced_memory()[0]
    for round_ in range(50):
        exercise(folder, round_)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    os.close(folder)
    assert grown < 10_000


@pytest.mark.parametrize("fails", [False, True])
def test_buffers_and_names_are_given_back(unix_pair: tuple[socket.socket, socket.socket], fails: bool) -> None:
    near, far = unix_pair
    part, into, name = bytearray(10), bytearray(10), b"some unusual name"
    meter = core.Meter()
    if fails:
        meter.cancel()
    calls: list[Callable[[], object]] = [
        lambda: core.send_all(near.fileno(), [part, part], meter, 0),
        lambda: core.recv_exact(far.fileno(), into, meter, 0),
        lambda: core.read_files(array.array("i", [-1]), [name], into, 10),
    ]
    counts = [sys.getrefcount(part), sys.getrefcount(into), sys.getrefcount(name)]
    for call in calls:
        with suppress(OSError):
            call()
    part.append(0)
    into.append(0)
    assert [sys.getrefcount(part), sys.getrefcount(into), sys.getrefcount(name)] == counts
