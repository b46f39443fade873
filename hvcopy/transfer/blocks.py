"""Larger files: asked about, then sent block by block, in ranges that the lanes share."""

from __future__ import annotations

import functools

from hvcopy.errors import DigestMismatch, printable
from hvcopy.files import system
from hvcopy.files.outgoing import Outgoing
from hvcopy.files.system import looks_sparse
from hvcopy.transfer.link import Link
from hvcopy.transfer.outbox import Candidate, Outbox, Scratch
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.digests import HASHED, digest, zeros_digest
from hvcopy.wire.frames import Type

ASK_BATCH = 64


class BlockSender:
    """What a worker does with asked files.  One serves all workers of a session."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._asking = False

    def may_ask(self) -> bool:
        """Say whether a worker may ask now, and reserve that for it; called under ``lanes.changed``.

        One asks at a time: ids are announced in the order they are given.
        """
        waiting = self._outbox.candidates
        if self._asking or not waiting or not self._outbox.book.may_ask(waiting[0].size):
            return False
        self._asking = True
        return True

    def _next_batch(self) -> list[Candidate]:
        outbox = self._outbox
        batch: list[Candidate] = []
        while outbox.candidates and len(batch) < ASK_BATCH and outbox.book.may_ask(outbox.candidates[0].size):
            one = outbox.candidates.popleft()
            asked = outbox.book.ask(one.source, one.path, one.size)
            one.entry = m.Entry(
                m.FILE, asked.id, one.source, one.path, one.entry.mode, one.size, one.entry.mtime, one.entry.extra
            )
            outbox.outgoing[asked.id] = Outgoing(asked, one.handle, one.name, one.entry.extra.identity)
            batch.append(one)
        return batch

    def ask(self) -> None:
        """Announce the next candidates; for the worker that ``may_ask`` chose."""
        with self._outbox.lanes.changed:
            batch = self._next_batch()
        try:
            self._announce(batch)
        finally:
            with self._outbox.lanes.changed:
                self._asking = False

    def _announce(self, batch: list[Candidate]) -> None:
        with self._outbox.lanes.watchdog.own_work():
            dry = self._outbox.options.dry  # nothing is written, so nobody wants to know of holes
            entries = [one.entry if dry else _with_sparseness(one) for one in batch]
        self._outbox.lanes.control.send(*m.in_batches(entries))

    def open(self, file: Outgoing) -> None:
        """Open a file that was answered, and let the lanes share it."""
        try:
            with self._outbox.lanes.watchdog.own_work():
                file.open()
            self._outbox.tally.current = self._outbox.shown(file.asked.source, file.asked.path)
        except OSError as error:
            file.fail_reading(error)
        with self._outbox.lanes.changed:
            self._outbox.active.append(file)
            self._outbox.lanes.changed.notify_all()

    def send_range(self, link: Link, work: Scratch, file: Outgoing, first: int, count: int, hole: bool) -> None:
        """Send *count* blocks of *file* from block *first* on; the last worker to finish a file ends it."""
        try:
            if hole:
                self._send_hole(link, file, first, count)
            else:
                for index in range(first, first + count):
                    if file.code:
                        break
                    self._send_block(link, work, file, index)
        except OSError as error:
            file.fail_reading(error)
        with self._outbox.lanes.changed:
            file.busy -= 1
            last = file.exhausted and not file.busy
        if last:
            self.end(link, file)

    def _send_block(self, link: Link, work: Scratch, file: Outgoing, index: int) -> None:
        outbox, asked = self._outbox, file.asked
        assembly = asked.assembly
        assert assembly is not None
        offset, length = index * assembly.block, assembly.length_of(index)
        live = link.channel.sends_files
        with outbox.lanes.watchdog.own_work():
            if live or asked.verb == m.COMPARE:
                value = file.digest(work.view(min(length, HASHED)), offset, length)
            else:
                block = work.view(length)
                file.read(block, offset)
                value = digest(block)
        assembly.add(index, value)  # no other worker has this block
        if asked.verb == m.COMPARE:
            if asked.sums.get(index) != value:
                file.differs = True
                file.fail(10, "")
        elif asked.verb == m.PATCH and asked.sums.get(index) == value:
            body = frames.KEEP.pack(asked.id, offset, length, offset)
            link.send_frame(Type.KEEP, body)
        else:
            fixed = frames.DATA.pack(asked.id, offset, value)
            outbox.slow_down(length)
            if live:
                rest = functools.partial(_rest, work, file, offset + length)
                link.send_live(Type.DATA, fixed, file.fd, offset, length, rest)
            else:
                link.send_frame(Type.DATA, fixed, block)
        outbox.tally.add(bytes=length)

    def _send_hole(self, link: Link, file: Outgoing, first: int, count: int) -> None:
        asked = file.asked
        assembly = asked.assembly
        assert assembly is not None
        start = first * assembly.block
        length = min(asked.size, (first + count) * assembly.block) - start
        assembly.add_hole(start, length)
        if asked.verb == m.COMPARE:
            for index in range(first, first + count):
                if asked.sums.get(index) != zeros_digest(assembly.length_of(index)):
                    file.differs = True
                    file.fail(10, "")
        else:
            body = frames.HOLE.pack(asked.id, start, length)
            link.send_frame(Type.HOLE, body)
        self._outbox.tally.add(bytes=length)

    def end(self, link: Link, file: Outgoing) -> None:
        """Say what became of *file*: whole only if the source is still the announced one."""
        asked = file.asked
        assembly = asked.assembly
        assert assembly is not None
        try:
            with self._outbox.lanes.watchdog.own_work():
                if not file.code and not file.unchanged():
                    file.fail(10, file.CHANGED)
        except OSError as error:
            file.fail_reading(error)
        file.close()
        root = assembly.root()
        with self._outbox.lanes.changed:  # decided in one with `recheck`, so that one of the two tells of a failure
            state = 3 if file.differs else 1 if file.code else 2 if asked.verb == m.COMPARE else 0
            asked.root, asked.ended = b"" if file.code else root, True
        _send_end(link, file, state)

    def recheck(self, link: Link, work: Scratch, file: Outgoing, index: int) -> None:
        """Find out why block *index* reached the receiver with other bytes than were hashed (docs/protocol.md, section 6).

        Raises DigestMismatch when the source still has them, for then it was the channel.
        """
        asked = file.asked
        assembly = asked.assembly
        assert assembly is not None
        offset, length = index * assembly.block, assembly.length_of(index)
        with self._outbox.lanes.watchdog.own_work():
            same = file.still_gives(work.view(min(length, HASHED)), offset, length, assembly.digest_of(index))
        if same:
            shown = printable(self._outbox.shown(asked.source, asked.path))
            raise DigestMismatch(
                f"{shown}: a block arrived damaged and was not kept", hint="run the same command again"
            )
        with self._outbox.lanes.changed:
            said_whole = asked.ended and not file.code
            file.fail(10, file.CHANGED)
            asked.root = b""
        if said_whole:
            _send_end(link, file, 1)


def _send_end(link: Link, file: Outgoing, state: int) -> None:
    asked = file.asked
    end = frames.End(asked.id, state, file.code, asked.size, asked.root or bytes(16), file.message)
    link.send_frame(Type.END, frames.encode_end(end))


def _rest(work: Scratch, file: Outgoing, end: int, count: int) -> memoryview:
    """Return the *count* bytes of *file* before *end*; zeros for what is no longer there, and the file has failed.

    The frame has to be filled: its length was said.
    """
    buffer = work.view(count)
    try:
        file.read(buffer, end - count)
    except OSError as error:
        file.fail_reading(error)
        buffer[:] = bytes(count)
    return buffer


def _with_sparseness(one: Candidate) -> m.Entry:
    """Return the entry, saying whether the file has holes: that needs a look at its allocation."""
    entry = one.entry
    try:
        found = system.stat(one.handle.fd, one.name)
    except OSError:
        return entry
    if not looks_sparse(found):
        return entry
    extra = entry.extra
    sparse = m.Extra(extra.identity, True, extra.linked, extra.uid, extra.gid, extra.xattrs)
    return m.Entry(entry.kind, entry.id, entry.source, entry.path, entry.mode, entry.size, entry.mtime, sparse)
