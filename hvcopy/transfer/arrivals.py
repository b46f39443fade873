"""Contents: packs and blocks are checked, written, and acknowledged when whole (docs/protocol.md, section 6)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from hvcopy.errors import DigestMismatch, NotHvcopy, printable
from hvcopy.files.incoming import Incoming
from hvcopy.files.sink import EXISTS, UPDATE, PackStopped, Sink
from hvcopy.session.receiver import Expected
from hvcopy.transfer.inbox import Inbox, Lane, local_failure
from hvcopy.transfer.link import Link
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.digests import digest
from hvcopy.wire.frames import Frame, Type
from hvcopy.wire.packs import open_pack


class Arrivals:
    """Takes contents of any lane, from that lane's thread.  Raises OSError only for what stops the whole copy."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def take(self, lane: Lane, frame: Frame) -> bool:
        """Deal with one frame; returns False when it is none of contents."""
        match frame.type:
            case Type.DATA:
                self._data(lane.link, frame.body, live=bool(frame.flags & frames.LIVE))
            case Type.PACK:
                self._pack(lane.sink, frame.body)
            case Type.END:
                self._end(frames.decode_end(frame.body))
            case Type.HOLE:
                self._hole(*frames.unpack(frames.HOLE, frame.body, "HOLE"))
            case Type.KEEP:
                raise NotHvcopy("the peer sent KEEP, but no older version was offered")
            case _:
                return False
        return True

    def _pack(self, sink: Sink, body: memoryview | bytes) -> None:
        if self._inbox.dry:
            raise NotHvcopy("the peer sent contents in a dry run")
        pack = open_pack(body)
        count = self._inbox.book.check_pack(pack.groups, len(pack.contents))
        try:
            with self._inbox.lanes.watchdog.own_work():
                result = sink.write_pack(pack.groups, pack.contents, self._inbox.book.admit)
        except PackStopped as error:
            raise local_failure(error, self._inbox.shown(*m.place_in_pack(pack.groups, error.index))) from error
        failures = sorted(result.failures)
        self._inbox.tally.add(files=result.files, same=result.same, skipped=result.skipped, bytes=len(pack.contents))
        self._inbox.packs += 1
        for index, code, message in failures:
            self._inbox.tally.fail(self._inbox.shown(*m.place_in_pack(pack.groups, index)), code, message)
        done = count - result.same - result.skipped - len(failures)
        ack = m.Ack(pack.id, m.DONE, 0, "", pack.digest, done, result.same, result.skipped, failures)
        self._inbox.reply(m.Acks([ack]))
        self._inbox.consider_growing()

    def _data(self, link: Link, fixed: memoryview | bytes, *, live: bool) -> None:
        """Receive one block into its place, where it counts only once its digest is right."""
        if len(fixed) < frames.DATA.size or not link.rest:
            raise NotHvcopy(f"the peer sent a DATA of {len(fixed) + link.rest} bytes")
        ident, offset, wanted = frames.DATA.unpack(fixed)
        claimed = self._claim(ident, lambda one: one.assembly.add(one.assembly.index_of(offset, link.rest), wanted))
        if claimed is None:
            link.pass_over()
            return
        one, incoming = claimed
        block, written = link.receive_block(incoming.fd, offset, sparse=incoming.sparse)
        if digest(block) != wanted:
            self._damaged(one, incoming, offset, live=live)
            return
        with self._writing(one):
            incoming.write(offset, block, written)
        self._inbox.tally.add(bytes=len(block))
        self._give_back(one, incoming, lambda: incoming.record(offset // one.assembly.block, wanted))
        self._inbox.consider_growing()

    @contextlib.contextmanager
    def _writing(self, one: Expected) -> Iterator[None]:
        """Own work, whose failure ends the copy with the name of the file it happened to."""
        try:
            with self._inbox.lanes.watchdog.own_work():
                yield
        except OSError as error:
            raise local_failure(error, self._inbox.shown(one.entry.source, one.entry.path)) from error

    def _damaged(self, one: Expected, incoming: Incoming, offset: int, *, live: bool) -> None:
        """Ask the sender whether its source changed, if that can be, and take nothing more of this file."""
        if not live:
            shown = printable(self._inbox.shown(one.entry.source, one.entry.path))
            raise DigestMismatch(
                f"{shown}: a block arrived damaged and was not kept", hint="run the same command again"
            )
        with self._inbox.lock:
            asked, one.doubted = one.doubted, True
        if not asked:
            self._inbox.lanes.control.send_frame(Type.RECHECK, frames.RECHECK.pack(one.id, offset))
        self._give_back(one, incoming, lambda: one.assembly.take_back(offset // one.assembly.block))

    def _claim(self, ident: int, claim: Callable[[Expected], None]) -> tuple[Expected, Incoming] | None:
        """Take blocks of a file for this thread alone; it is neither finished nor closed before `_give_back`.

        Returns None when they are to be passed over: the file has failed, or is in doubt.  Raises NotHvcopy when another
        thread had them, so that no block is ever written twice.
        """
        with self._inbox.lock:
            if ident not in self._inbox.book.open and ident in self._inbox.book.failed:
                return None
            one = self._inbox.book.get(ident)
            incoming = self._inbox.incoming.get(ident)
            if one.failure or one.doubted:
                return None
            if incoming is None or one.finishing:
                raise NotHvcopy(f"the peer sent contents of file {ident}, which was only to be compared or is over")
            claim(one)
            one.writing += 1
        return one, incoming

    def _give_back(self, one: Expected, incoming: Incoming, note: Callable[[], None]) -> None:
        """Note what became of the blocks; settle the file if they were the last."""
        with self._inbox.lock:
            note()
            one.writing -= 1
            over = _is_over(one)
        if over:
            self._settle(one, incoming)

    def _hole(self, ident: int, offset: int, length: int) -> None:
        claimed = self._claim(ident, lambda one: one.assembly.add_hole(offset, length))
        if claimed is None:
            return
        one, incoming = claimed
        with self._writing(one):
            incoming.hole(offset, length)
        self._inbox.tally.add(bytes=length)
        self._give_back(one, incoming, lambda: None)

    def _end(self, end: frames.End) -> None:
        with self._inbox.lock:
            one = self._inbox.book.get(end.id)
            incoming = self._inbox.incoming.get(end.id)
            anew = one.doubted and end.state == 1 and not one.failure
            if (one.ended and not anew) or ((end.state >= 2) == (incoming is not None) and end.state != 1):
                raise NotHvcopy(f"the peer ended file {end.id} twice or in a way that was not asked for")
            one.ended, one.length, one.root = True, end.length, end.root
            one.failure = end if end.state == 1 else None
            over = incoming is not None and _is_over(one)
        if incoming is None and one.failure:
            self._source_failed(one, one.failure)
        elif incoming is None:
            self._compared(one, end)
        elif over:
            self._settle(one, incoming)

    def _source_failed(self, one: Expected, end: frames.End) -> None:
        code = end.code or 10
        origin = self._inbox.origin(one.entry.source, one.entry.path)
        self._inbox.tally.fail(origin, code, printable(end.message))
        self._acknowledge(one, m.Ack(one.id, m.FAILED, code, end.message))

    def _compared(self, one: Expected, end: frames.End) -> None:
        if one.unread or end.state == 3 or end.root != one.assembly.root():
            reason = one.unread or EXISTS
            self._inbox.fail(one.entry, 10, reason)
            self._acknowledge(one, m.Ack(one.id, m.FAILED, 10, reason))
            return
        if one.entry.extra.linked:
            self._inbox.plan.linkable.add((one.entry.source, one.entry.path))
        self._inbox.tally.add(same=1, bytes=one.entry.size)
        self._acknowledge(one, m.Ack(one.id, m.SAME, digest=one.assembly.root()))

    def _settle(self, one: Expected, incoming: Incoming) -> None:
        """Finish or drop the file; for the thread that `_is_over` chose."""
        if one.failure:
            self._drop(incoming)
            self._source_failed(one, one.failure)
        else:
            self._finish_file(one, incoming)

    def _drop(self, incoming: Incoming) -> None:
        """Remove what has come of a file, which may take its time when that is much."""
        with self._inbox.lanes.watchdog.own_work():
            incoming.abandon(keep=False)

    def _finish_file(self, one: Expected, incoming: Incoming) -> None:
        try:
            one.assembly.check_end(one.length, one.root)
        except DigestMismatch:
            self._drop(incoming)  # else its record would bring the same mismatch for ever
            raise
        ack = m.Ack(one.id, m.DONE, digest=one.root)
        try:
            with self._inbox.lanes.watchdog.own_work():
                outdated = self._inbox.plan.existing == UPDATE and incoming.outdated()
            if outdated:
                self._drop(incoming)
                self._inbox.tally.add(skipped=1)
                self._acknowledge(one, m.Ack(one.id, m.SKIPPED))
                return
            with self._inbox.lanes.watchdog.own_work():
                same = not _finish(incoming, replace=self._inbox.plan.replace)
            self._inbox.tally.add(files=int(not same), same=int(same))
            if same:
                self._drop(incoming)
                ack = m.Ack(one.id, m.SAME, digest=one.root)
            if one.entry.extra.linked:
                self._inbox.plan.linkable.add((one.entry.source, one.entry.path))
        except OSError as error:
            reason = EXISTS if isinstance(error, FileExistsError) else self._inbox.why_not_written(one.entry, error)
            self._drop(incoming)
            self._inbox.fail(one.entry, 10, reason)
            ack = m.Ack(one.id, m.FAILED, 10, reason)
        self._acknowledge(one, ack)

    def _acknowledge(self, one: Expected, ack: m.Ack) -> None:
        with self._inbox.lock:
            self._inbox.book.close(one)
            self._inbox.incoming.pop(one.id, None)
        self._inbox.reply(m.Acks([ack]))


def _finish(incoming: Incoming, *, replace: bool) -> bool:
    """Give the file its name; False when another copy of the same has put it there meanwhile.  Raises OSError."""
    try:
        incoming.finish(replace=replace)
    except FileExistsError:
        if not incoming.stands():
            raise
        return False
    return True


def _is_over(one: Expected) -> bool:
    """Say whether the file's end is here and nobody writes to it: once, to one thread; called under the inbox's lock."""
    over = one.ended and not one.writing and bool(one.failure or one.assembly.complete)
    if not over or one.finishing:
        return False
    one.finishing = True
    return True
