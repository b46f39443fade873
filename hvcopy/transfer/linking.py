"""Links are made last, and of a file with several names one is sent: which that is, and what waits for it."""

from __future__ import annotations

from itertools import chain

from msgspec import Struct

from hvcopy.wire import messages as m

Place = tuple[int, bytes]
"""Index of a source, and the path below it as the peer names it."""
File = tuple[int, int, int, int]
"""Device, inode number, size and mtime, which names of one file share: the number alone soon belongs to another file
when the last name of one is deleted.  Not the ctime, which a further name changes."""


class LinkEntry(Struct):
    """A symbolic or hard link, created when all files are delivered."""

    kind: int
    source: int
    path: bytes
    mtime: int
    extra: m.Extra


class Linking:
    """All links of a copy.  Not thread-safe: used under ``lanes.changed``."""

    def __init__(self) -> None:
        self._symbolic: list[LinkEntry] = []
        self._first_of: dict[File, Place] = {}
        self._others: dict[Place, list[LinkEntry]] = {}
        self.orphans: list[LinkEntry] = []
        """Hard links whose first name was not delivered: to be sent as files."""

    def first(self, file: File, place: Place) -> Place | None:
        """Return the name that is sent of a file, None if that is *place*, the first one asked about."""
        first = self._first_of.get(file, place)
        if first != place and first in self._others:
            return first
        self._first_of[file] = place
        self._others.setdefault(place, [])
        return None

    def add(self, link: LinkEntry) -> None:
        """Take one link to be made at the end."""
        if link.kind == m.SYMLINK:
            self._symbolic.append(link)
        elif link.extra.to in self._others:
            self._others[link.extra.to].append(link)
        else:
            self.orphans.append(link)

    def lost(self, place: Place) -> None:
        """Take note that *place* was not delivered, or only skipped: another name of the file is to be the first."""
        self.orphans += self._others.pop(place, [])

    def take_orphans(self, count: int) -> list[LinkEntry]:
        """Return at most *count* orphans, which are forgotten here."""
        taken, self.orphans = self.orphans[:count], self.orphans[count:]
        return taken

    def all(self) -> list[LinkEntry]:
        """Return what is to be made, symbolic links first."""
        return list(chain(self._symbolic, *self._others.values()))
