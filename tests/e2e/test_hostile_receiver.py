"""A receiver that lies, repeats itself, or stops reading: the sender's exit code rests on none of it."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import PATIENCE, Finished, eventually, run
from peers import Listening, Peer, drain
from peers import server as scripted

from e2e.trees import MIB, noise, write
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.digests import digest
from hvcopy.wire.frames import Type

SIZE = 9 * MIB


def accept_push(peer: Peer) -> None:
    """Take the job."""
    job = peer.expect(m.Job)
    assert job.kind == "push"
    peer.send(m.Ready(bytes(16), 1, "as", []))


def entry_of(peer: Peer) -> m.Entry:
    """Return the file that is asked about, passing over everything else."""
    while True:
        frame = peer.receive()
        if frame.type is Type.ENTRIES:
            message = m.decode(frame.type, frame.body)
            assert isinstance(message, m.Entries)
            return message.entries[0]


def to_the_end(peer: Peer, kind: Type = Type.END) -> frames.Frame:
    """Read everything up to the frame of *kind*."""
    while True:
        frame = peer.receive()
        if frame.type is kind:
            return frame


def pushed_to(script: Callable[[Peer], object], tmp_path: Path, *options: object, size: int = SIZE) -> Finished:
    """Push one file of *size* bytes to a scripted server that takes the job and then runs *script*."""
    source = write(tmp_path / "f", noise(size))

    def serve(peer: Peer) -> None:
        accept_push(peer)
        script(peer)

    with Listening(f"unix:{tmp_path}/evil", scripted(serve)) as listening:
        done = run("cp", source, f"{listening.address}:/f", "--progress", "none", *options)
    assert "Traceback" not in done.err
    assert len([line for line in done.err.splitlines() if line.startswith("hvcopy: ")]) == 1, done.err
    return done


def answered(then: Callable[[Peer, m.Entry], object]) -> Callable[[Peer], None]:
    """A script that wants all of the file, and then does *then*."""

    def script(peer: Peer) -> None:
        entry = entry_of(peer)
        peer.send(m.Answers([m.Answer(entry.id, m.ALL)]))
        then(peer, entry)
        peer.error_or_result()

    return script


def _closed(peer: Peer) -> None:
    """Wait until the sender has closed, and read nothing: it cannot come to the end before it has heard us."""
    poller = select.poll()
    poller.register(peer.sock, 0)
    assert poller.poll(PATIENCE * 1000)


def _ack(peer: Peer, ident: int, root: bytes) -> None:
    peer.send(m.Acks([m.Ack(ident, m.DONE, digest=root)]))


def _sums(
    peer: Peer, ident: int, first: int, count: int, value: bytes = bytes(range(16)), flags: int = 1
) -> None:
    peer.frame(Type.SUMS, frames.SUMS.pack(ident, first) + value * count, flags)


def _doubt(peer: Peer, ident: int, offset: int) -> None:
    peer.frame(Type.RECHECK, frames.RECHECK.pack(ident, offset))


def _result(peer: Peer, ident: int, durability: str, *, failed: int = 0) -> None:
    """Confirm the file as it should be, and end the copy with any RESULT."""
    _ack(peer, ident, frames.decode_end(to_the_end(peer).body).root)
    to_the_end(peer, Type.FINISH)
    peer.send(m.Result(1, SIZE, failed, durability))


LIES: dict[str, tuple[Callable[[Peer], object], int]] = {
    "wrong digest in ACK": (answered(lambda p, e: (to_the_end(p), _ack(p, e.id, bytes(range(16))))), 8),
    "no digest in ACK": (answered(lambda p, e: (to_the_end(p), _ack(p, e.id, b""))), 8),
    "ACK before the end": (answered(lambda p, e: (_ack(p, e.id, bytes(16)), _closed(p))), 7),
    "ACK of an unknown id": (answered(lambda p, e: _ack(p, 999, bytes(16))), 7),
    "ACK of unknown state": (answered(lambda p, e: p.send(m.Acks([m.Ack(e.id, 9)]))), 7),
    "answer twice": (answered(lambda p, e: p.send(m.Answers([m.Answer(e.id, m.ALL)]))), 7),
    "answer to an unknown id": (answered(lambda p, e: p.send(m.Answers([m.Answer(999, m.ALL)]))), 7),
    "answer of unknown verb": (lambda p: (p.send(m.Answers([m.Answer(entry_of(p).id, 77)])), p.error()), 7),
    "skipped, though nothing was to be": (
        lambda p: (p.send(m.Answers([m.Answer(entry_of(p).id, m.SKIP)])), p.error_or_result()),
        7,
    ),
    "skipped in the end, though nothing was to be": (
        answered(lambda p, e: (to_the_end(p), p.send(m.Acks([m.Ack(e.id, m.SKIPPED)])))),
        7,
    ),
    "doubt of a good block": (answered(lambda p, e: (to_the_end(p), _doubt(p, e.id, MIB))), 8),
    "doubt of an unknown id": (answered(lambda p, e: _doubt(p, 999, 0)), 7),
    "doubt beyond the end": (answered(lambda p, e: (to_the_end(p), _doubt(p, e.id, 90 * MIB))), 7),
    "doubt off the grid": (answered(lambda p, e: (to_the_end(p), _doubt(p, e.id, 5))), 7),
    "SUMS unasked": (answered(lambda p, e: _sums(p, e.id, 0, 1)), 7),
    "SUMS beyond the end": (
        lambda p: (
            e := entry_of(p),
            p.send(m.Answers([m.Answer(e.id, m.REST)])),
            _sums(p, e.id, 5, 100),
            p.error(),
        ),
        7,
    ),
    "SUMS twice for one block": (
        lambda p: (
            e := entry_of(p),
            p.send(m.Answers([m.Answer(e.id, m.REST)])),
            _sums(p, e.id, 0, 2, flags=0),
            _sums(p, e.id, 1, 2),
            p.error(),
        ),
        7,
    ),
    "same, though it differs": (
        lambda p: (
            e := entry_of(p),
            p.send(m.Answers([m.Answer(e.id, m.COMPARE)])),
            _sums(p, e.id, 0, 9),
            to_the_end(p),
            p.send(m.Acks([m.Ack(e.id, m.SAME, digest=bytes(16))])),
            p.error(),
        ),
        8,
    ),
    "RESULT of nothing written": (answered(lambda p, e: _result(p, e.id, "dry")), 7),
    "RESULT of an unknown word": (answered(lambda p, e: _result(p, e.id, "eaten")), 7),
    "RESULT of a failure that was never told": (answered(lambda p, e: _result(p, e.id, "synced", failed=1)), 7),
    "RESULT too early": (answered(lambda p, e: p.send(m.Result(1, SIZE, 0, "synced"))), 7),
    "a sender's frame": (answered(lambda p, e: p.frame(Type.DATA, bytes(40))), 7),
    "noise": (answered(lambda p, e: p.raw(bytes(range(100, 200)))), 7),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_receiver_that_lies_is_not_believed(lie: str, tmp_path: Path) -> None:
    script, code = LIES[lie]
    done = pushed_to(script, tmp_path, "--timeout", "15")
    assert done.code == code, done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("ack", "code"),
    [
        (lambda ident, right: m.Ack(ident, m.DONE, digest=bytes(16), files=1), 8),
        (lambda ident, right: m.Ack(ident, m.DONE, digest=right, files=0), 7),
        (lambda ident, right: m.Ack(ident, m.DONE, digest=right, files=2), 7),
        (lambda ident, right: m.Ack(ident, m.DONE, digest=right, failures=[(5, 10, "no")]), 7),
        (lambda ident, right: m.Ack(ident + 1, m.DONE, digest=right, files=1), 7),
        (lambda ident, right: m.Ack(ident, m.DONE, digest=right, skipped=1), 7),
    ],
    ids=["wrong digest", "too few", "too many", "failure of a file not sent", "unknown id", "skipped"],
)
def test_a_receiver_that_lies_about_a_pack_is_not_believed(
    ack: Callable[[int, bytes], m.Ack], code: int, tmp_path: Path
) -> None:
    def script(peer: Peer) -> None:
        body = to_the_end(peer, Type.PACK).body
        right, ident, *_ = frames.PACK.unpack_from(body)
        assert right == digest(bytes(body)[16:])
        peer.send(m.Acks([ack(ident, right)]))
        peer.error_or_result()

    done = pushed_to(script, tmp_path, "--timeout", "15", size=100)
    assert done.code == code, done.err


def test_a_receiver_that_is_gone_once_it_has_confirmed_everything_is_believed(tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        accept_push(peer)
        right, ident, *_ = frames.PACK.unpack_from(to_the_end(peer, Type.PACK).body)
        peer.send(m.Acks([m.Ack(ident, m.DONE, digest=right, files=1)]))
        to_the_end(peer, Type.FINISH)
        peer.sock.shutdown(socket.SHUT_RD)  # the goodbye has nowhere to go
        peer.send(m.Result(1, 100, 0, "synced"))

    source = write(tmp_path / "f", noise(100))
    with Listening(f"unix:{tmp_path}/s", scripted(script)) as listening:
        done = run("cp", source, f"{listening.address}:/f")
    assert done.code == 0, done.err


def test_a_refusal_of_the_one_file_is_told_with_its_reason(tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        accept_push(peer)
        peer.send(m.Answers([m.Answer(entry_of(peer).id, m.REFUSE, 10, "no\x1b[2J room")]))
        to_the_end(peer, Type.FINISH)
        peer.send(m.Result(0, 0, 1, "cached"))
        peer.expect(m.Bye)

    source = write(tmp_path / "f", noise(SIZE))
    with Listening(f"unix:{tmp_path}/s", scripted(script)) as listening:
        done = run("cp", source, f"{listening.address}:/f")
    assert done.code == 10, done.err
    assert "f: no\\x1b[2J room" in done.err


def test_folders_may_fail_while_the_ends_of_others_are_on_their_way(tmp_path: Path) -> None:
    folder = tmp_path.joinpath("src", *["n" * 240] * 8)
    folder.mkdir(parents=True)
    for number in range(700):
        (folder / f"{number:03}").mkdir()
    failed: list[int] = []

    def script(peer: Peer) -> None:
        accept_push(peer)
        over = False
        while not over:
            frame = peer.receive()
            over = frame.type is Type.FINISH
            if frame.type is Type.ENTRIES:
                ends = m.decode(frame.type, frame.body)
                assert isinstance(ends, m.Entries)
                failures = [m.Ack(one.id, m.FAILED, 10, "no\x1b[2J room") for one in ends.entries if one.kind == m.DIRECTORY_END]
                failed.extend(ack.id for ack in failures)
                peer.send(m.Acks(failures))
                eventually(peer.is_heard, what="the sender has read that")
        peer.send(m.Result(0, 0, len(failed), "cached"))
        peer.expect(m.Bye)

    with Listening(f"unix:{tmp_path}/s", scripted(script)) as listening:
        done = run("cp", "-r", tmp_path / "src", f"{listening.address}:/d", "--buffer", "64K", "--progress", "none")
    assert done.code == 10, done.err
    assert done.err.count("no\\x1b[2J room") == len(failed) == 709


def test_a_reader_that_stops_but_lives_is_5_within_the_timeout(tmp_path: Path) -> None:
    def then(peer: Peer, entry: m.Entry) -> None:
        peer.beat()
        peer.idle()

    done = pushed_to(answered(then), tmp_path, "--timeout", "1.5", size=40 * MIB)
    assert done.code == 5, done.err
    assert 1.4 < done.seconds < 15


def test_a_reader_that_stops_and_is_silent_is_6_within_the_timeout(tmp_path: Path) -> None:
    done = pushed_to(answered(lambda peer, entry: peer.idle()), tmp_path, "--timeout", "1.5", size=40 * MIB)
    assert done.code == 6, done.err
    assert 1.4 < done.seconds < 15
    assert done.resume_command[0] == "cp"


def test_a_receiver_that_reads_all_and_never_answers_is_5(tmp_path: Path) -> None:
    done = pushed_to(
        answered(lambda peer, entry: (peer.beat(), to_the_end(peer), peer.idle())),
        tmp_path,
        "--timeout",
        "1.5",
    )
    assert done.code == 5, done.err


def test_a_slow_but_steady_receiver_is_waited_for(tmp_path: Path) -> None:
    """Progress now and then, in heartbeats only, is enough: slow is not dead."""

    def then(peer: Peer, entry: m.Entry) -> None:
        root = to_the_end(peer).body
        for progress in range(7):
            peer.send(m.Ping(progress + 1, False))
            peer.idle(0.4)
        _ack(peer, entry.id, frames.decode_end(root).root)
        to_the_end(peer, Type.FINISH)
        peer.send(m.Result(1, SIZE, 0, "synced"))

    done = pushed_to(answered(then), tmp_path, "--timeout", "2.5")
    assert done.code == 0, done.err
    assert done.seconds > 2.8


def test_a_server_that_takes_the_greeting_and_no_job_is_5(tmp_path: Path) -> None:
    with Listening(f"unix:{tmp_path}/s", scripted(lambda peer: drain(peer.sock))) as listening:
        done = run("ls", listening.address, "--timeout", "1")
    assert done.code == 5, done.err


def test_a_sender_that_stops_is_given_up_by_the_puller(tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        peer.expect(m.Job)
        peer.send(m.Ready(bytes(16), 1, "f", [b"f"]))
        peer.send(m.Entries([m.Entry(m.FILE, 1, 0, b"", 0o644, SIZE, 10**18, m.Extra(identity=bytes(16)))]))
        peer.beat()
        peer.expect(m.Answers)
        drain(peer.sock)

    with Listening(f"unix:{tmp_path}/s", scripted(script)) as listening:
        done = run("cp", f"{listening.address}:/f", tmp_path / "f", "--timeout", "1.5")
    assert done.code == 5, done.err
    assert not (tmp_path / "f").exists()


def test_an_endless_listing_is_read_line_by_line(tmp_path: Path) -> None:
    """Memory is not the peer's to take: lines are printed as they come, until the user stops it."""

    def script(peer: Peer) -> None:
        peer.expect(m.Job)
        peer.send(m.Ready(bytes(16), 1, "", []))
        batch = m.Listing([m.Listed(b"n" * 200, "f", 0, 0, 0o644)] * 1000, False)
        for _ in range(20):
            peer.send(batch)
        peer.idle()

    with Listening(f"unix:{tmp_path}/s", scripted(script)) as listening:
        done = run("ls", listening.address, "--timeout", "1")
    assert done.code in (5, 6), done.err
    assert done.out.count("\n") == 20_000


