"""relay over descriptors of every kind: bytes, ends, back-pressure, and that nothing is ever waited for by accident."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import pty
import random
import socket
import struct
import time
import tty
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from hvcopy import _core as core

from .clock import IN_TIME
from .conftest import Pair
from .relaying import ALL, FOREVER, KIB, MIB, ROOM, SLOW_MS, Ends, connected, drained, drive, flow, in_thread


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    with ExitStack() as stack:
        yield Ends(stack, tmp_path)


@pytest.fixture
def pairs() -> Iterator[tuple[Pair, Pair]]:
    """Two unix connections to be joined at their second and first ends, which do not block."""
    with ExitStack() as stack:
        left, right = socket.socketpair(), socket.socketpair()
        for sock in (*left, *right):
            stack.enter_context(sock)
        left[1].setblocking(False)
        right[0].setblocking(False)
        yield left, right


SOURCES = ["unix", "tcp", "pipe", "file"]
SINKS = ["unix", "tcp", "pipe", "file", "append"]


@pytest.mark.parametrize("by_reference", [0, ALL], ids=["copied", "by reference"])
@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("source", SOURCES)
def test_what_goes_in_comes_out_between_ends_of_every_kind(
    ends: Ends, source: str, sink: str, by_reference: int
) -> None:
    data = random.Random(source + sink).randbytes(3 * MIB + 7)
    here, there = ends.source(source, data), ends.sink(sink)
    for fd, kind in ((here, source), (there, sink)):
        os.set_blocking(fd, kind not in ("unix", "tcp"))  # as hvcopy's own sockets are
    meter = core.Meter()
    one = flow(here, there, meter=meter, by_reference=by_reference)
    drive(one)
    assert (one.state, one.errno, one.waiting) == (core.DELIVERED, 0, 0)
    assert ends.content(there) == data
    assert meter.moved == len(data)


@pytest.mark.parametrize("size", [0, 1, 4095, 64 * KIB - 1, 64 * KIB, 255 * KIB, 256 * KIB, 257 * KIB, 16 * MIB + 1])
@pytest.mark.parametrize("kind", ["pipe", "unix"])
def test_streams_of_any_size_arrive(ends: Ends, kind: str, size: int) -> None:
    data = os.urandom(size)
    there = ends.sink(kind)
    drive(flow(ends.source(kind, data), there))
    assert ends.content(there) == data


@pytest.mark.parametrize("by_reference", [1, 64 * KIB, 100_000, 1_000_000])
def test_only_so_much_moves_by_reference_as_was_said(ends: Ends, tmp_path: Path, by_reference: int) -> None:
    # What was copied does not change with the file any more; what moves by reference does.
    source = ends.source("file", b"a" * 1_000_000)
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        drive(flow(source, near.fileno(), by_reference=by_reference))
        with open(tmp_path / "source", "r+b") as file:
            file.write(b"b" * 1_000_000)
        near.shutdown(socket.SHUT_WR)
        got = drained(far.fileno())
    assert len(got) == 1_000_000
    assert got.count(b"b") <= by_reference
    assert by_reference < 2 * 64 * KIB or got.count(b"b"), "nothing moved by reference at all"


def test_both_directions_at_once(pairs: tuple[Pair, Pair]) -> None:
    left, right = pairs
    data = [random.Random(i).randbytes(20 * MIB) for i in range(2)]
    got: dict[int, bytes] = {}

    def send(sock: socket.socket, which: int) -> None:
        sock.sendall(data[which])
        sock.shutdown(socket.SHUT_WR)

    def receive(sock: socket.socket, which: int) -> None:
        got[which] = drained(sock.fileno())

    there, back = flow(left[1].fileno(), right[0].fileno()), flow(right[0].fileno(), left[1].fileno())
    with ExitStack() as stack:
        for sock, ours, theirs in ((left[0], 0, 1), (right[1], 1, 0)):
            stack.enter_context(in_thread(lambda sock=sock, ours=ours: send(sock, ours)))
            stack.enter_context(in_thread(lambda sock=sock, theirs=theirs: receive(sock, theirs)))
        sinks = {id(there): right[0], id(back): left[1]}
        going = [there, back]
        while going:
            assert core.relay(going, SLOW_MS, FOREVER)
            for one in [one for one in going if one.state != core.FLOWING]:
                going.remove(one)
                sinks[id(one)].shutdown(socket.SHUT_WR)
    assert [there.state, back.state] == [core.DELIVERED] * 2
    assert got == dict(enumerate(data))


def test_a_byte_goes_on_at_once_and_so_does_its_answer(pairs: tuple[Pair, Pair]) -> None:
    left, right = pairs
    flows = [flow(left[1].fileno(), right[0].fileno()), flow(right[0].fileno(), left[1].fileno())]
    with in_thread(lambda: core.relay(flows, SLOW_MS, FOREVER)):
        for byte in (b"\x00", b"\x1a", b"\xff", b"\n"):
            left[0].sendall(byte)
            assert right[1].recv(10) == byte
            right[1].sendall(byte + byte)
            assert left[0].recv(10) == byte + byte
        left[0].close()


def test_the_other_direction_goes_on_after_the_end_of_one(pairs: tuple[Pair, Pair]) -> None:
    left, right = pairs
    there, back = flow(left[1].fileno(), right[0].fileno()), flow(right[0].fileno(), left[1].fileno())
    left[0].sendall(b"question")
    left[0].shutdown(socket.SHUT_WR)
    assert core.relay([there, back], SLOW_MS, FOREVER)
    assert (there.state, back.state) == (core.DELIVERED, core.FLOWING)
    assert right[1].recv(100) == b"question"
    right[1].sendall(b"answer")
    assert not core.relay([back], SLOW_MS, 50)
    assert left[0].recv(100) == b"answer"


def test_two_ends_at_once_are_both_told(pairs: tuple[Pair, Pair]) -> None:
    left, right = pairs
    left[0].shutdown(socket.SHUT_WR)
    right[1].shutdown(socket.SHUT_WR)
    flows = [flow(left[1].fileno(), right[0].fileno()), flow(right[0].fileno(), left[1].fileno())]
    drive(*flows)
    assert [one.state for one in flows] == [core.DELIVERED] * 2


# ---- back-pressure


@pytest.mark.parametrize("by_reference", [0, ALL], ids=["copied", "by reference"])
def test_a_sink_that_nobody_reads_stops_the_source(tmp_path: Path, by_reference: int) -> None:
    (tmp_path / "f").write_bytes(bytes(8 * MIB))
    near, far = socket.socketpair()
    with near, far, open(tmp_path / "f", "rb", buffering=0) as file:
        near.setblocking(False)
        one = flow(file.fileno(), near.fileno(), by_reference=by_reference)
        assert not core.relay([one], SLOW_MS, 100)
        taken = file.tell()
        assert not core.relay([one], SLOW_MS, 100)
        assert file.tell() == taken
        assert 0 < one.waiting <= ROOM
        with in_thread(lambda: drive(one)):
            got = bytearray()
            while len(got) < 8 * MIB:
                got += far.recv(MIB)
    assert got == bytes(8 * MIB)


def test_a_stalled_direction_does_not_hold_up_the_other(pairs: tuple[Pair, Pair]) -> None:
    left, right = pairs
    there, back = flow(left[1].fileno(), right[0].fileno()), flow(right[0].fileno(), left[1].fileno())
    left[0].setblocking(False)
    with suppress(BlockingIOError):
        while left[0].send(bytes(MIB)):
            core.relay([there, back], SLOW_MS, 1)
    right[1].sendall(b"x" * 100)
    assert not core.relay([there, back], SLOW_MS, 50)
    assert left[0].recv(1000) == b"x" * 100


def test_an_endless_source_does_not_starve_the_other_direction(pairs: tuple[Pair, Pair]) -> None:
    left, _right = pairs
    with open("/dev/zero", "rb") as zero, open("/dev/null", "wb") as null:
        out, into = os.pipe()
        endless, other = flow(zero.fileno(), null.fileno()), flow(left[1].fileno(), into)
        left[0].sendall(b"in between")
        left[0].close()
        assert core.relay([endless, other], SLOW_MS, SLOW_MS)
        assert (endless.state, other.state) == (core.FLOWING, core.DELIVERED)
        assert os.read(out, 100) == b"in between"
        os.close(out)
        os.close(into)


# ---- ends that wait on their own


def test_an_empty_blocking_pipe_is_not_waited_for(tmp_path: Path) -> None:
    out, into = os.pipe()
    with open(tmp_path / "sink", "wb") as sink:
        one = flow(out, sink.fileno())
        assert not core.relay([one], SLOW_MS, 50)
        os.write(into, b"late")
        os.close(into)
        drive(one)
    assert (tmp_path / "sink").read_bytes() == b"late"
    os.close(out)


@pytest.mark.parametrize("by_reference", [0, ALL], ids=["copied", "by reference"])
def test_a_full_blocking_pipe_is_not_waited_for_and_keeps_its_mode(tmp_path: Path, by_reference: int) -> None:
    data = random.Random(1).randbytes(2 * MIB)
    (tmp_path / "source").write_bytes(data)
    out, into = os.pipe()
    with open(tmp_path / "source", "rb") as source:
        one = flow(source.fileno(), into, by_reference=by_reference)
        assert not core.relay([one], SLOW_MS, 50)
        assert not fcntl.fcntl(into, fcntl.F_GETFL) & os.O_NONBLOCK
        got: list[bytes] = []
        with in_thread(lambda: got.append(drained(out))):
            drive(one)
            os.close(into)
    assert got == [data]
    os.close(out)


def test_a_blocking_terminal_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    data = b"0123456789abcdef" * 4096
    (tmp_path / "source").write_bytes(data)
    own = os.open(os.ttyname(slave), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    with open(tmp_path / "source", "rb") as source:
        one = flow(source.fileno(), own)
        assert not core.relay([one], SLOW_MS, 100)
        assert one.waiting
        got = bytearray()
        with in_thread(lambda: drive(one)):
            while len(got) < len(data):
                got += os.read(master, 4096)
    assert got == data
    for fd in (own, slave, master):
        os.close(fd)


def test_a_terminal_as_a_source_gives_its_lines(unix_pair: Pair) -> None:
    master, slave = pty.openpty()
    near, far = unix_pair
    one = flow(slave, near.fileno())
    assert not core.relay([one], SLOW_MS, 20)
    os.write(master, b"a line\n")
    assert not core.relay([one], SLOW_MS, 50)
    assert far.recv(100) == b"a line\n"
    os.write(master, b"\x04")  # end of file at the beginning of a line
    drive(one)
    assert one.state == core.DELIVERED
    os.close(slave)
    os.close(master)


# ---- failures


def test_a_pipe_whose_reader_has_gone_ends_an_idle_direction(unix_pair: Pair) -> None:
    out, into = os.pipe()
    one = flow(unix_pair[0].fileno(), into)
    os.close(out)
    assert core.relay([one], SLOW_MS, FOREVER)
    assert (one.state, one.errno, one.waiting) == (core.SINK_FAILED, errno.EPIPE, 0)
    os.close(into)


@pytest.mark.parametrize("by_reference", [0, ALL], ids=["copied", "by reference"])
def test_a_pipe_whose_reader_goes_is_a_failure_with_what_was_on_its_way(tmp_path: Path, by_reference: int) -> None:
    (tmp_path / "source").write_bytes(bytes(4 * MIB))
    out, into = os.pipe()
    with open(tmp_path / "source", "rb") as source:
        one = flow(source.fileno(), into, by_reference=by_reference)
        assert not core.relay([one], SLOW_MS, 50)
        os.close(out)
        assert core.relay([one], SLOW_MS, FOREVER)
    assert (one.state, one.errno) == (core.SINK_FAILED, errno.EPIPE)
    assert one.waiting
    os.close(into)


def test_a_unix_peer_that_has_closed_ends_an_idle_direction(unix_pair: Pair) -> None:
    near, far = unix_pair
    out, into = os.pipe()
    one = flow(out, near.fileno())
    far.close()
    assert core.relay([one], SLOW_MS, FOREVER)
    assert (one.state, one.errno, one.waiting) == (core.SINK_FAILED, errno.EPIPE, 0)
    os.close(out)
    os.close(into)


def test_a_reset_ends_an_idle_direction_as_a_failure() -> None:
    near, far = connected("tcp")
    out, into = os.pipe()
    with near, far:
        one = flow(out, near.fileno())
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        assert core.relay([one], SLOW_MS, FOREVER)
        assert (one.state, one.errno) == (core.SINK_FAILED, errno.ECONNRESET)
    os.close(out)
    os.close(into)


def test_a_reset_after_the_peers_end_is_a_failure_too() -> None:
    near, far = connected("tcp")
    out, into = os.pipe()
    with near, far:
        one = flow(out, near.fileno())
        far.close()
        assert drained(near.fileno()) == b""
        os.write(into, b"to nobody")
        assert core.relay([one], SLOW_MS, FOREVER)
        assert (one.state, one.errno, one.waiting) == (core.SINK_FAILED, errno.ECONNRESET, 0)
    os.close(out)
    os.close(into)


def test_a_reset_is_no_end_of_stream(tmp_path: Path) -> None:
    near, far = connected("tcp")
    with near, far, open(tmp_path / "sink", "wb") as sink:
        far.sendall(b"before")
        one = flow(near.fileno(), sink.fileno())
        assert not core.relay([one], SLOW_MS, 50)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        assert core.relay([one], SLOW_MS, FOREVER)
        assert (one.state, one.errno) == (core.SOURCE_FAILED, errno.ECONNRESET)
    assert (tmp_path / "sink").read_bytes() == b"before"


def test_a_device_that_is_full_fails_the_sink(unix_pair: Pair) -> None:
    near, far = unix_pair
    far.sendall(b"x")
    with open("/dev/full", "wb", buffering=0) as full:
        one = flow(near.fileno(), full.fileno())
        assert core.relay([one], SLOW_MS, FOREVER)
    assert (one.state, one.errno, one.waiting) == (core.SINK_FAILED, errno.ENOSPC, 1)


def test_a_folder_fails_the_source(tmp_path: Path, unix_pair: Pair) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    one = flow(folder, unix_pair[0].fileno())
    assert core.relay([one], SLOW_MS, FOREVER)
    assert (one.state, one.errno) == (core.SOURCE_FAILED, errno.EISDIR)
    os.close(folder)


def test_an_end_closed_under_the_relay_is_told_and_not_waited_for(unix_pair: Pair) -> None:
    out, into = os.pipe()
    one = flow(out, unix_pair[0].fileno())
    os.close(out)
    with pytest.raises(OSError, match="Bad file descriptor"):
        core.relay([one], SLOW_MS, FOREVER)
    os.close(into)


# ---- time


def test_nothing_moving_for_the_timeout_raises(unix_pair: Pair) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="nothing moved for 80 ms"):
        core.relay([flow(unix_pair[0].fileno(), unix_pair[0].fileno())], 80, FOREVER)
    assert 0.07 < time.monotonic() - began < IN_TIME


def test_any_byte_in_any_direction_puts_the_timeout_off(pairs: tuple[Pair, Pair]) -> None:
    left, right = pairs
    flows = [flow(left[1].fileno(), right[0].fileno()), flow(right[0].fileno(), left[1].fileno())]
    began = time.monotonic()

    def trickle() -> None:
        for _ in range(10):
            right[1].sendall(b"x")
            assert left[0].recv(1) == b"x"
            time.sleep(0.05)  # what is tested: each byte well within the timeout, all of them beyond it
        right[1].close()

    with in_thread(trickle):
        assert core.relay(flows, 400, FOREVER)
    assert time.monotonic() - began >= 0.5


def test_limit_ends_a_busy_relay_without_an_error() -> None:
    meter = core.Meter()
    with open("/dev/zero", "rb") as zero, open("/dev/null", "wb") as null:
        began = time.monotonic()
        assert not core.relay([flow(zero.fileno(), null.fileno(), meter=meter)], SLOW_MS, 80)
    assert 0.07 < time.monotonic() - began < IN_TIME
    assert meter.moved > MIB


@pytest.mark.parametrize("busy", [False, True])
def test_cancel_ends_a_relay_in_time_and_its_meter_can_be_read_meanwhile(unix_pair: Pair, busy: bool) -> None:
    meter = core.Meter()
    with open("/dev/zero", "rb") as zero, open("/dev/null", "wb") as null:
        one = flow(zero.fileno() if busy else unix_pair[0].fileno(), null.fileno(), meter=meter)
        cancelled_at = []

        def cancel() -> None:
            while busy and meter.moved < MIB:
                time.sleep(0)
            cancelled_at.append(time.monotonic())
            meter.cancel()

        with in_thread(cancel), pytest.raises(OSError, match="canceled") as raised:
            core.relay([one], SLOW_MS, FOREVER)
        assert raised.value.errno == errno.ECANCELED
        assert time.monotonic() - cancelled_at[0] < IN_TIME
        with pytest.raises(OSError, match="canceled"):
            core.relay([one], SLOW_MS, FOREVER)


@pytest.mark.parametrize("which", [0, 1])
def test_cancel_of_either_flow_ends_the_relay(unix_pair: Pair, which: int) -> None:
    near, far = (end.fileno() for end in unix_pair)
    meters = core.Meter(), core.Meter()
    both = [flow(near, far, meter=meters[0]), flow(far, near, meter=meters[1])]
    with in_thread(meters[which].cancel), pytest.raises(OSError, match="canceled"):
        core.relay(both, SLOW_MS, FOREVER)


# ---- what it holds, and misuse


def open_pipes() -> int:
    """Descriptors of this process that are pipes; those that earlier tests forgot are closed first."""
    gc.collect()
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{descriptor}").startswith("pipe:")
    return found


def test_an_idle_flow_holds_no_pipe(pairs: tuple[Pair, Pair]) -> None:
    left, right = pairs
    before = open_pipes()
    one = flow(left[1].fileno(), right[0].fileno())
    left[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MIB)
    got: list[int] = []

    def receive() -> None:
        while sum(got) < 8 * MIB:
            got.append(len(right[1].recv(MIB)))

    with in_thread(receive), in_thread(lambda: left[0].sendall(bytes(8 * MIB))):
        while sum(got) < 8 * MIB:
            core.relay([one], SLOW_MS, 20)
    core.relay([one], SLOW_MS, 350)
    assert open_pipes() == before
    left[0].sendall(b"again")
    core.relay([one], SLOW_MS, 50)
    assert right[1].recv(100) == b"again"


def test_misuse_is_refused(unix_pair: Pair) -> None:
    fd = unix_pair[0].fileno()
    for flows in ([], [flow(fd, fd)] * 3):
        with pytest.raises(ValueError, match="1 or 2 flows"):
            core.relay(flows, 0, 0)
    with pytest.raises(TypeError):
        core.relay([fd], 0, 0)  # type: ignore[list-item]
    for room, by_reference in ((4095, 0), (ROOM, -1)):
        with pytest.raises(ValueError, match="room for 4096 bytes"):
            core.Flow(fd, fd, core.Meter(), room, by_reference)
    with pytest.raises(OSError, match="Bad file descriptor"):
        core.Flow(-1, fd, core.Meter(), ROOM, 0)
    unix_pair[1].close()
    over = flow(fd, fd)
    drive(over)
    with pytest.raises(ValueError, match="over"):
        core.relay([over], 0, 0)
