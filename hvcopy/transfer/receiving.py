"""The receiving driver: one thread a lane takes frames, checks them, writes, and acknowledges over lane 0."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable

from msgspec.structs import replace

from hvcopy import fileio
from hvcopy.errors import ConnectionLost, DigestMismatch, HvcopyError, LocalFailure, NotHvcopy, printable
from hvcopy.files.incoming import Incoming
from hvcopy.files.names import check_path
from hvcopy.files.sink import EXISTS, FATAL, OVERWRITE, UPDATE, Plan, Sink
from hvcopy.session.assembly import Assembly
from hvcopy.session.receiver import Expected, ReceiverBook
from hvcopy.transfer.lanes import GROW_AFTER, GROW_AFTER_PACKS, Lanes
from hvcopy.transfer.link import Link
from hvcopy.transfer.tally import Tally
from hvcopy.transfer.writing import LARGEST, Writer
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.digests import ABSENT, DIGEST_SIZE, digest
from hvcopy.wire.frames import Frame, Type

SUMS_BLOCKS = 32768
"""Digests in one SUMS: 512 KiB."""
BYE_WAIT = 2.0


PIPELINED = 4
"""Blocks from which on a file is worth a writer's thread."""


SPARE_CORE = (os.cpu_count() or 1) > 1
"""A second thread for writing only pays where it can run beside the first."""


class Lane:
    """What one lane's thread has for itself."""

    def __init__(self, lanes: Lanes, plan: Plan, link: Link) -> None:
        self.link = link
        self.sink = Sink(plan)
        self.writer = Writer(lanes)

    def close(self) -> None:
        """Close directories, and let the writer end."""
        self.writer.close()
        self.sink.forget()


