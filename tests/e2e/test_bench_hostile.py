"""Ends of a benchmark that break its rules: each is refused with a code and in time, and costs the other end nothing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from commands import Running, answering, eventually, run
from peers import Listening, Peer, Refused, connect, pack_body, record, says, server

from hvcopy.wire import messages as m
from hvcopy.wire.frames import Type

MIB = 1 << 20
ORDER = m.Measure("flood", "up", 60_000, 65_536, 1, 0)


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    """A server that has to outlive all of them, and its address."""
    with answering(f"unix:{tmp_path_factory.mktemp('s')}/s", "--timeout", "1") as found:
        yield found


@pytest.fixture
def peer(answer: tuple[Running, str]) -> Iterator[Peer]:
    """A client that the server has accepted for a job; afterwards the server is as ready as before."""
    running, address = answer
    with eventually(lambda: accepted(address), what="the server ready") as one:
        yield one
    assert not running.ended
    assert "Traceback" not in running.err
    eventually(lambda: accepted(address), what="the server ready for others").close()


def accepted(address: str, lanes: int = 4) -> Peer | None:
    """Return a client whose job was accepted; None while the server is busy."""
    one = Peer(connect(address)).shake(connector=True, role="client")
    one.send(m.Job("bench", [], m.Options(), b"", lanes))
    try:
        one.expect(m.Ready)
    except Refused:
        one.close()
        return None
    return one


def begin(peer: Peer, order: m.Measure = ORDER) -> m.Measure:
    """Give the order; return the answer."""
    peer.send(order)
    return peer.expect(m.Measure)


def changed(**fields: object) -> m.Measure:
    """The order, with fields changed."""
    return msgspec.structs.replace(ORDER, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"what": "format"},
        {"way": "sideways"},
        {"what": "files", "way": "both"},
        {"what": "echo", "way": "down"},
        {"what": "echo", "lanes": 2},
        {"what": "files", "length": MIB},
        {"lanes": 5},
        {"millis": 0},
        {"millis": 3_600_001},
        {"length": 0},
        {"length": MIB + 1},
        {"lanes": 0},
        {"buffer": 2**31},
        {"buffer": -1},
        {"what": "x" * 1000},
    ],
    ids=str,
)
def test_an_order_out_of_bounds_is_refused(peer: Peer, fields: dict[str, object]) -> None:
    peer.send(changed(**fields))
    error = peer.error()
    assert error.code == 7
    assert "internal" not in error.message


@pytest.mark.parametrize("kind", [Type.FLOOD, Type.LULL, Type.ECHO, Type.BYE, Type.JOB, Type.FIGURES])
def test_anything_but_an_order_is_refused(peer: Peer, kind: Type) -> None:
    peer.frame(kind, b"\x90")
    assert peer.error().code == 7


def test_an_enormous_buffer_is_not_taken(peer: Peer) -> None:
    answered = begin(peer, changed(buffer=2**31 - 1))
    assert answered.buffer <= 2 * 4 * MIB  # a system counts twice what it was asked for
    assert msgspec.structs.replace(answered, buffer=2**31 - 1) == changed(buffer=2**31 - 1)


def test_lanes_that_never_join_are_not_waited_for_longer_than_the_order(peer: Peer) -> None:
    peer.send(changed(lanes=4))
    assert peer.error().code == 7


FLOOD, FILES, ECHO, DOWN = ORDER, changed(what="files", length=3), changed(what="echo"), changed(way="down")


@pytest.mark.parametrize(
    ("order", "kind", "body"),
    [
        (FLOOD, Type.FLOOD, b""),
        (ECHO, Type.ECHO, b""),
        (FLOOD, Type.PACK, bytes(32)),
        (FLOOD, Type.ECHO, bytes(64)),
        (FLOOD, Type.MEASURE, m.encode(ORDER)[16:]),
        (FLOOD, Type.ACKS, b"\x91\x90"),
        (FLOOD, Type.FIGURES, b"\x97" + bytes(7)),
        (FLOOD, Type.LULL, b"\xc0"),
        (FLOOD, Type.DATA, bytes(64)),
        (DOWN, Type.FLOOD, b"x"),
        (DOWN, Type.LULL, b"\x90"),
        (ECHO, Type.FLOOD, b"x"),
        (FILES, Type.FLOOD, b"x"),
        (FILES, Type.PACK, bytes(31)),
        (FILES, Type.ACKS, b"\x91\x91\x92\x01\x00"),
    ],
    ids=lambda value: value.name if isinstance(value, Type) else value.what if isinstance(value, m.Measure) else "",
)
def test_a_frame_out_of_turn_is_refused(peer: Peer, order: m.Measure, kind: Type, body: bytes) -> None:
    begin(peer, order)
    peer.frame(kind, body)
    assert peer.error().code == 7


def test_a_second_lull_is_refused(peer: Peer) -> None:
    begin(peer, changed(lanes=1))
    peer.send(m.Lull(), m.Lull())
    assert peer.error_or_end() in (7, None)  # it may be over before the second one


MANIFEST = m.encode_groups([m.Group(0, b"", [b"f"], record(3))])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (pack_body(1, MANIFEST, b"abcd"), 7),
        (pack_body(1, MANIFEST, b"abc", manifest_length=2**32 - 1), 7),
        (pack_body(1, b"\xc1", b""), 7),
        (pack_body(1, m.encode_groups([m.Group(0, b"", [b"f"], b"short")]), b"abc"), 7),
        (bytes(16) + pack_body(1, MANIFEST, b"abc")[16:], 8),
    ],
    ids=["sizes", "manifest too long", "no manifest", "records", "digest"],
)
def test_a_pack_that_is_wrong_is_refused(peer: Peer, body: bytes, code: int) -> None:
    begin(peer, FILES)
    peer.frame(Type.PACK, body)
    assert peer.error().code == code


def test_names_in_a_pack_lead_nowhere(peer: Peer) -> None:
    begin(peer, FILES)
    peer.frame(Type.PACK, pack_body(9, m.encode_groups([m.Group(0, b"/etc", [b"../f"], record(3))]), b"abc"))
    (ack,) = peer.expect(m.Acks).acks
    assert (ack.id, ack.files) == (9, 1)


def test_an_echo_gives_back_what_came_and_no_more(peer: Peer) -> None:
    begin(peer, changed(what="echo", length=5))
    peer.frame(Type.ECHO, b"0123456")
    frame = peer.receive()
    while frame.type is Type.PING:
        frame = peer.receive()
    assert (frame.type, frame.body) == (Type.ECHO, b"0123456")
    peer.send(m.Lull())
    assert peer.expect(m.Figures).received == 0  # nothing was ordered to flow
    peer.send(m.Bye())


def test_a_client_that_goes_on_and_on_is_ended_by_the_servers_clock(peer: Peer) -> None:
    begin(peer, changed(millis=1))
    flooding = threading.Thread(target=floods, args=(peer,), daemon=True)
    flooding.start()
    error = peer.error()
    flooding.join(5)
    assert error.code == 5
    assert "after its time" in error.message


def floods(peer: Peer) -> None:
    with contextlib.suppress(OSError):
        for _ in range(1_000_000):
            peer.frame(Type.FLOOD, bytes(60))


@pytest.mark.parametrize("ordered", [True, False])
def test_a_client_that_falls_silent_is_given_up(peer: Peer, ordered: bool) -> None:
    if ordered:
        begin(peer)
    assert peer.error_or_end() in (5, 6, None)


# ---- servers

Script = Callable[[Peer], object]


def answers(script: Script) -> Script:
    """A server that accepts the job and answers the order as it is, then does *script*."""

    def whole(peer: Peer) -> None:
        peer.expect(m.Job)
        peer.send(m.Ready(bytes(16), 1, "", []))
        peer.send(peer.expect(m.Measure))
        script(peer)
        peer.idle()

    return whole


def waits(peer: Peer) -> None:
    """Alive, and nothing else."""
    peer.beat()
    peer.idle()


def pack_of(peer: Peer) -> None:
    """Take the first pack."""
    while peer.receive().type is not Type.PACK:
        pass


SERVERS: dict[str, tuple[Script, list[str], int]] = {
    "another order": (
        lambda peer: (
            peer.expect(m.Job), peer.send(m.Ready(bytes(16), 1, "", [])),
            peer.expect(m.Measure), peer.send(changed(millis=1)), peer.idle(),
        ),
        ["-m", "send"], 7,
    ),
    "alive but stuck, sending": (answers(waits), ["-m", "send"], 5),
    "alive but stuck, echoing": (answers(waits), ["-m", "latency"], 5),
    "an echo of another length": (answers(lambda peer: peer.head(Type.ECHO, 0)), ["-m", "latency"], 8),
    "wrong acknowledgement": (answers(lambda peer: peer.send(m.Acks([m.Ack(77, 0)]))), ["-m", "files"], 7),
    "wrong digest": (
        answers(lambda peer: (pack_of(peer), peer.send(m.Acks([m.Ack(1, 0, digest=bytes(16), files=1024)])))),
        ["-m", "files"], 8,
    ),
    "flood unasked": (answers(lambda peer: peer.frame(Type.FLOOD, b"x")), ["-m", "send"], 7),
    "gone": (answers(lambda peer: peer.close()), ["-m", "send"], 6),
    "gone in between": (lambda peer: peer.expect(m.Job), ["-m", "send"], 6),
}  # fmt: skip


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_that_breaks_the_rules_is_told_apart(name: str, tmp_path: Path) -> None:
    script, options, code = SERVERS[name]
    with Listening(f"unix:{tmp_path}/s", server(script)) as listening:
        done = run("bench", listening.address, *options, "-t", "60", "--timeout", "1.5")
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    assert listening.address in done.err


@pytest.mark.parametrize("mode", ["send", "sweep"])
def test_a_server_that_breaks_the_rules_before_it_begins_is_told_so(mode: str, tmp_path: Path) -> None:
    heard: list[m.Error] = []

    def script(peer: Peer) -> None:
        peer.expect(m.Job)
        if mode == "sweep":  # whose first session only asks for the window
            peer.send(m.Ready(bytes(16), 1, "", []))
            peer.expect(m.Measure)
        peer.send(m.Totals(0, 0))
        heard.append(peer.error())

    with Listening(f"unix:{tmp_path}/s", server(script)) as listening:
        done = run("bench", listening.address, "-m", mode, "--timeout", "5")
        assert not listening.failures
    assert done.code == 7, done.err
    assert [error.code for error in heard] == [7]


def test_a_stranger_is_told_apart(tmp_path: Path) -> None:
    with Listening(f"unix:{tmp_path}/s", says(b"SSH-2.0-OpenSSH_9.6\r\n")) as listening:
        done = run("bench", listening.address, "-m", "send", "--timeout", "1")
    assert done.code == 7, done.err
