"""Sockets and single files when system calls are cut short, interrupted or fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[[str, str], dict[str, Any]]

SEND = """
a, b = socket.socketpair()
meter = core.Meter()
got = outcome(core.send_all, a.fileno(), [b"head", b"payload", b"tail"], meter, 1000)
a.close()
received = b""
while more := b.recv(100):
    received += more
say(got=got, received=received.decode(), moved=meter.moved)
"""

RECEIVE = """
a, b = socket.socketpair()
a.sendall(b"0123456789")
a.close()
meter = core.Meter()
into = bytearray(10)
got = outcome(core.recv_exact, b.fileno(), into, meter, 1000)
again = outcome(core.recv_exact, b.fileno(), bytearray(10), meter, 1000)
say(got=got, into=into.decode(errors="replace"), moved=meter.moved, again=again)
"""


@pytest.mark.parametrize(
    "plan",
    [
        "send: short:1*",
        "send: short:5 short:3 short:2 EINTR short:1 EAGAIN ok",
        "send: EINTR*20 ok",
        "send: EAGAIN short:1 EAGAIN ok; wait: EINTR EINTR ok",
    ],
)
def test_send_all_cut_short_or_interrupted_sends_every_byte_in_order(run_faulty: Run, plan: str) -> None:
    assert run_faulty(plan, SEND) == {"got": None, "received": "headpayloadtail", "moved": 15}


@pytest.mark.parametrize("error", ["ENOBUFS", "ENOMEM", "EPIPE", "ECONNRESET", "EIO"])
def test_send_all_failing_midway_raises_and_counts_what_was_sent(run_faulty: Run, error: str) -> None:
    facts = run_faulty(f"send: short:6 {error}", SEND)
    assert facts == {"got": error, "received": "headpa", "moved": 6}


@pytest.mark.parametrize("plan", ["recv: short:1*", "recv: short:3 EINTR EAGAIN short:1 ok", "wait: EINTR*3"])
def test_recv_exact_cut_short_or_interrupted_fills_the_buffer(run_faulty: Run, plan: str) -> None:
    facts = run_faulty(plan, RECEIVE)
    assert facts == {"got": 10, "into": "0123456789", "moved": 10, "again": 0}


@pytest.mark.parametrize("error", ["reset", "EIO", "ETIMEDOUT"])
def test_recv_exact_reset_is_reported_once_and_the_meter_stays_exact(run_faulty: Run, error: str) -> None:
    facts = run_faulty(f"recv: short:4 {error}", RECEIVE)
    assert facts["got"] == ("ECONNRESET" if error == "reset" else error)
    assert facts["into"].startswith("0123\0")
    assert facts["again"] == 6, "the core keeps no error for the next call"
    assert facts["moved"] == 10


def test_recv_exact_early_end_returns_the_bytes_before_it(run_faulty: Run) -> None:
    facts = run_faulty("recv: short:4 eof", RECEIVE)
    assert (facts["got"], facts["again"]) == (4, 6)


def test_recv_exact_flipped_bit_arrives_flipped(run_faulty: Run) -> None:
    assert run_faulty("recv: flip@7", RECEIVE)["into"] == "0123456689"


def test_wait_failing_raises_its_errno(run_faulty: Run) -> None:
    assert run_faulty("recv: EAGAIN; wait: ENOMEM", RECEIVE)["got"] == "ENOMEM"


AWAKE = RECEIVE.replace("meter, 1000)", "meter, 1000, core.AWAKE)")


def test_who_is_awake_looks_before_it_waits(run_faulty: Run) -> None:
    assert run_faulty("recv: EAGAIN; wait: reset", RECEIVE)["got"] == "ECONNRESET", "asleep: the one wait tells"
    assert run_faulty("recv: EAGAIN; wait: reset", AWAKE)["got"] == 10, "awake: the first look tells nothing yet"


def test_who_is_awake_does_not_look_again_after_a_small_piece(run_faulty: Run) -> None:
    assert run_faulty("recv: short:3 EAGAIN; wait: reset", AWAKE)["got"] == "ECONNRESET"


FILE = """
fd = os.open("f", os.O_RDWR | os.O_CREAT | BINARY)
data = b"x" * 5000 + bytes(8192) + b"y" * 7000
wrote = outcome(core.write_at, fd, data, 100, True)
into = bytearray(30000)
read = outcome(core.read_at, fd, into, 100)
say(wrote=wrote, read=read, same=bytes(into[:len(data)]) == data)
"""


@pytest.mark.parametrize(
    "plan",
    [
        "pwrite: short:1000*; pread: short:777*",
        "pwrite: EINTR short:1 EINTR ok; pread: EINTR short:1 EINTR ok",
    ],
)
def test_file_calls_cut_short_or_interrupted_move_every_byte(run_faulty: Run, plan: str) -> None:
    facts = run_faulty(plan, FILE)
    assert facts["same"]
    assert facts["read"] == 20192
    assert 12000 <= facts["wrote"] <= 16192, "at least one of the zero pages was left out"


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EIO"])
def test_write_at_failing_raises_its_errno(run_faulty: Run, error: str) -> None:
    assert run_faulty(f"pwrite: ok {error}", FILE)["wrote"] == error


def test_write_at_taking_nothing_raises_eio_instead_of_spinning(run_faulty: Run) -> None:
    assert run_faulty("pwrite: eof*", FILE)["wrote"] == "EIO"


def test_read_at_failing_raises_its_errno(run_faulty: Run) -> None:
    assert run_faulty("pread: short:100 EIO", FILE)["read"] == "EIO"


def test_start_writeback_failing_is_ignored(run_faulty: Run) -> None:
    assert run_faulty("writeback: EIO*", "say(got=outcome(core.start_writeback, 0, 0, 1))") == {"got": None}


def test_plan_that_cannot_be_read_ends_the_process(run_faulty: Run) -> None:
    with pytest.raises(AssertionError, match="status 99"):
        run_faulty("send: ENOSUCH", SEND)


SEND_FILE = """
import tempfile
a, b = socket.socketpair()
file = tempfile.TemporaryFile()
file.write(b"0123456789")
file.flush()
meter = core.Meter()
got = outcome(core.send_file, a.fileno(), file.fileno(), 2, 8, meter, 1000)
a.close()
received = b""
while more := b.recv(100):
    received += more
