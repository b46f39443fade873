"""Names below a directory's handle, on every system: opened, made, renamed, linked and removed without a path."""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvcopy import _core as core

WINDOWS = sys.platform == "win32"
NAME = "Ünï \N{CJK UNIFIED IDEOGRAPH-4E2D}".encode()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """The handle of an empty directory."""
    (tmp_path / "folder").mkdir()
    fd = core.open_folder(os.fsencode(tmp_path / "folder"))
    yield fd
    os.close(fd)


def make(folder: int, name: bytes, content: bytes = b"") -> None:
    fd = core.open_at(folder, name, core.OPEN_WRITE | core.OPEN_NEW)
    core.write_at(fd, content, 0, False)
    os.close(fd)


def content(folder: int, name: bytes) -> bytes:
    fd = core.open_at(folder, name, core.OPEN_READ)
    try:
        into = bytearray(100)
        return bytes(into[: core.read_at(fd, into, 0)])
    finally:
        os.close(fd)


def test_a_new_file_is_there_and_never_made_twice(folder: int) -> None:
    make(folder, NAME, b"content")
    assert content(folder, NAME) == b"content"
    with pytest.raises(FileExistsError):
        make(folder, NAME)
    assert content(folder, NAME) == b"content"


def test_what_python_writes_to_its_descriptor_stands_there_as_it_is(folder: int) -> None:
    text = b"a\nb\r\n\x1ac\n"
    fd = core.open_at(folder, b"file", core.OPEN_WRITE | core.OPEN_NEW)
    assert os.write(fd, text) == len(text)
    os.close(fd)
    assert content(folder, b"file") == text


@pytest.mark.skipif(not WINDOWS, reason="Linux knows two names that differ in case")
def test_names_that_differ_in_case_are_one_file(folder: int) -> None:
    make(folder, b"name")
    with pytest.raises(FileExistsError):
        make(folder, b"NAME")


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0b", *([b"a\\b", b"a:b", b"C:"] if WINDOWS else [])])
@pytest.mark.parametrize("how", [core.OPEN_READ, core.OPEN_WRITE | core.OPEN_NEW, core.OPEN_ANY])
def test_what_is_no_component_is_opened_by_no_call(folder: int, name: bytes, how: int) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        core.open_at(folder, name, how)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    "call",
    [
        lambda fd, bad: core.make_directory_at(fd, bad),
        lambda fd, bad: core.remove_at(fd, bad),
        lambda fd, bad: core.replace_at(fd, b"a", bad),
        lambda fd, bad: core.replace_at(fd, bad, b"a"),
        lambda fd, bad: core.rename_new(fd, b"a", bad),
        lambda fd, bad: core.link_at(fd, bad, fd, b"b"),
        lambda fd, bad: core.link_at(fd, b"a", fd, bad),
    ],
)
def test_what_is_no_component_is_refused_everywhere(folder: int, call: object) -> None:
    make(folder, b"a")
    assert callable(call)
    for bad in (b"..", b"x/y", *([b"x\\y", b"x:y"] if WINDOWS else [])):
        with pytest.raises(OSError, match=r".") as caught:
            call(folder, bad)
        assert caught.value.errno == errno.EINVAL


def test_directories_are_made_entered_and_no_files(folder: int) -> None:
    core.make_directory_at(folder, b"sub")
    with pytest.raises(FileExistsError):
        core.make_directory_at(folder, b"sub")
    sub = core.open_at(folder, b"sub", core.OPEN_DIRECTORY)
    again = core.open_at(sub, b".", core.OPEN_DIRECTORY)
    make(sub, b"inside", b"1")
    assert content(again, b"inside") == b"1"
    assert os.path.samestat(os.fstat(sub), os.fstat(again))
    make(folder, b"file")
    with pytest.raises(NotADirectoryError):
        core.open_at(folder, b"file", core.OPEN_DIRECTORY)
    with pytest.raises(IsADirectoryError):
        core.remove_at(folder, b"sub")
    with pytest.raises(IsADirectoryError):
        core.open_at(folder, b"sub", core.OPEN_WRITE)
    for fd in (sub, again):
        os.close(fd)


def test_a_missing_name_and_a_closed_handle_say_so(folder: int) -> None:
    with pytest.raises(FileNotFoundError):
        core.open_at(folder, b"nothing", core.OPEN_READ)
    with pytest.raises(FileNotFoundError):
        core.remove_at(folder, b"nothing")
    with pytest.raises(OSError, match=r".") as caught:
        core.open_at(folder, b"x" * 256, core.OPEN_READ)
    assert caught.value.errno == errno.ENAMETOOLONG
    make(folder, b"file")
    for call in (
        lambda: core.open_at(9999, b"x", core.OPEN_READ),
        lambda: core.link_at(folder, b"file", 9999, b"x"),
        lambda: core.replace_at(9999, b"file", b"x"),
    ):
        with pytest.raises(OSError, match=r".") as caught:
            call()
        assert caught.value.errno == errno.EBADF
    with pytest.raises(FileNotFoundError):
        core.open_folder(b"nowhere at all")
    with pytest.raises(FileNotFoundError):
        core.open_folder(b"nowhere at all/deeper")


