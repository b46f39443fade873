"""One arriving file: under its name only when whole, resumed only with what is really there."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from descriptors import opened_below

from hvcopy.errors import DigestMismatch, LocalFailure
from hvcopy.files import incoming, place
from hvcopy.files.confined import Handle, open_directory
from hvcopy.files.incoming import RESUMABLE, Incoming
from hvcopy.files.names import blocks_name, part_name
from hvcopy.session.assembly import Assembly
from hvcopy.wire import messages as m
from hvcopy.wire.digests import digest

if sys.platform != "win32":
    import fcntl
    import resource

MIB = 1 << 20
SIZE = RESUMABLE + 5
NAME = b"disk.img"
PART, BLOCKS = part_name(NAME).decode(), blocks_name(NAME).decode()
IDENTITY = b"identity-of-file"
TIME = 1_700_000_000_123_456_789


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that files arrive in."""
    return tmp_path


@pytest.fixture
def handle(folder: Path) -> Handle:
    """Its handle."""
    return open_directory(os.fsencode(folder))


def entry(size: int = SIZE, *, identity: bytes = IDENTITY, sparse: bool = False, mode: int = 0o640) -> m.Entry:
    """Return the announcement of a file."""
    return m.Entry(m.FILE, 1, 0, NAME, mode, size, TIME, m.Extra(identity, sparse))


def block(index: int, size: int = SIZE) -> bytes:
    """Return what block *index* of the source holds."""
    return bytes([65 + index]) * min(MIB, size - index * MIB)


def contents(size: int = SIZE) -> bytes:
    """Return the whole source."""
    return b"".join(block(index, size) for index in range(Assembly(size).count))


class Copy:
    """An attempt to receive the file."""

    def __init__(self, handle: Handle, wanted: m.Entry | None = None, *, sync: bool = False) -> None:
        self.entry = wanted or entry()
        self.assembly = Assembly(self.entry.size)
        self.incoming = Incoming(handle, NAME, self.entry, self.assembly, sync=sync)

    def write(self, *indexes: int) -> Copy:
        """Receive single blocks."""
        for index in indexes:
            data = block(index, self.entry.size)
            self.incoming.write(index * MIB, data)
            self.assembly.add(index, digest(data))
            self.incoming.record(index, digest(data))
        return self

    def write_rest(self) -> Copy:
        """Receive what is missing."""
        return self.write(*[index for index in range(self.assembly.count) if not self.assembly.has(index)])


@pytest.fixture(params=[SIZE, 3 * MIB + 1, 1, 0])
def size(request: pytest.FixtureRequest) -> int:
    """Sizes with a part of its own name, and without."""
    value: int = request.param
    return value


@pytest.mark.parametrize("sync", [False, True])
def test_finish_gives_a_whole_file_its_name_and_attributes(handle: Handle, folder: Path, size: int, sync: bool) -> None:
    Copy(handle, entry(size), sync=sync).write_rest().incoming.finish(replace=False)
    assert os.listdir(folder) == ["disk.img"]
    found = (folder / "disk.img").stat()
    assert (folder / "disk.img").read_bytes() == contents(size)
    assert (found.st_mode & 0o7777, found.st_mtime_ns) == (0o640, TIME)


def test_nothing_has_the_name_before_finish(handle: Handle, folder: Path, size: int) -> None:
    copy = Copy(handle, entry(size)).write_rest()
    assert not (folder / "disk.img").exists()
    copy.incoming.abandon(keep=False)


def test_finish_without_replace_leaves_what_stands_there(handle: Handle, folder: Path, size: int) -> None:
    (folder / "disk.img").write_bytes(b"mine")
    copy = Copy(handle, entry(size)).write_rest()
    with pytest.raises(FileExistsError):
        copy.incoming.finish(replace=False)
    copy.incoming.abandon(keep=False)
    assert (folder / "disk.img").read_bytes() == b"mine"
    assert os.listdir(folder) == ["disk.img"]


