"""Makes trees and contents, and tells what stands in a folder, so that two folders can be compared."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from starting import ELSEWHERE

MIB = 1 << 20
KIB = 1 << 10
OWN = b".hvcopy"


@lru_cache(32)
def _piece(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def noise(size: int, seed: int = 0) -> bytes:
    """Return *size* bytes of which no two blocks are alike, the same in every run.

    Beyond a MiB it is one random piece, turned a byte further each time: to make all of it anew would be a tenth of the tests.
    """
    piece = _piece(min(size, MIB), seed)
    turned = (piece[turn:] + piece[:turn] for turn in range(-(-size // MIB)))
    return b"".join(turned)[:size] if size > MIB else piece


def write(path: Path, content: bytes = b"content\n") -> Path:
    """Write a file, making the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def plant(folder: Path, tree: Mapping[str, bytes | None]) -> Path:
    """Make files (bytes) and directories (None) below *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in tree.items():
        if content is None:
            (folder / name).mkdir(parents=True, exist_ok=True)
        else:
            write(folder / name, content)
    return folder


TICK = 100 if ELSEWHERE else 1
"""Nanoseconds that a file's times are told apart by, where the commands are: Windows has a hundred."""


def picture(folder: Path, *, attributes: bool = False) -> dict[bytes, tuple[object, ...]]:
    """Return what stands below *folder*: by path its kind and contents, and with *attributes* its mode and mtime."""
    found: dict[bytes, tuple[object, ...]] = {}
    for base, directories, files in os.walk(os.fsencode(folder)):
        for name in directories + files:
            path = os.path.join(base, name)
            status = os.lstat(path)
            entry: tuple[object, ...]
            if stat.S_ISLNK(status.st_mode):
                entry = ("link", os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                entry = ("directory",)
            else:
                with open(path, "rb") as file:
                    entry = ("file", file.read())
            if attributes:
                entry += (stat.S_IMODE(status.st_mode), status.st_mtime_ns // TICK * TICK)
            found[os.path.relpath(path, os.fsencode(folder))] = entry
    return found


def leftovers(folder: Path) -> list[str]:
    """Return the names of temporary files of an unfinished copy below *folder*."""
    return sorted(
        os.fsdecode(name) for _, _, files in os.walk(os.fsencode(folder)) for name in files if OWN in name
    )


def resumable(folder: Path) -> list[str]:
    """Return what may be left of an interrupted copy: its part, the record of its blocks, what it began."""
    return [name for name in leftovers(folder) if name.endswith((".hvcopy-part", ".hvcopy-blocks", ".hvcopy-begun"))]