def test_a_rename_replaces_only_when_it_is_asked_to(folder: int) -> None:
    make(folder, b"old", b"old")
    make(folder, b"new", b"new")
    with pytest.raises(FileExistsError):
        core.rename_new(folder, b"new", b"old")
    assert content(folder, b"old") == b"old"
    core.replace_at(folder, b"new", b"old")
    assert content(folder, b"old") == b"new"
    with pytest.raises(FileNotFoundError):
        core.open_at(folder, b"new", core.OPEN_READ)
    core.rename_new(folder, b"old", b"elsewhere")
    assert content(folder, b"elsewhere") == b"new"


def test_a_directory_is_never_replaced_by_a_file(folder: int) -> None:
    make(folder, b"file", b"1")
    core.make_directory_at(folder, b"sub")
    with pytest.raises(IsADirectoryError):
        core.replace_at(folder, b"file", b"sub")
    assert content(folder, b"file") == b"1"


def test_an_open_file_can_be_renamed_and_removed(folder: int) -> None:
    fd = core.open_at(folder, b"first", core.OPEN_WRITE | core.OPEN_NEW | core.OPEN_ALONE)
    core.rename_new(folder, b"first", b"second")
    core.write_at(fd, b"later", 0, False)
    os.close(fd)
    assert content(folder, b"second") == b"later"
    fd = core.open_at(folder, b"second", core.OPEN_READ)
    core.remove_at(folder, b"second")
    os.close(fd)
    with pytest.raises(FileNotFoundError):
        core.open_at(folder, b"second", core.OPEN_READ)


def test_a_read_only_file_can_be_removed_and_its_other_name_stays_read_only(folder: int, tmp_path: Path) -> None:
    make(folder, b"first", b"content")
    core.link_at(folder, b"first", folder, b"second")
    fd = core.open_at(folder, b"first", core.OPEN_WRITE)
    core.set_attributes(fd, 0o444, 0)
    os.close(fd)
    core.remove_at(folder, b"second")
    assert os.listdir(tmp_path / "folder") == ["first"]
    assert (tmp_path / "folder/first").stat().st_mode & 0o222 == 0
    core.remove_at(folder, b"first")
    assert os.listdir(tmp_path / "folder") == []


@pytest.mark.skipif(not WINDOWS, reason="POSIX has flock(2) for that")
def test_a_file_that_is_written_alone_opens_for_nobody_else(folder: int) -> None:
    fd = core.open_at(folder, b"mine", core.OPEN_WRITE | core.OPEN_NEW | core.OPEN_ALONE)
    with pytest.raises(OSError, match=r".") as caught:
        core.open_at(folder, b"mine", core.OPEN_WRITE | core.OPEN_ALONE)
    assert caught.value.errno == errno.EBUSY
    os.close(fd)
    os.close(core.open_at(folder, b"mine", core.OPEN_WRITE | core.OPEN_ALONE))


def test_a_link_is_a_second_name_and_replaces_nothing(folder: int) -> None:
    make(folder, b"one", b"1")
    core.make_directory_at(folder, b"sub")
    sub = core.open_at(folder, b"sub", core.OPEN_DIRECTORY)
    core.link_at(folder, b"one", sub, b"two")
    assert content(sub, b"two") == b"1"
    with pytest.raises(FileExistsError):
        core.link_at(folder, b"one", sub, b"two")
    fd = core.open_at(sub, b"two", core.OPEN_ANY)
    assert os.fstat(fd).st_nlink == 2
    assert not core.is_link(fd)
    os.close(fd)
    os.close(sub)


def test_mode_and_time_are_set_on_what_is_open(folder: int) -> None:
    fd = core.open_at(folder, b"file", core.OPEN_WRITE | core.OPEN_NEW)
    core.set_attributes(fd, 0o444, 1_234_567_890_123_456_700)
    found = os.fstat(fd)
    assert found.st_mtime_ns == 1_234_567_890_123_456_700
    assert not found.st_mode & stat.S_IWUSR
    core.set_attributes(fd, 0o644, -1_000_000_000)
    assert os.fstat(fd).st_mtime_ns == -1_000_000_000
    assert os.fstat(fd).st_mode & stat.S_IWUSR
    core.set_attributes(fd, 0o644, -1)
    assert os.fstat(fd).st_mtime_ns == (-100 if WINDOWS else -1)  # as Windows has it: never later than it was
    os.close(fd)