class Receiving:
    """Receives into *plan* over *lanes*; ``run`` serves lane 0 and returns when everything is said.

    *shown* turns (source, path) into how messages name it.  *grow*, if given, is called once when further lanes would pay.
    """

    def __init__(
        self,
        lanes: Lanes,
        plan: Plan,
        tally: Tally,
        *,
        dry: bool = False,
        shown: Callable[[int, bytes], bytes],
        grow: Callable[[], None] | None = None,
    ) -> None:
        self._lanes = lanes
        self._plan = plan
        self._tally = tally
        self._dry = dry
        self._shown = shown
        self._grow = grow
        self._lock = threading.Lock()
        self._book = ReceiverBook(dirs=plan.dirs, check_path=lambda path: check_path(path, windows=False))
        self._incoming: dict[int, Incoming] = {}
        self._packs = 0
        self.kept_parts: list[bytes] = []

    def run(self) -> m.Result:
        """Receive until RESULT is sent and the sender has said goodbye.  Raises HvcopyError; blocks."""
        self._lanes.begin(self._tally)
        self._lanes.on_join = self._start_lane
        lane = Lane(self._lanes, self._plan, self._lanes.control)
        try:
            while True:
                frame = lane.link.receive()
                if frame.type is Type.FINISH:
                    m.decode(frame.type, frame.body)
                    return self._finish(lane.link)
                self._take(lane, frame, control=True)
        except OSError as error:
            raise self._local(error) from error
        finally:
            lane.close()

    def _start_lane(self, link: Link) -> None:
        self._lanes.spawn(lambda: self._serve_lane(link), "lane")

    def _serve_lane(self, link: Link) -> None:
        lane = Lane(self._lanes, self._plan, link)
        try:
            while True:
                self._take(lane, link.receive(), control=False)
        except ConnectionLost:
            if not self._lanes.finished:
                raise
        except OSError as error:
            raise self._local(error) from error
        finally:
            lane.close()

    def abandon(self) -> None:
        """After a failure: close what is under way, keeping only parts that a later copy can go on with.

        Of a peer that broke the protocol nothing is kept.
        """
        keep = not isinstance(self._lanes.error, NotHvcopy)
        with self._lock:
            waiting, self._incoming = dict(self._incoming), {}
        for ident, incoming in waiting.items():
            if incoming.abandon(keep=keep):
                entry = self._book.open[ident].entry
                self.kept_parts.append(self._shown(entry.source, entry.path))

    def _local(self, error: OSError) -> LocalFailure:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return LocalFailure(
            f"writing failed: {error.strerror or error}",
            hint="make room there and run the same command again" if full else "",
        )

    # ---- frames

    def _take(self, lane: Lane, frame: Frame, *, control: bool) -> None:
        sink = lane.sink
        match frame.type:
            case Type.DATA:
                self._data(lane, frame.body)
            case Type.PACK:
                self._pack(sink, frame.body)
            case Type.END:
                self._end(frames.decode_end(frame.body))
            case Type.HOLE:
                self._hole(*frames.unpack(frames.HOLE, frame.body, "HOLE"))
            case Type.KEEP:
                self._keep(sink, *frames.unpack(frames.KEEP, frame.body, "KEEP"))
            case Type.PING | Type.ENTRIES | Type.TOTALS if control or frame.type is Type.PING:
                self._message(sink, m.decode(frame.type, frame.body))
            case _:
                raise NotHvcopy(f"the peer sent {frame.type.name}, which a sender never sends here")

    def _message(self, sink: Sink, message: m.Message) -> None:
        match message:
            case m.Ping():
                self._lanes.watchdog.heard(message)
            case m.Totals():
                self._tally.total_files, self._tally.total_bytes = message.files, message.bytes
                self._tally.counted = True
            case m.Entries():
                self._entries(sink, message.entries)

    def _reply(self, message: m.Message) -> None:
        self._lanes.control.send(message)

    # ---- entries

    def _entries(self, sink: Sink, entries: list[m.Entry]) -> None:
        answers: list[m.Answer] = []
        acks: list[m.Ack] = []
        sums: list[Expected] = []
        for entry in map(self._as_asked, entries):
            reason = self._book.admit(entry.source, entry.path)
            if entry.kind == m.FAILURE:
                self._tally.fail(
                    self._shown(entry.source, entry.path), entry.extra.code, printable(entry.extra.message)
                )
            elif entry.kind in (m.DIRECTORY, m.DIRECTORY_END):
                if not self._plan.dirs[entry.source]:
                    raise NotHvcopy(f"the peer sent a directory for source {entry.source}, which is a file")
                acks += self._directory(sink, entry, reason)
            elif entry.kind == m.FILE:
                self._book.announce(entry)
                answer, expected = self._answer(sink, entry, reason)
                answers.append(answer)
                sums += [expected] if expected and answer.verb != m.ALL else []
            elif entry.kind in (m.SYMLINK, m.HARDLINK):
                self._book.announce(entry)
                acks.append(self._link(sink, entry, reason))
            else:
                raise NotHvcopy(f"the peer sent an entry of unknown kind {entry.kind}")
        if acks:
            self._reply(m.Acks(acks))
        if answers:
            self._reply(m.Answers(answers))
        for one in sums:
            self._send_sums(sink, one)

    def _as_asked(self, entry: m.Entry) -> m.Entry:
        """Return *entry* without what this side did not ask for: the sender decides neither owners nor links."""
        plan, extra = self._plan, entry.extra
        if entry.kind == m.SYMLINK and not plan.links:
            raise NotHvcopy("the peer sent a symbolic link, which was not asked for")
        if extra is m.NO_EXTRA or (plan.owner and plan.xattrs):
            return entry
        extra = replace(
            extra,
            uid=extra.uid if plan.owner else None,
            gid=extra.gid if plan.owner else None,
            xattrs=extra.xattrs if plan.xattrs else {},
        )
        return replace(entry, extra=extra)

    def _directory(self, sink: Sink, entry: m.Entry, reason: str | None) -> list[m.Ack]:
        if self._dry:
            return []
        code = 11
        if reason is None:
            try:
                if entry.kind == m.DIRECTORY:
                    sink.make_directory(entry)
                    self._tally.add(directories=1)
                else:
                    sink.end_directory(entry)
                return []
            except OSError as error:
                if error.errno in FATAL:
                    raise
                code, reason = 10, error.strerror or str(error)
                if entry.kind == m.DIRECTORY_END and isinstance(error, (FileNotFoundError, NotADirectoryError)):
                    return []  # it failed when it was to be made, and was reported then
        elif entry.kind == m.DIRECTORY_END:
            return []
        shown = self._shown(entry.source, entry.path)
        self._tally.fail(shown, code, reason)
        return [m.Ack(0, m.FAILED, code, f"{printable(shown)}: {reason}"[:1000])]

    def _answer(self, sink: Sink, entry: m.Entry, reason: str | None) -> tuple[m.Answer, Expected | None]:
        if reason is not None:
            return self._refuse(entry, 11, reason), None
        try:
            found = sink.standing(entry.source, entry.path)
            if found is not None and (answer := self._about_standing(sink, entry, found)):
                if answer.verb == m.COMPARE:
                    return answer, self._book.expect(entry, m.COMPARE, Assembly(entry.size))
                return answer, None
            if self._dry:
                self._tally.add(files=1, bytes=entry.size)
                self._tally.observer.noted(self._shown(entry.source, entry.path), "would be copied")
                return m.Answer(entry.id, m.ALL), None
            if self._plan.replace and not self._plan.first_time(self._plan.path(entry.source, entry.path)):
                return self._refuse(entry, 11, "the same name was sent twice"), None
            return self._open(sink, entry)
        except LocalFailure as error:
            return self._refuse(entry, error.exit_code, error.message), None
        except OSError as error:
            if error.errno in FATAL:
                raise
            return self._refuse(entry, 10, error.strerror or str(error)), None

    def _about_standing(self, sink: Sink, entry: m.Entry, found: os.stat_result) -> m.Answer | None:
        """Return the answer about a name that is taken, or None when it may be replaced."""
        plan = self._plan
        if stat.S_ISDIR(found.st_mode):
            return self._refuse(entry, 10, "a directory stands there")
        if plan.existing == UPDATE and found.st_mtime_ns >= entry.mtime:
            self._tally.add(skipped=1)
            if entry.extra.linked:
                plan.linkable.add((entry.source, entry.path))
            return m.Answer(entry.id, m.SKIP, 0, "not older")
        if plan.existing in (OVERWRITE, UPDATE):
            return None
        same_shape = found.st_size == entry.size and found.st_mtime_ns == entry.mtime
        if stat.S_ISREG(found.st_mode) and same_shape:
            if self._dry:
                self._tally.add(same=1)
                return m.Answer(entry.id, m.SKIP, 0, "it looks the same")
            return m.Answer(entry.id, m.COMPARE, 0, "", found.st_size)
        return self._refuse(entry, 10, EXISTS)

    def _refuse(self, entry: m.Entry, code: int, reason: str) -> m.Answer:
        self._tally.fail(self._shown(entry.source, entry.path), code, reason)
        return m.Answer(entry.id, m.REFUSE, code, reason[:1000])

    def _open(self, sink: Sink, entry: m.Entry) -> tuple[m.Answer, Expected]:
        directory, name = sink.parent(entry.source, entry.path)
        assembly = Assembly(entry.size)
        with self._lanes.watchdog.own_work():
            incoming = Incoming(directory, name, entry, assembly, sync=self._plan.sync)
        verb = m.REST if incoming.reused else m.ALL
        with self._lock:
            expected = self._book.expect(entry, verb, assembly)
            expected.reused = incoming.reused
            self._incoming[entry.id] = incoming
        self._tally.add(reused=incoming.reused, bytes=incoming.reused)
        self._tally.current = self._shown(entry.source, entry.path)
        return m.Answer(entry.id, verb), expected

    def _send_sums(self, sink: Sink, one: Expected) -> None:
        assembly = one.assembly
        if one.verb == m.COMPARE:
            with self._lanes.watchdog.own_work():
                sums = _digests_of_standing(sink, one)
        else:
            sums = bytes(assembly.digests)
        for first in range(0, max(assembly.count, 1), SUMS_BLOCKS):
            piece = sums[first * DIGEST_SIZE : (first + SUMS_BLOCKS) * DIGEST_SIZE]
            flags = frames.LAST if first + SUMS_BLOCKS >= assembly.count else 0
            body = frames.SUMS.pack(one.id, first) + piece
            self._lanes.control.send_frame(Type.SUMS, body, flags=flags)

    def _link(self, sink: Sink, entry: m.Entry, reason: str | None) -> m.Ack:
        code = 11
        if reason is None and self._dry:
            return m.Ack(entry.id, m.DONE)
        if reason is None:
            code = 10
            try:
                make = sink.make_symlink if entry.kind == m.SYMLINK else sink.make_hardlink
                same = make(entry)
                self._tally.add(links=1)
                return m.Ack(entry.id, m.SAME if same else m.DONE)
            except FileExistsError:
                reason = EXISTS
            except LocalFailure as error:
                reason = error.message
            except OSError as error:
                if error.errno in FATAL:
                    raise
                reason = error.strerror or str(error)
        self._tally.fail(self._shown(entry.source, entry.path), code, reason)
        return m.Ack(entry.id, m.FAILED, code, reason[:1000])

    # ---- contents

    def _pack(self, sink: Sink, body: memoryview | bytes) -> None:
        body = memoryview(body)
        if self._dry:
            raise NotHvcopy("the peer sent contents in a dry run")
        if len(body) < frames.PACK.size:
            raise NotHvcopy(f"the peer sent a PACK of {len(body)} bytes")
        wanted, ident, manifest, _ = frames.PACK.unpack_from(body)
        if digest(body[16:]) != wanted:
            raise DigestMismatch(
                "small files arrived damaged; none of that pack was kept", hint="run the same command again"
            )
        if manifest > min(len(body) - frames.PACK.size, frames.MAX_CONTROL_BODY):
            raise NotHvcopy("the peer sent a PACK whose manifest is longer than may be")
        contents = body[frames.PACK.size + manifest :]
        groups = m.decode_groups(body[frames.PACK.size : len(body) - len(contents)])
        count = self._book.check_pack(groups, len(contents))
        with self._lanes.watchdog.own_work():
            result = sink.write_pack(groups, contents, self._book.admit)
        failures = sorted(result.failures)
        self._tally.add(files=result.files, same=result.same, skipped=result.skipped, bytes=len(contents))
        self._packs += 1
        for index, code, message in failures:
            self._tally.fail(self._shown(*m.place_in_pack(groups, index)), code, message)
        done = count - result.same - result.skipped - len(failures)
        ack = m.Ack(ident, m.DONE, 0, "", wanted, done, result.same, result.skipped, failures)
        self._reply(m.Acks([ack]))
        self._consider_growing()

    def _data(self, lane: Lane, body: memoryview | bytes) -> None:
        if len(body) <= frames.DATA.size:
            raise NotHvcopy(f"the peer sent a DATA of {len(body)} bytes")
        ident, offset, wanted = frames.DATA.unpack_from(body)
        block = memoryview(body)[frames.DATA.size :]
        found = self._under_way(ident)
        if found is None:
            return
        one, incoming = found
        index = one.assembly.index_of(offset, len(block))
        if digest(block) != wanted:
            shown = printable(self._shown(one.entry.source, one.entry.path))
            raise DigestMismatch(
                f"{shown}: a block arrived damaged and was not written", hint="run the same command again"
            )
        self._claim(one, lambda: one.assembly.add(index, wanted))
        if one.assembly.count < PIPELINED or len(body) > LARGEST or not SPARE_CORE:
            self._write(one, incoming, index, block, wanted)
            return
        buffer = lane.link.take_body()

        def write() -> None:
            self._write(one, incoming, index, block, wanted)
            lane.link.give_body(buffer)

        lane.writer.put(write)

    def _claim(self, one: Expected, claim: Callable[[], None]) -> None:
        """Take blocks for this thread alone; the file is neither finished nor closed before ``_settle`` gives them back.

        Raises NotHvcopy when another thread had them, so that no block is ever written twice.
        """
        with self._lock:
            claim()
            one.writing += 1

    def _write(self, one: Expected, incoming: Incoming, index: int, block: memoryview, wanted: bytes) -> None:
        """Write one verified block; in a lane's thread or its writer's."""
        try:
            with self._lanes.watchdog.own_work():
                incoming.write(index * one.assembly.block, block)
        except OSError as error:
            raise self._local(error) from error
        with self._lock:
            incoming.record(index, wanted)
            one.writing -= 1
        self._tally.add(bytes=len(block))
        self._settle(one, incoming)
        self._consider_growing()

    def _hole(self, ident: int, offset: int, length: int) -> None:
        found = self._under_way(ident)
        if found is None:
            return
        one, incoming = found
        self._claim(one, lambda: one.assembly.add_hole(offset, length))
        incoming.hole(offset, length)
        with self._lock:
            one.writing -= 1
        self._tally.add(bytes=length)
        self._settle(one, incoming)

    def _keep(self, sink: Sink, ident: int, offset: int, length: int, old_offset: int) -> None:
        raise NotHvcopy("the peer sent KEEP, but no older version was offered")

    def _under_way(self, ident: int) -> tuple[Expected, Incoming] | None:
        """Return the file that contents belong to; None when its end with a failure overtook them on another lane."""
        with self._lock:
            if ident in self._book.failed:
                return None
            one = self._book.get(ident)
            incoming = self._incoming.get(ident)
        if one.failure:
            return None
        if incoming is None or one.finishing:
            raise NotHvcopy(f"the peer sent contents of file {ident}, which was only to be compared or is over")
        return one, incoming

    def _end(self, end: frames.End) -> None:
        with self._lock:
            one = self._book.get(end.id)
            incoming = self._incoming.get(end.id)
            if one.ended or ((end.state >= 2) == (incoming is not None) and end.state != 1):
                raise NotHvcopy(f"the peer ended file {end.id} twice or in a way that was not asked for")
            one.ended, one.length, one.root = True, end.length, end.root
            one.failure = end if end.state == 1 else None
        if incoming is not None:
            self._settle(one, incoming)
        elif one.failure:
            self._source_failed(one, one.failure)
        else:
            self._compared(one, end)

    def _source_failed(self, one: Expected, end: frames.End) -> None:
        code = end.code or 10
        self._tally.fail(self._shown(one.entry.source, one.entry.path), code, printable(end.message))
        self._acknowledge(one, m.Ack(one.id, m.FAILED, code, end.message))

    def _compared(self, one: Expected, end: frames.End) -> None:
        if end.state == 3 or end.root != one.assembly.root():
            self._tally.fail(self._shown(one.entry.source, one.entry.path), 10, EXISTS)
            self._acknowledge(one, m.Ack(one.id, m.FAILED, 10, EXISTS))
            return
        if one.entry.extra.linked:
            self._plan.linkable.add((one.entry.source, one.entry.path))
        self._tally.add(same=1, bytes=one.entry.size)
        self._acknowledge(one, m.Ack(one.id, m.SAME, digest=one.assembly.root()))

    def _settle(self, one: Expected, incoming: Incoming) -> None:
        """Finish or drop the file once its end is here and nobody writes to it; exactly one thread gets to do it."""
        with self._lock:
            over = one.ended and not one.writing and (one.failure or one.assembly.complete)
            if not over or one.finishing:
                return
            one.finishing = True
        if one.failure:
            incoming.abandon(keep=False)
            self._source_failed(one, one.failure)
        else:
            self._finish_file(one, incoming)

    def _finish_file(self, one: Expected, incoming: Incoming) -> None:
        try:
            one.assembly.check_end(one.length, one.root)
        except DigestMismatch:
            incoming.abandon(keep=False)  # else its record would bring the same mismatch for ever
            raise
        ack = m.Ack(one.id, m.DONE, digest=one.root)
        try:
            with self._lanes.watchdog.own_work():
                incoming.finish(replace=self._plan.replace)
            self._tally.add(files=1)
            if one.entry.extra.linked:
                self._plan.linkable.add((one.entry.source, one.entry.path))
        except OSError as error:
            if error.errno in FATAL:
                raise
            incoming.abandon(keep=False)
            reason = EXISTS if isinstance(error, FileExistsError) else error.strerror or str(error)
            self._tally.fail(self._shown(one.entry.source, one.entry.path), 10, reason)
            ack = m.Ack(one.id, m.FAILED, 10, reason)
        self._acknowledge(one, ack)

    def _acknowledge(self, one: Expected, ack: m.Ack) -> None:
        with self._lock:
            self._book.close(one)
            self._incoming.pop(one.id, None)
        self._reply(m.Acks([ack]))

    def _consider_growing(self) -> None:
        if self._grow and (self._tally.bytes >= GROW_AFTER or self._packs >= GROW_AFTER_PACKS):
            with self._lock:
                grow, self._grow = self._grow, None
            if grow is not None:
                self._lanes.spawn(grow, "grow")

    # ---- the end

    def _finish(self, link: Link) -> m.Result:
        if self._book.open:
            raise NotHvcopy("the peer said it was finished while files were under way")
        durability = "dry" if self._dry else "cached"
        if self._plan.sync and not self._dry:
            with self._lanes.watchdog.own_work():
                fileio.sync_filesystem(self._plan.root.fd)
            durability = "synced"
        tally = self._tally
        tally.durability = durability
        result = m.Result(tally.files, tally.bytes, tally.failed, durability)
        with self._lanes.changed:  # first, since a quick sender closes its lanes as soon as it has the result
            self._lanes.finished = True
        link.send(result)
        self._await_bye(link)
        return result

    def _await_bye(self, link: Link) -> None:
        """Wait a little for the last word: whoever closes first may take the other's last bytes along."""
        try:
            frame = link.receive(timeout=BYE_WAIT)
            while frame.type is not Type.BYE:
                frame = link.receive(timeout=BYE_WAIT)
        except HvcopyError:
            return


