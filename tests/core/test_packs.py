"""read_files and write_files on real filesystems."""

from __future__ import annotations

import array
import errno
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from hvcopy import _core as core

LIMIT = 1 << 20
TEMP = b".hv-"
MTIME = 1_234_567_890_123_456_789


@dataclass(frozen=True, slots=True)
class Record:
    """One FILE_RECORD."""

    status: int
    mode: int
    uid: int
    gid: int
    nlink: int
    size: int
    mtime_ns: int
    ctime_ns: int
    ino: int
    dev: int
    offset: int


@pytest.fixture
def handle(tmp_path: Path) -> Iterator[int]:
    """A directory handle of tmp_path."""
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def read(handle: int, names: list[bytes], room: int = 1 << 20, limit: int = LIMIT) -> tuple[list[Record], bytes, int]:
    """Read a pack from one directory: the records, the room, the bytes used of it."""
    into = bytearray(room)
    records, used = core.read_files(array.array("i", [handle] * len(names)), names, into, limit)
    return [Record(*fields) for fields in struct.iter_unpack(core.FILE_RECORD, records)], bytes(into), used


def write(
    handle: int, files: dict[bytes, bytes], *, flags: int = 0, mode: int = 0o644, mtime_ns: int = MTIME
) -> list[int]:
    """Write a pack to one directory: the errno of each file."""
    places, data = b"", b"".join(files.values())
    at = 0
    for body in files.values():
        places += struct.pack(core.PLACE_RECORD, at, len(body), mtime_ns, mode, os.getuid(), os.getgid(), 0)
        at += len(body)
    handles = array.array("i", [handle] * len(files))
    answer = core.write_files(handles, list(files), places, data, TEMP, flags)
    return list(struct.unpack(f"<{len(files)}i", answer))


# ---- reading ----


def test_read_files_gives_contents_and_the_whole_stat(tmp_path: Path, handle: int) -> None:
    bodies = {b"a": b"alpha", b"empty": b"", b"big": os.urandom(70_000), b"\xff\xfe": b"undecodable name"}
    for name, body in bodies.items():
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(body)
    os.link(tmp_path / "a", tmp_path / "second")
    os.chmod(tmp_path / "a", 0o4751)
    os.utime(tmp_path / "a", ns=(MTIME, MTIME))
    records, room, used = read(handle, list(bodies))
    assert used == sum(map(len, bodies.values()))
    for (name, body), record in zip(bodies.items(), records, strict=True):
        expected = os.stat(name, dir_fd=handle)
        assert record == Record(
            0, expected.st_mode, expected.st_uid, expected.st_gid, expected.st_nlink, expected.st_size,
            expected.st_mtime_ns, expected.st_ctime_ns, expected.st_ino, expected.st_dev, record.offset,
        )  # fmt: skip
        assert room[record.offset : record.offset + record.size] == body
    assert records[0].mtime_ns == MTIME
    assert records[0].nlink == 2


def test_read_files_of_nothing_returns_nothing() -> None:
    assert core.read_files(b"", [], bytearray(), LIMIT) == (b"", 0)


def test_read_files_takes_each_name_from_its_own_directory(tmp_path: Path) -> None:
    handles = []
    for directory in ("one", "two"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "same").write_text(directory)
        handles.append(os.open(tmp_path / directory, os.O_RDONLY))
    into = bytearray(100)
    _, used = core.read_files(array.array("i", [*handles, handles[0]]), [b"same"] * 3, into, LIMIT)
    assert into[:used] == b"onetwoone"
    for fd in handles:
        os.close(fd)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"/etc/passwd", b"a\0b", b"\0"])
def test_pack_name_that_is_no_component_gives_einval_and_touches_nothing(
    tmp_path: Path, handle: int, name: bytes
) -> None:
    (tmp_path / "good").write_text("x")
    records, _, _ = read(handle, [name, b"good"])
    assert [record.status for record in records] == [errno.EINVAL, 0]
    assert write(handle, {name: b"x", b"new": b"y"}) == [errno.EINVAL, 0]
    assert sorted(os.listdir(tmp_path)) == ["good", "new"]


def test_read_files_never_follows_a_symbolic_link(tmp_path: Path, handle: int) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to("secret")
    (tmp_path / "dangling").symlink_to("nowhere")
    records, room, used = read(handle, [b"link", b"dangling"])
    assert [record.status for record in records] == [core.NOT_REGULAR] * 2
    assert used == 0
    assert not any(room)


def test_read_files_does_not_wait_for_the_writer_of_a_fifo(tmp_path: Path, handle: int) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"/proc/self/fd/{handle}/sock")
    records, _, _ = read(handle, [b"fifo", b"folder", b"sock"])
    assert [record.status for record in records] == [core.NOT_REGULAR] * 3
    assert stat.S_ISFIFO(records[0].mode)
    assert stat.S_ISDIR(records[1].mode)


