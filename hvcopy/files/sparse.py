"""Where a sparse file has holes, on the grid of its blocks."""

from __future__ import annotations

import os


def looks_sparse(stat: os.stat_result) -> bool:
    """Say whether the file has fewer blocks on disk than its size needs (st_blocks counts 512 bytes, stat(2))."""
    return stat.st_blocks * 512 < stat.st_size


def hole_runs(fd: int, size: int, block: int) -> list[tuple[int, int]]:
    """Return (first block, count) of each run of whole blocks that lie in holes; empty where holes are unknown.

    The short last block counts when it lies in a hole to the file's end.  Raises nothing: a file system that
    cannot tell has no holes.
    """
    runs: list[tuple[int, int]] = []
    position = 0
    try:
        while position < size:
            start = os.lseek(fd, position, os.SEEK_HOLE)
            try:
                end = os.lseek(fd, start, os.SEEK_DATA)
            except OSError:
                end = size
            first = -(-start // block)
            last = -(-size // block) if end >= size else end // block
            if start < size and last > first:
                runs.append((first, last - first))
            position = max(end, position + 1)
    except OSError:
        return []
    return runs
