"""A file of 40 MiB that a command copies one way or the other: enough to break in the middle and to go on."""

from __future__ import annotations

import os
from pathlib import Path

SIZE = 40 << 20


class OneFile:
    """*source* and, not there yet, *target*: one in *root*, which is served, the other beside who types the command."""

    def __init__(self, way: str, folder: Path, beside: str = "mine") -> None:
        self.root = folder / "root"
        self._push = way == "push"
        self.near = folder / beside / "f"
        for made in (self.root, self.near.parent):
            made.mkdir()
        ends = (self.near, self.root / "f")
        self.source, self.target = ends if self._push else reversed(ends)
        self.source.write_bytes(os.urandom(SIZE))

    def command(self, server: str) -> list[object]:
        """The words of the copy, with the server's address."""
        ends = [self.near, f"{server}:/f"]
        return ["cp", *(ends if self._push else reversed(ends)), "--no-fsync"]
