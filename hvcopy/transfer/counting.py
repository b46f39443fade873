"""Counts what a copy will send, for progress only: the copy itself does not wait for it."""

from __future__ import annotations

import contextlib

from hvcopy.files import system
from hvcopy.files.source import Source
from hvcopy.files.walk import Found, walk


def count(sources: list[Source]) -> tuple[int, int]:
    """Return (files, bytes) of everything below *sources*; what cannot be looked at counts as nothing.  Blocks."""
    files = size = 0
    for source in sources:
        if not source.is_dir:
            files += 1
            with contextlib.suppress(OSError):
                size += system.stat(source.handle.fd, source.name).st_size
            continue
        for item in walk(source.handle):
            if isinstance(item, Found):
                for name in item.files:
                    with contextlib.suppress(OSError):
                        size += system.stat(item.handle.fd, name).st_size
                    files += 1
    return files, size
