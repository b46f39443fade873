"""The block grid and the digests of section 6."""

from __future__ import annotations

import pytest

from hvcopy.wire import digests

MIB = 1 << 20


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # XXH3_128bits, seed 0, canonical form: the values xxhsum -H2 prints for nothing and for "a"
        (b"", "99aa06d3014798d86001c324468d497f"),
        (b"a", "a96faf705af16834e6c632b61e964e1f"),
    ],
)
def test_digest_is_xxh3_128_in_canonical_order(data: bytes, expected: str) -> None:
    assert digests.digest(data).hex() == expected


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_digest_takes_any_buffer(kind: type) -> None:
    assert digests.digest(kind(b"a")) == digests.digest(b"a")


@pytest.mark.parametrize(
    ("size", "block"),
    [
        (0, MIB),
        (1, MIB),
        (262_144 * MIB, MIB),
        (262_144 * MIB + 1, 2 * MIB),
        (262_144 * 2 * MIB, 2 * MIB),
        (262_144 * 2 * MIB + 1, 4 * MIB),
        (262_144 * 4 * MIB + 1, 8 * MIB),
        (262_144 * 8 * MIB + 1, 16 * MIB),
        (262_144 * 16 * MIB + 1, 16 * MIB),
        (2**63 - 1, 16 * MIB),
    ],
)
def test_block_size_doubles_while_there_would_be_too_many_blocks(size: int, block: int) -> None:
    assert digests.block_size(size) == block


@pytest.mark.parametrize(
    ("size", "count"),
    [(0, 0), (1, 1), (MIB, 1), (MIB + 1, 2), (262_144 * MIB, 262_144), (262_144 * MIB + 1, 131_073), (2**44, 2**20)],
)
def test_block_count_counts_the_short_last_block(size: int, count: int) -> None:
    assert digests.block_count(size) == count


def test_max_size_is_as_many_blocks_as_the_page_allows() -> None:
    assert digests.MAX_SIZE == 2**20 * 16 * MIB
    assert digests.block_count(digests.MAX_SIZE) == 2**20
    assert digests.block_count(digests.MAX_SIZE + 1) == 2**20 + 1


@pytest.mark.parametrize("length", [0, 1, 4096, MIB])
def test_zeros_digest_is_that_of_zeros(length: int) -> None:
    assert digests.zeros_digest(length) == digests.digest(b"\0" * length)


def test_absent_is_the_digest_of_no_block_in_use() -> None:
    assert digests.ABSENT == b"\0" * 16
    assert digests.ABSENT not in {digests.zeros_digest(length) for length in (0, 1, MIB)}
