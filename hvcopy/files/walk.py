"""Walks a source tree by directory handles: confined, in bounded pieces, without reading or sorting."""

from __future__ import annotations

import os
from collections.abc import Iterator

from msgspec import Struct

from hvcopy.fileio import IS_DIRECTORY, IS_FILE, IS_LINK
from hvcopy.files import system
from hvcopy.files.confined import Handle, enter
from hvcopy.wire.messages import MAX_PATH

BATCH = 1024
"""Names handed out at once: bounds the memory for a directory of any size."""


class Entered(Struct):
    """A directory was entered; *path* is relative to the walk's start, empty for the start itself."""

    path: bytes
    handle: Handle
    stat: os.stat_result


class Found(Struct):
    """Names in one directory that are no directories: regular files, and links apart from the rest."""

    path: bytes
    handle: Handle
    files: list[bytes]
    links: list[bytes]
    others: list[bytes]


class Failed(Struct):
    """A directory could not be read."""

    path: bytes
    error: OSError


class TooLong(Struct):
    """A directory was not entered: no frame may name it, nor anything below it."""

    path: bytes


Item = Entered | Found | Failed | TooLong


def walk(start: Handle) -> Iterator[Item]:
    """Yield every directory at and below *start*, parents first, and the names in it in pieces.

    Symbolic links are listed, never followed.  A directory that vanishes or cannot be read is one Failed; the walk goes on.
    """
    pending: list[tuple[Handle | None, bytes, bytes]] = [(None, b"", b"")]
    while pending:
        parent, name, path = pending.pop()
        if len(path) > MAX_PATH:
            yield TooLong(path)
            continue
        try:
            # a handle of its own: two walks over one open directory would share its position
            handle = enter(start, b".") if parent is None else enter(parent, name)
            yield Entered(path, handle, system.fstat(handle.fd))
            yield from _list(handle, path, pending)
        except OSError as error:
            yield Failed(path, error)


def _list(handle: Handle, path: bytes, pending: list[tuple[Handle | None, bytes, bytes]]) -> Iterator[Found]:
    found = Found(path, handle, [], [], [])
    for name, kind in system.list_folder(handle.fd):
        if kind == IS_LINK:
            found.links.append(name)
        elif kind == IS_DIRECTORY:
            pending.append((handle, name, path + b"/" + name if path else name))
        elif kind == IS_FILE:
            found.files.append(name)
        else:
            found.others.append(name)
        if len(found.files) + len(found.links) + len(found.others) >= BATCH:
            yield found
            found = Found(path, handle, [], [], [])
    if found.files or found.links or found.others:
        yield found
