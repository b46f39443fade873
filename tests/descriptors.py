"""Counts descriptors by what they are open on: of a whole process, other tests' threads may close some meanwhile."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def opened_below(folder: Path) -> int:
    """Return how many descriptors of this process are open on *folder* or something in it (proc(5))."""
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found += Path(os.readlink(f"/proc/self/fd/{descriptor}")).is_relative_to(folder)
    return found
