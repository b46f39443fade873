"""What one end of a stream believes of the other: every piece in its place, every acknowledgement with its own digest."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from xxhash import xxh3_128_digest

from hvcopy.errors import DigestMismatch, NotHvcopy
from hvcopy.session.stream import IncomingStream, OutgoingStream
from hvcopy.wire import messages as m
from hvcopy.wire.frames import CHUNK, HOLE, MAX_CHUNK, MAX_HOLES_AHEAD, MIN_HOLE, TELL_TAKEN

CONTENT = b"what goes there"
DIGEST = xxh3_128_digest(CONTENT)


def sent(content: bytes = CONTENT) -> OutgoingStream:
    """A stream of which all was sent."""
    out = OutgoingStream()
    out.add(memoryview(content))
    out.finish()
    return out


def arrived(content: bytes = CONTENT) -> IncomingStream:
    """A stream of which *content* has come."""
    stream = IncomingStream()
    stream.expect(CHUNK.pack(0), len(content))
    stream.add(content)
    return stream


# ---- what this end sends


@pytest.mark.parametrize("durability", [m.PASSED, m.CACHED, m.SYNCED])
def test_an_acknowledgement_with_the_same_digest_ends_the_stream(durability: str) -> None:
    out = sent()
    out.acknowledged(m.ChunkAck(len(CONTENT), DIGEST, durability))
    assert (out.over, out.durability) == (True, durability)


@pytest.mark.parametrize(
    ("length", "digest"), [(len(CONTENT), xxh3_128_digest(b"what came there")), (len(CONTENT) - 1, DIGEST), (0, bytes(16))]
)
def test_an_acknowledgement_of_other_bytes_is_a_mismatch(length: int, digest: bytes) -> None:
    out = sent()
    with pytest.raises(DigestMismatch):
        out.acknowledged(m.ChunkAck(length, digest, m.SYNCED))
    assert not out.over


@pytest.mark.parametrize("durability", ["", "dry", "eaten"])
def test_an_acknowledgement_of_unknown_durability_is_refused(durability: str) -> None:
    out = sent()
    with pytest.raises(NotHvcopy, match="out of turn"):
        out.acknowledged(m.ChunkAck(len(CONTENT), DIGEST, durability))
    assert not out.over


def test_an_acknowledgement_before_the_end_or_twice_is_refused() -> None:
    out = OutgoingStream()
    with pytest.raises(NotHvcopy, match="out of turn"):
        out.acknowledged(m.ChunkAck(0, xxh3_128_digest(b""), m.PASSED))
    out.finish()
    out.acknowledged(m.ChunkAck(0, xxh3_128_digest(b""), m.PASSED))
    with pytest.raises(NotHvcopy, match="out of turn"):
        out.acknowledged(m.ChunkAck(0, xxh3_128_digest(b""), m.PASSED))


def test_no_more_holes_are_named_than_the_peer_may_have_before_it() -> None:
    out = OutgoingStream()
    for _ in range(MAX_HOLES_AHEAD // MAX_CHUNK):
        assert not out.ahead
        out.add_hole(MAX_CHUNK)
    assert out.ahead
    out.taken(m.Taken(MIN_HOLE))
    assert not out.ahead


@pytest.mark.parametrize("count", [0, 2 * MIN_HOLE, 3 * MIN_HOLE + 1, 2**63 - 1])
def test_holes_that_cannot_have_been_taken_are_refused(count: int) -> None:
    """Neither fewer than were told before, nor more than were named."""
    out = OutgoingStream()
    out.add_hole(3 * MIN_HOLE)
    out.taken(m.Taken(2 * MIN_HOLE))
    with pytest.raises(NotHvcopy, match="not sent"):
        out.taken(m.Taken(count))


# ---- what the peer sends


@pytest.mark.parametrize(
    ("fixed", "size"),
    [
        (CHUNK.pack(0), 5),
        (CHUNK.pack(len(CONTENT) + 1), 5),
        (CHUNK.pack(2**64 - 1), 5),
        (CHUNK.pack(len(CONTENT)), 0),
        (CHUNK.pack(len(CONTENT)), MAX_CHUNK + 1),
        (CHUNK.pack(len(CONTENT))[:-1], 5),
        (b"", 0),
    ],
)
def test_a_piece_that_does_not_come_next_is_refused(fixed: bytes, size: int) -> None:
    with pytest.raises(NotHvcopy, match="does not come next"):
        arrived().expect(fixed, size)


@pytest.mark.parametrize(
    "fields",
    [
        (1, len(CONTENT), MIN_HOLE),
        (0, 0, MIN_HOLE),
        (0, len(CONTENT) + 1, MIN_HOLE),
        (0, len(CONTENT), MIN_HOLE - 1),
        (0, len(CONTENT), 0),
        (0, len(CONTENT), MAX_CHUNK + 1),
        (0, len(CONTENT), 2**64 - 1),
    ],
)
def test_a_hole_that_does_not_come_next_is_refused(fields: tuple[int, int, int]) -> None:
    stream = arrived()
    with pytest.raises(NotHvcopy, match="does not come next"):
        stream.add_hole(HOLE.pack(*fields))
    assert stream.length == len(CONTENT)


@pytest.mark.parametrize("length", [MIN_HOLE, MAX_CHUNK])
def test_a_hole_counts_as_its_zeros(length: int) -> None:
    stream = arrived()
    assert bytes(stream.add_hole(HOLE.pack(0, len(CONTENT), length))) == bytes(length)
    stream.ended(m.ChunkEnd(len(CONTENT) + length, xxh3_128_digest(CONTENT + bytes(length))))
    assert stream.has_ended


@pytest.mark.parametrize(
    ("length", "digest"), [(len(CONTENT), xxh3_128_digest(b"what came there")), (len(CONTENT) + 1, DIGEST)]
)
def test_an_end_of_other_bytes_is_a_mismatch(length: int, digest: bytes) -> None:
    stream = arrived()
    with pytest.raises(DigestMismatch):
        stream.ended(m.ChunkEnd(length, digest))
    assert not stream.has_ended


@pytest.mark.parametrize(
    "more",
    [
        lambda stream: stream.expect(CHUNK.pack(len(CONTENT)), 5),
        lambda stream: stream.add_hole(HOLE.pack(0, len(CONTENT), MIN_HOLE)),
        lambda stream: stream.ended(m.ChunkEnd(len(CONTENT), DIGEST)),
    ],
    ids=["piece", "hole", "end"],
)
def test_after_the_end_nothing_is_taken(more: Callable[[IncomingStream], object]) -> None:
    stream = arrived()
    stream.ended(m.ChunkEnd(len(CONTENT), DIGEST))
    with pytest.raises(NotHvcopy):
        more(stream)
    assert stream.acknowledge(m.CACHED) == m.ChunkAck(len(CONTENT), DIGEST, m.CACHED)


def test_the_peer_is_told_of_its_holes_once_there_are_some_and_before_it_must_wait() -> None:
    stream = IncomingStream()
    while not stream.owes_word:
        assert stream.length < TELL_TAKEN < MAX_HOLES_AHEAD
        stream.wrote_hole(stream.add_hole(HOLE.pack(0, stream.length, MAX_CHUNK)))
    assert stream.length == TELL_TAKEN
    assert stream.tell() == m.Taken(TELL_TAKEN)
    assert not stream.owes_word
