"""No path leads out of the root: not by dots, not by a link, not by one swapped in while we work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from descriptors import opened_below

from hvcopy.files.confined import Directories, Handle, enter, open_directory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a folder in it, beside a place outside."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").mkdir()
    (tmp_path / "root" / "a" / "b").mkdir(parents=True)
    return tmp_path / "root"


@pytest.fixture
def handle(root: Path) -> Handle:
    """The root's handle."""
    return open_directory(os.fsencode(root))


def same(handle: Handle, path: Path) -> bool:
    """Say whether *handle* is the directory at *path*."""
    return os.path.samestat(os.fstat(handle.fd), os.stat(path))


def test_get_of_nothing_is_the_root(handle: Handle, root: Path) -> None:
    assert Directories(handle).get(b"") is handle


def test_get_opens_what_is_there(handle: Handle, root: Path) -> None:
    assert same(Directories(handle).get(b"a/b"), root / "a" / "b")


@pytest.mark.parametrize("path", [b"x", b"a/x", b"a/x/y"])
def test_get_of_what_is_missing_fails_unless_it_is_to_be_made(handle: Handle, root: Path, path: bytes) -> None:
    directories = Directories(handle)
    with pytest.raises(FileNotFoundError):
        directories.get(path)
    assert not (root / "a" / "x").exists()
    assert same(directories.get(path, create=True), root / os.fsdecode(path))


def test_get_makes_directories_for_their_owner_only(handle: Handle, root: Path) -> None:
    Directories(handle).get(b"n/m", create=True)
    assert (root / "n").stat().st_mode & 0o777 == 0o700
    assert (root / "n" / "m").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("target", ["../outside", "/", "a", ".", "nowhere"])
@pytest.mark.parametrize("path", [b"link", b"link/secret"])
def test_get_never_follows_a_link(handle: Handle, root: Path, path: bytes, target: str, create: bool) -> None:
    (root / "link").symlink_to(target)
    with pytest.raises(OSError, match=r"a symbolic link stands there, which is not followed"):
        Directories(handle).get(path, create=create)
    assert os.listdir(root.parent / "outside") == ["secret"]
    assert not (root / "nowhere").exists()


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("path", [b"..", b".", b"a/..", b"a/../a", b"../outside", b"a/./b", b"a//b", b"a/"])
def test_get_takes_no_name_that_leads_elsewhere(handle: Handle, path: bytes, create: bool) -> None:
    with pytest.raises(PermissionError, match="leads out of its folder"):
        Directories(handle).get(path, create=create)


def test_get_after_a_directory_was_swapped_for_a_link_stays_inside(handle: Handle, root: Path) -> None:
    """The handle that is open already still means the old directory; a new one is refused."""
    directories = Directories(handle)
    before = directories.get(b"a")
    (root / "a").rename(root / "moved")
    (root / "a").symlink_to("../outside")
    assert same(directories.get(b"a"), root / "moved")
    assert same(directories.get(b"a/new", create=True), root / "moved" / "new")
    directories.forget()
    with pytest.raises(OSError, match=r"symbolic|Not a directory"):
        directories.get(b"a")
    assert same(before, root / "moved")
    assert os.listdir(root.parent / "outside") == ["secret"]


@pytest.mark.parametrize("moment", ["before mkdir", "after mkdir"])
def test_enter_while_a_link_is_swapped_in_is_refused(
    handle: Handle, root: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Between our look, our mkdir and our open somebody puts a link there."""
    real = os.mkdir

    def mkdir(name: bytes, mode: int, *, dir_fd: int) -> None:
        if moment == "after mkdir":
            real(name, mode, dir_fd=dir_fd)
            os.rmdir(name, dir_fd=dir_fd)
        os.symlink("../outside", name, dir_fd=dir_fd)
        if moment == "before mkdir":
            real(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(OSError, match=r"symbolic|Not a directory"):
        enter(handle, b"new", create=True)
    assert os.listdir(root.parent / "outside") == ["secret"]


def test_enter_takes_a_directory_that_somebody_made_first(
    handle: Handle, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.mkdir

    def mkdir(name: bytes, mode: int, *, dir_fd: int) -> None:
        real(name, mode, dir_fd=dir_fd)
        real(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", mkdir)
    assert same(enter(handle, b"new", create=True), root / "new")


@pytest.mark.parametrize("create", [False, True])
def test_enter_of_a_file_is_an_error(handle: Handle, root: Path, create: bool) -> None:
    (root / "file").write_bytes(b"mine")
    with pytest.raises(NotADirectoryError):
        enter(handle, b"file", create=create)
    assert (root / "file").read_bytes() == b"mine"


def test_open_directory_follows_the_links_of_its_own_user(root: Path) -> None:
    (root / "link").symlink_to("../outside")
    assert same(open_directory(os.fsencode(root / "link")), root.parent / "outside")


def test_only_a_few_directories_stay_open(handle: Handle, root: Path) -> None:
    directories = Directories(handle, keep=3)
    before = opened_below(root)
    for number in range(20):
        directories.get(b"d%d" % number, create=True)
    assert opened_below(root) - before == 3
    assert same(directories.get(b"d0"), root / "d0")
    directories.forget()
    assert opened_below(root) == before


def test_the_directory_used_last_stays_open(handle: Handle) -> None:
    directories = Directories(handle, keep=2)
    kept = directories.get(b"a")
    directories.get(b"x", create=True)
    directories.get(b"a")
    directories.get(b"y", create=True)
    assert directories.get(b"a") is kept


def test_a_deep_path_works_with_few_open_directories(handle: Handle, root: Path) -> None:
    path = b"/".join(b"%d" % number for number in range(100))
    assert same(Directories(handle, keep=1).get(path, create=True), root / os.fsdecode(path))


def test_handle_is_closed_with_its_last_reference(root: Path) -> None:
    before = opened_below(root)
    handle = open_directory(os.fsencode(root))
    other = handle
    del handle
    assert opened_below(root) == before + 1
    del other
    assert opened_below(root) == before