def test_a_link_from_one_file_system_to_another_says_so(folder: int) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == os.fstat(folder).st_dev:
        pytest.skip("needs a second file system")
    make(folder, b"file")
    with tempfile.TemporaryDirectory(dir=memory) as path:
        other = core.open_folder(os.fsencode(path))
        with pytest.raises(OSError, match=r".") as caught:
            core.link_at(folder, b"file", other, b"file")
        os.close(other)
    assert caught.value.errno == errno.EXDEV


@pytest.mark.parametrize(("seconds", "nearest"), [(-(10**10), -(1 << 63)), (10**10, (1 << 63) - 1)], ids=["1653", "2286"])
def test_a_time_beyond_64_bits_of_nanoseconds_is_read_as_the_nearest(tmp_path: Path, seconds: int, nearest: int) -> None:
    any_time = Path("/dev/shm")  # ext4 begins in 1901
    with tempfile.TemporaryDirectory(dir=any_time if any_time.is_dir() else tmp_path) as path:
        file = Path(path, "file")
        file.touch()
        os.utime(file, (seconds, seconds))
        assert file.stat().st_mtime_ns == seconds * 10**9
        fd = core.open_folder(os.fsencode(path))
        records, _ = core.read_files(struct.pack("<i", fd), [b"file"], bytearray(1), 1)
        os.close(fd)
    status, _, _, _, _, size, mtime, *_ = struct.unpack(core.FILE_RECORD, records)
    assert (status, size, mtime) == (0, 0, nearest)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_size_is_cut_off_or_grows_by_zeros(folder: int, sparse: bool) -> None:
    fd = core.open_at(folder, b"file", core.OPEN_WRITE | core.OPEN_NEW)
    core.write_at(fd, b"0123456789", 0, False)
    core.set_size(fd, 4, sparse)
    core.set_size(fd, 1 << 33, sparse)
    assert os.fstat(fd).st_size == 1 << 33
    into = bytearray(10)
    core.read_at(fd, into, 0)
    assert into == b"0123" + bytes(6)
    start, end = core.next_piece(fd, 0, 4096)
    assert (start, end > 0) == (0, True)
    os.close(fd)


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="needs a file system whose holes are pages")
def test_pieces_end_where_the_caller_says_though_the_file_goes_on() -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    fd = os.open("/dev/shm", os.O_RDWR | os.O_TMPFILE)
    try:
        core.write_at(fd, bytes(page), 0, False)
        core.write_at(fd, bytes(page), 4 * page, False)
        core.set_size(fd, 9 * page, True)
        assert core.next_piece(fd, 0, 9 * page) == (0, page)
        assert core.next_piece(fd, page, 9 * page) == (4 * page, 5 * page)
        assert core.next_piece(fd, 5 * page, 9 * page) == (9 * page, 9 * page)
        assert core.next_piece(fd, 0, 100) == (0, 100)
        assert core.next_piece(fd, page, 4 * page + 1) == (4 * page, 4 * page + 1)
        assert core.next_piece(fd, page, 2 * page) == (2 * page, 2 * page)
        for offset, size in [(-1, page), (page + 1, page)]:
            with pytest.raises(ValueError, match="offset"):
                core.next_piece(fd, offset, size)
    finally:
        os.close(fd)


@pytest.mark.skipif(not WINDOWS, reason="Python lists by descriptor itself on POSIX")
def test_a_listing_names_everything_with_its_kind(folder: int) -> None:
    make(folder, NAME)
    core.make_directory_at(folder, b"sub")
    for number in range(2000):  # more than one call brings
        make(folder, b"%0100d" % number)
    for _ in range(2):  # a handle has a place in its listing: each begins anew
        found = dict(core.list_directory(folder))
        assert len(found) == 2002
    assert (found.pop(NAME), found.pop(b"sub")) == (core.IS_FILE, core.IS_DIRECTORY)
    assert len(found) == 2000


def test_packs_are_written_and_read_by_such_handles(folder: int) -> None:
    names = [b"file %d" % number for number in range(300)]
    contents = b"".join(b"%08d" % number for number in range(300))
    places = b"".join(
        struct.pack(core.PLACE_RECORD, 8 * number, 8, 10**18 + 100 * number, 0o644, 0, 0, 0) for number in range(300)
    )
    handles = struct.pack("<300i", *[folder] * 300)
    statuses = core.write_files(handles, names, places, contents, b".temporary-", core.SYNC)
    assert set(struct.unpack("<300i", statuses)) == {0}
    assert set(struct.unpack("<300i", core.write_files(handles, names, places, contents, b".t-", 0))) == {errno.EEXIST}
    assert set(struct.unpack("<300i", core.write_files(handles, names, places, contents, b".t-", core.REPLACE))) == {0}
    into = bytearray(8 * 300)
    records, used = core.read_files(handles, names, into, 100)
    assert (used, into) == (8 * 300, contents)
    for number, record in enumerate(struct.iter_unpack(core.FILE_RECORD, records)):
        assert (record[0], record[5], record[6]) == (0, 8, 10**18 + 100 * number)