say(got=got, received=received.decode(), moved=meter.moved)
"""


@pytest.mark.parametrize("plan", ["send_file: short:1*", "send_file: EINTR short:3 EAGAIN short:1 EINTR ok; wait: EINTR ok"])
def test_send_file_cut_short_or_interrupted_sends_all(run_faulty: Run, plan: str) -> None:
    assert run_faulty(plan, SEND_FILE) == {"got": 8, "received": "23456789", "moved": 8}


@pytest.mark.parametrize("error", ["EINVAL", "ENOSYS", "EIO", "EPIPE"])
def test_send_file_that_fails_midway_says_how_much_went(run_faulty: Run, error: str) -> None:
    assert run_faulty(f"send_file: short:3 {error}", SEND_FILE) == {"got": 3, "received": "234", "moved": 3}


LAND = """
a, b = socket.socketpair()
a.sendall(b"0123456789")
a.close()
meter = core.Meter()
into = bytearray(10)
fd = os.open("landed", os.O_RDWR | os.O_CREAT | BINARY)
got = outcome(core.recv_file, b.fileno(), into, 10, fd, 0, False, 1 << 40, meter, 1000)
say(got=got, into=into.decode(errors="replace"), file=open("landed").read(), moved=meter.moved)
"""


@pytest.mark.parametrize(
    "plan",
    [
        "recv: short:1*",
        "recv: short:3 EINTR EAGAIN short:1 ok; pwrite: short:2 EINTR short:1 ok",
        "wait: EINTR*3; pwrite: EINTR*20 ok",
    ],
)
def test_recv_file_cut_short_or_interrupted_fills_buffer_and_file(run_faulty: Run, plan: str) -> None:
    facts = run_faulty(plan, LAND)
    assert facts == {"got": [10, 10], "into": "0123456789", "file": "0123456789", "moved": 10}


def test_recv_file_whose_file_fails_receives_all_and_says_how_much_stands(run_faulty: Run) -> None:
    facts = run_faulty("pwrite: short:4 ENOSPC*", LAND)
    assert facts == {"got": [10, 4], "into": "0123456789", "file": "0123", "moved": 10}


@pytest.mark.parametrize("error", ["ECONNRESET", "EIO"])
def test_recv_file_whose_socket_fails_raises(run_faulty: Run, error: str) -> None:
    facts = run_faulty(f"recv: short:3 {error}", LAND)
    assert facts["got"] == error
    assert facts["moved"] == 3


def test_sync_filesystem_interrupted_is_taken_up_again(run_faulty: Run) -> None:
    code = 'say(got=outcome(core.sync_filesystem, folder(".")))'
    assert run_faulty("syncfs: EINTR EINTR EIO", code) == {"got": "EIO"}
