"""Paths that are to be taken to the letter on Windows, however they are written."""

from __future__ import annotations

import sys

import pytest

from hvcopy.files.windows import long_path, of_any_length, with_slashes

TO_THE_LETTER = r"\\?\C:\folder\name. \\?\UNC\server\share\x \\.\C:\x"


@pytest.mark.parametrize("path", [*TO_THE_LETTER.split(), "\\\\?\\C:" + "\\long" * 100])
def test_a_path_behind_a_prefix_stays_as_it_is(path: str) -> None:
    assert long_path(path) == path
    assert of_any_length(with_slashes(path.encode())) == path.encode()


@pytest.mark.parametrize("path", ["C:/x", "x", "//server/share/x"])
def test_a_short_path_stays_as_it_is(path: str) -> None:
    assert long_path(path) == path


@pytest.mark.skipif(sys.platform != "win32", reason="what is absolute only Windows knows")
@pytest.mark.parametrize(
    ("path", "begins"),
    [
        ("\\\\server\\share" + "\\long" * 60, "\\\\?\\UNC\\server\\share\\long"),
        ("//server/share" + "/long" * 60, "\\\\?\\UNC\\server\\share\\long"),
        ("C:" + "/long" * 60, "\\\\?\\C:\\long"),
    ],
    ids=["a share", "a share behind slashes", "a drive"],
)
def test_a_long_path_is_put_behind_the_prefix_of_its_kind(path: str, begins: str) -> None:
    assert long_path(path) == begins + "\\long" * 59
    assert of_any_length(path.encode()) == long_path(path).encode()
