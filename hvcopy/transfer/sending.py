"""The sending driver: a walker finds files, one worker a lane reads and sends them, one reader hears the answers.

Whoever needs a decision takes it under ``lanes.changed``; reading, hashing and sending happen outside of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from msgspec.structs import replace

from hvcopy.errors import DigestMismatch, NotHvcopy, printable
from hvcopy.files.source import Source
from hvcopy.session.sender import MAX_PACKS, Asked, Packed
from hvcopy.transfer.blocks import BlockSender
from hvcopy.transfer.counting import count
from hvcopy.transfer.gathering import Gathering
from hvcopy.transfer.lanes import GROW_AFTER, GROW_AFTER_PACKS, Lanes
from hvcopy.transfer.link import Link
from hvcopy.transfer.linking import LinkEntry
from hvcopy.transfer.outbox import Outbox, Scratch
from hvcopy.transfer.packing import Packing
from hvcopy.transfer.tally import Tally
from hvcopy.transfer.throttle import Throttle
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.frames import Frame, Type

ENOUGH_CANDIDATES = 256
"""Files waiting to be asked about beyond which no more names are read: each may hold a directory open."""
LINK_BATCH = 128
ORPHANS = 256
"""Hard links queued again at once: each may hold a directory open."""

Step = Callable[[Link, Scratch], None]


class Sending:
    """Sends *sources* over *lanes* as *options* say, counting in *tally*; ``run`` does all of it.

    *grow*, if given, is called once from a thread of its own when further lanes would pay.
    """

    def __init__(
        self,
        lanes: Lanes,
        sources: list[Source],
        options: m.Options,
        tally: Tally,
        *,
        bwlimit: int = 0,
        grow: Callable[[], None] | None = None,
    ) -> None:
        self._lanes = lanes
        self._tally = tally
        self._grow = grow
        self._outbox = Outbox(lanes, sources, options, tally, Throttle(bwlimit))
        self._gathering = Gathering(self._outbox)
        self._blocks = BlockSender(self._outbox)
        self._links: dict[int, LinkEntry] = {}
        self._ends: dict[int, m.Entry] = {}
        self._packs = 0
        self._finished = False
        self._result: m.Result | None = None

    def run(self) -> m.Result:
        """Send everything, wait for the receiver's result, close the lanes and return it.  Raises HvcopyError; blocks."""
        try:
            with self._lanes.closing():
                return self._send()
        finally:
            for file in self._outbox.outgoing.values():
                file.close()

    def _send(self) -> m.Result:
        lanes, outbox = self._lanes, self._outbox
        lanes.begin(self._tally, sends=True)
        lanes.spawn(self._hear, "answers")
        lanes.spawn(self._gathering.run, "walker", sends=True)
        if outbox.options.totals:
            lanes.spawn(self._count, "totals", sends=True)
        lanes.on_join = self._start_worker
        for link in list(lanes.links):
            self._start_worker(link)
        self._wait(lambda: outbox.drained)
        self._send_links()
        self._send_directory_ends()
        self._finished = True
        lanes.control.send(m.Finish(self._tally.files, self._tally.bytes))
        self._wait(lambda: self._result is not None)
        with lanes.changed:
            lanes.finished = True
            lanes.changed.notify_all()
        lanes.control.send_bye()
        assert self._result is not None
        self._tally.durability = self._result.durability
        return self._result

    def _count(self) -> None:
        lanes, tally = self._lanes, self._tally
        totals = count(self._outbox.sources, lambda: lanes.finished or lanes.error is not None)
        if totals:
            tally.total_files, tally.total_bytes, tally.counted = *totals, True
            lanes.control.send(m.Totals(*totals))

    def _start_worker(self, link: Link) -> None:
        self._lanes.spawn(lambda: self._work(link), "lane", sends=True)

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._lanes.changed:
            while not condition():
                self._lanes.check()
                self._lanes.changed.wait(0.5)
            self._lanes.check()

    # ---- workers

    def _work(self, link: Link) -> None:
        """Serve one lane until nothing is left to do."""
        work = Scratch()
        while (step := self._next_step()) is not None:
            try:
                step(link, work)
            finally:
                with self._lanes.changed:
                    self._outbox.working -= 1
                    if not self._outbox.active:  # else every lane finds work, and only the end is waited for
                        self._lanes.changed.notify_all()
            self._consider_growing()

    def _next_step(self) -> Step | None:
        with self._lanes.changed:
            while True:
                self._lanes.check()
                step = self._choose()
                if step is not None:
                    self._outbox.working += 1
                    return step
                if self._outbox.drained or self._lanes.finished:
                    self._lanes.changed.notify_all()
                    return None
                self._lanes.changed.wait(0.5)

    def _choose(self) -> Step | None:
        """Pick what a free worker does next, most nearly finished work first; called under ``lanes.changed``."""
        outbox, blocks = self._outbox, self._blocks
        if outbox.doubted:
            doubtful, index = outbox.doubted.popleft()
            return lambda link, work: blocks.recheck(link, work, doubtful, index)
        while outbox.active:
            file = outbox.active[0]
            taken = file.take()
            if taken is not None:
                first, count, hole = taken
                return lambda link, work: blocks.send_range(link, work, file, first, count, hole)
            outbox.active.popleft()
            if not file.busy:
                return lambda link, work: blocks.end(link, file)
        if outbox.ready:
            opening = outbox.ready.popleft()
            return lambda link, work: blocks.open(opening)
        if blocks.may_ask():
            return lambda link, work: blocks.ask()
        if outbox.jobs and len(outbox.candidates) < ENOUGH_CANDIDATES and len(outbox.book.packs) < MAX_PACKS:
            job = outbox.jobs.popleft()
            self._packs += 1
            return lambda link, work: Packing(outbox, work).run(link, job)
        if outbox.linking.orphans and not outbox.jobs:
            orphans = outbox.linking.take_orphans(ORPHANS)
            return lambda link, work: self._gathering.requeue(orphans)
        return None

    def _consider_growing(self) -> None:
        if self._grow and (self._tally.bytes >= GROW_AFTER or self._packs >= GROW_AFTER_PACKS):
            with self._lanes.changed:
                grow, self._grow = self._grow, None
            if grow is not None:
                self._lanes.spawn(grow, "grow")

    # ---- what comes back

    def _hear(self) -> None:
        link = self._lanes.control
        while self._result is None:
            frame = link.receive()
            with self._lanes.changed:
                self._on_frame(frame)
                self._lanes.changed.notify_all()

    def _on_frame(self, frame: Frame) -> None:
        if frame.type is Type.SUMS:
            ident, first, digests = frames.decode_sums(frame.body)
            asked = self._outbox.book.sums(ident, first, digests, last=bool(frame.flags & frames.LAST))
            if asked:
                self._make_ready(asked)
            return
        if frame.type is Type.RECHECK:
            asked, index = self._outbox.book.doubt(*frames.unpack(frames.RECHECK, frame.body, "RECHECK"))
            self._outbox.doubted.append((self._outbox.outgoing[asked.id], index))
            return
        message = m.decode(frame.type, frame.body) if frame.type in m.SCHEMA else None
        match message:
            case m.Ping():
                self._lanes.watchdog.heard(message)
            case m.Answers():
                for answer in message.answers:
                    self._on_answer(answer)
            case m.Acks():
                for ack in message.acks:
                    self._on_ack(ack)
            case m.Result() if self._finished:
                self._result = self._checked(message)
            case _:
                raise NotHvcopy(f"the peer sent {frame.type.name}, which a receiver never sends")

    def _check_skipping(self) -> None:
        if not self._outbox.may_skip:
            raise NotHvcopy("the peer skips files, though only --update lets it")

    def _checked(self, result: m.Result) -> m.Result:
        """Refuse a result that says less than the acknowledgements did."""
        known = ("dry",) if self._outbox.options.dry else (m.CACHED, m.SYNCED)
        if result.durability not in known or result.failed > self._tally.failed:
            raise NotHvcopy("the peer's result does not fit what it acknowledged")
        return result

    def _on_answer(self, answer: m.Answer) -> None:
        asked = self._outbox.book.answer(answer)
        if answer.verb == m.SKIP and not self._outbox.options.dry:
            self._check_skipping()
        if answer.verb in (m.SKIP, m.REFUSE):
            if asked is None:
                return
            self._outbox.outgoing.pop(asked.id, None)
            if answer.verb == m.REFUSE:
                self._fail(asked, answer.code, answer.message)
            else:
                if self._outbox.may_skip:  # nobody has looked into it, so nothing is linked to it
                    self._outbox.linking.lost((asked.source, asked.path))
                self._tally.leave_out(asked.size)
        elif asked:
            self._make_ready(asked)

    def _make_ready(self, asked: Asked) -> None:
        if self._outbox.options.dry:
            self._outbox.book.forget(asked.id)
            self._outbox.outgoing.pop(asked.id, None)
            self._tally.add(files=1, bytes=asked.size)
            self._tally.observer.noted(self._outbox.shown(asked.source, asked.path), "would be copied")
            return
        self._tally.add(reused=asked.reused, bytes=asked.reused)
        self._outbox.ready.append(self._outbox.outgoing[asked.id])

    def _on_ack(self, ack: m.Ack) -> None:
        if ack.state == m.FAILED and (end := self._ends.pop(ack.id, None)):
            self._tally.fail(self._outbox.shown(end.source, end.path), ack.code, printable(ack.message))
            return
        one = self._outbox.book.acknowledge(ack)
        if ack.state == m.SKIPPED or ack.skipped:
            self._check_skipping()
        if isinstance(one, Packed):
            self._on_pack_ack(one, ack)
        elif one.id in self._links:
            self._on_link_ack(one, ack)
        else:
            self._on_file_ack(one, ack)

    def _on_pack_ack(self, pack: Packed, ack: m.Ack) -> None:
        if ack.digest != pack.digest:
            raise DigestMismatch("the peer has other bytes than were sent", hint="run the same command again")
        if ack.files + ack.same + ack.skipped + len(ack.failures) != pack.files:
            raise NotHvcopy("the peer acknowledged another number of files than were sent")
        self._tally.add(files=ack.files, same=ack.same, skipped=ack.skipped)
        for index, code, message in ack.failures:
            source, path = m.place_in_pack(pack.groups, index)
            self._outbox.linking.lost((source, path))
            self._tally.fail(self._outbox.shown(source, path), code, printable(message))

    def _on_link_ack(self, asked: Asked, ack: m.Ack) -> None:
        if ack.state == m.FAILED:
            self._fail(asked, ack.code, ack.message)
        else:
            skipped = ack.state == m.SKIPPED
            self._tally.add(links=int(not skipped), skipped=int(skipped))

    def _on_file_ack(self, asked: Asked, ack: m.Ack) -> None:
        file = self._outbox.outgoing.pop(asked.id, None)
        if file is None or not asked.ended:
            raise NotHvcopy(f"the peer acknowledged file {asked.id} before its end")
        if ack.state == m.FAILED:
            self._fail(asked, ack.code, file.message or ack.message)
        elif ack.state == m.SKIPPED:
            self._outbox.linking.lost((asked.source, asked.path))
            self._tally.add(skipped=1)  # what came there meanwhile is not older
        elif ack.digest != asked.root or file.code:
            raise DigestMismatch("the peer has other bytes than were sent", hint="run the same command again")
        else:
            self._tally.add(same=int(ack.state == m.SAME), files=int(ack.state != m.SAME))

    def _fail(self, asked: Asked, code: int, message: str) -> None:
        self._outbox.linking.lost((asked.source, asked.path))
        self._tally.fail(self._outbox.shown(asked.source, asked.path), code, printable(message))

    # ---- links and the ends of directories, when all files are there

    def _send_links(self) -> None:
        outbox = self._outbox
        links = outbox.linking.all()
        while batch := list(islice(links, LINK_BATCH)):
            entries = []
            self._show(batch[0])
            with self._lanes.changed:
                for link in batch:
                    asked = outbox.book.ask(link.source, link.path, 0, link=True)
                    self._links[asked.id] = link
                    entries.append(m.Entry(link.kind, asked.id, link.source, link.path, 0, 0, link.mtime, link.extra))
            self._lanes.control.send(*m.in_batches(entries))
            self._wait(lambda: outbox.book.idle)

    def _send_directory_ends(self) -> None:
        """Send them deepest first; only those that fail are acknowledged, while others are still on their way."""
        for batch in m.in_batches(self._directory_ends()):
            self._lanes.control.send(batch)

    def _directory_ends(self) -> Iterator[m.Entry]:
        waiting = self._gathering.directory_ends
        while waiting:
            with self._lanes.changed:
                end = replace(waiting.pop(), id=self._outbox.book.new_id())
                self._ends[end.id] = end
            self._show(end)
            yield end

    def _show(self, entry: LinkEntry | m.Entry) -> None:
        self._tally.current = self._outbox.shown(entry.source, entry.path)