def test_finish_with_replace_replaces_a_link_and_not_its_target(handle: Handle, folder: Path, size: int) -> None:
    (folder / "target").write_bytes(b"mine")
    (folder / "disk.img").symlink_to("target")
    Copy(handle, entry(size)).write_rest().incoming.finish(replace=True)
    assert (folder / "target").read_bytes() == b"mine"
    assert not (folder / "disk.img").is_symlink()
    assert (folder / "disk.img").read_bytes() == contents(size)


def test_finish_never_replaces_a_directory(handle: Handle, folder: Path, size: int) -> None:
    (folder / "disk.img").mkdir()
    copy = Copy(handle, entry(size)).write_rest()
    with pytest.raises(IsADirectoryError):
        copy.incoming.finish(replace=True)
    copy.incoming.abandon(keep=False)
    assert os.listdir(folder) == ["disk.img"]


def test_finish_without_ownership_drops_set_id_bits(handle: Handle, folder: Path) -> None:
    Copy(handle, entry(1, mode=0o6755)).write_rest().incoming.finish(replace=False)
    assert (folder / "disk.img").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("size", [RESUMABLE, SIZE])
def test_abandon_of_a_large_file_keeps_its_part_for_a_later_copy(handle: Handle, folder: Path, size: int) -> None:
    assert Copy(handle, entry(size)).write(0, 2).incoming.abandon(keep=True)
    assert sorted(os.listdir(folder)) == sorted([PART, BLOCKS])
    assert (folder / PART).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("size", "keep"), [(SIZE, False), (RESUMABLE - 1, True), (0, True)])
def test_abandon_otherwise_leaves_nothing(handle: Handle, folder: Path, size: int, keep: bool) -> None:
    assert not Copy(handle, entry(size)).write_rest().incoming.abandon(keep=keep)
    assert os.listdir(folder) == []


def test_abandon_of_a_file_without_identity_leaves_nothing(handle: Handle, folder: Path) -> None:
    assert not Copy(handle, entry(identity=b"")).write(0).incoming.abandon(keep=True)
    assert os.listdir(folder) == []


def test_a_second_attempt_goes_on_where_the_first_was(handle: Handle, folder: Path) -> None:
    Copy(handle).write(0, 2).incoming.abandon(keep=True)
    copy = Copy(handle)
    assert [index for index in range(copy.assembly.count) if copy.assembly.has(index)] == [0, 2]
    assert copy.incoming.reused == 2 * MIB
    copy.write_rest().incoming.finish(replace=False)
    assert (folder / "disk.img").read_bytes() == contents()
    assert os.listdir(folder) == ["disk.img"]


