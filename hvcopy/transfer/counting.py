"""Counts what a copy will send, for progress only: the copy itself does not wait for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from hvcopy.files import system
from hvcopy.files.source import Source
from hvcopy.files.walk import Found, walk


def count(sources: Sequence[Source], over: Callable[[], bool]) -> tuple[int, int] | None:
    """Return (files, bytes) of everything below *sources*; what cannot be looked at counts as nothing.  Blocks.

    None once *over*, which is asked before each file is looked at, and in each folder: nobody wants to know any more.
    """
    files = size = 0
    for fd, names in _folders(sources):
        for name in names:
            if over():
                return None
            files += 1
            with contextlib.suppress(OSError):
                size += system.stat(fd, name).st_size
        if over():
            return None
    return files, size


def _folders(sources: Sequence[Source]) -> Iterator[tuple[int, list[bytes]]]:
    for source in sources:
        if source.is_dir:
            for item in walk(source.handle):
                yield (item.handle.fd, item.files) if isinstance(item, Found) else (-1, [])
        else:
            yield source.handle.fd, [source.name]
