"""Blocks, holes and kept blocks in any order make the root that hashing in order makes: against an oracle."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_128_digest

from hvcopy.errors import DigestMismatch, NotHvcopy
from hvcopy.session import assembly as module
from hvcopy.session.assembly import Assembly
from hvcopy.wire.digests import ABSENT, block_count, block_size, digest

BLOCK = 16
"""Blocks small enough that many fit into an example; the real grid is in tests/unit/test_digests.py."""


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    """A grid of small blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "block_size", lambda size: BLOCK)
        patch.setattr(module, "block_count", lambda size: -(-size // BLOCK))
        yield


@st.composite
def sources(draw: st.DrawFn) -> bytes:
    """A file whose blocks are zeros or not."""
    whole = [draw(st.sampled_from([bytes(BLOCK), b"x" * BLOCK]) | st.binary(min_size=BLOCK, max_size=BLOCK))
             for _ in range(draw(st.integers(0, 9)))]  # fmt: skip
    return b"".join(whole) + draw(st.binary(max_size=BLOCK - 1))


def blocks_of(source: bytes) -> list[bytes]:
    """Return the blocks of *source*, in order."""
    return [source[start : start + BLOCK] for start in range(0, len(source), BLOCK)]


def oracle(source: bytes) -> bytes:
    """Return the root of *source*, hashed in order by the words of section 6."""
    return xxh3_128_digest(b"".join(xxh3_128_digest(block) for block in blocks_of(source)))


@given(source=sources(), data=st.data())
def test_any_order_and_any_way_gives_the_root_of_hashing_in_order(source: bytes, data: st.DataObject) -> None:
    file, blocks = Assembly(len(source)), blocks_of(source)
    order = data.draw(st.permutations(range(len(blocks))))
    done: set[int] = set()
    for first in order:
        if first in done:
            continue
        assert not file.complete
        run = 1
        if not any(blocks[first]) and data.draw(st.booleans()):
            while first + run < len(blocks) and first + run not in done and not any(blocks[first + run]):
                run += 1
            run = data.draw(st.integers(1, run))
            length = sum(map(len, blocks[first : first + run]))
            file.add_hole(first * BLOCK, length)
        elif data.draw(st.booleans()):
            file.add(file.index_of(first * BLOCK, len(blocks[first])), digest(blocks[first]))
        else:
            file.add_sums(first, digest(blocks[first]) + ABSENT * data.draw(st.integers(0, len(blocks) - first - 1)))
        done |= set(range(first, first + run))
        assert file.missing == len(blocks) - len(done)
        assert file.present == sum(len(blocks[index]) for index in done)
    assert file.complete
    assert file.root() == oracle(source)
    file.check_end(len(source), oracle(source))


@given(source=sources().filter(bool), data=st.data())
def test_any_byte_changed_changes_the_root(source: bytes, data: st.DataObject) -> None:
    file = Assembly(len(source))
    changed = bytearray(source)
    changed[data.draw(st.integers(0, len(source) - 1))] ^= data.draw(st.integers(1, 255))
    for index, block in enumerate(blocks_of(bytes(changed))):
        file.add(index, digest(block))
    with pytest.raises(DigestMismatch):
        file.check_end(len(source), oracle(source))


@given(size=st.integers(0, 10 * BLOCK), data=st.data())
def test_hostile_calls_never_leave_the_file(size: int, data: st.DataObject) -> None:
    """Against a set of blocks: what is refused changes nothing, and what is taken was new and inside."""
    file = Assembly(size)
    have: set[int] = set()
    number = st.integers(0, 12 * BLOCK) | st.integers(0, 2**64 - 1) | st.integers(0, 12).map(lambda n: n * BLOCK)
    for _ in range(data.draw(st.integers(0, 12))):
        offset, length = data.draw(number), data.draw(number)
        wanted = {index for index in range(file.count) if offset <= index * BLOCK < offset + length}
        whole = wanted and offset == min(wanted) * BLOCK and min(size, (max(wanted) + 1) * BLOCK) == offset + length
        try:
            file.add_hole(offset, length)
        except NotHvcopy:
            assert not whole or wanted & have
            return  # such a peer is disconnected
        assert whole
        assert not wanted & have
        have |= wanted
        assert {index for index in range(file.count) if file.has(index)} == have


@given(size=st.integers(0, 2**44))
def test_the_grid_covers_the_file_exactly(size: int) -> None:
    block, count = block_size(size), block_count(size)
    assert count <= 2**20
    assert (count - 1) * block < size <= count * block or size == count == 0
    assert block in {2**20 * 2**power for power in range(5)}
    assert block == 2**20 or -(-size // (block // 2)) > 262_144