def test_read_files_of_vanished_or_forbidden_gives_the_errno(tmp_path: Path, handle: int) -> None:
    (tmp_path / "there").write_text("x")
    handles = array.array("i", [handle, -1, handle, -100])
    records, _ = core.read_files(handles, [b"gone", b"there", b"there", b"there"], bytearray(9), LIMIT)
    statuses = [fields[0] for fields in struct.iter_unpack(core.FILE_RECORD, records)]
    assert statuses == [errno.ENOENT, errno.EBADF, 0, errno.EBADF]


def test_read_files_larger_than_the_limit_is_only_measured(tmp_path: Path, handle: int) -> None:
    (tmp_path / "at").write_bytes(bytes(100))
    (tmp_path / "above").write_bytes(bytes(101))
    records, _, used = read(handle, [b"above", b"at"], limit=100)
    assert [record.status for record in records] == [core.TOO_LARGE, 0]
    assert records[0].size == 101
    assert used == 100


@pytest.mark.parametrize(("room", "statuses"), [(10, [0, 0]), (9, [0, "no"]), (5, [0, "no"]), (4, ["no", 0])])
def test_read_files_without_room_for_one_goes_on_with_the_next(
    tmp_path: Path, handle: int, room: int, statuses: list[object]
) -> None:
    (tmp_path / "a").write_text("aaaaa")
    (tmp_path / "b").write_text("bbbbb" if room > 4 else "bb")
    records, _, _ = read(handle, [b"a", b"b"], room=room)
    assert [record.status for record in records] == [core.NO_ROOM if s == "no" else s for s in statuses]
    assert records[0].size == 5


def test_read_files_stops_after_five_files_that_found_no_room(tmp_path: Path, handle: int) -> None:
    for index in range(9):
        (tmp_path / f"{index}").write_bytes(bytes(10 if index else 1))
    records, _, used = read(handle, [b"%d" % index for index in range(9)], room=5)
    assert [record.status for record in records] == [0, *[core.NO_ROOM] * 5]
    assert used == 1


def test_read_files_of_a_new_file_waits_until_a_write_would_show_in_its_times(tmp_path: Path, handle: int) -> None:
    """They are the last tick's: what is written twice in one, and read between, looks unchanged."""
    (tmp_path / "f").write_bytes(b"new")
    written = (tmp_path / "f").stat().st_ctime_ns
    records, room, used = read(handle, [b"f"])
    assert time.time_ns() - written >= 20_000_000
    assert (records[0].status, room[:used]) == (0, b"new")


@pytest.mark.parametrize("room", [0, 1 << 20])
def test_read_files_of_a_file_that_is_longer_than_its_size_is_changed(room: int) -> None:
    fd = os.open("/proc/self", os.O_RDONLY)  # files of procfs say that they are empty
    records, into, used = read(fd, [b"status"], room)
    os.close(fd)
    assert records[0].status == core.CHANGED
    assert used == 0
    assert len(into) == room


# ---- writing ----


@pytest.mark.parametrize("flags", [0, core.REPLACE, core.SYNC, core.SET_OWNER, core.REPLACE | core.SYNC])
def test_write_files_places_contents_mode_and_time(tmp_path: Path, handle: int, flags: int) -> None:
    files = {b"a": b"alpha", b"empty": b"", b"big": os.urandom(70_000), b"\xff": b"undecodable"}
    assert write(handle, files, flags=flags, mode=0o100640) == [0] * 4
    assert sorted(os.listdir(bytes(tmp_path))) == sorted(files)
    for name, body in files.items():
        path = bytes(tmp_path) + b"/" + name
        assert Path(os.fsdecode(path)).read_bytes() == body
        found = os.stat(path)
        assert stat.S_IMODE(found.st_mode) == 0o640
        assert found.st_mtime_ns == MTIME
        assert found.st_nlink == 1


@pytest.mark.parametrize("mtime_ns", [0, 1, -1, -1_000_000_001, (1 << 33) * 10**9 + 5])
def test_write_files_keeps_any_time_to_the_nanosecond(tmp_path: Path, handle: int, mtime_ns: int) -> None:
    assert write(handle, {b"f": b"x"}, mtime_ns=mtime_ns) == [0]
    assert os.stat(tmp_path / "f").st_mtime_ns == mtime_ns
    assert read(handle, [b"f"])[0][0].mtime_ns == mtime_ns


def test_write_files_sets_mode_whatever_the_umask_and_keeps_set_id_bits(tmp_path: Path, handle: int) -> None:
    before = os.umask(0o777)
    try:
        assert write(handle, {b"f": b"x"}, mode=0o6755, flags=core.SET_OWNER) == [0]
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "f").st_mode) == 0o6755


