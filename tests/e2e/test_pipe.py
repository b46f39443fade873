"""hvcopy pipe: what goes in on one side comes out on the other, both ways, or both sides say that it did not."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import sys
import termios
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import PATIENCE, eventually, run, serving
from peers import Framed, Gate, Listening, Peer, Relay, drain, says, server
from ports import is_free
from starting import ELSEWHERE, HVCOPY
from xxhash import xxh3_128_hexdigest

from e2e.plumbing import Piped, feed, joined, listening, pipeline
from e2e.test_damage import drop, flip, nth, twice
from e2e.trees import KIB, MIB, noise, write
from hvcopy.wire import messages as m
from hvcopy.wire.frames import CHUNK, HEADER, HOLE, Type

SOON = 4.0
"""Seconds: a fraction of one on an idle machine, with room for a busy one."""
LINES = 100
EVERY_VALUE = bytes(range(256))


def address(transport: str, folder: Path) -> tuple[str, list[str]]:
    """Where to listen, and the options it needs."""
    return (f"unix:{folder}/s", []) if transport == "unix" else ("tcp:127.0.0.1:0", ["--open"])


# ---- bytes


@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_every_byte_value_goes_both_ways_at_once(transport: str, tmp_path: Path) -> None:
    """0x1A, NUL, line ends and all others (WSL#6346); enough of them to fill every buffer in between."""
    there, back = EVERY_VALUE * 40_000 + b"\x1a", noise(9 * MIB + 1)
    where, options = address(transport, tmp_path)
    with joined(where, left=[*options, "--json"], right=["--json"]) as (left, right):
        taps = left.tap(), right.tap()
        feed(right, there)
        feed(left, back)
        done = left.finish(), right.finish()
        assert [one.code for one in done] == [0, 0], done[0].err + done[1].err
        assert (taps[0].all(), taps[1].all()) == (there, back)
    for one, sent, received in ((done[0], back, there), (done[1], there, back)):
        result = json.loads(one.err.splitlines()[-1])
        assert (result["sent_bytes"], result["received_bytes"]) == (len(sent), len(received))
        assert (result["sent_digest"], result["received_digest"]) == (
            xxh3_128_hexdigest(sent),
            xxh3_128_hexdigest(received),
        )
        assert result["durability"] == "passed"


@pytest.mark.parametrize(
    "size", [0, 1, 255 * KIB, 256 * KIB, 257 * KIB, MIB, 16 * MIB + 1], ids=lambda size: f"{size} bytes"
)
def test_a_stream_of_any_size_arrives_at_a_slow_reader(size: int, tmp_path: Path) -> None:
    """Around every buffer's size (GhostVM#152, virtio-win#865), its writer gone right after its last write."""
    content = noise(size)
    with joined(f"unix:{tmp_path}/s") as (left, right):
        left.end()
        feeding = feed(right, content)
        tap = left.tap(size=4099 if size < MIB else 50_021)
        done = left.finish(), right.finish()
        feeding.join()
        assert [one.code for one in done] == [0, 0], done[0].err + done[1].err
        assert tap.all() == content


def test_a_file_goes_from_its_position_and_is_moved_along(tmp_path: Path) -> None:
    """As in (read-a-line; hvcopy pipe) < file, whatever way the contents take."""
    content = noise(3 * MIB + 5)
    source = write(tmp_path / "f", b"first line\n" + content)
    with listening(f"unix:{tmp_path}/s") as left:
        left.end()
        tap = left.tap()
        with open(source, "rb", buffering=0) as file:
            file.read(11)
            with Piped(f"unix:{tmp_path}/s", stdin=file.fileno()) as right:
                assert right.finish().code == 0
            assert file.tell() == 11 + len(content)
        assert left.finish().code == 0
        assert tap.all() == content


def test_one_byte_at_a_time_is_gathered_before_the_socket(tmp_path: Path, processes: ExitStack) -> None:
    """libkrun#795: a flood of tiny packets is slow, and makes some kernels reset the connection."""
    frames: list[int] = []

    def count(kind: int, frame: bytes) -> bytes:
        if kind == Type.CHUNK:
            frames.append(len(frame))
        return frame

    left = processes.enter_context(listening(f"unix:{tmp_path}/d"))
    left.end()
    tap = left.tap()
    relay = processes.enter_context(Relay(f"unix:{tmp_path}/s", f"unix:{tmp_path}/d", up=lambda: Framed(count)))
    producer = (
        "import os\nfor i in range(30000): os.write(1, bytes([i % 251]))\nfor i in range(3000): os.write(1, b'x' * 200)"
    )
    done = pipeline(
        f"{sys.executable} -c {shlex.quote(producer)} | {shlex.join(HVCOPY)} pipe {relay.address}", tmp_path
    )
    assert done.code == 0, done.err
    assert left.finish().code == 0
    assert tap.all() == bytes(i % 251 for i in range(30000)) + b"x" * 600_000
    assert len(frames) < 1000, "33,000 writes became nearly as many frames"


@pytest.mark.parametrize("connector", [True, False], ids=["sent by the connector", "sent by the listener"])
def test_a_line_arrives_at_once_and_so_does_its_answer(connector: bool, tmp_path: Path) -> None:
    """A hop that waited for a moment, as to gather more, would take all of the patience that a test has."""
    started = time.monotonic()
    with joined(f"unix:{tmp_path}/s") as pair:
        asks, answers = reversed(pair) if connector else pair
        for number in range(LINES):
            asks.send(b"line %d\n" % number)
            assert os.read(answers.reads, 100) == b"line %d\n" % number
            answers.send(b"answer %d\n" % number)
            assert os.read(asks.reads, 100) == b"answer %d\n" % number
            assert time.monotonic() - started < PATIENCE, f"after {number} lines there and back"
        asks.end()
        assert os.read(answers.reads, 1) == b"", "the reader must see the end while the other way is open"
        answers.send(b"the last word")
        answers.end()
        assert os.read(asks.reads, 100) == b"the last word"
        assert [one.finish().code for one in pair] == [0, 0]


def test_a_tree_through_tar_arrives_whole(tmp_path: Path, here: Path, root: Path) -> None:
    for name in ("a", "d/b", "d/c"):
        write(here / name, noise(300_000, len(name)))
    listener = f"{shlex.join(HVCOPY)} pipe -l unix:{tmp_path}/s | tar x -C {root}"
    sender = f"tar c -C {here} . | {shlex.join(HVCOPY)} pipe --wait 20 unix:{tmp_path}/s"
    done = pipeline(f"({listener}) & {sender} && wait $!", tmp_path)
    assert done.code == 0, done.err
    for name in ("a", "d/b", "d/c"):
        assert (root / name).read_bytes() == (here / name).read_bytes()


def test_tar_behind_a_listener_fails_with_it_when_a_byte_is_not_what_it_was(
    tmp_path: Path, here: Path, root: Path, processes: ExitStack
) -> None:
    """Of the contents of a file tar has no sum: without hvcopy's status nobody would know."""
    source = write(here / "f", noise(3 * MIB))
    relay = processes.enter_context(
        Relay(f"unix:{tmp_path}/s", f"unix:{tmp_path}/d", up=nth(Type.CHUNK, 2, flip(MIB // 2)))
    )
    listener = f"{shlex.join(HVCOPY)} pipe -l unix:{tmp_path}/d | tar x -C {root}"
    sender = f"until test -S d; do sleep 0.01; done; tar c -C {here} f | {shlex.join(HVCOPY)} pipe {relay.address}"
    done = pipeline(f"({listener}; echo ${{PIPESTATUS[*]}}) & ({sender}; echo ${{PIPESTATUS[*]}} >&2); wait", tmp_path)
    assert "0 8" in done.err.splitlines(), done.err
    assert done.out.split()[0] == "8", done.out + done.err
    assert not (root / "f").exists() or (root / "f").read_bytes() != source.read_bytes()


# ---- waiting is no failure


def both_outlast(left: Piped, right: Piped, seconds: float) -> None:
    """So long nothing more is read or written, and both still run."""
    ends = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > ends, what="the time to be waited")
    assert not left.ended
    assert not right.ended


def test_silent_producers_and_sleeping_consumers_are_waited_for(tmp_path: Path) -> None:
    """Longer than --timeout: neither is a stall."""
    content = noise(8 * MIB)
    with joined(f"unix:{tmp_path}/s", left=["--timeout", "1.5"], right=["--timeout", "1.5"]) as (left, right):
        feeding = feed(right, content)
        both_outlast(left, right, 3)
        tap = left.tap()
        feeding.join()
        left.end()
        assert [left.finish().code, right.finish().code] == [0, 0]
        assert tap.all() == content


def test_a_consumer_that_sleeps_holds_only_its_own_direction_back(tmp_path: Path) -> None:
    """The other direction ends meanwhile: its acknowledgement waits behind what is not taken, and that is no stall."""
    content = noise(16 * MIB)
    with joined(f"unix:{tmp_path}/s", left=["--timeout", "1.5"], right=["--timeout", "1.5"]) as (left, right):
        feeding, answering, tap = feed(right, content), feed(left, content), right.tap()
        answering.join()
        both_outlast(left, right, 3)
        other = left.tap()
        feeding.join()
        assert [left.finish().code, right.finish().code] == [0, 0]
        assert (tap.all(), other.all()) == (content, content)


def test_the_mode_of_shared_descriptors_is_left_alone(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    try:
        with listening(f"unix:{tmp_path}/s") as left, Piped(f"unix:{tmp_path}/s", stdin=reads) as right:
            os.write(writes, b"x")
            assert os.read(left.reads, 1) == b"x"
            for pid, fd in ((right.pid, 0), (left.pid, 1), (right.pid, 1)):
                flags = int(Path(f"/proc/{pid}/fdinfo/{fd}").read_text().split("flags:")[1].split()[0], 8)
                assert not flags & os.O_NONBLOCK
    finally:
        os.close(reads)
        os.close(writes)


# ---- the reader leaves


@pytest.mark.parametrize("listener", [True, False], ids=["the listener's", "the connector's"])
@pytest.mark.parametrize("busy", [True, False], ids=["while writing", "while nothing comes"])
def test_a_reader_that_leaves_ends_both_sides_as_sigpipe_would(busy: bool, listener: bool, tmp_path: Path) -> None:
    with joined(f"unix:{tmp_path}/s") as pair:
        left, right = pair if listener else reversed(pair)
        if busy:
            feed(right, bytes(64 * MIB))
        else:
            right.send(b"some lines\n")
        assert len(os.read(left.reads, 10)) == 10
        before = left.elapsed, right.elapsed
        left.leave()
        done = left.finish(), right.finish()
        assert [one.code for one in done] == [141, 141], done[0].err + done[1].err
        assert done[0].seconds - before[0] < SOON
        assert done[1].seconds - before[1] < SOON
        assert "the reader of standard output closed it after" in done[0].err
        assert "says: the reader of standard output closed it after" in done[1].err


def test_a_pipeline_whose_head_has_enough_ends_to_its_beginning(tmp_path: Path) -> None:
    listener = f"{shlex.join(HVCOPY)} pipe -q -l unix:{tmp_path}/s | head -c 10; echo ${{PIPESTATUS[*]}}"
    sender = f"yes | {shlex.join(HVCOPY)} pipe -q --wait 20 unix:{tmp_path}/s; echo ${{PIPESTATUS[*]}} >&2"
    done = pipeline(f"({listener}) & {sender}; wait", tmp_path)
    assert done.out == "y\n" * 5 + "141 0\n"
    assert "141 141" in done.err.splitlines(), done.err  # the listener says its own whenever it has ended


def test_a_reader_that_left_before_there_was_anything_is_not_missed(tmp_path: Path) -> None:
    with joined(f"unix:{tmp_path}/s") as (left, right):
        right.leave()
        tap = left.tap()
        right.send(b"one way only")
        right.end()
        assert eventually(lambda: tap.content, what="it") == b"one way only"
        left.end()
        assert [left.finish().code, right.finish().code] == [0, 0]


# ---- Ctrl-C


@pytest.mark.parametrize("listener", [True, False], ids=["the listener", "the connector"])
@pytest.mark.parametrize("blocked", ["input", "output"])
def test_ctrl_c_ends_blocked_sides_at_once(listener: bool, blocked: str, tmp_path: Path) -> None:
    with joined(f"unix:{tmp_path}/s") as (left, right):
        one, other = (left, right) if listener else (right, left)
        if blocked == "input":
            one.send(b"x")
            assert os.read(other.reads, 1) == b"x"
        else:
            feed(other, bytes(64 * MIB))
            eventually(lambda: _full(one.reads), what="a full pipe")
        before = one.elapsed
        one.signal(signal.SIGINT)
        done, told = one.finish(), other.finish()
        assert (done.code, told.code) == (130, 130), done.err + told.err
        assert done.seconds - before < SOON
        assert "Traceback" not in done.err + told.err
        assert "interrupted" in told.err
        assert "anything that came is not whole" in done.err


def _full(fd: int) -> bool:
    """Whether a pipe holds all that it can."""
    waiting = int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)
    return waiting == fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)


def _handles(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for that signal: the command is past its imports then (proc(5), SigCgt).

    Workers wait for that themselves.
    """
    if ELSEWHERE:
        return True
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


@pytest.mark.parametrize("options", [["-l"], ["--wait", "60"]], ids=["listening", "waiting"])
def test_ctrl_c_ends_a_wait_for_the_peer(options: list[str], tmp_path: Path) -> None:
    with Piped(*options, f"unix:{tmp_path}/s") as waiting:
        if options == ["-l"]:
            waiting.line("listening on")
        else:
            eventually(lambda: _handles(waiting.pid, signal.SIGTERM) and waiting.elapsed > 0.5, what="the start")
        before = waiting.elapsed
        waiting.signal(signal.SIGINT)
        done = waiting.finish()
        assert done.code == 130, done.err
        assert done.seconds - before < SOON
        assert is_free(f"unix:{tmp_path}/s")


# ---- peers that fail


@pytest.mark.parametrize("listener", [True, False], ids=["the listener", "the connector"])
def test_a_killed_peer_is_6(listener: bool, tmp_path: Path) -> None:
    with joined(f"unix:{tmp_path}/s") as (left, right):
        victim, other = (left, right) if listener else (right, left)
        victim.send(b"x")
        assert os.read(other.reads, 1) == b"x"
        victim.kill()
        done = other.finish()
        assert done.code == 6, done.err
        assert "run the same commands again" in done.err
        assert "Traceback" not in done.err


def test_a_stranger_is_7_and_nobody_is_4(tmp_path: Path) -> None:
    with Listening(f"unix:{tmp_path}/s", says(b"SSH-2.0-OpenSSH_9.6\r\n")) as stranger:
        done = run("pipe", stranger.address, "--timeout", "1")
    assert done.code == 7, done.err
    nobody = run("pipe", f"unix:{tmp_path}/none")
    assert nobody.code == 4
    assert f"hvcopy pipe -l unix:{tmp_path}/none" in nobody.err


def test_a_server_takes_no_stream_and_a_stream_no_files(tmp_path: Path, root: Path, processes: ExitStack) -> None:
    server = processes.enter_context(serving(f"unix:{tmp_path}/d", root))
    refused = run("pipe", server.address)
    assert refused.code == 2, refused.err
    left = processes.enter_context(listening(f"unix:{tmp_path}/s"))
    copied = run("cp", write(tmp_path / "f"), f"unix:{tmp_path}/s:/f")
    assert copied.code == 2, copied.err
    assert "this side is `hvcopy pipe`" in copied.err
    assert not left.ended, "who wants something else must not end it for the right one"


def _beats_and_never_reads(peer: Peer) -> None:
    peer.expect(m.Job)
    peer.send(m.Ready(b"", 1, "", []))
    peer.beat()
    peer.idle()


def _takes_all_and_never_confirms(peer: Peer) -> None:
    peer.expect(m.Job)
    peer.send(m.Ready(b"", 1, "", []))
    peer.beat()
    drain(peer.sock)


@pytest.mark.parametrize("script", [_beats_and_never_reads, _takes_all_and_never_confirms])
def test_a_peer_that_lives_and_does_nothing_is_5(script: Callable[[Peer], None], tmp_path: Path) -> None:
    source = write(tmp_path / "f", noise(8 * MIB))
    with Listening(f"unix:{tmp_path}/s", server(script)) as scripted:
        done = run("pipe", "-i", source, scripted.address, "--timeout", "1.5")
    assert done.code == 5, done.err
    assert "nothing has moved" in done.err


def _frames_out_of_place(*frames_: tuple[Type, bytes]) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.expect(m.Job)
        peer.send(m.Ready(b"", 1, "", []))
        for kind, body in frames_:
            peer.frame(kind, body)
        peer.idle()

    return script


def _message(one: m.Message) -> tuple[Type, bytes]:
    frame = m.encode(one)
    return Type(frame[4]), frame[HEADER.size :]


HOSTILE = {
    "a gap": ([(Type.CHUNK, CHUNK.pack(5) + b"x")], 7),
    "nothing in it": ([(Type.CHUNK, CHUNK.pack(0))], 7),
    "shorter than its head": ([(Type.CHUNK, b"x")], 7),
    "after the end": (
        [_message(m.ChunkEnd(0, bytes.fromhex(xxh3_128_hexdigest(b"")))), (Type.CHUNK, CHUNK.pack(0) + b"x")],
        7,
    ),
    "a hole after a gap": ([(Type.HOLE, HOLE.pack(0, 5, MIB))], 7),
    "a hole of nothing": ([(Type.HOLE, HOLE.pack(0, 0, 0))], 7),
    "a hole that is not worth it": ([(Type.HOLE, HOLE.pack(0, 0, 4095))], 7),
    "a hole that is larger than a chunk": ([(Type.HOLE, HOLE.pack(0, 0, MIB + 1))], 7),
    "an endless hole": ([(Type.HOLE, HOLE.pack(0, 0, 2**64 - 1))], 7),
    "a hole in a file": ([(Type.HOLE, HOLE.pack(1, 0, MIB))], 7),
    "half a hole": ([(Type.HOLE, HOLE.pack(0, 0, MIB)[:16])], 7),
    "a hole after the end": (
        [_message(m.ChunkEnd(0, bytes.fromhex(xxh3_128_hexdigest(b"")))), (Type.HOLE, HOLE.pack(0, 0, MIB))],
        7,
    ),
    "zeros are taken that were not sent": ([_message(m.Taken(1))], 7),
    "none are taken": ([_message(m.Taken(0))], 7),
    "another length": ([(Type.CHUNK, CHUNK.pack(0) + b"x"), _message(m.ChunkEnd(2, bytes(16)))], 8),
    "an early acknowledgement": ([_message(m.ChunkAck(0, bytes.fromhex(xxh3_128_hexdigest(b"")), "passed"))], 7),
    "files": ([(Type.DATA, bytes(40))], 7),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_breaks_the_protocol_ends_the_session(what: str, tmp_path: Path) -> None:
    sent, code = HOSTILE[what]
    with (
        Listening(f"unix:{tmp_path}/s", server(_frames_out_of_place(*sent))) as scripted,
        Piped(scripted.address, "--timeout", "2") as running,
    ):
        done = running.finish()
    assert done.code == code, done.err
    assert "Traceback" not in done.err


# ---- damage

DAMAGE = {
    "a bit of the contents": (Type.CHUNK, 2, flip(MIB // 2), {8}),
    "a bit of an offset": (Type.CHUNK, 2, flip(3), {8}),
    "a chunk dropped": (Type.CHUNK, 2, drop, {8}),
    "a chunk twice": (Type.CHUNK, 2, twice, {8}),
    "a cut in a chunk": (Type.CHUNK, 2, lambda frame: frame[:1000] + frame[5000:], {5, 6, 7, 8}),
    "a bit of a hole's length": (Type.HOLE, 1, flip(-1), {8}),
    "a hole dropped": (Type.HOLE, 1, drop, {8}),
    "a hole twice": (Type.HOLE, 1, twice, {8}),
    "a bit of the digest": (Type.CHUNK_END, 1, flip(-1), {8}),
    "the end dropped": (Type.CHUNK_END, 1, drop, {5, 8}),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_never_success_and_no_file_gets_its_name(what: str, tmp_path: Path, processes: ExitStack) -> None:
    kind, number, damage, codes = DAMAGE[what]
    source, target = write(tmp_path / "f", noise(4 * MIB) + bytes(2 * MIB + 5)), write(tmp_path / "out" / "f", b"old")
    left = processes.enter_context(listening(f"unix:{tmp_path}/d", "-o", target, "--timeout", "1.5"))
    left.end()
    passage = nth(kind, number, damage)
    relay = processes.enter_context(Relay(f"unix:{tmp_path}/s", f"unix:{tmp_path}/d", up=passage))
    done = run("pipe", "-i", source, relay.address, "--timeout", "1.5")
    received = left.finish()
    assert done.code in codes, done.err
    assert received.code in codes, received.err
    assert target.read_bytes() == b"old"
    assert os.listdir(target.parent) == ["f"]
    assert "Traceback" not in done.err + received.err


def test_a_damaged_acknowledgement_is_8(tmp_path: Path, processes: ExitStack) -> None:
    left = processes.enter_context(listening(f"unix:{tmp_path}/d"))
    left.end()
    relay = processes.enter_context(
        Relay(f"unix:{tmp_path}/s", f"unix:{tmp_path}/d", down=nth(Type.CHUNK_ACK, 1, flip(8)))
    )
    done = run("pipe", "-i", write(tmp_path / "f"), relay.address)
    assert done.code == 8, done.err


@pytest.mark.parametrize("share", [0, 50])
def test_a_cut_connection_fails_both_pipelines(share: int, tmp_path: Path, here: Path, processes: ExitStack) -> None:
    """tar on either side cannot know; hvcopy's status does."""
    write(here / "f", noise(8 * MIB))
    left = processes.enter_context(listening(f"unix:{tmp_path}/d"))
    left.end()
    tap = left.tap()
    gate = Gate(max(8 * MIB * share // 100, 400), lambda: relay.__exit__(None, None, None))
    relay = Relay(f"unix:{tmp_path}/s", f"unix:{tmp_path}/d", up=lambda: gate)
    done = pipeline(f"tar c -C {here} f | {shlex.join(HVCOPY)} pipe {relay.address}", tmp_path)
    assert done.code == 6, done.err
    assert left.finish().code == 6
    assert len(tap.all()) < 8 * MIB
