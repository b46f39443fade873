"""Which blocks of a file are here: each exactly once, on the grid, inside the file."""

from __future__ import annotations

import pytest

from hvcopy.errors import DigestMismatch, NotHvcopy
from hvcopy.session.assembly import Assembly
from hvcopy.wire.digests import ABSENT, MAX_SIZE, digest, zeros_digest

MIB = 1 << 20
ONE, TWO, THREE = (bytes([n]) * 16 for n in (1, 2, 3))


def three_blocks() -> Assembly:
    """Return a file of two whole blocks and a short one."""
    return Assembly(2 * MIB + 5)


def test_empty_file_is_complete_and_has_the_digest_of_nothing() -> None:
    empty = Assembly(0)
    assert empty.complete
    assert empty.root() == digest(b"")
    empty.check_end(0, digest(b""))


def test_add_of_every_block_completes() -> None:
    file = three_blocks()
    file.add(2, THREE)
    file.add(0, ONE)
    assert not file.complete
    file.add(1, TWO)
    assert file.complete
    assert file.root() == digest(ONE + TWO + THREE)
    assert [file.digest_of(index) for index in range(3)] == [ONE, TWO, THREE]


def test_has_tells_single_blocks() -> None:
    file = three_blocks()
    file.add(1, TWO)
    assert [file.has(index) for index in range(3)] == [False, True, False]
    assert file.missing == 2


@pytest.mark.parametrize("index", [-1, 3, 2**62])
def test_add_outside_the_file_is_refused(index: int) -> None:
    file = three_blocks()
    with pytest.raises(NotHvcopy, match="outside"):
        file.add(index, ONE)
    assert file.missing == 3


def test_add_twice_is_refused_and_changes_nothing() -> None:
    file = three_blocks()
    file.add(1, TWO)
    with pytest.raises(NotHvcopy):
        file.add(1, ONE)
    assert (file.missing, file.digest_of(1)) == (2, TWO)


def test_file_above_the_bound_is_refused() -> None:
    assert Assembly(MAX_SIZE).count == 2**20
    with pytest.raises(NotHvcopy, match="bound"):
        Assembly(MAX_SIZE + 1)


def test_length_of_the_last_block_may_be_short() -> None:
    assert [three_blocks().length_of(index) for index in range(3)] == [MIB, MIB, 5]
    assert Assembly(2 * MIB).length_of(1) == MIB


@pytest.mark.parametrize(("offset", "length", "index"), [(0, MIB, 0), (MIB, MIB, 1), (2 * MIB, 5, 2)])
def test_index_of_exactly_one_block(offset: int, length: int, index: int) -> None:
    assert three_blocks().index_of(offset, length) == index


@pytest.mark.parametrize(
    ("offset", "length"),
    [(1, MIB), (0, MIB - 1), (0, 2 * MIB), (2 * MIB, 4), (2 * MIB, 6), (2 * MIB, MIB), (3 * MIB, 5), (2**63, MIB), (0, 0)],
)
def test_index_of_anything_else_is_refused(offset: int, length: int) -> None:
    with pytest.raises(NotHvcopy):
        three_blocks().index_of(offset, length)


@pytest.mark.parametrize(
    ("offset", "length", "blocks"),
    [(0, MIB, [0]), (0, 2 * MIB, [0, 1]), (0, 2 * MIB + 5, [0, 1, 2]), (MIB, MIB + 5, [1, 2]), (2 * MIB, 5, [2])],
)
def test_run_of_whole_blocks(offset: int, length: int, blocks: list[int]) -> None:
    assert list(three_blocks().run(offset, length)) == blocks


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 0), (1, MIB), (0, 5), (0, MIB + 5), (2 * MIB, 4), (2 * MIB, 6), (2 * MIB, MIB), (3 * MIB, MIB), (2**64 - 1, 2**64 - 1),
     (2**44, 0), (MIB, 2**64 - MIB)],
)  # fmt: skip
def test_run_off_the_grid_is_refused(offset: int, length: int) -> None:
    with pytest.raises(NotHvcopy):
        three_blocks().run(offset, length)


def test_add_hole_counts_as_zeros() -> None:
    file = three_blocks()
    file.add_hole(MIB, MIB + 5)
    assert [file.digest_of(1), file.digest_of(2)] == [zeros_digest(MIB), zeros_digest(5)]
    assert [file.has(index) for index in range(3)] == [False, True, True]


def test_add_hole_over_a_block_is_refused() -> None:
    file = three_blocks()
    file.add(1, TWO)
    with pytest.raises(NotHvcopy):
        file.add_hole(0, 2 * MIB)
    assert file.digest_of(1) == TWO


def test_add_sums_takes_what_is_there_and_leaves_the_rest() -> None:
    file = three_blocks()
    file.add_sums(0, ONE + ABSENT)
    file.add_sums(2, THREE)
    assert [file.has(index) for index in range(3)] == [True, False, True]
    assert file.digest_of(2) == THREE


def test_add_sums_beyond_the_end_is_refused() -> None:
    with pytest.raises(NotHvcopy):
        three_blocks().add_sums(2, ABSENT + ONE)


def test_check_end_of_another_length_or_root_is_a_mismatch() -> None:
    file = Assembly(5)
    file.add(0, ONE)
    file.check_end(5, digest(ONE))
    with pytest.raises(DigestMismatch):
        file.check_end(6, digest(ONE))
    with pytest.raises(DigestMismatch):
        file.check_end(5, digest(TWO))
