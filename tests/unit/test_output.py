"""The file of -o: it has its name when it is whole, and until then the old one stands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hvcopy.errors import HvcopyError, LocalFailure, UnsafeName
from hvcopy.files import place
from hvcopy.files.output import OutputFile, is_replaceable


@pytest.fixture(params=["anonymous", "named"])
def _temporary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without O_TMPFILE, which some file systems lack."""
    if request.param == "named":
        really = os.open

        def refuse(path: object, flags: int, *arguments: object, **keywords: object) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(95, "Operation not supported")
            return really(path, flags, *arguments, **keywords)  # type: ignore[arg-type]

        monkeypatch.setattr(place.os, "open", refuse)


pytestmark = pytest.mark.usefixtures("_temporary")


@pytest.mark.parametrize("sync", [True, False])
def test_it_appears_whole_with_what_the_umask_leaves(tmp_path: Path, sync: bool) -> None:
    before = os.umask(0o027)
    try:
        file = OutputFile(str(tmp_path / "f"), sync=sync)
    finally:
        os.umask(before)
    for piece in (b"one ", b"two ", bytes(20 << 20)):
        file.write(piece)
        assert not (tmp_path / "f").exists()
    assert file.lost() is None
    assert file.finish() == ("synced" if sync else "cached")
    assert (tmp_path / "f").read_bytes() == b"one two " + bytes(20 << 20)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640
    file.close()
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("old", [True, False])
def test_it_is_on_disk_before_its_name_is(tmp_path: Path, old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    really, synced = os.fsync, []

    def fsync(fd: int) -> None:
        synced.append((os.fstat(fd).st_ino, (tmp_path / "f").exists() and (tmp_path / "f").stat().st_size))
        really(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    if old:
        (tmp_path / "f").touch()
    file = OutputFile(str(tmp_path / "f"), sync=True)
    file.write(b"new")
    file.finish()
    assert synced == [((tmp_path / "f").stat().st_ino, 0), (tmp_path.stat().st_ino, 3)]


@pytest.mark.parametrize("sync", [True, False])
def test_zeros_become_a_hole_also_at_the_end(tmp_path: Path, sync: bool) -> None:
    file = OutputFile(str(tmp_path / "f"), sync=sync)
    for piece in (b"one ", bytes(20 << 20), b" two", bytes(4095), bytes(1 << 20)):
        file.write(piece)
    file.finish()
    assert (tmp_path / "f").read_bytes() == b"one " + bytes(20 << 20) + b" two" + bytes(4095 + (1 << 20))
    assert sys.platform == "win32" or (tmp_path / "f").stat().st_blocks * 512 < 1 << 20


def test_a_file_that_stands_there_is_replaced_at_the_end_and_lends_its_mode(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    (tmp_path / "f").chmod(0o604)
    file = OutputFile(str(tmp_path / "f"), sync=False)
    file.write(b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
    file.finish()
    assert (tmp_path / "f").read_bytes() == b"new"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o604


def test_what_was_not_finished_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    file = OutputFile(str(tmp_path / "f"), sync=True)
    file.write(b"half of it")
    file.close()
    file.close()
    assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/f").write_bytes(b"old")
    (tmp_path / "link").symlink_to("inner/f")
    file = OutputFile(str(tmp_path / "link"), sync=False)
    file.write(b"new")
    file.finish()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "inner/f").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["missing/f", "f/", "plain/f"])
def test_a_place_that_cannot_be_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "plain").write_bytes(b"")
    with pytest.raises(LocalFailure, match=name):
        OutputFile(str(tmp_path) + "/" + name, sync=False)


@pytest.mark.skipif(sys.platform != "win32", reason="POSIX takes names as they are")
@pytest.mark.parametrize("name", ["t.", "t ", "aux", "com1.txt", "nul.txt", "NUL.", "a?b", "f:stream", "a\x01b"])
def test_a_name_that_windows_would_take_for_another_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "f").write_bytes(b"old")
    path = f"{tmp_path}\\{name}"
    assert is_replaceable(path), "it is no device either"
    with pytest.raises(UnsafeName, match=r"Windows|control") as caught:
        OutputFile(path, sync=False)
    assert caught.value.hint == "choose another name"
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"


@pytest.mark.skipif(sys.platform != "win32", reason="POSIX knows one slash")
@pytest.mark.parametrize("slash", ["/", "\\"])
def test_a_slash_of_either_kind_at_the_end_means_a_folder_on_windows(tmp_path: Path, slash: str) -> None:
    with pytest.raises(LocalFailure):
        OutputFile(f"{tmp_path}\\nope{slash}", sync=False)
    assert os.listdir(tmp_path) == []


def test_a_place_that_fails_late_keeps_nothing(tmp_path: Path) -> None:
    with pytest.raises(HvcopyError, match="nnn"):
        OutputFile(str(tmp_path / ("n" * 300)), sync=False)
    assert os.listdir(tmp_path) == []


def test_a_name_that_became_a_directory_meanwhile_is_told(tmp_path: Path) -> None:
    file = OutputFile(str(tmp_path / "f"), sync=False)
    (tmp_path / "f").mkdir()
    with pytest.raises(LocalFailure):
        file.finish()
    file.close()
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFO has a name in a folder there")
def test_a_fifo_that_was_not_seen_before_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f")
    with pytest.raises(LocalFailure, match="no regular file"):
        OutputFile(str(tmp_path / "f"), sync=False)
    assert (tmp_path / "f").is_fifo()
    assert os.listdir(tmp_path) == ["f"]


def test_only_what_is_a_file_or_nothing_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "f").write_bytes(b"")
    assert is_replaceable(str(tmp_path / "f"))
    assert is_replaceable(str(tmp_path / "new"))
    assert not is_replaceable(str(tmp_path / "fifo"))
    assert not is_replaceable("/dev/null")
