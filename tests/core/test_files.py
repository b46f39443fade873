"""read_at, write_at, start_writeback and all_zeros."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcopy import _core as core

PAGE = 4096
SHM = Path("/dev/shm")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """An empty file, open for reading and writing."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def data_extents(fd: int) -> list[tuple[int, int]]:
    """Return (start, end) of each data extent that the filesystem reports."""
    extents, at = [], 0
    while True:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: no data beyond *at*
            return extents
        at = os.lseek(fd, start, os.SEEK_HOLE)
        extents.append((start, at))


@pytest.mark.parametrize("size", [0, 1, PAGE, (3 << 20) + 5])
@pytest.mark.parametrize("offset", [0, 1, 10 * PAGE + 7, 5 << 32])
@pytest.mark.parametrize("sparse", [False, True])
def test_file_written_at_an_offset_reads_back(file: int, size: int, offset: int, sparse: bool) -> None:
    data, into = random.Random(size).randbytes(size), bytearray(size)
    assert core.write_at(file, data, offset, sparse) == size
    assert core.read_at(file, into, offset) == size
    assert into == data


def test_read_at_stops_at_the_end_of_the_file(file: int) -> None:
    os.write(file, b"abc")
    into = bytearray(10)
    assert core.read_at(file, into, 1) == 2
    assert into == b"bc" + bytes(8)
    assert core.read_at(file, into, 3) == core.read_at(file, into, 1 << 40) == 0
    assert core.read_at(file, bytearray(), 0) == 0


def test_file_calls_leave_the_file_position_alone(file: int) -> None:
    core.write_at(file, b"abc", 5, False)
    core.read_at(file, bytearray(3), 5)
    assert os.lseek(file, 0, os.SEEK_CUR) == 0


@pytest.mark.parametrize("offset", [-1, (1 << 63) - 3])
def test_file_calls_with_an_impossible_offset_are_misuse(file: int, offset: int) -> None:
    with pytest.raises(ValueError, match="offset"):
        core.read_at(file, bytearray(4), offset)
    with pytest.raises(ValueError, match="offset"):
        core.write_at(file, b"1234", offset, False)


def test_file_calls_on_a_bad_descriptor_raise_ebadf(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(IsADirectoryError):
        core.read_at(fd, bytearray(1), 0)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        core.write_at(fd, b"x", 0, False)
    os.close(fd)


def test_write_at_to_a_full_device_raises_enospc() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
        core.write_at(fd, b"x", 0, False)
    assert caught.value.errno == errno.ENOSPC
    os.close(fd)


def test_write_at_sparse_leaves_holes_that_the_filesystem_reports() -> None:
    path = SHM / f"hvcopy-sparse-{os.getpid()}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        data = b"a" * PAGE + bytes(10 * PAGE) + b"b" * PAGE + bytes(300 * PAGE) + b"c" + bytes(PAGE - 1) + bytes(PAGE)
        assert core.write_at(fd, data, 0, True) == 3 * PAGE
        os.ftruncate(fd, len(data))
        assert data_extents(fd) == [(0, PAGE), (11 * PAGE, 12 * PAGE), (312 * PAGE, 313 * PAGE)]
        assert os.pread(fd, len(data), 0) == data
    finally:
        os.close(fd)
        path.unlink()


@given(
    pages=st.lists(st.sampled_from([0, 0, 1, 2]), max_size=12),
    head=st.integers(0, PAGE),
    tail=st.integers(0, PAGE),
    offset=st.sampled_from([0, 1, PAGE - 1, PAGE, 3 * PAGE + 17]),
)
def test_write_at_sparse_equals_dense_and_skips_each_aligned_zero_page(
    pages: list[int], head: int, tail: int, offset: int
) -> None:
    data = bytes(head) + b"".join(bytes([p]) * PAGE for p in pages) + bytes(tail)
    fd = os.memfd_create("sparse")
    try:
        wrote = core.write_at(fd, data, offset, True)
        os.ftruncate(fd, offset + len(data))
        assert os.pread(fd, len(data), offset) == data
        first = -offset % PAGE
        skipped = sum(PAGE for at in range(first, len(data) - PAGE + 1, PAGE) if not any(data[at : at + PAGE]))
        assert wrote == len(data) - skipped
    finally:
        os.close(fd)


def test_rename_new_moves_a_name_but_never_over_another(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "taken").symlink_to("nowhere")
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(FileExistsError):
        core.rename_new(fd, b"a", b"taken")
    core.rename_new(fd, b"a", b"b")
    with pytest.raises(FileNotFoundError):
        core.rename_new(fd, b"a", b"c")
    os.close(fd)
    assert sorted(os.listdir(tmp_path)) == ["b", "taken"]


@pytest.mark.parametrize(("old", "new"), [(b"a", b"../b"), (b"../a", b"b"), (b"a\0x", b"b"), (b"a", b""), (b".", b"b")])
def test_rename_new_of_no_component_is_refused(tmp_path: Path, old: bytes, new: bytes) -> None:
    (tmp_path / "a").write_text("a")
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        core.rename_new(fd, old, new)
    os.close(fd)
    assert os.listdir(tmp_path) == ["a"]


def test_sync_filesystem_of_a_bad_descriptor_raises_ebadf(file: int) -> None:
    core.sync_filesystem(file)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        core.sync_filesystem(-1)


def test_start_writeback_is_a_hint_that_never_fails(file: int) -> None:
    core.write_at(file, bytes(1 << 16), 0, False)
    core.start_writeback(file, 0, 1 << 16)
    core.start_writeback(-1, -5, -5)


@given(st.lists(st.tuples(st.sampled_from([b"\0", b"\0", b"x"]), st.integers(0, 40)), max_size=4))
def test_all_zeros_agrees_with_counting_them(pieces: list[tuple[bytes, int]]) -> None:
    data = b"".join(byte * count for byte, count in pieces)
    assert core.all_zeros(data) == (data.count(0) == len(data))


@pytest.mark.parametrize("at", [0, 1, 2047, PAGE - 1, PAGE, 3 * PAGE - 1])
@pytest.mark.parametrize("value", [1, 128, 255])
def test_all_zeros_sees_a_single_byte_anywhere(at: int, value: int) -> None:
    data = bytearray(3 * PAGE)
    assert core.all_zeros(data)
    data[at] = value
    assert not core.all_zeros(data)
    assert not core.all_zeros(memoryview(data)[at:])
    assert core.all_zeros(memoryview(data)[:at])