def receive(
    lanes: Lanes,
    plan: Plan,
    options: m.Options,
    tally: Tally,
    *,
    ready: m.Ready | None = None,
    grow: Callable[[], None] | None = None,
) -> Receiving:
    """Say *ready* if given, then receive into *plan*.  Raises HvcopyError; parts worth keeping are kept."""
    receiving = Receiving(lanes, plan, tally, dry=options.dry, shown=plan.path, grow=grow)
    try:
        if ready:
            lanes.control.send(ready)
        receiving.run()
    except BaseException as error:
        lanes.fail(error)
        raise lanes.error or error from None
    finally:
        lanes.close()
        receiving.abandon()
        tally.kept_parts = receiving.kept_parts
    return receiving


def _digests_of_standing(sink: Sink, one: Expected) -> bytes:
    """Read the file that stands there block by block; returns its digests and records them for the comparison."""
    assembly = one.assembly
    work = bytearray(assembly.block if assembly.count else 0)
    fd = sink.open_standing(one.entry.source, one.entry.path)
    try:
        for index in range(assembly.count):
            length = assembly.length_of(index)
            view = memoryview(work)[:length]
            same_length = fileio.read_at(fd, view, index * assembly.block) == length
            assembly.add(index, digest(view) if same_length else ABSENT)
        return bytes(assembly.digests)
    finally:
        os.close(fd)
