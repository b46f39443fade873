"""Block grid and digests (docs/protocol.md, section 6)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from xxhash import xxh3_128, xxh3_128_digest

from hvcopy.wire.frames import MIB

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

DIGEST_SIZE = 16
ABSENT = bytes(DIGEST_SIZE)
"""In SUMS: this block is not here."""
MANY_BLOCKS = 1 << 18
MAX_BLOCKS = 1 << 20
MAX_BLOCK = 16 * MIB
MAX_SIZE = MAX_BLOCKS * MAX_BLOCK


HASHED = 256 * 1024
"""Bytes to hash at once where there is a choice: a piece just read is then still in the processor's cache."""


def hasher() -> xxh3_128:
    """Return a new state whose digest, after its updates, is that of all of them joined."""
    return xxh3_128()


def digest(data: ReadableBuffer) -> bytes:
    """Return the XXH3-128 of *data*: 16 bytes in canonical big-endian order."""
    return xxh3_128_digest(data)


def block_size(size: int) -> int:
    """Return the block size in bytes of a file of *size* bytes: 1 MiB, doubled up to 16 MiB for the largest."""
    block = MIB
    while block < MAX_BLOCK and size > block * MANY_BLOCKS:
        block *= 2
    return block


def block_count(size: int) -> int:
    """Return how many blocks a file of *size* bytes has; 0 for an empty one."""
    return -(-size // block_size(size))


@lru_cache(maxsize=8)
def zeros_digest(length: int) -> bytes:
    """Return the digest of *length* zero bytes, as a hole counts."""
    return digest(bytes(length))
