"""The sender's book-keeping: what is asked, what is sent, what is acknowledged (docs/protocol.md, sections 5 to 7)."""

from __future__ import annotations

from msgspec import Struct, field

from hvcopy.errors import NotHvcopy
from hvcopy.session.assembly import Assembly
from hvcopy.wire import messages as m
from hvcopy.wire.digests import ABSENT, DIGEST_SIZE, block_count

MAX_ASKED = 128
"""Files asked about and not yet acknowledged; protocol.md allows 1024."""
MAX_ASKED_BLOCKS = 1 << 20
"""Blocks of all files asked about together, unless a single one has more: bounds the memory for digests."""
MAX_PACKS = 64
"""Packs sent and not yet acknowledged: bounds what either side remembers of them."""


class Asked(Struct):
    """One file, symbolic or hard link that was announced and waits for its answer or acknowledgement."""

    id: int
    source: int
    path: bytes
    size: int
    verb: int = -1
    assembly: Assembly | None = None
    sums: dict[int, bytes] = field(default_factory=dict)
    root: bytes = b""
    told: bool = False
    ended: bool = False
    reused: int = 0
    doubted: bool = False


class Packed(Struct):
    """One pack that waits for its acknowledgement: its files, and the digest it was sent with."""

    id: int
    digest: bytes
    groups: list[m.Group]
    files: int


class SenderBook:
    """Every announcement and its answer.  Not thread-safe: the driver holds its lock."""

    def __init__(self) -> None:
        self._next = 1
        self._blocks = 0
        self.asked: dict[int, Asked] = {}
        self.packs: dict[int, Packed] = {}

    def new_id(self) -> int:
        """Return an id never used before in this session."""
        self._next += 1
        return self._next - 1

    @property
    def idle(self) -> bool:
        """True when nothing waits for the peer."""
        return not self.asked and not self.packs

    def may_ask(self, size: int) -> bool:
        """Say whether one more file of *size* bytes may be announced now."""
        if not self.asked:
            return True
        return len(self.asked) < MAX_ASKED and self._blocks + block_count(size) <= MAX_ASKED_BLOCKS

    def ask(self, source: int, path: bytes, size: int, *, link: bool = False) -> Asked:
        """Register an announcement; a *link* is acknowledged without an answer."""
        one = Asked(self.new_id(), source, path, size, verb=m.ALL if link else -1)
        self.asked[one.id] = one
        self._blocks += block_count(size)
        return one

    def forget(self, ident: int) -> Asked | None:
        """Take an announcement out of the book; None when it is not there."""
        one = self.asked.pop(ident, None)
        if one is not None:
            self._blocks -= block_count(one.size)
        return one

    def answer(self, answer: m.Answer) -> Asked | None:
        """Take one answer; returns the file when everything needed to go on is known, None while SUMS are awaited.

        A file that is skipped or refused leaves the book.
        """
        one = self.asked.get(answer.id)
        if one is None or one.verb >= 0 or answer.verb > m.PATCH:
            raise NotHvcopy(f"the peer answered file {answer.id}, which was not asked, or twice")
        one.verb = answer.verb
        if one.verb in (m.SKIP, m.REFUSE):
            self.forget(one.id)
            return one
        one.assembly = Assembly(one.size)
        return one if one.verb == m.ALL else None

    def sums(self, ident: int, first: int, digests: bytes, *, last: bool) -> Asked | None:
        """Take digests of what the receiver has; returns the file after the last of them."""
        one = self.asked.get(ident)
        if one is None or one.assembly is None or one.verb not in (m.REST, m.COMPARE, m.PATCH) or one.told:
            raise NotHvcopy(f"the peer sent SUMS for file {ident}, which does not wait for them")
        if first + len(digests) // DIGEST_SIZE > one.assembly.count:
            raise NotHvcopy(f"the peer sent SUMS beyond the end of file {ident}")
        if one.verb == m.REST:
            one.assembly.add_sums(first, digests)
            one.reused = one.assembly.present
        else:
            for number in range(len(digests) // DIGEST_SIZE):
                value = digests[number * DIGEST_SIZE : (number + 1) * DIGEST_SIZE]
                if value != ABSENT:
                    one.sums[first + number] = value
        one.told = last
        return one if last else None

    def doubt(self, ident: int, offset: int) -> tuple[Asked, int]:
        """Take the receiver's word that a block is not what was hashed; returns the file and the block's index."""
        one = self.asked.get(ident)
        if one is None or one.assembly is None or one.verb not in (m.ALL, m.REST) or one.doubted:
            raise NotHvcopy(f"the peer doubts file {ident}, of which no block is on its way, or a second time")
        index, within = divmod(offset, one.assembly.block)
        if within or index >= one.assembly.count or not one.assembly.has(index):
            raise NotHvcopy(f"the peer doubts what was not sent, at {offset} of file {ident}")
        one.doubted = True
        return one, index

    def acknowledge(self, ack: m.Ack) -> Asked | Packed:
        """Take one acknowledgement out of the book; the caller compares digests.  Raises NotHvcopy when unexpected."""
        if ack.state > m.FAILED:
            raise NotHvcopy(f"the peer acknowledged with the unknown state {ack.state}")
        pack = self.packs.pop(ack.id, None)
        if pack is not None:
            return pack
        one = self.forget(ack.id)
        if one is None:
            raise NotHvcopy(f"the peer acknowledged {ack.id}, which was never sent")
        return one
