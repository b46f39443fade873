"""Where a sparse file has holes, on the grid of its blocks."""

from __future__ import annotations

from itertools import chain

from hvcopy.files import system


def hole_runs(fd: int, size: int, block: int) -> list[tuple[int, int]]:
    """Return (first block, count) of each run of whole blocks that lie in holes; empty where holes are unknown.

    The short last block counts when it lies in a hole to the file's end.  Raises nothing: a file system that
    cannot tell has no holes.
    """
    runs: list[tuple[int, int]] = []
    position = 0
    try:
        for start, end in chain(system.data_runs(fd, size), [(size, size)]):
            first = -(-position // block)
            last = -(-size // block) if start >= size else start // block
            if position < size and last > first:
                runs.append((first, last - first))
            position = end
    except OSError:
        return []
    return runs