@pytest.mark.skipif(os.getuid() != 0, reason="giving files away needs root: run the suite as root to see it")
def test_write_files_set_owner_gives_the_file_away(tmp_path: Path, handle: int) -> None:
    place = struct.pack(core.PLACE_RECORD, 0, 1, MTIME, 0o4755, 12345, 54321, 0)
    handles = array.array("i", [handle])
    core.write_files(handles, [b"own"], place, b"x", TEMP, core.SET_OWNER)
    core.write_files(handles, [b"not"], place, b"x", TEMP, 0)
    found, other = os.stat(tmp_path / "own"), os.stat(tmp_path / "not")
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 54321, 0o4755)
    assert (other.st_uid, other.st_gid) == (0, other.st_gid)


@pytest.mark.parametrize("sync", [0, core.SYNC])
@pytest.mark.parametrize("kind", ["file", "link", "dangling", "folder", "fifo"])
def test_write_files_without_replace_leaves_what_is_there(tmp_path: Path, handle: int, kind: str, sync: int) -> None:
    (tmp_path / "elsewhere").write_text("elsewhere")
    make(tmp_path / "f", kind)
    before = os.lstat(tmp_path / "f")
    assert write(handle, {b"f": b"new", b"g": b"good"}, flags=sync) == [errno.EEXIST, 0]
    assert os.lstat(tmp_path / "f") == before
    assert (tmp_path / "elsewhere").read_text() == "elsewhere"
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "f", "g"]


@pytest.mark.parametrize("sync", [0, core.SYNC])
@pytest.mark.parametrize("kind", ["file", "link", "dangling", "fifo"])
def test_write_files_with_replace_replaces_the_name_itself(tmp_path: Path, handle: int, kind: str, sync: int) -> None:
    (tmp_path / "elsewhere").write_text("elsewhere")
    make(tmp_path / "f", kind)
    assert write(handle, {b"f": b"new"}, flags=core.REPLACE | sync) == [0]
    assert stat.S_ISREG(os.lstat(tmp_path / "f").st_mode)
    assert (tmp_path / "f").read_text() == "new"
    assert (tmp_path / "elsewhere").read_text() == "elsewhere"
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "f"]


@pytest.mark.parametrize("sync", [0, core.SYNC])
def test_write_files_with_replace_refuses_a_directory(tmp_path: Path, handle: int, sync: int) -> None:
    make(tmp_path / "f", "folder")
    assert write(handle, {b"f": b"new"}, flags=core.REPLACE | sync) == [errno.EISDIR]
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").is_dir()


def make(path: Path, kind: str) -> None:
    """Make something of *kind* at *path*."""
    match kind:
        case "file":
            path.write_text("old")
        case "link":
            path.symlink_to("elsewhere")
        case "dangling":
            path.symlink_to("nowhere")
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)


def test_write_files_same_name_twice_keeps_the_first_without_replace(tmp_path: Path, handle: int) -> None:
    places = b"".join(struct.pack(core.PLACE_RECORD, at, 1, MTIME, 0o644, 0, 0, 0) for at in (0, 1))
    handles = array.array("i", [handle] * 2)
    for flags, left in ((core.SYNC, b"a"), (core.SYNC | core.REPLACE, b"b")):
        answer = core.write_files(handles, [b"f", b"f"], places, b"ab", TEMP, flags)
        assert struct.unpack("<2i", answer) == ((0, errno.EEXIST) if left == b"a" else (0, 0))
        assert (tmp_path / "f").read_bytes() == left


def test_write_files_longer_than_a_chunk_are_all_placed_with_sync(tmp_path: Path, handle: int) -> None:
    files = {b"%d" % i: b"body %d" % i for i in range(600)}
    assert write(handle, files, flags=core.SYNC) == [0] * 600
    assert len(os.listdir(tmp_path)) == 600
    assert (tmp_path / "599").read_bytes() == b"body 599"


def test_write_files_into_a_removed_directory_fails_only_there(tmp_path: Path, handle: int) -> None:
    (tmp_path / "doomed").mkdir()
    doomed = os.open(tmp_path / "doomed", os.O_RDONLY)
    (tmp_path / "doomed").rmdir()
    place = struct.pack(core.PLACE_RECORD, 0, 1, MTIME, 0o644, 0, 0, 0)
    handles = array.array("i", [doomed, handle, -1, -100])  # AT_FDCWD
    answer = core.write_files(handles, [b"a", b"b", b"c", b"d"], place * 4, b"x", TEMP, 0)
    first, *others = struct.unpack("<4i", answer)
    assert first in (errno.ENOENT, errno.EPERM), "EPERM is what O_TMPFILE gives there on ext4"
    assert others == [0, errno.EBADF, errno.EBADF]
    assert os.listdir(tmp_path) == ["b"]
    os.close(doomed)


