"""Walks the sources and fills the outbox: names queued, links and the ends of directories kept for later."""

from __future__ import annotations

from collections.abc import Iterator

from hvcopy.errors import UnsafeName
from hvcopy.files import attributes, system
from hvcopy.files.confined import Directories
from hvcopy.files.outgoing import not_read
from hvcopy.files.source import Source
from hvcopy.files.walk import Entered, Found, Item, TooLong, walk
from hvcopy.transfer.linking import LinkEntry
from hvcopy.transfer.outbox import Names, Outbox
from hvcopy.wire import messages as m

JOB_NAMES = 1024
JOB_DIRECTORIES = 32
QUEUED_JOBS = 8
"""Bounds the names in memory to 8 Ki, and the open directories to 256: a process may open 1024 files by default."""

TOO_LONG = f"its path is longer than {m.MAX_PATH} bytes; copy the folder that it is in by itself"


class Gathering:
    """One walk over all sources."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._gathered: list[Names] = []
        self._count = 0
        self.directory_ends: list[m.Entry] = []

    def run(self) -> None:
        """Queue every name of every source.  Raises the session's failure; blocks while the queue is full."""
        for source in self._outbox.sources:
            if source.is_dir:
                self._directory(source)
            else:
                self._add(Names(source.index, source.handle, b"", [source.name]))
        self._flush()
        with self._outbox.lanes.changed:
            self._outbox.walked = True
            self._outbox.lanes.changed.notify_all()

    def _directory(self, source: Source) -> None:
        for item in self._walk(source):
            if isinstance(item, Entered):
                self._enter(source.index, item)
            elif isinstance(item, Found):
                self._keep_bounds(source.index, item)
                self._links(source.index, item)
                if item.others:
                    others = [_join(item.path, name) for name in item.others]
                    self._outbox.note(source.index, others, "skipped: no file, directory or link")
                if item.files:
                    self._add(Names(source.index, item.handle, item.path, item.files))
            elif isinstance(item, TooLong):
                self._outbox.fail(source.index, item.path, UnsafeName.exit_code, TOO_LONG)
            else:
                self._outbox.fail(source.index, item.path, 10, not_read(item.error))

    def _walk(self, source: Source) -> Iterator[Item]:
        items = walk(source.handle)
        while True:
            self._outbox.lanes.check()  # where there are only folders and links nothing else ends this
            with self._outbox.lanes.watchdog.own_work():
                item = next(items, None)
            if item is None:
                return
            yield item

    def _enter(self, source: int, item: Entered) -> None:
        options, found = self._outbox.options, item.stat
        uid, gid = (found.st_uid, found.st_gid) if options.owner else (None, None)
        try:
            with self._outbox.lanes.watchdog.own_work():
                xattrs = attributes.read_xattrs(item.handle.fd) if options.xattrs else {}
        except OSError as error:
            self._outbox.fail(source, item.path, 10, not_read(error))
            xattrs = {}
        extra = m.Extra(uid=uid, gid=gid, xattrs=xattrs) if options.owner or xattrs else m.NO_EXTRA
        mode = found.st_mode & attributes.FULL_MODE
        mtime = attributes.sendable_time(found.st_mtime_ns)
        self.directory_ends.append(m.Entry(m.DIRECTORY_END, 0, source, item.path, mode, 0, mtime, extra))
        self._outbox.tally.add(directories=1)

    def _keep_bounds(self, source: int, found: Found) -> None:
        """Leave out what has a longer path than a frame may name."""
        room = m.MAX_PATH - len(_join(found.path, b""))
        for names in (found.files, found.links, found.others):
            for name in [name for name in names if len(name) > room]:
                names.remove(name)
                self._outbox.fail(source, _join(found.path, name), UnsafeName.exit_code, TOO_LONG)

    def _links(self, source: int, found: Found) -> None:
        if found.links and not self._outbox.options.links:
            paths = [_join(found.path, name) for name in found.links]
            self._outbox.note(source, paths, "symbolic link skipped (--links recreates links)")
            return
        for name in found.links:
            path = _join(found.path, name)
            try:
                with self._outbox.lanes.watchdog.own_work():
                    target = system.read_link(found.handle.fd, name)
                    own = system.stat(found.handle.fd, name)
            except OSError as error:
                self._outbox.fail(source, path, 10, not_read(error))
                continue
            uid, gid = (own.st_uid, own.st_gid) if self._outbox.options.owner else (None, None)
            extra = m.Extra(target=target, uid=uid, gid=gid)
            mtime = attributes.sendable_time(own.st_mtime_ns)
            with self._outbox.lanes.changed:
                self._outbox.linking.add(LinkEntry(m.SYMLINK, source, path, mtime, extra))

    def requeue(self, orphans: list[LinkEntry]) -> None:
        """Queue hard links again, as files: what they were to be linked to was not delivered."""
        opened: dict[int, Directories] = {}
        found: list[Names] = []
        for link in orphans:
            source = self._outbox.sources[link.source]
            directory, _, name = link.path.rpartition(b"/")
            try:
                with self._outbox.lanes.watchdog.own_work():
                    handle = opened.setdefault(source.index, Directories(source.handle)).get(directory)
            except OSError as error:
                self._outbox.fail(source.index, link.path, 10, not_read(error))
                continue
            found.append(Names(source.index, handle, directory, [name or source.name], again=True))
        lanes = self._outbox.lanes
        with lanes.changed:
            self._outbox.jobs += [found[start : start + JOB_DIRECTORIES] for start in range(0, len(found), JOB_DIRECTORIES)]
            lanes.changed.notify_all()

    def _add(self, names: Names) -> None:
        self._gathered.append(names)
        self._count += len(names.names)
        if self._count >= JOB_NAMES or len(self._gathered) >= JOB_DIRECTORIES:
            self._flush()

    def _flush(self) -> None:
        """Queue the names gathered so far; the receiver makes their directories as files come."""
        lanes = self._outbox.lanes
        lanes.check()
        if self._gathered:
            with lanes.changed:
                while len(self._outbox.jobs) >= QUEUED_JOBS:
                    lanes.check()
                    lanes.changed.wait(0.5)
                self._outbox.jobs.append(self._gathered)
                lanes.changed.notify_all()
            self._gathered, self._count = [], 0


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name
