"""The walk over a source: everything once, parents first, no link followed, no failure fatal."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from descriptors import opened_below

from hvcopy.files import walk as walking
from hvcopy.files.confined import open_directory
from hvcopy.files.walk import Entered, Failed, Found, walk


def walked(path: Path) -> list[Entered | Found | Failed]:
    """Walk *path* to its end."""
    return list(walk(open_directory(os.fsencode(path))))


def joined(directory: bytes, names: list[bytes]) -> list[bytes]:
    """Return the paths of *names*."""
    return [directory + b"/" + name if directory else name for name in names]


def test_walk_finds_everything_once(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for path in ("one", "a/two", "a/b/three"):
        (tmp_path / path).write_bytes(b"")
    items = walked(tmp_path)
    assert sorted(item.path for item in items if isinstance(item, Entered)) == [b"", b"a", b"a/b", b"empty"]
    files = [path for item in items if isinstance(item, Found) for path in joined(item.path, item.files)]
    assert sorted(files) == [b"a/b/three", b"a/two", b"one"]


def test_walk_enters_parents_first(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "d" / "e").mkdir(parents=True)
    seen: set[bytes] = set()
    for item in walked(tmp_path):
        if isinstance(item, Entered) and item.path:
            assert item.path.rpartition(b"/")[0] in seen
        seen.add(item.path)
    assert {b"a/b/c", b"d/e"} <= seen


def test_walk_gives_the_status_of_directories(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o700)
    (entered,) = [item for item in walked(tmp_path) if isinstance(item, Entered) and item.path == b"a"]
    there = (tmp_path / "a").stat()  # reading it may have changed its time of access
    assert (entered.stat.st_ino, entered.stat.st_mode) == (there.st_ino, there.st_mode)
    assert entered.stat.st_mtime_ns == there.st_mtime_ns


def test_walk_tells_links_and_special_files_apart_and_follows_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "to-file").symlink_to("file")
    (tmp_path / "to-here").symlink_to(".")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        (_, found) = walked(tmp_path)
    assert isinstance(found, Found)
    assert found.files == [b"file"]
    assert sorted(found.links) == [b"dangling", b"to-file", b"to-here"]
    assert sorted(found.others) == [b"fifo", b"s"]


def test_walk_takes_names_that_are_no_text(tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/d\xff")
    with open(os.fsencode(tmp_path) + b"/d\xff/\xfe\n", "wb"):
        pass
    (found,) = [item for item in walked(tmp_path) if isinstance(item, Found)]
    assert (found.path, found.files) == (b"d\xff", [b"\xfe\n"])


@pytest.mark.parametrize("count", [0, 1, 4, 5, 9, 10])
def test_walk_hands_out_a_large_directory_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(walking, "BATCH", 5)
    for number in range(count):
        (tmp_path / str(number)).write_bytes(b"")
    pieces = [item.files for item in walked(tmp_path) if isinstance(item, Found)]
    assert sorted(name for piece in pieces for name in piece) == sorted(b"%d" % number for number in range(count))
    assert all(0 < len(piece) <= 5 for piece in pieces)


def test_walk_hands_out_a_directory_of_links_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "BATCH", 5)
    for number in range(12):
        (tmp_path / str(number)).symlink_to("x")
    pieces = [item.links for item in walked(tmp_path) if isinstance(item, Found)]
    assert sum(map(len, pieces)) == 12
    assert max(map(len, pieces)) <= 5


def test_walk_of_a_directory_that_vanished_is_one_failure_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name in ("gone", "here"):
        (tmp_path / name).mkdir()
    seen: list[Entered | Found | Failed] = []
    for item in walk(open_directory(os.fsencode(tmp_path))):
        seen.append(item)
        if isinstance(item, Found):  # the listing is read; both wait to be entered
            (tmp_path / "gone").rmdir()
    (failed,) = [item for item in seen if isinstance(item, Failed)]
    assert failed.path == b"gone"
    assert isinstance(failed.error, FileNotFoundError)
    assert [item.path for item in seen if isinstance(item, Entered)] == [b"", b"here"]


def test_walk_of_a_directory_swapped_for_a_link_is_one_failure(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"")
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "file").write_bytes(b"")
    seen: list[Entered | Found | Failed] = []
    for item in walk(open_directory(os.fsencode(tmp_path / "tree"))):
        seen.append(item)
        if isinstance(item, Found) and item.path == b"":  # the listing is read; "sub" waits to be entered
            (tmp_path / "tree" / "sub").rmdir()
            (tmp_path / "tree" / "sub").symlink_to(outside)
    (failed,) = [item for item in seen if isinstance(item, Failed)]
    assert failed.path == b"sub"
    assert not any(b"secret" in item.files for item in seen if isinstance(item, Found))


def test_two_walks_over_one_handle_do_not_share_a_position(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / str(number)).write_bytes(b"")
    handle = open_directory(os.fsencode(tmp_path))
    for _ in range(2):
        found = [item for item in walk(handle) if isinstance(item, Found)]
        assert sum(len(item.files) for item in found) == 10


def test_walk_lets_go_of_its_directories(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    handle = open_directory(os.fsencode(tmp_path))
    before = opened_below(tmp_path)
    for _ in walk(handle):
        pass
    del _
    assert opened_below(tmp_path) == before
