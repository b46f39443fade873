"""Counts descriptors by what they are open on, as other tests' threads may close some meanwhile, and takes all there are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def opened_below(folder: Path) -> int:
    """Return how many descriptors of this process are open on *folder* or something in it (proc(5))."""
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found += Path(os.readlink(f"/proc/self/fd/{descriptor}")).is_relative_to(folder)
    return found


@contextmanager
def none_left() -> Iterator[None]:
    """Let this process open nothing for a moment."""
    import resource  # which Windows lacks

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest + 8)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)
