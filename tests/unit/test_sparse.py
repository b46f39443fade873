"""Where holes are, on the grid of blocks; the file system under the test must know holes, or the test says so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvcopy.files.sparse import hole_runs
from hvcopy.files.system import looks_sparse

BLOCK = 64 * 1024


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """An empty file."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, BLOCK)
    if os.lseek(fd, 0, os.SEEK_HOLE) != 0:
        pytest.skip("this file system knows no holes")
    os.ftruncate(fd, 0)
    yield fd
    os.close(fd)


def lay_out(fd: int, size: int, *data: tuple[int, int]) -> None:
    """Make the file *size* long, with data of (offset, length) and holes elsewhere."""
    os.ftruncate(fd, size)
    for offset, length in data:
        os.pwrite(fd, b"x" * length, offset)


def test_looks_sparse_only_with_holes(fd: int) -> None:
    lay_out(fd, BLOCK, (0, BLOCK))
    os.fsync(fd)
    assert not looks_sparse(os.fstat(fd))
    os.ftruncate(fd, 100 * BLOCK)
    assert looks_sparse(os.fstat(fd))


def test_hole_runs_of_an_empty_file_are_none(fd: int) -> None:
    assert hole_runs(fd, 0, BLOCK) == []


def test_hole_runs_of_a_file_without_holes_are_none(fd: int) -> None:
    lay_out(fd, 3 * BLOCK + 5, (0, 3 * BLOCK + 5))
    assert hole_runs(fd, 3 * BLOCK + 5, BLOCK) == []


@pytest.mark.parametrize("size", [1, BLOCK, BLOCK + 1, 7 * BLOCK - 1])
def test_hole_runs_of_nothing_but_a_hole_are_all_of_it(fd: int, size: int) -> None:
    lay_out(fd, size)
    assert hole_runs(fd, size, BLOCK) == [(0, -(-size // BLOCK))]


def test_hole_runs_count_whole_blocks_only(fd: int) -> None:
    lay_out(fd, 10 * BLOCK, (0, 4096), (5 * BLOCK - 4096, 8192))
    assert hole_runs(fd, 10 * BLOCK, BLOCK) == [(1, 3), (6, 4)]


def test_hole_runs_at_the_end_take_the_short_last_block(fd: int) -> None:
    lay_out(fd, 3 * BLOCK + 5, (0, BLOCK))
    assert hole_runs(fd, 3 * BLOCK + 5, BLOCK) == [(1, 3)]


def test_hole_runs_shorter_than_a_block_are_none(fd: int) -> None:
    lay_out(fd, 2 * BLOCK, (0, BLOCK - 8192), (BLOCK + 8192, BLOCK - 8192))
    assert hole_runs(fd, 2 * BLOCK, BLOCK) == []


def test_hole_runs_of_a_file_that_grew_stay_inside_the_size(fd: int) -> None:
    """The size is the announced one; what lies beyond it now is nobody's business."""
    lay_out(fd, 9 * BLOCK, (0, BLOCK), (8 * BLOCK, BLOCK))
    assert hole_runs(fd, 3 * BLOCK + 5, BLOCK) == [(1, 3)]
    assert hole_runs(fd, BLOCK, BLOCK) == []


def test_hole_runs_of_a_file_that_shrank_do_not_fail(fd: int) -> None:
    lay_out(fd, BLOCK, (0, BLOCK))
    assert hole_runs(fd, 9 * BLOCK, BLOCK) in ([], [(1, 8)])


def test_hole_runs_where_holes_are_unknown_are_none() -> None:
    read, write = os.pipe()
    assert hole_runs(read, BLOCK, BLOCK) == []
    os.close(read)
    os.close(write)


def test_hole_runs_never_cover_data(fd: int) -> None:
    data = [(3 * BLOCK, 4096), (4 * BLOCK, 2 * BLOCK), (9 * BLOCK + 4096, 4096), (20 * BLOCK - 4096, 4096)]
    size = 25 * BLOCK + 17
    lay_out(fd, size, *data)
    runs = hole_runs(fd, size, BLOCK)
    assert runs == [(0, 3), (6, 3), (10, 9), (20, 6)]
    for first, count in runs:
        length = min(size, (first + count) * BLOCK) - first * BLOCK
        assert os.pread(fd, length, first * BLOCK) == bytes(length)
