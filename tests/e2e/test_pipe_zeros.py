"""Zeros in the streams of hvcopy pipe: they are named and not sent, and only as far as the peer's reader has come."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import run
from peers import Framed, Listening, Peer, Refused, Relay, server
from starting import ELSEWHERE
from xxhash import xxh3_128_hexdigest

from e2e.plumbing import Piped, feed, joined, listening
from e2e.trees import KIB, MIB, noise, write
from hvcopy.wire import messages as m
from hvcopy.wire.frames import HOLE, Type

IMAGE = noise(MIB + 5) + bytes(9 * MIB) + noise(3 * MIB, 1) + bytes(2 * MIB) + b"the end"
"""As a disk image is: most of it is zeros."""


def _counting(passed: list[int]) -> Callable[[], Framed]:
    """Passages that note the length of each frame."""

    def count(kind: int, frame: bytes) -> bytes:
        passed.append(len(frame))
        return frame

    return lambda: Framed(count)


@pytest.mark.parametrize("from_pipe", [True, False], ids=["from a pipe", "from a file"])
def test_zeros_are_named_and_not_sent(from_pipe: bool, tmp_path: Path, processes: ExitStack) -> None:
    passed: list[int] = []
    source = write(tmp_path / "image", IMAGE)
    left = processes.enter_context(listening(f"unix:{tmp_path}/d", "--digest"))
    left.end()
    tap = left.tap()
    relay = processes.enter_context(Relay(f"unix:{tmp_path}/s", f"unix:{tmp_path}/d", up=_counting(passed)))
    right = processes.enter_context(Piped(relay.address, *([] if from_pipe else ["-i", source])))
    if from_pipe:
        feed(right, IMAGE)
    done = right.finish()
    assert done.code == 0, done.err
    received = left.finish()
    assert received.code == 0, received.err
    assert xxh3_128_hexdigest(IMAGE) in received.err
    assert tap.all() == IMAGE
    assert sum(passed) < 9 * MIB, "15 MiB, of which 4 are no zeros"


def test_the_names_of_zeros_count_for_the_rate_limit(tmp_path: Path, processes: ExitStack) -> None:
    passed: list[int] = []
    left = processes.enter_context(listening(f"unix:{tmp_path}/d", "-o", os.devnull))
    left.end()
    relay = processes.enter_context(Relay(f"unix:{tmp_path}/s", f"unix:{tmp_path}/d", up=_counting(passed)))
    source = write(tmp_path / "image", bytes(4 * MIB))
    done = run("pipe", "-i", source, relay.address, "--bwlimit", "40K", "-o", os.devnull, "--json")
    assert (done.code, left.finish().code) == (0, 0), done.err
    assert sum(passed) < 40 * KIB * (done.result["seconds"] + 0.2), "a tenth of a second's worth leaves at once"


def test_the_file_of_o_has_holes_where_the_stream_has_zeros(tmp_path: Path, root: Path) -> None:
    source = write(tmp_path / "image", IMAGE)
    with listening(f"unix:{tmp_path}/s", "-o", root / "image") as left:
        left.end()
        assert run("pipe", f"unix:{tmp_path}/s", "-i", source).code == 0
        assert left.finish().code == 0
    assert (root / "image").read_bytes() == IMAGE
    assert ELSEWHERE or (root / "image").stat().st_blocks * 512 < 9 * MIB


def test_a_stream_that_ends_in_zeros_is_whole_in_a_file(tmp_path: Path, root: Path) -> None:
    source = write(tmp_path / "image", b"x" * MIB + bytes(2 * MIB))
    with listening(f"unix:{tmp_path}/s", "-o", root / "image") as left:
        left.end()
        assert run("pipe", f"unix:{tmp_path}/s", "-i", source).code == 0
        assert left.finish().code == 0
    assert (root / "image").read_bytes() == source.read_bytes()


# ---- zeros that nobody has read yet


def zeros(folder: Path) -> Path:
    """A GiB of them."""
    path = write(folder / "zeros", b"")
    os.truncate(path, 1024 * MIB)
    return path


def test_a_sender_names_no_zeros_beyond_what_is_taken(tmp_path: Path) -> None:
    """A socket would hold the names of gigabytes, and the sender's progress be as far ahead of a reader that rests."""
    named: list[int] = []

    def script(peer: Peer) -> None:
        peer.expect(m.Job)
        peer.send(m.Ready(b"", 1, "", []))
        peer.beat()
        with contextlib.suppress(Refused):
            while True:
                frame = peer.receive()
                if frame.type is Type.HOLE:
                    named.append(HOLE.unpack(frame.body)[2])

    with Listening(f"unix:{tmp_path}/s", server(script)) as scripted:
        done = run("pipe", "-i", zeros(tmp_path), scripted.address, "--timeout", "1.5")
    assert done.code == 5, done.err
    assert 16 * MIB <= sum(named) <= 17 * MIB


def test_a_receiver_says_how_much_of_the_zeros_is_taken(tmp_path: Path) -> None:
    told: list[int] = []

    def script(peer: Peer) -> None:
        peer.expect(m.Job)
        peer.send(m.Ready(b"", 1, "", []))
        for number in range(20):
            peer.frame(Type.HOLE, HOLE.pack(0, number * MIB, MIB))
        while not told or told[-1] <= 16 * MIB:
            told.append(peer.expect(m.Taken).bytes)
        peer.close()

    with Listening(f"unix:{tmp_path}/s", server(script)) as scripted, Piped(scripted.address) as running:
        tap = running.tap()
        assert running.finish().code == 6
        assert tap.all() == bytes(20 * MIB)
    assert told[0] >= 4 * MIB
    assert told == sorted(set(told))


def test_zeros_go_both_ways_at_once_whoever_rests(tmp_path: Path) -> None:
    """Both ends must tell the other how much they took while their own stream fills the connection."""
    contents = [noise(MIB, seed) + bytes(20 * MIB) + noise(2 * MIB, seed) + bytes(3 * MIB) for seed in (0, 1)]
    with joined(f"unix:{tmp_path}/s") as pair:
        for one, content in zip(pair, contents, strict=True):
            feed(one, content)
        taps = [one.tap() for one in pair]
        assert [one.finish().code for one in pair] == [0, 0]
        assert [tap.all() for tap in taps] == contents[::-1]


def test_of_a_lost_peer_few_zeros_are_written_that_nobody_had_read(tmp_path: Path) -> None:
    with listening(f"unix:{tmp_path}/s") as left:
        left.end()
        with Piped(f"unix:{tmp_path}/s", "-i", zeros(tmp_path), "--progress", "json") as right:
            told = [json.loads(right.line(r'(\{"event": "progress".*\})\n')[1])["bytes"]]
            right.signal(signal.SIGKILL)
            right.finish()
        tap = left.tap()
        assert left.finish().code == 6
    assert told[0] <= 18 * MIB, "the reader has not begun"
    assert len(tap.all()) <= 18 * MIB
