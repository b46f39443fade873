"""The files of one pack in the form the core takes, and which of them stand there already."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Sequence

from hvcopy import fileio
from hvcopy.files import place, system
from hvcopy.files.confined import Handle

PLACE = struct.Struct(fileio.PLACE_RECORD)
_FILE = struct.Struct(fileio.FILE_RECORD)


class Batch:
    """The files of one pack in the form the core takes: parallel arrays."""

    def __init__(self, contents: memoryview) -> None:
        self.contents = contents
        self.handles: list[Handle] = []
        self.names: list[bytes] = []
        self.places = bytearray()
        self.indexes: list[int] = []
        self.linked: dict[int, tuple[int, bytes]] = {}
        self._offset = 0

    def take(self, size: int) -> None:
        """Pass over *size* bytes of contents that are not written."""
        self._offset += size

    def add_all(
        self, handle: Handle, names: Sequence[bytes], records: list[tuple[int, ...]], start: int, mode_bits: int
    ) -> None:
        """Add files that go into one directory; their contents follow in order."""
        offset, places, pack = self._offset, self.places, PLACE.pack
        for size, mtime, mode, uid, gid, _, _ in records:
            places += pack(offset, size, mtime, mode & mode_bits, uid, gid, 0)
            offset += size
        self._offset = offset
        self.names += names
        self.handles += [handle] * len(records)
        self.indexes += range(start, start + len(records))

    def dirfds(self) -> bytes:
        """Return the directories' descriptors, one a file."""
        return descriptors(self.handles)


def descriptors(handles: list[Handle]) -> bytes:
    """Return their descriptors in the form the core takes."""
    return struct.pack(f"<{len(handles)}i", *[handle.fd for handle in handles])


def stands(todo: Batch, number: int) -> bool:
    """Say whether something is seen to stand there."""
    with contextlib.suppress(OSError):
        return place.found(todo.handles[number], todo.names[number]) is not None
    return False


def alike(todo: Batch, taken: list[int]) -> set[int]:
    """Return which of *taken*, read by one call, are files with just these contents; of the rest ``holds`` tells more."""
    files = [number for number in taken if _is_file(todo, number)]  # to open a FIFO or device would be felt
    handles = descriptors([todo.handles[number] for number in files])
    room = bytearray(len(todo.contents))
    records, _ = fileio.read_files(handles, [todo.names[number] for number in files], room, len(room))
    found = set()
    for number, record in zip(files, _FILE.iter_unpack(records), strict=False):  # fewer records, if files grew
        status, size, at = record[0], record[5], record[10]
        offset, wanted, *_ = PLACE.unpack_from(todo.places, number * PLACE.size)
        if not status and size == wanted and room[at : at + size] == todo.contents[offset : offset + size]:
            found.add(number)
    return found


def _is_file(todo: Batch, number: int) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISREG(system.stat(todo.handles[number].fd, todo.names[number]).st_mode)
    return False


def holds(todo: Batch, number: int) -> bool:
    """Say whether the file that stands there has just these contents; what is no file has not.  Raises OSError."""
    found = place.found(todo.handles[number], todo.names[number])
    if not found or not stat.S_ISREG(found.st_mode):
        return False
    offset, size, *_ = PLACE.unpack_from(todo.places, number * PLACE.size)
    work = bytearray(size + 1)
    fd = system.open_file(todo.handles[number].fd, todo.names[number])
    try:
        return fileio.read_at(fd, work, 0) == size and work[:size] == todo.contents[offset : offset + size]
    finally:
        os.close(fd)