def test_a_source_that_changed_after_it_was_hashed_is_said_to_have_changed(tmp_path: Path) -> None:
    """The receiver found other bytes than were hashed: the sender looks whose fault it is, though it had ended the file."""
    ends: list[frames.End] = []

    def script(peer: Peer, entry: m.Entry) -> None:
        ends.append(frames.decode_end(to_the_end(peer).body))
        with (tmp_path / "f").open("r+b") as file:
            file.seek(2 * MIB)
            file.write(b"another byte")
        _doubt(peer, entry.id, 2 * MIB)
        ends.append(frames.decode_end(to_the_end(peer).body))
        peer.send(m.Acks([m.Ack(entry.id, m.FAILED, 10, "it changed")]))
        to_the_end(peer, Type.FINISH)
        peer.send(m.Result(0, 0, 1, "cached"))

    done = pushed_to(answered(script), tmp_path, "-q")
    assert [end.state for end in ends] == [0, 1]
    assert done.code == 10
    assert "changed while it was read" in done.err


@pytest.mark.parametrize("root", [b"", bytes(16)])
def test_a_source_that_failed_is_not_confirmed_by_anybody(root: bytes, tmp_path: Path) -> None:
    def script(peer: Peer, entry: m.Entry) -> None:
        to_the_end(peer)
        with (tmp_path / "f").open("r+b") as file:
            file.write(b"another byte")
        _doubt(peer, entry.id, 0)
        assert frames.decode_end(to_the_end(peer).body).state == 1
        _ack(peer, entry.id, root)

    done = pushed_to(answered(script), tmp_path)
    assert done.code == 8, done.err
