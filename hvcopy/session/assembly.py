"""Which blocks of one file have arrived, and whether they make up the whole (docs/protocol.md, section 6)."""

from __future__ import annotations

from hvcopy.errors import DigestMismatch, NotHvcopy
from hvcopy.wire.digests import ABSENT, DIGEST_SIZE, MAX_SIZE, block_count, block_size, digest, zeros_digest


class Assembly:
    """The blocks of one file of *size* bytes, in any order, each exactly once.

    Threads may ``add`` different blocks at once; whether two of them are the same block is for their caller to know.
    """

    __slots__ = ("_have", "block", "count", "digests", "size")

    def __init__(self, size: int) -> None:
        if size > MAX_SIZE:
            raise NotHvcopy(f"a file of {size} bytes is above the protocol's bound of {MAX_SIZE}")
        self.size = size
        self.block = block_size(size)
        self.count = block_count(size)
        self._have = bytearray(self.count)
        self.digests = bytearray(self.count * DIGEST_SIZE)

    def length_of(self, index: int) -> int:
        """Return the length in bytes of block *index*; only the last one may be short."""
        return min(self.block, self.size - index * self.block)

    def has(self, index: int) -> bool:
        """Say whether block *index* is here already."""
        return bool(self._have[index])

    def digest_of(self, index: int) -> bytes:
        """Return the digest recorded for block *index*."""
        return bytes(self.digests[index * DIGEST_SIZE : (index + 1) * DIGEST_SIZE])

    def add(self, index: int, block_digest: bytes) -> None:
        """Record block *index*.  Raises NotHvcopy when it lies outside the file or is here already."""
        if not 0 <= index < self.count or self._have[index]:
            raise NotHvcopy(f"the peer sent block {index} of {self.count} twice or outside the file")
        self.digests[index * DIGEST_SIZE : (index + 1) * DIGEST_SIZE] = block_digest
        self._have[index] = 1

    def take_back(self, index: int) -> None:
        """Count block *index* as not here after all."""
        self._have[index] = 0

    def add_sums(self, first: int, sums: bytes) -> None:
        """Record the blocks whose digest in *sums*, starting at block *first*, is not ABSENT."""
        for number in range(len(sums) // DIGEST_SIZE):
            one = sums[number * DIGEST_SIZE : (number + 1) * DIGEST_SIZE]
            if one != ABSENT:
                self.add(first + number, one)

    def index_of(self, offset: int, length: int) -> int:
        """Return the index of the block at *offset*; raises NotHvcopy when it is not exactly one block."""
        index, rest = divmod(offset, self.block)
        if rest or not 0 <= index < self.count or length != self.length_of(index):
            raise NotHvcopy(f"the peer sent {length} bytes at offset {offset}, which is not a block of the file")
        return index

    def add_hole(self, offset: int, length: int) -> None:
        """Record a run of whole blocks of zeros.  Raises NotHvcopy when it is off the grid or overlaps."""
        for index in self.run(offset, length):
            self.add(index, zeros_digest(self.length_of(index)))

    def run(self, offset: int, length: int) -> range:
        """Return the block indexes of a run; raises NotHvcopy when it does not lie on the grid."""
        first, rest = divmod(offset, self.block)
        end = offset + length
        if rest or length <= 0 or end > self.size or (end % self.block and end != self.size):
            raise NotHvcopy(f"the peer sent a run of {length} bytes at {offset}, which is not whole blocks of the file")
        return range(first, -(-end // self.block))

    @property
    def missing(self) -> int:
        """How many blocks are not here."""
        return self._have.count(0)

    @property
    def present(self) -> int:
        """How many bytes the blocks have that are here."""
        full = (self.count - self.missing) * self.block
        return full - (self.block - self.length_of(self.count - 1)) if self.count and self._have[-1] else full

    @property
    def complete(self) -> bool:
        """True once every block is here."""
        return 0 not in self._have

    def root(self) -> bytes:
        """Return the root digest over all blocks."""
        return digest(self.digests)

    def check_end(self, length: int, root: bytes) -> None:
        """Raise DigestMismatch unless *length* and *root*, as the sender gave them, are what arrived."""
        if length != self.size or root != self.root():
            raise DigestMismatch("the whole does not match the sender's digest", hint="run the same command again")
