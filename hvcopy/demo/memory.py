"""Fair conditions: the memory that copies will take was used before, and what is copied is in it."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable

PIECE = 64 << 20
PAGE = 4096


def available() -> int:
    """Return the bytes of memory that can be had without swapping (proc(5)); 0 when the system does not say."""
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 0


def touch_memory(size: int, *, check: Callable[[], None]) -> None:
    """Use *size* bytes of memory and give them back, at most half of what can be had.

    A virtual machine's host finds a page when it is used for the first time, which costs more than copying into it.
    """
    pieces = []
    try:
        for _ in range(0, min(size, available() // 2), PIECE):
            check()
            piece = mmap.mmap(-1, PIECE)
            pieces.append(piece)
            piece[::PAGE] = bytes(PIECE // PAGE)
    finally:
        for piece in pieces:
            piece.close()


def read_all(path: str, *, check: Callable[[], None]) -> None:
    """Read a file, or every file below a directory, so that it is in memory; what cannot be read is left to the copy."""
    for file in _files(path):
        check()
        try:
            with open(file, "rb", buffering=0) as opened:
                while opened.read(1 << 20):
                    check()
        except OSError:
            continue


def _files(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    found = [os.path.join(base, name) for base, _, names in os.walk(path) for name in names]
    return [file for file in found if os.path.isfile(file) and not os.path.islink(file)]