def test_write_files_name_too_long_gives_its_errno(tmp_path: Path, handle: int) -> None:
    assert write(handle, {b"n" * 256: b"x", b"n" * 255: b"y"}) == [errno.ENAMETOOLONG, 0]
    assert os.listdir(tmp_path) == ["n" * 255]


def test_write_files_through_a_path_handle_work_with_sync_too(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    assert write(fd, {b"a": b"x"}, flags=core.SYNC) == [0]
    assert [record.status for record in read(fd, [b"a"])[0]] == [0]
    os.close(fd)


def test_packs_in_threads_do_not_disturb_each_other(tmp_path: Path, handle: int) -> None:
    def fill(thread: int) -> list[int]:
        return write(handle, {b"%d-%d" % (thread, i): b"%d" % thread for i in range(300)})

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fill, range(4))) == [[0] * 300] * 4
    names = [b"%d-%d" % (thread, i) for thread in range(4) for i in range(300)]
    _, room, used = read(handle, names)
    assert room[:used] == b"0" * 300 + b"1" * 300 + b"2" * 300 + b"3" * 300


def test_packs_race_for_one_name_and_exactly_one_wins(tmp_path: Path, handle: int) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda i: write(handle, {b"f": b"%d" % i}), range(40)))
    assert sorted(results) == [[0], *[[errno.EEXIST]] * 39]
    assert (tmp_path / "f").read_bytes() == b"%d" % results.index([0])


# ---- misuse ----


def misuse(**changes: object) -> None:
    """Call write_files with one good pack, but for *changes*."""
    good: dict[str, object] = {
        "dirfds": array.array("i", [0]),
        "names": [b"f"],
        "places": struct.pack(core.PLACE_RECORD, 0, 4, 0, 0o644, 0, 0, 0),
        "data": b"data",
        "temp_prefix": TEMP,
        "flags": 0,
    }
    core.write_files(*(good | changes).values())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dirfds": b""}, "directory handles"),
        ({"dirfds": bytes(8)}, "directory handles"),
        ({"dirfds": bytes(5)}, "directory handles"),
        ({"places": b""}, "places"),
        ({"places": bytes(39)}, "places"),
        ({"places": struct.pack(core.PLACE_RECORD, 0, 5, 0, 0, 0, 0, 0)}, "outside the data"),
        ({"places": struct.pack(core.PLACE_RECORD, 5, 0, 0, 0, 0, 0, 0)}, "outside the data"),
        ({"places": struct.pack(core.PLACE_RECORD, 1, 4, 0, 0, 0, 0, 0)}, "outside the data"),
        ({"places": struct.pack(core.PLACE_RECORD, 1, (1 << 64) - 1, 0, 0, 0, 0, 0)}, "outside the data"),
        ({"places": struct.pack(core.PLACE_RECORD, (1 << 64) - 1, 4, 0, 0, 0, 0, 0)}, "outside the data"),
        ({"temp_prefix": b""}, "temp_prefix"),
        ({"temp_prefix": b"../x"}, "temp_prefix"),
        ({"temp_prefix": b"a\0b"}, "temp_prefix"),
        ({"temp_prefix": b"n" * 201}, "temp_prefix"),
        ({"flags": 8}, "flag"),
        ({"flags": -1}, "flag"),
    ],
)
def test_write_files_with_records_that_do_not_fit_is_misuse(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        misuse(**changes)


def test_packs_with_something_that_is_no_name_are_misuse() -> None:
    for names in (["text"], [None], [bytearray(b"f")]):
        with pytest.raises(TypeError):
            misuse(names=names)
    with pytest.raises(TypeError):
        core.read_files(bytes(4), ["text"], bytearray(1), LIMIT)  # type: ignore[list-item]


def test_read_files_with_handles_that_do_not_fit_is_misuse() -> None:
    with pytest.raises(ValueError, match="directory handles"):
        core.read_files(bytes(4), [b"a", b"b"], bytearray(1), LIMIT)
    with pytest.raises((BufferError, TypeError)):
        core.read_files(bytes(4), [b"a"], b"read-only", LIMIT)


def test_record_formats_have_the_sizes_of_the_contract() -> None:
    assert struct.calcsize(core.FILE_RECORD) == 72
    assert struct.calcsize(core.PLACE_RECORD) == 40
    assert len({core.TOO_LARGE, core.NO_ROOM, core.CHANGED, core.NOT_REGULAR}) == 4
    assert max(core.TOO_LARGE, core.NO_ROOM, core.CHANGED, core.NOT_REGULAR) < 0, "beside errnos and 0"
