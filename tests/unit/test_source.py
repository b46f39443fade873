"""What may be a source: what the user named here, and what a peer asked for below a root."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from hvcopy.errors import BadUsage, LocalFailure
from hvcopy.files.confined import Handle, open_directory
from hvcopy.files.source import Source, open_beneath, open_local
from hvcopy.files.system import open_file


def read(source: Source) -> bytes:
    """Return the contents of a source that is a file."""
    with os.fdopen(open_file(source.handle.fd, source.name), "rb") as file:
        return file.read()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A served folder beside a place outside."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    tree = tmp_path / "tree"
    (tree / "sub" / "deep").mkdir(parents=True)
    (tree / "file").write_bytes(b"file")
    (tree / "sub" / "inner").write_bytes(b"inner")
    (tree / "to-file").symlink_to("sub/inner")
    (tree / "to-sub").symlink_to("sub")
    (tree / "out").symlink_to("../outside")
    if sys.platform != "win32":
        os.mkfifo(tree / "fifo")
    return tree


@pytest.fixture
def root(tree: Path) -> Handle:
    """The handle of the served folder."""
    return open_directory(os.fsencode(tree))


def test_local_file_is_called_as_it_was_named(tree: Path) -> None:
    source = open_local(3, str(tree / "file"), recursive=False)
    assert (source.index, source.called, source.is_dir, read(source)) == (3, b"file", False, b"file")


def test_local_link_is_followed_but_keeps_its_name(tree: Path) -> None:
    source = open_local(0, str(tree / "to-file"), recursive=False)
    assert (source.called, source.name, read(source)) == (b"to-file", b"inner", b"inner")


@pytest.mark.parametrize(
    ("path", "called"),
    [("sub", b"sub"), ("sub/", b"sub"), ("to-sub", b"to-sub"), (".", b""), ("sub/.", b""), ("sub/..", b"")],
)
def test_local_directory_is_called_by_its_last_part_and_dots_mean_its_contents(
    tree: Path, monkeypatch: pytest.MonkeyPatch, path: str, called: bytes
) -> None:
    monkeypatch.chdir(tree)
    source = open_local(0, path, recursive=True)
    assert (source.called, source.is_dir) == (called, True)


def test_local_root_directory_has_no_name() -> None:
    assert open_local(0, "/", recursive=True).called == b""


def test_local_directory_without_recursion_is_bad_usage(tree: Path) -> None:
    with pytest.raises(BadUsage, match="is a directory") as caught:
        open_local(0, str(tree / "sub"), recursive=False)
    assert "-r" in caught.value.hint


@pytest.mark.parametrize("path", ["nothing", "file/", "file/x", "nothing/x", "fifo", ""])
def test_local_path_that_is_no_source_is_a_failure(tree: Path, path: str) -> None:
    with pytest.raises(LocalFailure):
        open_local(0, str(tree) + "/" + path if path else "", recursive=True)


def test_local_name_that_is_no_text_is_taken(tree: Path) -> None:
    raw = os.fsencode(tree) + b"/\xff\xfe"
    with open(raw, "wb") as file:
        file.write(b"odd")
    source = open_local(0, os.fsdecode(raw), recursive=False)
    assert (source.called, read(source)) == (b"\xff\xfe", b"odd")


def test_local_failure_shows_names_escaped() -> None:
    with pytest.raises(LocalFailure) as caught:
        open_local(0, "no\x1b[2J\udcff", recursive=False)
    assert "\x1b" not in caught.value.message
    caught.value.message.encode()


def test_beneath_the_root_itself_has_no_name(root: Handle) -> None:
    source = open_beneath(0, root, b"", recursive=True)
    assert (source.called, source.is_dir) == (b"", True)
    assert os.path.samestat(os.fstat(source.handle.fd), os.fstat(root.fd))


@pytest.mark.parametrize(("path", "called"), [(b"file", b"file"), (b"sub/inner", b"inner")])
def test_beneath_file_is_called_by_its_last_part(root: Handle, path: bytes, called: bytes) -> None:
    source = open_beneath(1, root, path, recursive=False)
    assert (source.index, source.called, source.is_dir, read(source)) == (1, called, False, called)


def test_beneath_directory_is_the_directory(root: Handle, tree: Path) -> None:
    source = open_beneath(0, root, b"sub/deep", recursive=True)
    assert (source.called, source.is_dir) == (b"deep", True)
    assert os.path.samestat(os.fstat(source.handle.fd), (tree / "sub" / "deep").stat())


@pytest.mark.parametrize("path", [b"", b"sub", b"sub/deep"])
def test_beneath_directory_without_recursion_is_bad_usage(root: Handle, path: bytes) -> None:
    with pytest.raises(BadUsage):
        open_beneath(0, root, path, recursive=False)


@pytest.mark.parametrize(
    "path",
    [b"out", b"out/secret", b"to-file", b"to-sub", b"to-sub/inner", b"nothing", b"nothing/x", b"file/x", b"fifo"],
)
def test_beneath_nothing_is_reached_by_a_link_or_otherwise_no_file(root: Handle, path: bytes) -> None:
    with pytest.raises(LocalFailure) as caught:
        open_beneath(0, root, path, recursive=True)
    assert "secret" not in caught.value.message.removeprefix("/out/secret")


def test_beneath_directory_swapped_for_a_link_is_refused(
    root: Handle, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the open, the directory becomes a link to the outside."""
    real = stat.S_ISDIR

    def is_dir(mode: int) -> bool:
        if real(mode):
            (tree / "sub").rename(tree / "moved")
            (tree / "sub").symlink_to("../outside")
        return real(mode)

    monkeypatch.setattr(stat, "S_ISDIR", is_dir)
    with pytest.raises(LocalFailure):
        open_beneath(0, root, b"sub", recursive=True)
