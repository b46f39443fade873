"""Whether a copy is equal to its source: names, kinds, contents, modes, times.  It shares no code with the copying."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a source is; directories and links count as nothing."""

    files: int
    bytes: int


def extent(path: str) -> Extent:
    """Count what *path* is or holds.  Raises OSError."""
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        return Extent(1, found.st_size)
    files = size = 0
    for base, _, names in os.walk(path):
        for name in names:
            found = os.lstat(os.path.join(base, name))
            if stat.S_ISREG(found.st_mode):
                files += 1
                size += found.st_size
    return Extent(files, size)


def difference(source: str, copy: str, *, check: Callable[[], None]) -> str | None:
    """Return what is not equal, as words for people, or None.  *check* is called often and may raise."""
    check()
    try:
        here, there = os.lstat(source), os.lstat(copy)
    except FileNotFoundError as error:
        return f"{error.filename} is missing"
    if stat.S_IFMT(here.st_mode) != stat.S_IFMT(there.st_mode):
        return f"{copy} is of another kind than {source}"
    if stat.S_ISLNK(here.st_mode):
        return None if os.readlink(source) == os.readlink(copy) else f"{copy} leads elsewhere than {source}"
    if (here.st_mode & 0o777, here.st_mtime_ns) != (there.st_mode & 0o777, there.st_mtime_ns):
        return f"{copy} has another mode or time than {source}"
    if stat.S_ISDIR(here.st_mode):
        return _directories(source, copy, check)
    return _contents(source, copy, check) if stat.S_ISREG(here.st_mode) else None


def _directories(source: str, copy: str, check: Callable[[], None]) -> str | None:
    names, copied = sorted(os.listdir(source)), sorted(os.listdir(copy))
    if names != copied:
        return f"{copy} holds other names than {source}: {sorted({*names} ^ {*copied})[:3]}"
    for name in names:
        if found := difference(os.path.join(source, name), os.path.join(copy, name), check=check):
            return found
    return None


def _contents(source: str, copy: str, check: Callable[[], None]) -> str | None:
    one, other = bytearray(PIECE), bytearray(PIECE)
    with open(source, "rb", buffering=0) as left, open(copy, "rb", buffering=0) as right:
        while True:
            count = left.readinto(one) or 0
            if count != (right.readinto(other) or 0) or one[:count] != other[:count]:
                return f"{copy} has other contents than {source}"
            if not count:
                return None
            check()
