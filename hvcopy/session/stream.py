"""One stream each way: offsets, lengths, digests, and what was said of them (docs/protocol.md, section 10).

The two directions share nothing, so that a thread each may drive them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xxhash import xxh3_128

from hvcopy.errors import DigestMismatch, NotHvcopy
from hvcopy.wire.frames import CHUNK, MAX_CHUNK, unpack
from hvcopy.wire.messages import CACHED, PASSED, SYNCED, ChunkAck, ChunkEnd

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutgoingStream:
    """What this end sends.  ``add`` before the chunk leaves; ``end`` once."""

    def __init__(self) -> None:
        self._digest = xxh3_128()
        self.length = 0
        self.end: ChunkEnd | None = None
        self.durability = ""

    @property
    def over(self) -> bool:
        """True once the peer has all of it and has said so."""
        return self.durability != ""

    def add(self, data: ReadableBuffer, size: int) -> None:
        """Count and hash the *size* bytes of *data*, which follow those added before."""
        assert self.end is None
        self._digest.update(data)
        self.length += size

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
    """What the peer sends.  ``announced`` at the head of a chunk, ``add`` for its bytes, ``ended`` once."""

    def __init__(self) -> None:
        self._digest = xxh3_128()
        self._expected = 0
        self.length = 0
        self.has_ended = False
        self.durability = ""

    @property
    def over(self) -> bool:
        """True once everything is where it goes and was acknowledged."""
        return self.durability != ""

    def announced(self, head: bytes | memoryview, size: int) -> None:
        """Take the fixed part of a chunk whose contents are *size* bytes.  Raises NotHvcopy unless it comes next."""
        (offset,) = unpack(CHUNK, head, "CHUNK")
        if self.has_ended or offset != self._expected or self.length != self._expected or not 0 < size <= MAX_CHUNK:
            raise NotHvcopy(f"the peer sent {size} bytes at offset {offset} of its stream, which do not come next")
        self._expected += size

    def add(self, data: ReadableBuffer, size: int) -> None:
        """Count and hash *size* bytes of the chunk announced last."""
        self.length += size
        assert self.length <= self._expected
        self._digest.update(data)

    def ended(self, end: ChunkEnd) -> None:
        """Take the peer's end.  Raises NotHvcopy out of turn, DigestMismatch when something else arrived."""
        if self.has_ended or self.length != self._expected:
            raise NotHvcopy("the peer ended its stream out of turn")
        if (end.length, end.digest) != (self.length, self.digest):
            raise DigestMismatch(
                f"{self.length} bytes arrived, and they are not what the peer sent: its digest is another",
                hint="use nothing of it; run the same commands again",
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
