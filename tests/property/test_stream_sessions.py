"""Both ends of a stream over links in memory: honest ends agree, damage never passes, liars meet refusals only."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hypothesis import event, given
from hypothesis import strategies as st
from xxhash import xxh3_128_digest

from hvcopy.errors import DigestMismatch, HvcopyError, NotHvcopy
from hvcopy.session.stream import IncomingStream, OutgoingStream
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.frames import HEADER, Type

Sent = tuple[Type, bytes]
ZEROS = st.sampled_from([frames.MIN_HOLE, frames.MIN_HOLE + 1, frames.MAX_CHUNK]).map(bytes)
CHUNKS = st.lists(st.one_of(st.binary(min_size=1, max_size=40), ZEROS), max_size=6)
"""Zeros travel as holes."""


def message(one: m.Message) -> Sent:
    """Return *one* as it goes over the link."""
    frame = m.encode(one)
    return frames.parse_header(frame[: HEADER.size])[0], frame[HEADER.size :]


@dataclass
class End:
    """An honest end with *chunks* to send."""

    chunks: list[bytes]
    link: deque[Sent] = field(default_factory=deque)
    outgoing: OutgoingStream = field(default_factory=OutgoingStream)
    incoming: IncomingStream = field(default_factory=IncomingStream)
    got: bytes = b""

    @property
    def over(self) -> bool:
        """Whether this end would say success."""
        return self.outgoing.over and self.incoming.over

    def step(self) -> None:
        """Send what comes next."""
        if self.chunks:
            chunk = self.chunks.pop(0)
            if len(chunk) >= frames.MIN_HOLE:
                self.link.append((Type.HOLE, self.outgoing.add_hole(len(chunk))))
                return
            self.link.append((Type.CHUNK, self.outgoing.add(memoryview(chunk)) + chunk))
        elif self.outgoing.end is None:
            self.link.append(message(self.outgoing.finish()))

    @property
    def talks(self) -> bool:
        """Whether there is something left to send."""
        return bool(self.chunks) or self.outgoing.end is None

    def take(self, kind: Type, body: bytes) -> None:
        """Hear one frame.  Raises HvcopyError."""
        if kind is Type.CHUNK:
            fixed, contents = body[: frames.CHUNK.size], body[frames.CHUNK.size :]
            self.incoming.expect(fixed, len(contents))
            for start in range(0, len(contents), 3):
                self.incoming.add(contents[start : start + 3])
            self.got += contents
            return
        if kind is Type.HOLE:
            zeros = self.incoming.add_hole(body)
            self.got += zeros
            self.incoming.wrote_hole(zeros)
            if self.incoming.owes_word:
                self.link.append(message(self.incoming.tell()))
            return
        heard = m.decode(kind, body) if kind in m.SCHEMA else None
        if isinstance(heard, m.ChunkEnd):
            self.incoming.ended(heard)
            assert not self.incoming.owes_word, "the acknowledgement says it"
            self.link.append(message(self.incoming.acknowledge("passed")))
        elif isinstance(heard, m.ChunkAck):
            self.outgoing.acknowledged(heard)
        elif isinstance(heard, m.Taken):
            self.outgoing.taken(heard)
        else:
            raise NotHvcopy("out of turn")


def moves(one: End, other: End) -> list[object]:
    """Return what may happen next: an end says something, or hears something."""
    found: list[object] = [end.step for end in (one, other) if end.talks]
    found += [lambda a=a, b=b: b.take(*a.link.popleft()) for a, b in ((one, other), (other, one)) if a.link]
    return found


@given(there=CHUNKS, back=CHUNKS, data=st.data())
def test_honest_ends_always_agree_however_their_words_interleave(
    there: list[bytes], back: list[bytes], data: st.DataObject
) -> None:
    one, other = End(list(there)), End(list(back))
    while possible := moves(one, other):
        assert not (one.over and other.over)
        chosen = data.draw(st.integers(0, len(possible) - 1))
        possible[chosen]()  # type: ignore[operator]
    assert one.over
    assert other.over
    assert (other.got, one.got) == (b"".join(there), b"".join(back))
    for end, sent in ((one, there), (other, back)):
        assert end.outgoing.digest == xxh3_128_digest(b"".join(sent))
        assert end.outgoing.length == len(b"".join(sent))


@given(there=CHUNKS, data=st.data())
def test_damage_of_contents_is_never_success(there: list[bytes], data: st.DataObject) -> None:
    """Contents are under no seal: whatever happens to them on the way, nobody says success, and it is called damage."""
    one, other = End(list(there)), End([])
    while one.talks:
        one.step()
    changed = False
    refused: HvcopyError | None = None
    try:
        while one.link:
            kind, body = one.link.popleft()
            if kind is Type.CHUNK and not changed and data.draw(st.booleans()):
                at = data.draw(st.integers(frames.CHUNK.size, len(body) - 1))
                body = body[:at] + bytes([body[at] ^ data.draw(st.integers(1, 255))]) + body[at + 1 :]
                changed = True
            other.take(kind, body)
    except HvcopyError as error:
        refused = error
    assert isinstance(refused, DigestMismatch) == changed
    assert other.incoming.over != changed
    assert not one.outgoing.over


FOREIGN = st.sampled_from(
    [
        message(m.ChunkEnd(0, xxh3_128_digest(b""))),
        message(m.ChunkEnd(2**63 - 1, bytes(16))),
        message(m.ChunkAck(0, xxh3_128_digest(b""), "passed")),
        message(m.ChunkAck(0, xxh3_128_digest(b""), "eaten")),
        message(m.ChunkAck(2**63 - 1, bytes(16), "")),
        message(m.Bye()),
        message(m.Acks([])),
        (Type.CHUNK, frames.CHUNK.pack(0)),
        (Type.CHUNK, frames.CHUNK.pack(0) + b"again"),
        (Type.CHUNK, frames.CHUNK.pack(2**64 - 1) + b"far"),
        (Type.CHUNK, b"short"),
        message(m.Taken(0)),
        message(m.Taken(frames.MIN_HOLE)),
        message(m.Taken(2**63 - 1)),
        (Type.HOLE, frames.HOLE.pack(0, 0, frames.MIN_HOLE)),
        (Type.HOLE, frames.HOLE.pack(0, 0, 2**64 - 1)),
        (Type.HOLE, frames.HOLE.pack(1, 0, 0)),
        (Type.DATA, bytes(40)),
    ]
)
"""Frames that are well formed, or nearly so, and out of place."""


def mutate(link: deque[Sent], data: st.DataObject) -> None:
    """Do to the frames under way what a hostile end may do."""
    match data.draw(st.sampled_from(["drop", "repeat", "rotate", "cut", "type", "foreign"])):
        case "drop":
            link.popleft()
        case "repeat":
            link.append(link[0])
        case "rotate":
            link.rotate(data.draw(st.integers(1, 5)))
        case "cut":
            link[0] = link[0][0], link[0][1][: data.draw(st.integers(0, len(link[0][1])))]
        case "type":
            link[0] = data.draw(st.sampled_from(list(Type))), link[0][1]
        case _:
            link.appendleft(data.draw(FOREIGN))


@given(there=CHUNKS, back=CHUNKS, data=st.data())
def test_of_a_hostile_end_only_refusals_escape_and_success_is_never_a_lie(
    there: list[bytes], back: list[bytes], data: st.DataObject
) -> None:
    one, other = End(list(there)), End(list(back))
    refused: HvcopyError | None = None
    try:
        for _ in range(200):
            possible = moves(one, other)
            if not possible:
                break
            links = [end.link for end in (one, other) if end.link]
            if links and data.draw(st.integers(0, 3)) == 0:
                mutate(data.draw(st.sampled_from(links)), data)
                continue
            possible[data.draw(st.integers(0, len(possible) - 1))]()  # type: ignore[operator]
    except HvcopyError as error:
        refused = error
    event(type(refused).__name__ if refused else "went on")
    assert refused is None or refused.exit_code in (7, 8)
    for sender, receiver, sent in ((one, other, there), (other, one, back)):
        assert receiver.incoming.length == len(receiver.got)
        if sender.outgoing.over:
            assert sender.outgoing.digest == xxh3_128_digest(b"".join(sent))
        if receiver.incoming.over and sender.outgoing.end and receiver.incoming.digest == sender.outgoing.digest:
            assert receiver.got == b"".join(sent)
