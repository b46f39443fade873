"""Small files: many are read by one call of the core and leave as one pack; the others become candidates to ask about."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from itertools import islice, repeat

from hvcopy import fileio
from hvcopy.files import attributes
from hvcopy.files.outgoing import CHANGED, not_read
from hvcopy.session.sender import Packed
from hvcopy.transfer.link import Link
from hvcopy.transfer.linking import LinkEntry, Place
from hvcopy.transfer.outbox import Candidate, Names, Outbox, Scratch
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.digests import DIGEST_SIZE, MAX_SIZE
from hvcopy.wire.frames import LINKED, MIB, SMALL, Type
from hvcopy.wire.packs import fixed_part

CONTENTS = 2 * MIB
"""Contents of one pack at most; with its manifest it stays far below the protocol's bound."""
_RECORD = struct.Struct(fileio.FILE_RECORD)


class Packing:
    """Reads the names of one job and sends what is small.  For one worker and one job."""

    def __init__(self, outbox: Outbox, work: Scratch) -> None:
        self._outbox = outbox
        self._buffer = work.view(CONTENTS)
        self._groups: list[m.Group] = []
        self._pieces: list[tuple[int, int]] = []
        self._rest: list[Names] = []
        self._candidates: list[Candidate] = []
        self._links: list[tuple[LinkEntry, Place]] = []

    def run(self, link: Link, job: list[Names]) -> None:
        """Read, sort out, send; what found no room is queued again.  Raises HvcopyError."""
        names = [name for group in job for name in group.names]
        handles = struct.pack(f"<{len(names)}i", *[group.handle.fd for group in job for _ in group.names])
        limit = 0 if self._outbox.options.dry else SMALL
        with self._outbox.lanes.watchdog.own_work():
            records, _ = fileio.read_files(handles, names, self._buffer, limit)
        table = _RECORD.iter_unpack(records)
        for group in job:
            self._sort_out(group, table)
        outbox = self._outbox
        with outbox.lanes.changed:
            outbox.candidates += self._candidates
            for one, first in self._links:
                outbox.linking.add(one, first)
            if self._rest:
                outbox.jobs.appendleft(self._rest)
            outbox.lanes.changed.notify_all()
        if self._groups:
            self._send(link)

    def _sort_out(self, names: Names, table: Iterator[tuple[int, ...]]) -> None:
        found = list(islice(table, len(names.names)))
        left: list[bytes] = []
        options = self._outbox.options
        plain = not options.dry and not options.xattrs and not names.again
        run = next((i for i, one in enumerate(found) if one[0] or one[4] != 1), len(found)) if plain else 0
        packed, records = names.names[:run], bytearray(self._plain_records(found[:run]))
        pack = frames.PACK_RECORD.pack
        for name, record in zip(names.names[run:], found[run:], strict=False):
            status, mode, uid, gid, nlink, size, mtime, _, _, _, offset = record
            linked = nlink > 1 or names.again  # others may wait for it that are gone by now
            if status == 0 and plain and nlink == 1:
                packed.append(name)
                records += pack(size, mtime, mode & 0o7777, uid, gid, 0, 0)
                self._pieces.append((offset, size))
            elif status == fileio.NO_ROOM:
                left.append(name)
            elif status not in (0, fileio.TOO_LARGE):
                self._unreadable(names, name, status)
            elif (linked and self._is_known(names, name, record)) or (xattrs := self._xattrs(names, name)) is None:
                continue
            elif status == 0 and not options.dry and not xattrs and not (linked and self._outbox.may_skip):
                packed.append(name)
                records += pack(size, mtime, mode & 0o7777, uid, gid, LINKED if linked else 0, 0)
                self._pieces.append((offset, size))
            else:
                self._ask_about(names, name, record, xattrs, linked=linked)
        if packed:
            is_dir = self._outbox.sources[names.source].is_dir
            self._groups.append(m.Group(names.source, names.directory, packed if is_dir else [b""], bytes(records)))
        left += names.names[len(found) :]
        if left:
            self._rest.append(Names(names.source, names.handle, names.directory, left, names.again))

    def _plain_records(self, found: list[tuple[int, ...]]) -> bytes:
        """Take files that are packed without a closer look, which nearly all are: column by column."""
        if not found:
            return b""
        _, mode, uid, gid, _, size, mtime, _, _, _, offset = zip(*found, strict=True)
        self._pieces += zip(offset, size, strict=True)
        bits = [one & 0o7777 for one in mode]
        return b"".join(map(frames.PACK_RECORD.pack, size, mtime, bits, uid, gid, repeat(0), repeat(0)))

    def _unreadable(self, names: Names, name: bytes, status: int) -> None:
        if status == fileio.NOT_REGULAR:
            message = "it is no regular file any more, as it was when the copy began"
        else:
            message = CHANGED if status == fileio.CHANGED else not_read(OSError(status, fileio.describe(status)))
        self._outbox.fail(names.source, names.path(name), 10, message)

    def _is_known(self, names: Names, name: bytes, record: tuple[int, ...]) -> bool:
        path = self._outbox.wire_path(names.source, names.path(name))
        with self._outbox.lanes.changed:
            first = self._outbox.linking.first((record[9], record[8], record[5], record[6]), (names.source, path))
        if first is None:
            return False
        self._links.append((LinkEntry(m.HARDLINK, names.source, path, record[6]), first))
        return True

    def _xattrs(self, names: Names, name: bytes) -> dict[bytes, bytes] | None:
        """Return the extended attributes of a file, None when they cannot be read, which has been reported."""
        if not self._outbox.options.xattrs:
            return {}
        try:
            with self._outbox.lanes.watchdog.own_work():
                return attributes.read_xattrs(f"/proc/self/fd/{names.handle.fd}/{os.fsdecode(name)}")
        except OSError as error:
            self._outbox.fail(names.source, names.path(name), 10, not_read(error))
            return None

    def _ask_about(
        self, names: Names, name: bytes, record: tuple[int, ...], xattrs: dict[bytes, bytes], *, linked: bool
    ) -> None:
        _, mode, uid, gid, _, size, mtime, ctime, inode, _device, _ = record
        if size > MAX_SIZE:
            self._outbox.fail(names.source, names.path(name), 10, f"it has {size} bytes, and hvcopy sends {MAX_SIZE} at most")
            return
        owner = self._outbox.options.owner
        path = self._outbox.wire_path(names.source, names.path(name))
        extra = m.Extra(
            identity=attributes.identity(size, mtime, ctime, inode),
            linked=linked,
            uid=uid if owner else None,
            gid=gid if owner else None,
            xattrs=xattrs,
        )
        entry = m.Entry(m.FILE, 0, names.source, path, mode & 0o7777, size, mtime, extra)
        self._candidates.append(Candidate(names.source, path, names.handle, name, size, entry))

    def _send(self, link: Link) -> None:
        outbox = self._outbox
        contents = self._contents()
        manifest = m.encode_groups(self._groups)
        with outbox.lanes.changed:
            ident = outbox.book.new_id()
        fixed = fixed_part(ident, manifest, contents)
        pack = Packed(ident, fixed[:DIGEST_SIZE], self._groups, sum(len(group.names) for group in self._groups))
        with outbox.lanes.changed:
            outbox.book.packs[ident] = pack
        outbox.slow_down(len(contents))
        outbox.tally.current = outbox.shown(self._groups[0].source, self._groups[0].directory)
        link.send_frame(Type.PACK, fixed, manifest, contents)
        outbox.tally.add(bytes=len(contents))

    def _contents(self) -> memoryview | bytes:
        """Return the contents that go along; files that do not may have left gaps in the buffer."""
        end = 0
        for offset, size in self._pieces:
            if offset != end and size:
                return b"".join([self._buffer[start : start + length] for start, length in self._pieces])
            end += size
        return self._buffer[:end]
