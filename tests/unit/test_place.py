"""Names are given atomically, and nothing is replaced unasked, with anonymous files and without."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hvcopy import fileio
from hvcopy.files import place
from hvcopy.files.confined import Handle, open_directory

MIB = 1 << 20
Make = Callable[[bytes], tuple[int, "bytes | None"]]


@pytest.fixture
def handle(tmp_path: Path) -> Handle:
    """A folder."""
    return open_directory(os.fsencode(tmp_path))


@pytest.fixture(params=["anonymous", "named", "named, no renameat2"])
def make(request: pytest.FixtureRequest, handle: Handle, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a temporary file with contents, on a file system that knows O_TMPFILE and on those that do not."""
    kind: str = request.param
    if kind != "anonymous":
        _forget_anonymous(monkeypatch)
    if kind == "named, no renameat2":
        monkeypatch.setattr(fileio, "rename_new", _no_rename)

    def made(contents: bytes) -> tuple[int, bytes | None]:
        fd, temporary = place.open_temporary(handle)
        assert (temporary is None) == (kind == "anonymous")
        os.write(fd, contents)
        return fd, temporary

    return made


def _forget_anonymous(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def without(path: bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", without)


def _no_rename(*_: object) -> None:
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def test_open_temporary_is_for_its_owner_only(make: Make) -> None:
    fd, _ = make(b"")
    assert os.fstat(fd).st_mode & 0o777 == 0o600
    os.close(fd)


def test_open_temporary_on_another_failure_raises_it(handle: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OSError, match="space"):
        place.open_temporary(handle)


@pytest.mark.parametrize("replace", [False, True])
def test_give_name_to_a_new_file_leaves_only_that(handle: Handle, tmp_path: Path, make: Make, replace: bool) -> None:
    fd, temporary = make(b"new")
    place.give_name(handle, fd, temporary, b"name", replace=replace)
    os.close(fd)
    assert os.listdir(tmp_path) == ["name"]
    assert (tmp_path / "name").read_bytes() == b"new"


@pytest.mark.parametrize("plant", ["file", "directory", "link", "dangling link"])
def test_give_name_without_replace_leaves_what_has_it(handle: Handle, tmp_path: Path, make: Make, plant: str) -> None:
    (tmp_path / "other").write_bytes(b"mine")
    if plant == "file":
        (tmp_path / "name").write_bytes(b"mine")
    elif plant == "directory":
        (tmp_path / "name").mkdir()
    else:
        (tmp_path / "name").symlink_to("other" if plant == "link" else "nowhere")
    before = os.lstat(tmp_path / "name")
    fd, temporary = make(b"new")
    with pytest.raises(FileExistsError):
        place.give_name(handle, fd, temporary, b"name", replace=False)
    os.close(fd)
    after = os.lstat(tmp_path / "name")
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)
    assert (tmp_path / "other").read_bytes() == b"mine"


def test_give_name_with_replace_replaces_a_file(handle: Handle, tmp_path: Path, make: Make) -> None:
    (tmp_path / "name").write_bytes(b"old")
    fd, temporary = make(b"new")
    place.give_name(handle, fd, temporary, b"name", replace=True)
    os.close(fd)
    assert os.listdir(tmp_path) == ["name"]
    assert (tmp_path / "name").read_bytes() == b"new"


def test_give_name_with_replace_replaces_a_link_itself(handle: Handle, tmp_path: Path, make: Make) -> None:
    (tmp_path / "other").write_bytes(b"mine")
    (tmp_path / "name").symlink_to("other")
    fd, temporary = make(b"new")
    place.give_name(handle, fd, temporary, b"name", replace=True)
    os.close(fd)
    assert (tmp_path / "other").read_bytes() == b"mine"
    assert sorted(os.listdir(tmp_path)) == ["name", "other"]
    assert not (tmp_path / "name").is_symlink()


def test_give_name_with_replace_never_replaces_a_directory(handle: Handle, tmp_path: Path, make: Make) -> None:
    (tmp_path / "name").mkdir()
    fd, temporary = make(b"new")
    with pytest.raises(IsADirectoryError):
        place.give_name(handle, fd, temporary, b"name", replace=True)
    os.close(fd)
    assert os.listdir(tmp_path) == ["name"], "no temporary name is left"


def test_replace_name_that_fails_leaves_no_temporary(handle: Handle, tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()
    (tmp_path / "temporary").write_bytes(b"")
    with pytest.raises(OSError, match="directory"):
        place.replace_name(handle, b"temporary", b"name")
    assert os.listdir(tmp_path) == ["name"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS])
def test_rename_new_where_the_file_system_cannot_is_a_link(
    handle: Handle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def cannot(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fileio, "rename_new", cannot)
    (tmp_path / "temporary").write_bytes(b"new")
    place.rename_new(handle, b"temporary", b"name")
    assert os.listdir(tmp_path) == ["name"]
    (tmp_path / "temporary").write_bytes(b"newer")
    with pytest.raises(FileExistsError):
        place.rename_new(handle, b"temporary", b"name")
    assert (tmp_path / "name").read_bytes() == b"new"


@pytest.mark.parametrize("size", [1, MIB - 1, MIB, MIB + 1, 3 * MIB])
def test_holds_says_yes_only_for_the_same_bytes(handle: Handle, tmp_path: Path, size: int) -> None:
    ours = bytes(range(1, 256)) * (size // 255 + 1)
    (tmp_path / "ours").write_bytes(ours[:size])
    fd = os.open(tmp_path / "ours", os.O_RDONLY)
    for theirs, same in (
        (ours[:size], True),
        (ours[: size - 1] + b"\0", False),
        (b"\0" + ours[1:size], False),
        (ours[: size - 1], False),
        (ours[: size + 1], False),
    ):
        (tmp_path / "name").write_bytes(theirs)
        assert place.holds(handle, b"name", fd) is same, (len(theirs), theirs[:1], theirs[-1:])
    os.close(fd)


def test_create_never_opens_what_is_there(handle: Handle, tmp_path: Path) -> None:
    (tmp_path / "name").write_bytes(b"of somebody else")
    with pytest.raises(FileExistsError):
        place.system.create(handle.fd, b"name")


def test_temporary_names_differ() -> None:
    names = {place.temporary_name() for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith(b".hvcopy-") for name in names)
