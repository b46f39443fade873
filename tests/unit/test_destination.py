"""Where sources go: the table of docs/copying.md, and that nothing goes anywhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hvcopy.errors import LocalFailure, UnsafeName
from hvcopy.files.confined import Handle, open_directory
from hvcopy.files.destination import NOWHERE, resolve, resolve_local


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root with a directory, a file, and links."""
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "to-dir").symlink_to("dir")
    (tmp_path / "to-file").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    return tmp_path


@pytest.fixture
def root(folder: Path) -> Handle:
    """Its handle."""
    return open_directory(os.fsencode(folder))


def one(root: Handle, path: bytes, *, is_dir: bool = False, must: bool = False, name: bytes = b"n") -> tuple[str, list[bytes]]:
    """Resolve for a single source."""
    return resolve(root, path, names=[name], dirs=[is_dir], must_be_dir=must)[:2]


@pytest.mark.parametrize("is_dir", [False, True])
@pytest.mark.parametrize("must", [False, True])
@pytest.mark.parametrize(
    ("path", "prefix"), [(b"", b"n"), (b"/", b"n"), (b"dir", b"dir/n"), (b"dir/", b"dir/n"), (b"/dir/sub", b"dir/sub/n")]
)
def test_a_directory_that_stands_there_is_gone_into(
    root: Handle, path: bytes, prefix: bytes, is_dir: bool, must: bool
) -> None:
    assert one(root, path, is_dir=is_dir, must=must) == ("into", [prefix])


def test_several_sources_go_into_a_directory(root: Handle) -> None:
    found = resolve(root, b"dir", names=[b"a", b"b"], dirs=[False, True], must_be_dir=False)
    assert found[:3] == ("into", [b"dir/a", b"dir/b"], {})


@pytest.mark.parametrize(("path", "prefix"), [(b"", b""), (b"dir", b"dir")])
def test_a_source_without_a_name_means_its_contents(root: Handle, path: bytes, prefix: bytes) -> None:
    assert one(root, path, name=b"", is_dir=True) == ("into", [prefix])


@pytest.mark.parametrize("is_dir", [False, True])
@pytest.mark.parametrize("path", [b"new", b"dir/new", b"dir/sub/new"])
def test_a_new_name_is_taken_by_the_one_source(root: Handle, path: bytes, is_dir: bool) -> None:
    assert one(root, path, is_dir=is_dir) == ("as", [path])


def test_a_new_name_with_a_slash_is_made_for_a_directory_only(root: Handle) -> None:
    assert one(root, b"new", is_dir=True, must=True) == ("as", [b"new"])
    with pytest.raises(LocalFailure, match="not there"):
        one(root, b"new", must=True)


@pytest.mark.parametrize("path", [b"file", b"to-file", b"to-dir", b"dangling"])
def test_a_file_or_link_that_stands_there_is_the_files_name(root: Handle, path: bytes) -> None:
    """Links are not followed; whether the name may be replaced is decided later."""
    assert one(root, path) == ("as", [path])


@pytest.mark.parametrize("path", [b"file", b"to-file", b"to-dir", b"dangling"])
@pytest.mark.parametrize(("is_dir", "must"), [(True, False), (False, True)])
def test_no_directory_where_one_must_be_is_a_failure(root: Handle, path: bytes, is_dir: bool, must: bool) -> None:
    with pytest.raises(LocalFailure, match="not a directory"):
        one(root, path, is_dir=is_dir, must=must)


@pytest.mark.parametrize("path", [b"file", b"new", b"to-dir"])
def test_several_sources_need_a_directory(root: Handle, path: bytes) -> None:
    with pytest.raises(LocalFailure, match="several sources"):
        resolve(root, path, names=[b"a", b"b"], dirs=[False, False], must_be_dir=False)


@pytest.mark.parametrize("path", [b"missing/new", b"file/new", b"to-dir/new", b"dangling/new", b"dir/missing/new"])
def test_only_the_last_part_is_made(root: Handle, folder: Path, path: bytes) -> None:
    before = sorted(os.listdir(folder))
    with pytest.raises(LocalFailure):
        one(root, path)
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize("path", [b"..", b"../x", b"dir/../../x", b".", b"a//b", b"a\nb", b"a\0b", b".f.hvcopy-part", b"x" * 256])
def test_an_unsafe_destination_is_refused(root: Handle, path: bytes) -> None:
    with pytest.raises(UnsafeName):
        one(root, path)


@pytest.mark.parametrize("name", [b"..", b".", b"a/b", b"/etc", b"\x1b[2J", b".hvcopy-x", b"x" * 256])
def test_an_unsafe_name_of_a_source_is_refused(root: Handle, name: bytes) -> None:
    with pytest.raises(UnsafeName):
        one(root, b"dir", name=name)
    found = resolve(root, b"dir", names=[b"fine", name], dirs=[False, False], must_be_dir=False)
    assert found.prefixes == [b"dir/fine", NOWHERE]
    assert list(found.refused) == [1]
    assert one(root, b"dir/new", name=name) == ("as", [b"dir/new"])


def local(path: str, *, is_dir: bool = False) -> tuple[Path, list[bytes]]:
    """Resolve what the user of this side named; returns where the root is."""
    root, places = resolve_local(path, names=[b"n"], dirs=[is_dir])
    return Path(os.readlink(f"/proc/self/fd/{root.fd}")), places.prefixes


@pytest.mark.parametrize(
    ("path", "root", "prefix"),
    [
        ("", "", b"n"), (".", "", b"n"), ("dir", "dir", b"n"), ("dir/", "dir", b"n"), ("to-dir", "dir", b"n"),
        ("new", "", b"new"), ("dir/new", "dir", b"new"), ("to-dir/new", "dir", b"new"), ("./new", "", b"new"),
        ("dir/../new", "", b"new"), ("file", "", b"file"), ("to-file", "", b"to-file"),
    ],
)  # fmt: skip
def test_local_destination_follows_the_users_own_links(
    folder: Path, monkeypatch: pytest.MonkeyPatch, path: str, root: str, prefix: bytes
) -> None:
    monkeypatch.chdir(folder)
    assert local(path) == (folder / root, [prefix])


def test_local_new_directory_with_a_slash(folder: Path) -> None:
    assert local(f"{folder}/new/", is_dir=True) == (folder, [b"new"])
    with pytest.raises(LocalFailure):
        local(f"{folder}/new/")


@pytest.mark.parametrize("path", ["missing/new", "file/new", "missing/sub/"])
def test_local_destination_whose_folder_is_missing_is_a_failure(folder: Path, path: str) -> None:
    with pytest.raises(LocalFailure) as caught:
        local(f"{folder}/{path}", is_dir=True)
    assert ("another folder" if path.startswith("file") else "folder first") in caught.value.hint


@pytest.mark.parametrize(
    ("path", "names", "is_dir", "message"),
    [
        ("dir/new/", [b"n"], False, "^dir/new/ is not there"),
        ("dir/new", [b"n", b"m"], False, "^dir/new is not a directory, but"),
        ("./file/", [b"n"], True, "^./file exists and is not"),
    ],
)
def test_a_refused_local_destination_is_named_as_it_was_typed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, path: str, names: list[bytes], is_dir: bool, message: str
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(LocalFailure, match=message):
        resolve_local(path, names=names, dirs=[is_dir] * len(names))
