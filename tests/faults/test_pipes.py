"""Pipes, and files that go into sockets, when system calls are cut short, interrupted or fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[[str, str], dict[str, Any]]

PIPE = """
r, w = pipe({never_waits})
meter, back = core.Meter(), core.Meter()
wrote = outcome(core.write_all, w, b"0123456789", meter, 1000, not {never_waits})
os.close(w)
found, into = b"", bytearray(100)
while True:
    got = outcome(core.read_some, r, into, back, 1000, not {never_waits}, False)
    if not isinstance(got, int) or not got:
        break
    found += into[:got]
say(wrote=wrote, got=got, found=found.decode(), moved=[meter.moved, back.moved])
"""
WHOLE = {"wrote": None, "got": 0, "found": "0123456789", "moved": [10, 10]}


@pytest.mark.parametrize("never_waits", [True, False])
@pytest.mark.parametrize(
    "plan",
    [
        "write: short:1*; read: short:1*",
        "write: EINTR short:3 EAGAIN short:1 EINTR ok; read: EINTR EAGAIN short:2 EINTR short:1 EAGAIN ok",
        "write: EAGAIN ok; read: EAGAIN EAGAIN ok; wait: EINTR EINTR ok",
    ],
)
def test_pipe_calls_cut_short_or_interrupted_move_every_byte(run_faulty: Run, plan: str, never_waits: bool) -> None:
    assert run_faulty(plan, PIPE.format(never_waits=never_waits)) == WHOLE


@pytest.mark.parametrize("error", ["EPIPE", "ENOSPC", "EIO"])
def test_write_all_failing_midway_raises_and_counts_what_was_written(run_faulty: Run, error: str) -> None:
    facts = run_faulty(f"write: short:6 {error}", PIPE.format(never_waits=True))
    assert (facts["wrote"], facts["found"], facts["moved"]) == (error, "012345", [6, 6])


def test_write_all_taking_nothing_raises_eio_instead_of_spinning(run_faulty: Run) -> None:
    assert run_faulty("write: eof*", PIPE.format(never_waits=True))["wrote"] == "EIO"


def test_read_some_failing_raises_after_what_came_before(run_faulty: Run) -> None:
    facts = run_faulty("read: short:4 EAGAIN EIO", PIPE.format(never_waits=True))
    assert (facts["got"], facts["found"]) == ("EIO", "0123")


EMPTY = """
r, w = pipe()
into, meter = bytearray(100), core.Meter()
before = outcome(core.read_some, r, into, meter, 50, True, False)
os.write(w, b"0123")
after = outcome(core.read_some, r, into, meter, 1000, True, False)
say(before=before, after=after, moved=meter.moved)
"""


def test_an_empty_pipe_is_given_up_after_its_time_and_read_later(run_faulty: Run) -> None:
    assert run_faulty("", EMPTY) == {"before": "ETIMEDOUT", "after": 4, "moved": 4}


SEND = """
a, b = socket.socketpair()
a.setblocking(False)
r, w = pipe(True)
os.write(w, b"23456789")
meter = core.Meter()
sent = outcome(core.send_pipe, a.fileno(), r, 8, meter, 1000)
a.close()
say(sent=sent, received=b.recv(100).decode(), moved=meter.moved)
"""


@pytest.mark.parametrize("plan", ["splice: short:1*", "splice: EINTR EAGAIN short:3 EAGAIN ok; wait: ok EINTR ok"])
def test_send_pipe_cut_short_or_interrupted_sends_every_byte(run_faulty: Run, plan: str) -> None:
    assert run_faulty(plan, SEND) == {"sent": 8, "received": "23456789", "moved": 8}


@pytest.mark.parametrize("error", ["EINVAL", "EPIPE", "reset", "EIO"])
def test_send_pipe_failing_midway_says_how_much_was_sent(run_faulty: Run, error: str) -> None:
    assert run_faulty(f"splice: short:3 {error}", SEND) == {"sent": 3, "received": "234", "moved": 3}


def test_share_pipe_interrupted_shares_nothing_and_failing_raises(run_faulty: Run) -> None:
    code = "r, w = os.pipe(); s, t = os.pipe(); os.write(w, b'x'); say(got=outcome(core.share_pipe, r, t, 10))"
    assert run_faulty("tee: EINTR", code) == {"got": 0}
    assert run_faulty("tee: ENOMEM", code) == {"got": "ENOMEM"}
    assert run_faulty("", code) == {"got": 1}
