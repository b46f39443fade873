"""A sweep as a picture."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from hvcopy.errors import BadUsage, LocalFailure
from hvcopy.measuring import plot
from hvcopy.measuring.advice import Point
from hvcopy.wire.frames import KIB, MIB

POINTS = [
    Point(64 * KIB, 0, 1, 2 * MIB, [100e6]),
    Point(MIB, 0, 1, 2 * MIB, [200e6]),
    Point(MIB, 4 * MIB, 1, 8 * MIB, [400e6]),
    Point(MIB, 4 * MIB, 2, 8 * MIB, [800e6]),
]


def test_a_picture_is_of_the_kind_that_its_name_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")  # text as text
    for name in ("a.svg", "b.PNG"):
        plot.check(name)
        plot.draw(POINTS, str(tmp_path / name), title="a link")
    assert (tmp_path / "b.PNG").read_bytes().startswith(b"\x89PNG\r\n")
    text = (tmp_path / "a.svg").read_text()
    assert text.startswith("<?xml")
    for word in ("a link", "buffer default, window 2.00 MiB", "buffer 4M, window 8.00 MiB", "2 connections", "64.00 KiB"):
        assert word in text
    with pytest.raises(LocalFailure, match="No such file"):
        plot.draw(POINTS, str(tmp_path / "no" / "a.svg"), title="")


def test_a_picture_for_which_there_is_no_folder_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(LocalFailure, match="no such folder"):
        plot.check(str(tmp_path / "no" / "a.svg"))


@pytest.mark.parametrize("name", ["a.svg", "/proc/a.svg"], ids=["a folder", "in a folder that takes none"])
def test_a_picture_that_could_not_be_written_is_refused_before_anything_is_measured(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.svg").mkdir()
    with pytest.raises(LocalFailure, match=r"a\.svg: "):
        plot.check(str(tmp_path / name))
    assert list(tmp_path.iterdir()) == [tmp_path / "a.svg"]


@pytest.mark.parametrize("before", ["the picture of last week", None])
def test_a_picture_for_which_there_is_no_room_leaves_what_stood_there(before: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    if before:
        path.write_text(before)
    plot.check(str(path))
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, usual[1]))
    try:
        with pytest.raises(LocalFailure, match="File too large"):
            plot.draw(POINTS, str(path), title="a link")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == ({"a.svg": before} if before else {})


def test_a_device_is_drawn_to_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.svg").symlink_to("/dev/full")
    plot.check(str(tmp_path / "a.svg"))
    with pytest.raises(LocalFailure, match="No space left"):
        plot.draw(POINTS, str(tmp_path / "a.svg"), title="a link")
    assert (tmp_path / "a.svg").is_symlink()


@pytest.mark.parametrize("name", ["a.gif", "a", "svg", ".svg"])
def test_a_picture_of_another_kind_is_refused(name: str) -> None:
    with pytest.raises(BadUsage, match=r"neither \.svg nor \.png"):
        plot.check(name)
