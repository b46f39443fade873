"""What ``*`` and ``?`` in a source stand for where the shell has left them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvcopy.cli.patterns import expand
from hvcopy.errors import LocalFailure


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("photo1.jpg", "photo[1].jpg", "photo2.jpg", ".hidden.jpg", "d/a", "d/b"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("*.jpg", [".hidden.jpg", "photo1.jpg", "photo2.jpg", "photo[1].jpg"]),
        ("photo?.jpg", ["photo1.jpg", "photo2.jpg"]),
        ("photo[1]*", ["photo[1].jpg"]),
        ("?/*", ["d/a", "d/b"]),
        ("photo[1].jpg", ["photo[1].jpg"]),
        ("~", ["~"]),
        ("$HOME", ["$HOME"]),
        ("//?/d/*", ["//?/d/*"]),
    ],
)
def test_a_star_and_a_question_mark_stand_for_names_on_windows(path: str, names: list[str], here: Path) -> None:
    assert [found.replace("\\", "/") for found in expand([path], windows=True)] == names


@pytest.mark.parametrize("path", ["*.png", "photo[[]?*", "e/?"])
def test_a_pattern_that_nothing_fits_is_said_to_be_one(path: str, here: Path) -> None:
    with pytest.raises(LocalFailure, match="no name here fits it"):
        expand([path], windows=True)


def test_order_is_kept_among_sources(here: Path) -> None:
    found = expand(["photo2.jpg", "d/*", "x"], windows=True)
    assert [Path(one) for one in found] == [Path("photo2.jpg"), Path("d/a"), Path("d/b"), Path("x")]


def test_elsewhere_they_are_characters_of_names(here: Path) -> None:
    assert expand(["*.jpg", "photo?.jpg"], windows=False) == ["*.jpg", "photo?.jpg"]
