"""What the tests in the lanes copy: files that do not compress or repeat, many small ones, and real source text."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

KIB = 1 << 10
MIB = 1 << 20
WHOLE = os.environ.get("CI", "").lower() == "true"
"""In CI the lanes copy as much as users do; elsewhere what shows the same in a fifth of the time."""
SMALL_FILES = 20_000 if WHOLE else 4_000
_PER_FOLDER = 10
_PIECE = 16 * MIB
_PACKAGES = (
    "asyncio",
    "collections",
    "concurrent",
    "email",
    "encodings",
    "http",
    "importlib",
    "json",
    "unittest",
    "xml",
)


def make_file(path: Path, size: int) -> Path:
    """A file without two equal blocks: one random piece, turned a little further each time."""
    noise = os.urandom(min(size, _PIECE))
    with path.open("wb") as file:
        for turn in range(0, size, _PIECE):
            shift = turn // _PIECE
            file.write((noise[shift:] + noise[:shift])[: size - turn])
    return path


def make_source_tree(folder: Path) -> Path:
    """Packages of the interpreter's own library; without what a running interpreter may add to them."""
    library = Path(os.__file__).parent
    for package in _PACKAGES:
        shutil.copytree(library / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def make_small_files(folder: Path) -> Path:
    """SMALL_FILES different files of up to 2 KiB, ten in a folder, one of them empty."""
    noise = os.urandom(2 * KIB)
    for number in range(SMALL_FILES):
        below = folder / str(number // _PER_FOLDER)
        if number % _PER_FOLDER == 0:
            below.mkdir(parents=True)
        (below / f"file-{number}").write_bytes(
            noise[: number % (2 * KIB)] + b"%d" % number if number else b""
        )
    return folder
