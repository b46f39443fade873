"""Links are made last, and of a file with several names one is sent: which that is, and what waits for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from msgspec import Struct, field

from hvcopy.wire import messages as m

Place = tuple[int, bytes]
"""Index of a source, and the path below it as the peer names it."""
File = tuple[int, int, int, int]
"""Device, inode number, size and mtime, which names of one file share: the number alone soon belongs to another file
when the last name of one is deleted.  Not the ctime, which a further name changes."""


class LinkEntry(Struct):
    """A symbolic or hard link, created when all files are delivered; *extra* of a hard link is known only then."""

    kind: int
    source: int
    path: bytes
    mtime: int
    extra: m.Extra = m.NO_EXTRA


class Waiting(Struct):
    """The names of a file that are to be linked to the one that is sent."""

    file: File
    names: list[LinkEntry] = field(default_factory=list)


class Linking:
    """All links of a copy.  Not thread-safe: used under ``lanes.changed``."""

    def __init__(self) -> None:
        self._symbolic: list[LinkEntry] = []
        self._first_of: dict[File, Place] = {}
        self._others: dict[Place, Waiting] = {}
        self.orphans: deque[LinkEntry] = deque()
        """Hard links that are to be sent as files: each in place of a name that was not delivered."""

    def first(self, file: File, place: Place) -> Place | None:
        """Return the name that is sent of a file, None if that is *place*, the first one asked about."""
        if place in self._others and self._others[place].file != file:
            self.lost(place)
        first = self._first_of.get(file, place)
        if first != place and first in self._others:
            return first
        self._first_of[file] = place
        self._others.setdefault(place, Waiting(file))
        return None

    def add(self, link: LinkEntry, to: Place | None = None) -> None:
        """Take one link to be made at the end, a hard link to the name *to*."""
        if to is None:
            self._symbolic.append(link)
        elif to in self._others:
            self._others[to].names.append(link)
        else:
            self.orphans.append(link)

    def lost(self, place: Place) -> None:
        """Take note that *place* was not delivered, only skipped, or is another file: another name is to be the first.

        The others wait for that one: each of very many may fail in its turn.
        """
        waiting = self._others.pop(place, None)
        if waiting and waiting.names:
            following = waiting.names.pop()
            self.orphans.append(following)
            first = following.source, following.path
            self._first_of[waiting.file] = first
            self._others[first] = waiting

    def take_orphans(self, count: int) -> list[LinkEntry]:
        """Return at most *count* orphans, which are forgotten here."""
        return [self.orphans.popleft() for _ in range(min(count, len(self.orphans)))]

    def all(self) -> Iterator[LinkEntry]:
        """Yield what is to be made, symbolic links first; called when nothing is lost any more."""
        yield from self._symbolic
        for first, waiting in self._others.items():
            extra = m.Extra(to=first)
            for link in waiting.names:
                link.extra = extra
                yield link