def test_a_file_whose_size_has_a_small_lower_half_is_no_small_file(folder: int) -> None:
    size = (1 << 32) + 5
    fd = core.open_at(folder, b"large", core.OPEN_WRITE | core.OPEN_NEW)
    core.set_size(fd, size, True)
    os.close(fd)
    records, used = core.read_files(struct.pack("<i", folder), [b"large"], bytearray(100), 100)
    record = struct.unpack(core.FILE_RECORD, records)
    assert (record[0], record[5], used) == (core.TOO_LARGE, size, 0)


@pytest.mark.skipif(not WINDOWS, reason="a name on Linux may be any bytes")
@pytest.mark.parametrize("name", [b"\xff", b"a\xc3", b"\xed\xa0\x80"])
def test_a_name_that_is_no_unicode_stands_for_no_other(folder: int, name: bytes) -> None:
    for call in (lambda: make(folder, name), lambda: core.make_directory_at(folder, name)):
        with pytest.raises(OSError, match=r".") as caught:
            call()
        assert caught.value.errno == errno.EILSEQ
    assert core.list_directory(folder) == []


def test_what_an_error_means_is_said_in_words() -> None:
    assert core.describe(errno.ENOENT) == os.strerror(errno.ENOENT)
    for number in (errno.ECANCELED, errno.EBUSY, errno.EILSEQ, errno.ELOOP, errno.ENOSYS, errno.EOPNOTSUPP, errno.ETIMEDOUT):
        assert core.describe(number) not in ("", core.describe(99999)), errno.errorcode[number]


def test_ends_of_directories_come_no_further_than_a_name_that_leads_elsewhere(folder: int) -> None:
    core.make_directory_at(folder, b"old")
    record = struct.pack(core.END_RECORD, 10**18, 0o777)
    for name in (b"..", b".", b"a/b", b"old/.."):
        names = [b"old", b"new", name, b"last"]
        assert core.end_directories(struct.pack("<4i", *[folder] * 4), names, record * 4) == 2
    for name in (b"old", b"new"):
        found = core.open_at(folder, name, core.OPEN_DIRECTORY)
        assert os.fstat(found).st_mtime_ns == 10**18
        os.close(found)
    with pytest.raises(FileNotFoundError):
        core.open_at(folder, b"last", core.OPEN_DIRECTORY)
    assert core.end_directories(struct.pack("<i", folder), [b""], record) == 1  # the folder itself
    assert os.fstat(folder).st_mtime_ns == 10**18
    assert core.end_directories(struct.pack("<2i", folder, -1), [b"old", b"old"], record * 2) == 1
    with pytest.raises(ValueError, match="records"):
        core.end_directories(struct.pack("<i", folder), [b"old"], record * 2)


@pytest.mark.skipif(WINDOWS, reason="links need a right there")
def test_a_link_is_neither_opened_nor_is_where_it_leads_given_an_end(tmp_path: Path, folder: int) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    before = outside.stat()
    (tmp_path / "folder/to-directory").symlink_to(outside)
    (tmp_path / "folder/to-file").symlink_to(outside / "file")
    record = struct.pack(core.END_RECORD, 10**18, 0o777)
    assert core.end_directories(struct.pack("<i", folder), [b"to-directory"], record) == 0
    assert (outside.stat().st_mode, outside.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    for name, how in [(b"to-directory", core.OPEN_DIRECTORY), (b"to-file", core.OPEN_READ), (b"to-file", core.OPEN_WRITE)]:
        with pytest.raises(OSError, match=f"({os.strerror(errno.ELOOP)}|{os.strerror(errno.ENOTDIR)})"):
            core.open_at(folder, name, how)


@pytest.mark.skipif(WINDOWS, reason="directories there have no such bits")
def test_the_end_of_a_directory_gives_it_no_bits_but_permissions(tmp_path: Path, folder: int) -> None:
    record = struct.pack(core.END_RECORD, 10**18, 0o7751)
    assert core.end_directories(struct.pack("<i", folder), [b"new"], record) == 1
    assert stat.S_IMODE((tmp_path / "folder/new").stat().st_mode) == 0o751
