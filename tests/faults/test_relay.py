"""The relay when system calls are cut short, interrupted, refused or fail: every byte once, or a failure of the right side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[[str, str], dict[str, Any]]

FILES = """
data = b"".join(b"%07d\\n" % i for i in range(40_000))
open("in", "wb").write(data)
source, sink = os.open("in", os.O_RDONLY | BINARY), os.open("out", os.O_CREAT | os.O_WRONLY | BINARY)
before = opened()
meter = core.Meter()
flow = core.Flow(in_relay(source), in_relay(sink), meter, 1 << 16, {by_reference})
got = outcome(core.relay, [flow], 1000, -1)
say(got=got, state=flow.state, error=name_of(flow.errno), waiting=flow.waiting, moved=meter.moved,
    same=open("out", "rb").read() == data, size=os.stat("out").st_size)
"""
SOCKETS = """
a, b = socket.socketpair()
c, d = socket.socketpair()
for sock in (a, b, c, d):
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
data = b"".join(b"%07d\\n" % i for i in range(30_000))
sent = a.send(data)
a.close()
meter = core.Meter()
flow = core.Flow(b.fileno(), c.fileno(), meter, 1 << 16, {by_reference})
got = outcome(core.relay, [flow], 1000, -1)
c.close()
received = b""
try:
    while more := d.recv(1 << 20):
        received += more
except OSError:
    pass
say(got=got, state=flow.state, error=name_of(flow.errno), waiting=flow.waiting, moved=meter.moved,
    same=received == data, sent=sent, prefix=data.startswith(received), size=len(received))
"""
DELIVERED, SOURCE_FAILED, SINK_FAILED = 1, 2, 3
COPIED, BY_REFERENCE = 0, 1 << 40


@pytest.mark.parametrize("by_reference", [COPIED, BY_REFERENCE])
@pytest.mark.parametrize(
    "plan",
    [
        "read: short:1000 EINTR short:1 ok; write: short:7 EINTR short:1 ok",
        "splice: short:70000 EINTR short:1 short:1 EAGAIN ok",
        "splice: EINVAL*",
        "splice: ENOSYS*",
        "splice: ok EINVAL*",
        "splice: ok short:100 EINVAL*; read: ok short:10 short:1 EINTR ok",
        "pipe: EMFILE*",
        "pipe: EPERM*",
        "pipe: short:4096*",
        "wait_any: EINTR*5",
    ],
)
def test_files_cut_short_interrupted_or_unfit_for_splice_are_moved_whole(
    run_faulty: Run, plan: str, by_reference: int
) -> None:
    facts = run_faulty(plan, FILES.format(by_reference=by_reference))
    assert (facts["got"], facts["state"], facts["error"]) == (True, DELIVERED, None)
    assert facts["same"]
    assert facts["moved"] == 320_000


@pytest.mark.parametrize("by_reference", [COPIED, BY_REFERENCE])
@pytest.mark.parametrize(
    "plan",
    [
        "recv: short:1 EINTR EAGAIN short:3 ok; send: short:1 EINTR EAGAIN short:3 ok",
        "splice: EAGAIN short:1 EINTR ok EAGAIN short:5 ok",
        "splice: ok EINVAL*; send: short:100*3 ok",
        "wait_any: EINTR EINTR ok",
        "pipe: EMFILE*; recv: short:70000*",
    ],
)
def test_sockets_cut_short_interrupted_or_unfit_for_splice_are_moved_whole(
    run_faulty: Run, plan: str, by_reference: int
) -> None:
    facts = run_faulty(plan, SOCKETS.format(by_reference=by_reference))
    assert (facts["got"], facts["state"], facts["error"]) == (True, DELIVERED, None)
    assert facts["same"]
    assert facts["moved"] == facts["sent"] == 240_000


@pytest.mark.parametrize(
    ("plan", "state", "error"),
    [
        ("read: ok EIO", SOURCE_FAILED, "EIO"),
        ("write: ok ENOSPC", SINK_FAILED, "ENOSPC"),
        ("write: ok short:10 EDQUOT", SINK_FAILED, "EDQUOT"),
        ("splice: ok ok EIO", SOURCE_FAILED, "EIO"),
        ("splice: ok short:10 ENOSPC", SINK_FAILED, "ENOSPC"),
    ],
)
def test_a_failing_file_is_told_with_its_side_and_what_had_arrived(
    run_faulty: Run, plan: str, state: int, error: str
) -> None:
    facts = run_faulty(plan, FILES.format(by_reference=BY_REFERENCE if "splice" in plan else COPIED))
    assert (facts["got"], facts["state"], facts["error"]) == (True, state, error)
    assert facts["moved"] == facts["size"] > 0
    assert (facts["waiting"] > 0) == (state == SINK_FAILED)


@pytest.mark.parametrize(
    ("plan", "state", "error"),
    [
        ("recv: ok reset", SOURCE_FAILED, "ECONNRESET"),
        ("recv: ok ENOMEM", SOURCE_FAILED, "ENOMEM"),
        ("send: ok reset", SINK_FAILED, "ECONNRESET"),
        ("send: short:5 EPIPE", SINK_FAILED, "EPIPE"),
    ],
)
def test_a_connection_that_breaks_is_told_with_its_side_and_what_had_arrived(
    run_faulty: Run, plan: str, state: int, error: str
) -> None:
    facts = run_faulty(plan, SOCKETS.format(by_reference=COPIED))
    assert (facts["got"], facts["state"], facts["error"]) == (True, state, error)
    assert facts["prefix"]
    assert facts["moved"] == facts["size"] > 0


def test_waiting_that_fails_raises_its_errno(run_faulty: Run) -> None:
    assert run_faulty("wait_any: ENOMEM", FILES.format(by_reference=COPIED))["got"] == "ENOMEM"


def test_an_end_that_cannot_be_looked_at_is_refused(run_faulty: Run) -> None:
    code = "say(got=outcome(core.Flow, in_relay(0), in_relay(1), core.Meter(), 4096, 0))"
    assert run_faulty("kind: ok EIO", code)["got"] == "EIO"


def test_a_flipped_bit_arrives_flipped(run_faulty: Run) -> None:
    facts = run_faulty("read: flip@100000", FILES.format(by_reference=COPIED))
    assert (facts["state"], facts["same"], facts["size"]) == (DELIVERED, False, 320_000)
