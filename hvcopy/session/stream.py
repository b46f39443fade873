"""One stream each way: offsets, lengths, digests, and what was said of them (docs/protocol.md, section 10).

The two directions share nothing, so that a thread each may drive them.
"""

from __future__ import annotations

from xxhash import xxh3_128

from hvcopy.errors import DigestMismatch, NotHvcopy
from hvcopy.wire.frames import CHUNK, HOLE, MAX_CHUNK, MAX_HOLES_AHEAD, MIN_HOLE, TELL_TAKEN, unpack
from hvcopy.wire.messages import CACHED, PASSED, SYNCED, ChunkAck, ChunkEnd, Taken

_ZEROS = memoryview(bytes(MAX_CHUNK))
"""The largest hole.  Never written to, so that the system has one page for all of it."""


class OutgoingStream:
    """What this end sends.  ``add`` or ``add_hole`` before the frame leaves; ``finish`` once."""

    def __init__(self) -> None:
        self._digest = xxh3_128()
        self._holes = self._taken = 0
        self.length = 0
        self.end: ChunkEnd | None = None
        self.durability = ""

    @property
    def over(self) -> bool:
        """True once the peer has all of it and has said so."""
        return self.durability != ""

    def add(self, contents: memoryview) -> bytes:
        """Count and hash the next chunk's contents; returns the fixed part of its body."""
        assert self.end is None
        head = CHUNK.pack(self.length)
        self._digest.update(contents)
        self.length += len(contents)
        return head

    @property
    def ahead(self) -> bool:
        """Whether the peer must take some of the holes before another one is named."""
        return self._holes - self._taken >= MAX_HOLES_AHEAD

    def taken(self, said: Taken) -> None:
        """Take the peer's word for holes.  Raises NotHvcopy when it cannot be true."""
        if not self._taken < said.bytes <= self._holes:
            raise NotHvcopy("the peer took zeros that it was not sent")
        self._taken = said.bytes

    def add_hole(self, length: int) -> bytes:
        """Count and hash *length* zeros, MIN_HOLE to MAX_CHUNK; returns the body of the frame in their place."""
        assert self.end is None
        body = HOLE.pack(0, self.length, length)
        self._digest.update(_ZEROS[:length])
        self.length += length
        self._holes += length
        return body

    def finish(self) -> ChunkEnd:
        """Return what is to be said when nothing more will be added."""
        assert self.end is None
        self.end = ChunkEnd(self.length, self._digest.digest())
        return self.end

    def acknowledged(self, ack: ChunkAck) -> None:
        """Take the peer's word.  Raises NotHvcopy out of turn, DigestMismatch when it has something else."""
        if self.end is None or self.over or ack.durability not in (PASSED, CACHED, SYNCED):
            raise NotHvcopy("the peer acknowledged the stream out of turn")
        if (ack.length, ack.digest) != (self.end.length, self.end.digest):
            raise DigestMismatch("the peer has other bytes than were sent", hint="run the same command again")
        self.durability = ack.durability

    @property
    def digest(self) -> bytes:
        """XXH3-128 of what was added until now."""
        return self._digest.digest()


class IncomingStream:
    """What the peer sends.  ``expect`` for each chunk, ``add`` for its contents, ``add_hole`` for zeros, ``ended`` once.

    One thread may ``tell`` of holes while another takes what comes.
    """

    def __init__(self) -> None:
        self._digest = xxh3_128()
        self.length = 0
        self.has_ended = False
        self._written_holes = self._told_holes = 0
        self._live = False
        self.durability = ""

    @property
    def over(self) -> bool:
        """True once everything is where it goes and was acknowledged."""
        return self.durability != ""

    def expect(self, fixed: memoryview | bytes, size: int, *, live: bool = False) -> None:
        """Take the fixed part of a chunk with *size* bytes of contents.  Raises NotHvcopy unless it comes next."""
        self._live |= live
        comes_next = len(fixed) == CHUNK.size and CHUNK.unpack(fixed) == (self.length,)
        if self.has_ended or not 0 < size <= MAX_CHUNK or not comes_next:
            raise NotHvcopy("the peer sent a piece of its stream that does not come next")

    def add(self, contents: memoryview | bytes) -> None:
        """Count and hash contents of the chunk, all at once or piece by piece."""
        self._digest.update(contents)
        self.length += len(contents)

    def add_hole(self, body: memoryview | bytes) -> memoryview:
        """Count, hash and return the zeros that the peer named.  Raises NotHvcopy unless they come next."""
        zero, offset, length = unpack(HOLE, body, "HOLE")
        if self.has_ended or zero or offset != self.length or not MIN_HOLE <= length <= MAX_CHUNK:
            raise NotHvcopy("the peer sent a hole in its stream that does not come next")
        self.add(_ZEROS[:length])
        return _ZEROS[:length]

    def wrote_hole(self, zeros: memoryview) -> None:
        """Count what ``add_hole`` gave, once it is where it goes."""
        self._written_holes += len(zeros)

    @property
    def owes_word(self) -> bool:
        """Whether the peer is to hear how much of its holes is taken: not after its end, for the acknowledgement says all."""
        return not self.has_ended and self._written_holes - self._told_holes >= TELL_TAKEN

    def tell(self) -> Taken:
        """Return what is to be said of holes."""
        self._told_holes = self._written_holes
        return Taken(self._told_holes)

    def ended(self, end: ChunkEnd) -> None:
        """Take the peer's end.  Raises NotHvcopy out of turn, DigestMismatch when something else arrived."""
        if self.has_ended:
            raise NotHvcopy("the peer ended its stream twice")
        if (end.length, end.digest) != (self.length, self.digest):
            perhaps = "; perhaps somebody wrote to its source meanwhile" if self._live else ""
            raise DigestMismatch(
                f"{self.length} bytes arrived, but the peer has the digest of others{perhaps}",
                hint="use nothing of what came; run the same commands again",
            )
        self.has_ended = True

    def acknowledge(self, durability: str) -> ChunkAck:
        """Return what is to be said when everything is where it goes."""
        assert self.has_ended
        assert not self.over
        self.durability = durability
        return ChunkAck(self.length, self.digest, durability)

    @property
    def digest(self) -> bytes:
        """XXH3-128 of what was added until now."""
        return self._digest.digest()