def test_reused_bytes_count_the_short_last_block_as_it_is(handle: Handle) -> None:
    Copy(handle).write(0, SIZE // MIB).incoming.abandon(keep=True)
    copy = Copy(handle)
    assert copy.incoming.reused == MIB + 5
    copy.incoming.abandon(keep=False)


def test_a_second_attempt_of_another_source_starts_anew(handle: Handle, folder: Path) -> None:
    Copy(handle).write(0, 2).incoming.abandon(keep=True)
    copy = Copy(handle, entry(identity=b"another identity"))
    assert copy.incoming.reused == 0
    assert (folder / PART).read_bytes() == bytes(SIZE), "nothing of the other source may shine through"
    copy.incoming.abandon(keep=False)


def test_a_second_attempt_whose_part_was_removed_starts_anew(handle: Handle, folder: Path) -> None:
    Copy(handle).write_rest().incoming.abandon(keep=True)
    (folder / PART).unlink()
    copy = Copy(handle)
    assert copy.incoming.reused == 0
    copy.write_rest().incoming.finish(replace=False)
    assert (folder / "disk.img").read_bytes() == contents()


def test_a_second_attempt_whose_record_was_removed_starts_anew(handle: Handle, folder: Path) -> None:
    Copy(handle).write_rest().incoming.abandon(keep=True)
    (folder / BLOCKS).unlink()
    copy = Copy(handle)
    assert copy.incoming.reused == 0
    copy.incoming.abandon(keep=False)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_finish_killed_around_the_name_never_delivers_zeros(
    handle: Handle, folder: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """A record that outlives its part must not vouch for the next one (a silent corruption, once)."""
    real = place.give_name

    def give_name(*arguments: object, **options: object) -> None:
        if moment == "after":
            real(*arguments, **options)  # type: ignore[arg-type]
        raise Killed

    copy = Copy(handle).write_rest()
    copy.incoming._record.flush()  # type: ignore[union-attr]  # what a kill leaves is what was written
    with monkeypatch.context() as patch:
        patch.setattr(place, "give_name", give_name)
        with pytest.raises(Killed):
            copy.incoming.finish(replace=True)
    copy.incoming._close()  # the system closes descriptors, and that lets go of the locks
    again = Copy(handle)
    again.write_rest().incoming.finish(replace=True)
    assert (folder / "disk.img").read_bytes() == contents()


def test_what_the_disk_did_not_take_is_not_gone_on_with(
    handle: Handle, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system may say so once only, and forget the data: a network file system whose server is full does."""

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    copy = Copy(handle, sync=True).write_rest()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="No space"):
            copy.incoming.finish(replace=False)
    assert not copy.incoming.abandon(keep=True)
    assert os.listdir(folder) == []


def test_finish_does_without_a_record_that_somebody_removed(handle: Handle, folder: Path) -> None:
    copy = Copy(handle).write_rest()
    (folder / BLOCKS).unlink()
    copy.incoming.finish(replace=False)
    assert (folder / "disk.img").read_bytes() == contents()


def test_hole_leaves_a_hole_in_a_new_file(handle: Handle, folder: Path) -> None:
    copy = Copy(handle, entry(sparse=True)).write(0)
    copy.incoming.hole(MIB, SIZE - MIB)
    copy.incoming.finish(replace=False)
    assert (folder / "disk.img").read_bytes() == block(0) + bytes(SIZE - MIB)
    assert (folder / "disk.img").stat().st_blocks * 512 < 2 * MIB


def test_hole_overwrites_what_an_earlier_attempt_left(handle: Handle, folder: Path) -> None:
    first = Copy(handle).write(0)
    for index in range(1, first.assembly.count):  # written, but not noted: a kill came first
        first.incoming.write(index * MIB, block(index))
    first.incoming.abandon(keep=True)
    copy = Copy(handle)
    assert copy.incoming.reused == MIB
    copy.incoming.hole(2 * MIB, SIZE - 2 * MIB)
    copy.write(1).incoming.finish(replace=False)
    assert (folder / "disk.img").read_bytes() == block(0) + block(1) + bytes(SIZE - 2 * MIB)


def test_hole_over_stale_data_stops_at_its_end(handle: Handle, folder: Path) -> None:
    first = Copy(handle).write(0, 3)
    first.incoming.write(2 * MIB, block(2))
    first.incoming.abandon(keep=True)
    copy = Copy(handle)
    copy.incoming.hole(MIB, 2 * MIB)
    copy.incoming.abandon(keep=True)
    assert (folder / PART).read_bytes()[: 4 * MIB] == block(0) + bytes(2 * MIB) + block(3)


def test_write_of_zeros_overwrites_what_an_earlier_attempt_left(handle: Handle, folder: Path) -> None:
    """A sparse source skips zeros, but not where something may stand."""
    first = Copy(handle, entry(sparse=True)).write(0)
    first.incoming.write(MIB, block(1))
    first.incoming.abandon(keep=True)
    copy = Copy(handle, entry(sparse=True))
    copy.incoming.write(MIB, bytes(MIB))
    copy.incoming.abandon(keep=True)
    assert (folder / PART).read_bytes()[MIB : 2 * MIB] == bytes(MIB)


@pytest.mark.parametrize("written", [0, 4096, MIB - 1, MIB])
def test_write_adds_to_what_stands_of_a_block_already(handle: Handle, folder: Path, written: int) -> None:
    """The disk took only the beginning as it came; the rest of it, and nothing else, is written now."""
    copy = Copy(handle).write(0)
    data = bytes(range(256)) * (MIB // 256)
    os.pwrite(copy.incoming.fd, data[:written], MIB)
    copy.incoming.write(MIB, memoryview(data), written)
    copy.write(*range(2, copy.assembly.count)).incoming.finish(replace=False)
    assert (folder / "disk.img").read_bytes() == block(0) + data + contents()[2 * MIB :]


def test_take_copies_a_block_of_the_older_version(handle: Handle, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"x" + block(1))
    copy = Copy(handle)
    with old.open("rb") as file:
        copy.incoming.take(file.fileno(), 0, MIB, 1, digest(block(1)))
        with pytest.raises(DigestMismatch):
            copy.incoming.take(file.fileno(), MIB, MIB, 0, digest(block(1)))
        with pytest.raises(DigestMismatch):
            copy.incoming.take(file.fileno(), MIB, MIB, 2, digest(block(1)))
    copy.incoming.abandon(keep=True)
    assert (tmp_path / PART).read_bytes()[: 2 * MIB] == block(1) + bytes(MIB)


# ---- other files under the part's name, and other copies


def test_a_second_copy_at_the_same_time_is_refused(handle: Handle, folder: Path) -> None:
    first = Copy(handle).write(0)
    with pytest.raises(LocalFailure, match="another copy"):
        Copy(handle)
    first.write_rest().incoming.finish(replace=False)
    assert (folder / "disk.img").read_bytes() == contents()


def test_a_failed_open_lets_go_of_its_locks(handle: Handle, folder: Path) -> None:
    """In a server that lives on, a forgotten descriptor would keep the name locked for good."""
    before = opened_below(folder)
    with (folder / BLOCKS).open("wb") as record:
        fcntl.flock(record, fcntl.LOCK_EX)
        with pytest.raises(LocalFailure):
            Copy(handle)
    assert opened_below(folder) == before
    Copy(handle).incoming.abandon(keep=False)


def test_a_restore_that_fails_lets_go_of_its_locks(
    handle: Handle, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = opened_below(folder)

    def restore(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(incoming.BlockRecord, "restore", restore)
        with pytest.raises(OSError, match="error"):
            Copy(handle)
    assert opened_below(folder) == before
    Copy(handle).incoming.abandon(keep=False)


@pytest.mark.parametrize("size", [1 << 40, 4 * MIB])
def test_a_file_too_large_for_the_file_system_leaves_nothing_open(handle: Handle, folder: Path, size: int) -> None:
    before = opened_below(folder)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            Copy(handle, entry(size))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert opened_below(folder) == before
    assert os.listdir(folder) == []


def _link(path: Path) -> None:
    (path.parent / "victim").write_bytes(b"mine")
    path.symlink_to("victim")


def _hard_link(path: Path) -> None:
    (path.parent / "victim").write_bytes(b"mine")
    os.link(path.parent / "victim", path)


def _fifo(path: Path) -> None:
    (path.parent / "victim").write_bytes(b"mine")
    os.mkfifo(path)


@pytest.fixture
def nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system where every file has a name, as NTFS, NFS and vfat are."""

    def unknown(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(place.system, "anonymous", unknown)


@pytest.mark.usefixtures("nameless")
@pytest.mark.parametrize("size", [3 * MIB + 1, SIZE])
def test_two_copies_of_one_file_keep_apart_without_anonymous_files(handle: Handle, folder: Path, size: int) -> None:
    first = Copy(handle, entry(size)).write(0)
    with pytest.raises(LocalFailure, match="another copy is writing"):
        Copy(handle, entry(size))
    first.write_rest().incoming.finish(replace=False)
    assert (folder / "disk.img").read_bytes() == contents(size)
    assert os.listdir(folder) == ["disk.img"]


@pytest.mark.usefixtures("nameless")
def test_what_a_killed_copy_of_a_small_file_left_is_written_over(handle: Handle, folder: Path) -> None:
    (folder / PART).write_bytes(b"left by a killed copy" * MIB)
    Copy(handle, entry(3 * MIB)).write_rest().incoming.finish(replace=False)
    assert (folder / "disk.img").read_bytes() == contents(3 * MIB)
    assert os.listdir(folder) == ["disk.img"]


@pytest.mark.usefixtures("nameless")
@pytest.mark.parametrize("plant", [_link, _hard_link, _fifo])
def test_something_else_under_our_name_is_removed_also_for_a_small_file(
    handle: Handle, folder: Path, plant: Callable[[Path], None]
) -> None:
    plant(folder / PART)
    Copy(handle, entry(3 * MIB)).write_rest().incoming.finish(replace=False)
    assert (folder / "victim").read_bytes() == b"mine"
    assert sorted(os.listdir(folder)) == ["disk.img", "victim"]


@pytest.mark.parametrize("name", [PART, BLOCKS])
@pytest.mark.parametrize("plant", [_link, _hard_link, _fifo])
def test_something_else_under_our_names_is_removed_and_never_written(
    handle: Handle, folder: Path, plant: Callable[[Path], None], name: str
) -> None:
    plant(folder / name)
    Copy(handle).write_rest().incoming.finish(replace=False)
    assert (folder / "victim").read_bytes() == b"mine"
    assert (folder / "disk.img").read_bytes() == contents()
    assert sorted(os.listdir(folder)) == ["disk.img", "victim"]


def test_a_directory_under_our_name_is_an_error(handle: Handle, folder: Path) -> None:
    (folder / PART).mkdir()
    with pytest.raises(OSError, match="directory"):
        Copy(handle)
    assert (folder / PART).is_dir()


def test_a_record_that_cannot_be_opened_leaves_no_part_behind(handle: Handle, folder: Path) -> None:
    (folder / BLOCKS).mkdir()
    before = opened_below(folder)
    with pytest.raises(OSError, match="directory"):
        Copy(handle)
    assert os.listdir(folder) == [BLOCKS]
    assert opened_below(folder) == before


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("name", [PART, BLOCKS])
def test_what_another_user_owns_is_not_gone_on_with(handle: Handle, folder: Path, name: str) -> None:
    """Whoever owns it can write to it, whatever the record vouches for."""
    Copy(handle).write(0, 1).incoming.abandon(keep=True)
    os.chown(folder / name, 12345, 12345)
    copy = Copy(handle)
    assert copy.incoming.reused == 0
    assert os.stat(folder / name).st_uid == os.geteuid()
    copy.write_rest().incoming.finish(replace=False)
    assert (folder / "disk.img").read_bytes() == contents()


@pytest.fixture
def nobody() -> Iterator[None]:
    """Another user than root, whom permissions mean something to."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.usefixtures("nobody")
def test_open_in_a_directory_not_writable_says_so() -> None:
    handle = open_directory(b"/")
    with pytest.raises(PermissionError):
        Copy(handle)


@pytest.mark.parametrize("begun", [False, True], ids=["finished", "finished, and a third one began"])
def test_a_part_that_keeps_changing_is_given_up(
    handle: Handle, folder: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """Each time it is locked it has lost its name: another copy finished in between, over and over."""
    real = fcntl.flock

    def flock(fd: int, operation: int) -> None:
        real(fd, operation)
        os.unlink(PART, dir_fd=handle.fd)
        if begun:
            (folder / PART).touch()

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(LocalFailure, match="keeps changing"):
        Copy(handle)
