"""Entries: each is made, opened, compared or refused, and answered (docs/protocol.md, section 5)."""

from __future__ import annotations

import errno
import os
import stat
import time

from msgspec.structs import replace

from hvcopy import fileio
from hvcopy.buffers import buffer
from hvcopy.errors import LocalFailure, NotHvcopy, printable
from hvcopy.files import attributes
from hvcopy.files.confined import Handle
from hvcopy.files.incoming import Incoming, InUse
from hvcopy.files.sink import (
    EXISTS,
    OVERWRITE,
    SENT_TWICE,
    UPDATE,
    Sink,
    looks_the_same,
    not_compared,
    stays,
)
from hvcopy.files.sparse import hole_runs
from hvcopy.session.assembly import Assembly
from hvcopy.session.receiver import Expected
from hvcopy.transfer.inbox import Inbox
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.digests import ABSENT, DIGEST_SIZE, digest, zeros_digest
from hvcopy.wire.frames import Type

SUMS_BLOCKS = 32768
"""Digests in one SUMS: 512 KiB."""
ENDS = 512
"""Directories that get their attributes by one call."""
LETTING_GO = 2.0
"""Seconds, once a session, that a copy which has just failed may take to let go of what it was writing."""


class Entrance:
    """Takes entries of lane 0.  Raises OSError only for what stops the whole copy."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._patient_until = 0.0

    def take(self, sink: Sink, entries: list[m.Entry]) -> None:
        """Deal with *entries* in order; answers and acknowledgements leave in one batch each."""
        answers: list[m.Answer] = []
        acks: list[m.Ack] = []
        sums: list[Expected] = []
        ends: list[m.Entry] = []
        for entry in map(self._as_asked, entries):
            if ends and entry.kind != m.DIRECTORY_END:
                acks += self._end_directories(sink, ends)
                ends = []
            reason = self._inbox.book.admit(entry.source, entry.path)
            if entry.kind in (m.FAILURE, m.LEFT_OUT):
                self._not_sent(entry)
            elif entry.kind in (m.DIRECTORY, m.DIRECTORY_END):
                if not self._inbox.plan.dirs[entry.source]:
                    raise NotHvcopy(f"the peer sent a directory for source {entry.source}, which is a file")
                if entry.kind == m.DIRECTORY_END and reason is None and not self._inbox.dry:
                    ends.append(entry)
                else:
                    acks += self._end_directories(sink, ends) + self._directory(sink, entry, reason)
                    ends = []
            elif entry.kind == m.FILE:
                self._inbox.book.announce(entry)
                with self._inbox.lanes.watchdog.own_work():
                    answer, expected = self._answer(sink, entry, reason)
                answers.append(answer)
                sums += [expected] if expected and answer.verb != m.ALL else []
            elif entry.kind in (m.SYMLINK, m.HARDLINK):
                self._inbox.book.announce(entry)
                acks.append(self._link(sink, entry, reason))
            else:
                raise NotHvcopy(f"the peer sent an entry of unknown kind {entry.kind}")
            self._inbox.tally.current = self._inbox.shown(entry.source, entry.path)
        acks += self._end_directories(sink, ends)
        if acks:
            self._inbox.reply(m.Acks(acks))
        if answers:
            self._inbox.reply(m.Answers(answers))
        for one in sums:
            self._send_sums(sink, one)

    def _as_asked(self, entry: m.Entry) -> m.Entry:
        """Return *entry* without what this side did not ask for: the sender decides neither owners nor links."""
        plan, extra = self._inbox.plan, entry.extra
        if entry.kind == m.SYMLINK and not plan.links:
            raise NotHvcopy("the peer sent a symbolic link, which was not asked for")
        if b"\0" in extra.target or (extra.xattrs and any(b"\0" in name for name in extra.xattrs)):
            raise NotHvcopy("the peer sent a link or an attribute with a NUL byte, which no system has")
        if (plan.owner and plan.xattrs) or (extra.uid is None and extra.gid is None and not extra.xattrs):
            return entry
        extra = replace(
            extra,
            uid=extra.uid if plan.owner else None,
            gid=extra.gid if plan.owner else None,
            xattrs=extra.xattrs if plan.xattrs else {},
        )
        return replace(entry, extra=extra)

    def _not_sent(self, entry: m.Entry) -> None:
        tally, extra = self._inbox.tally, entry.extra
        origin, message = self._inbox.origin(entry.source, entry.path), printable(extra.message)
        if entry.kind == m.FAILURE:
            tally.fail(origin, extra.code, message)
        else:
            tally.add(skipped=1)
            tally.observer.noted(origin, message)

    def _directory(self, sink: Sink, entry: m.Entry, reason: str | None) -> list[m.Ack]:
        code = 11
        if reason is None:
            try:
                if self._inbox.dry:
                    found = sink.standing(entry.source, entry.path)
                    if found is not None and not stat.S_ISDIR(found.st_mode):
                        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                    return []
                make = sink.make_directory if entry.kind == m.DIRECTORY else sink.end_directory
                with self._inbox.lanes.watchdog.own_work():
                    make(entry)
                self._inbox.tally.add(directories=int(entry.kind == m.DIRECTORY_END))
                return []
            except OSError as error:
                code, reason = 10, self._inbox.why_not_written(entry, error)
        if entry.kind == m.DIRECTORY:
            return []  # its end will be refused for the same reason, and that is reported
        shown = self._inbox.shown(entry.source, entry.path)
        self._inbox.tally.fail(shown, code, reason)
        return [m.Ack(entry.id, m.FAILED, code, reason[:1000])]

    def _end_directories(self, sink: Sink, ends: list[m.Entry]) -> list[m.Ack]:
        acks: list[m.Ack] = []
        done = 0
        while done < len(ends):
            with self._inbox.lanes.watchdog.own_work():
                count = sink.end_directories(ends[done : done + ENDS])
            self._inbox.tally.add(directories=count)
            done += count
            if not count:
                acks += self._directory(sink, ends[done], None)
                done += 1
        return acks

    def _answer(self, sink: Sink, entry: m.Entry, reason: str | None) -> tuple[m.Answer, Expected | None]:
        if reason is not None:
            return self._refuse(entry, 11, reason), None
        try:
            if taken := self._about_taken(sink, entry):
                return taken
            plan, dry = self._inbox.plan, self._inbox.dry
            if (plan.replace or dry) and not plan.first_time(plan.path(entry.source, entry.path)):
                return (self._refuse(entry, 11, SENT_TWICE) if plan.replace else self._refuse(entry, 10, EXISTS)), None
            if dry:
                self._inbox.tally.add(files=1, bytes=entry.size)
                self._inbox.tally.observer.noted(self._inbox.shown(entry.source, entry.path), "would be copied")
                return m.Answer(entry.id, m.ALL), None
            return self._open(sink, entry)
        except LocalFailure as error:
            return self._refuse(entry, error.exit_code, error.message), None
        except OSError as error:
            return self._refuse(entry, 10, self._inbox.why_not_written(entry, error)), None

    def _about_taken(self, sink: Sink, entry: m.Entry) -> tuple[m.Answer, Expected | None] | None:
        """Return the answer about a name that is taken, and what is to be compared; None when it may be written."""
        found = sink.standing(entry.source, entry.path)
        answer = self._about_standing(sink, entry, found) if found is not None else None
        if answer is None:
            return None
        compared = answer.verb == m.COMPARE
        return answer, self._inbox.book.expect(entry, m.COMPARE, Assembly(entry.size)) if compared else None

    def _about_standing(self, sink: Sink, entry: m.Entry, found: os.stat_result) -> m.Answer | None:
        """Return the answer about a name that is taken, or None when it may be replaced."""
        plan = self._inbox.plan
        if reason := stays(found):
            return self._refuse(entry, 10, reason)
        if plan.existing == UPDATE and attributes.is_not_older(found, entry.mtime):
            self._inbox.tally.leave_out(entry.size)
            return m.Answer(entry.id, m.SKIP, 0, "not older")
        if plan.existing in (OVERWRITE, UPDATE):
            return None
        alike = looks_the_same(found, entry.size, entry.mtime)
        small = stat.S_ISREG(found.st_mode) and found.st_size == entry.size <= frames.SMALL and not self._inbox.dry
        if alike or small:  # what is small is compared whatever its time, as in a pack
            if self._inbox.dry:
                self._inbox.tally.leave_out(entry.size)
                return m.Answer(entry.id, m.SKIP, 0, "it looks the same")
            return m.Answer(entry.id, m.COMPARE, 0, "", found.st_size)
        return self._refuse(entry, 10, EXISTS)

    def _refuse(self, entry: m.Entry, code: int, reason: str) -> m.Answer:
        self._inbox.fail(entry, code, reason)
        return m.Answer(entry.id, m.REFUSE, code, reason[:1000])

    def _open(self, sink: Sink, entry: m.Entry) -> tuple[m.Answer, Expected | None]:
        directory, name = sink.parent(entry.source, entry.path)
        assembly = Assembly(entry.size)
        incoming, waited = self._open_when_free(directory, name, entry, assembly)
        if waited:  # whoever was waited for may have put there what is newer, or the same
            try:
                taken = self._about_taken(sink, entry)
            except BaseException:
                incoming.abandon(keep=False)
                raise
            if taken:
                incoming.abandon(keep=False)
                return taken
        verb = m.REST if incoming.reused else m.ALL
        with self._inbox.lock:
            try:
                expected = self._inbox.book.expect(entry, verb, assembly)
            except BaseException:
                incoming.abandon(keep=False)
                raise
            self._inbox.incoming[entry.id] = incoming
        self._inbox.tally.add(reused=incoming.reused, bytes=incoming.reused)
        self._inbox.tally.current = self._inbox.shown(entry.source, entry.path)
        return m.Answer(entry.id, verb), expected

    def _open_when_free(self, directory: Handle, name: bytes, entry: m.Entry, assembly: Assembly) -> tuple[Incoming, bool]:
        """Open the part, and say whether that had to wait for another copy of the file.

        "Run the same command again" must work at once, while the copy that failed is still ending.
        """
        waited = False
        while True:
            try:
                return Incoming(directory, name, entry, assembly, sync=self._inbox.plan.sync), waited
            except InUse:
                waited = True
                now = time.monotonic()
                self._patient_until = self._patient_until or now + LETTING_GO
                if now >= self._patient_until:
                    raise
            with self._inbox.lanes.changed:
                self._inbox.lanes.check()
                self._inbox.lanes.changed.wait(0.05)

    def _send_sums(self, sink: Sink, one: Expected) -> None:
        assembly = one.assembly
        if one.verb == m.COMPARE:
            try:
                with self._inbox.lanes.watchdog.own_work():
                    _digest_standing(sink, one)
            except OSError as error:  # the answer is out: digests that are missing make the sender say that it differs
                one.unread = not_compared(error)
        sums = bytes(assembly.digests)
        for first in range(0, max(assembly.count, 1), SUMS_BLOCKS):
            piece = sums[first * DIGEST_SIZE : (first + SUMS_BLOCKS) * DIGEST_SIZE]
            flags = frames.LAST if first + SUMS_BLOCKS >= assembly.count else 0
            body = frames.SUMS.pack(one.id, first) + piece
            self._inbox.lanes.control.send_frame(Type.SUMS, body, flags=flags)

    def _link(self, sink: Sink, entry: m.Entry, reason: str | None) -> m.Ack:
        code = 11
        if reason is None and self._inbox.dry:
            self._inbox.tally.add(links=1)
            return m.Ack(entry.id, m.DONE)
        if reason is None:
            code = 10
            try:
                make = sink.make_symlink if entry.kind == m.SYMLINK else sink.make_hardlink
                with self._inbox.lanes.watchdog.own_work():
                    state = make(entry)
                self._inbox.tally.add(links=int(state != m.SKIPPED), skipped=int(state == m.SKIPPED))
                return m.Ack(entry.id, state)
            except FileExistsError:
                reason = EXISTS
            except LocalFailure as error:
                reason = error.message
            except OSError as error:
                reason = self._inbox.why_not_written(entry, error)
        self._inbox.fail(entry, code, reason)
        return m.Ack(entry.id, m.FAILED, code, reason[:1000])


def _digest_standing(sink: Sink, one: Expected) -> None:
    """Read the file that stands there block by block, and record its digests for the comparison.  Raises OSError."""
    assembly = one.assembly
    work = buffer(assembly.block if assembly.count else 0)
    fd = sink.open_standing(one.entry.source, one.entry.path)
    try:
        for first, count in hole_runs(fd, assembly.size, assembly.block):
            for index in range(first, first + count):
                assembly.add(index, zeros_digest(assembly.length_of(index)))
        for index in range(assembly.count):
            if assembly.has(index):
                continue
            length = assembly.length_of(index)
            view = work[:length]
            same_length = fileio.read_at(fd, view, index * assembly.block) == length
            assembly.add(index, digest(view) if same_length else ABSENT)
    finally:
        os.close(fd)
