"""Links are made last, and of a file with several names one is sent: which that is, and what waits for it."""

from __future__ import annotations

from itertools import chain

from msgspec import Struct, field

from hvcopy.wire import messages as m

Place = tuple[int, bytes]
"""Index of a source, and the path below it as the peer names it."""
Inode = tuple[int, int]
"""Device and inode number, which names of one file share."""


class LinkEntry(Struct):
    """A symbolic or hard link, created when all files are delivered."""

    kind: int
    source: int
    path: bytes
    mtime: int
    extra: m.Extra


class _First(Struct):
    inode: Inode
    others: list[LinkEntry] = field(default_factory=list)


class Linking:
    """All links of a copy.  Not thread-safe: used under ``lanes.changed``."""

    def __init__(self) -> None:
        self._symbolic: list[LinkEntry] = []
        self._first_of: dict[Inode, Place] = {}
        self._firsts: dict[Place, _First] = {}
        self.orphans: list[LinkEntry] = []
        """Hard links whose first name was not delivered: to be sent as files."""

    def first(self, inode: Inode, place: Place) -> Place | None:
        """Return the name that is sent of a file, None if that is *place*, the first one asked about."""
        first = self._first_of.setdefault(inode, place)
        if first != place:
            return first
        self._firsts.setdefault(place, _First(inode))
        return None

    def add(self, link: LinkEntry) -> None:
        """Take one link to be made at the end."""
        if link.kind == m.SYMLINK:
            self._symbolic.append(link)
        elif link.extra.to in self._firsts:
            self._firsts[link.extra.to].others.append(link)
        else:
            self.orphans.append(link)

    def lost(self, place: Place) -> None:
        """Take note that *place* was not delivered: another name of the file is to be the first."""
        first = self._firsts.pop(place, None)
        if first is not None:
            del self._first_of[first.inode]
            self.orphans += first.others

    def take_orphans(self, count: int) -> list[LinkEntry]:
        """Return at most *count* orphans, which are forgotten here."""
        taken, self.orphans = self.orphans[:count], self.orphans[count:]
        return taken

    def all(self) -> list[LinkEntry]:
        """Return what is to be made, symbolic links first."""
        return list(chain(self._symbolic, *[first.others for first in self._firsts.values()]))
