"""The driver of a stream session: one thread reads and sends, one receives and writes (docs/protocol.md, section 10)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from hvcopy.buffers import buffer
from hvcopy.errors import DigestMismatch, HvcopyError, LocalFailure, NotHvcopy, printable
from hvcopy.fileio import all_zeros
from hvcopy.session.stream import IncomingStream, OutgoingStream
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.session import BYE_WAIT
from hvcopy.transfer.tally import StreamTally
from hvcopy.transfer.throttle import Throttle
from hvcopy.wire import messages as m
from hvcopy.wire.frames import HEADER, LIVE, MAX_CHUNK, MIN_HOLE, Frame, Type

if TYPE_CHECKING:
    from hvcopy.pipeio import Inlet

SMALL = 4096
"""A chunk of less is held back for a moment if another one has just left."""
MOMENT = 0.002
"""Seconds between two small chunks."""
LOOK = 0.2
"""Seconds between two looks at whether the reader is still there."""
HINT_AFTER = 5.0
"""Seconds of waiting for the end of an idle input after which people are told what is waited for."""


class Sink(Protocol):
    """Where a stream goes: a ``pipeio.Outlet`` or a ``files.output.OutputFile``."""

    def write(self, data: memoryview) -> None:
        """Take all of *data*, however long that takes.  Raises HvcopyError."""

    def lost(self) -> HvcopyError | None:
        """Return what is wrong when nobody will read what is written from now on, None while somebody may."""

    def finish(self) -> str:
        """Complete it; returns how durable it is.  Raises HvcopyError."""

    def cancel(self) -> None:
        """End a ``write`` under way in another thread."""

    def close(self) -> None:
        """Let go, whether finished or not."""


class Streaming:
    """Sends *inlet*, or nothing if it is None, and writes what the peer sends into *sink*; ``run`` does all of it.

    *client* says which end this one is.  Neither *inlet* nor *sink* is closed.
    """

    def __init__(
        self, lanes: Lanes, inlet: Inlet | None, sink: Sink, tally: StreamTally, *, client: bool, bwlimit: int = 0
    ) -> None:
        self._lanes = lanes
        self._inlet = inlet
        self._sink = sink
        self._tally = tally
        self._client = client
        self._throttle = Throttle(bwlimit)
        # with a rate limit, chunks of a tenth of a second's worth
        self._largest = min(MAX_CHUNK, max(SMALL, bwlimit // 10)) if bwlimit else MAX_CHUNK
        self._out = OutgoingStream()
        self._in = IncomingStream()
        self._over = False
        self._peers_size: int | None = None
        self._small_left = 0.0
        self._heard_then = 0
        self._reading = self._tells = self._confirmed = self._heard_all = False
        self._durability: str | None = None
        self._idle_since = time.monotonic()
        self._hinted = False

    def run(self) -> None:
        """Carry both directions to their acknowledged ends.  Raises HvcopyError; blocks."""
        lanes, control = self._lanes, self._lanes.control
        lanes.begin(self._tally, sends=True)
        lanes.spawn(self._receive, "incoming")
        lanes.spawn(self._send, "outgoing", sends=True)
        try:
            self._wait()
            if self._client:
                control.send_bye()
            else:
                self._await_bye()
            tally = self._tally
            tally.durability = self._out.durability
            tally.sent_digest, tally.received_digest = self._out.digest, self._in.digest
        except BaseException as error:
            lanes.fail(error)  # before the threads are called off, whose failures come of this one
            raise self._explained(lanes.error or error) from None
        finally:
            if self._inlet:
                self._inlet.cancel()
            self._sink.cancel()
            self._count()

    def _explained(self, error: BaseException) -> BaseException:
        """Return *error*, or what is behind it: what leaves by reference is sent as it is then, not as it was hashed."""
        if isinstance(error, DigestMismatch) and self._inlet and self._inlet.changed:
            return LocalFailure(
                f"{printable(self._inlet.name)} was changed while it was sent, and the peer has a mixture",
                hint="run the same command again when nobody writes to it",
            )
        return error

    def _wait(self) -> None:
        lanes = self._lanes
        while True:
            with lanes.changed:
                if not self._over:
                    lanes.check()
                    lanes.changed.wait(LOOK)
                lanes.check()
                if self._over:
                    return
            self._look()
            # a reader that left before there was anything to read is missed by nobody
            if self._in.length and not self._in.over and (lost := self._sink.lost()):
                raise lost

    def _look(self) -> None:
        """Count; and tell once what is waited for when one direction is over and the other idle: it looks like a hang."""
        before, now = self._tally.bytes, time.monotonic()
        self._count()
        theirs = self._out.over and self._lanes.control.waiting
        ours = self._in.over and self._reading
        if self._tally.bytes != before or not (theirs or ours):
            self._idle_since = now
        elif now - self._idle_since > HINT_AFTER and not self._hinted:
            self._hinted = True
            missing = "the other side's input" if theirs else "the input of this side"
            self._tally.observer.noted(b"", f"one direction is complete and confirmed; {missing} has not ended yet")

    def _await_bye(self) -> None:
        """Wait a little for the last word: whoever closes first may take the other's last bytes along."""
        with self._lanes.changed:
            self._lanes.changed.wait_for(lambda: self._heard_all, BYE_WAIT)

    def _count(self) -> None:
        """Bring the tally up to date."""
        tally = self._tally
        tally.sent, tally.received = self._out.length, self._in.length
        size = self._inlet.size if self._inlet else 0
        known = size or 0, self._peers_size or 0
        tally.total_bytes = sum(known)
        tally.counted = tally.total_bytes > 0 and not (
            (size is None and tally.sent) or (self._peers_size is None and tally.received)
        )

    # ---- this end's stream

    def _send(self) -> None:
        link = self._lanes.control
        size = self._inlet.size if self._inlet else 0
        if size is not None:
            link.send(m.Totals(0, size))
        if self._inlet:
            self._send_all(self._inlet)
        link.send(self._out.finish())

    def _send_all(self, inlet: Inlet) -> None:
        link, lanes = self._lanes.control, self._lanes
        work = buffer(self._largest)
        while True:
            if link.channel.sends_files:
                inlet.mark()
            with lanes.watchdog.own_work():
                filled = self._fill(inlet, work)
            if not filled:
                return
            chunk = work[:filled]
            if filled >= MIN_HOLE and all_zeros(chunk):
                inlet.forget()
                self._await_taken()
                hole = self._out.add_hole(filled)
                self._pass_through(HEADER.size + len(hole))
                link.send_frame(Type.HOLE, hole)
            else:
                head = self._out.add(chunk)
                self._pass_through(filled)
                self._leave(head, chunk, inlet.reference(filled))

    def _await_taken(self) -> None:
        """Wait while the peer has taken too few of the zeros that were named: no full socket makes this end wait for them."""
        lanes = self._lanes
        with lanes.changed:
            lanes.changed.wait_for(lambda: not self._out.ahead or lanes.error or lanes.finished)

    def _pass_through(self, count: int) -> None:
        """Wait until *count* more bytes may leave.  Raises what has ended the session meanwhile."""
        lanes = self._lanes
        if self._throttle.limited:
            with lanes.watchdog.own_work():
                self._throttle.pass_through(count, lambda: lanes.error is not None)
        lanes.check()

    def _leave(self, head: bytes, chunk: memoryview, source: tuple[int, int] | None) -> None:
        """Send one chunk: from where it came, if that is possible, else from here."""
        if source:
            self._lanes.control.send_live(Type.CHUNK, head, *source, len(chunk), lambda left: chunk[-left:])
        else:
            self._lanes.control.send_frame(Type.CHUNK, head, chunk)

    def _fill(self, inlet: Inlet, work: memoryview) -> int:
        """Read what is to leave as one chunk: what is there at once, up to all of *work*; 0 at the end."""
        self._reading = True
        filled = inlet.read(work)
        self._reading = False
        if 0 < filled < SMALL and inlet.size is None:
            left = self._small_left + MOMENT - time.monotonic()
            if left > 0 and self._in.length == self._heard_then:
                time.sleep(left)
                filled += inlet.read_more(work[filled:])
            self._small_left, self._heard_then = time.monotonic(), self._in.length
        return filled

    # ---- the peer's stream

    def _receive(self) -> None:
        """Take what comes: to the last acknowledgement, and the server to the client's last word."""
        try:
            while not (self._over and self._client):
                frame = self._lanes.control.receive(parted=Type.CHUNK)
                ended = self._out.over and self._in.over
                if not ended:
                    self._take(frame)
                elif frame.type is not Type.PING:  # the last word, or nothing that is listened to any more
                    return
        finally:
            with self._lanes.changed:
                self._heard_all = True
                self._lanes.changed.notify_all()

    def _take(self, frame: Frame) -> None:
        link, watchdog = self._lanes.control, self._lanes.watchdog
        if frame.type is Type.CHUNK:
            self._in.expect(frame.body, link.rest, live=bool(frame.flags & LIVE))
            while link.rest:
                contents = link.next_part()
                self._in.add(contents)
                with watchdog.own_work():
                    self._sink.write(contents)
        elif frame.type is Type.HOLE:
            zeros = self._in.add_hole(frame.body)
            with watchdog.own_work():
                self._sink.write(zeros)
            self._wrote_hole(zeros)
        else:
            self._message(frame)

    def _wrote_hole(self, zeros: memoryview) -> None:
        self._in.wrote_hole(zeros)
        if self._in.owes_word:
            self._have_told()

    def _have_told(self) -> None:
        if not self._tells:
            self._tells = True
            self._lanes.spawn(self._tell, "words", sends=True)
        with self._lanes.changed:
            self._lanes.changed.notify_all()

    def _tell(self) -> None:
        """Tell the peer of its holes and of its end: not in the thread that receives, which must never wait until the peer does.

        The acknowledgement is the last: a peer that has it may close, and what came then would reset TCP.
        """
        lanes = self._lanes
        while True:
            with lanes.changed:
                lanes.changed.wait_for(
                    lambda: self._in.owes_word or self._durability is not None or lanes.error or lanes.finished
                )
                if lanes.error or lanes.finished:
                    return
                owed = self._in.owes_word
                word = self._in.tell() if owed else self._in.acknowledge(self._durability or "")
            lanes.control.send(word)
            if not owed:
                break
        self._confirmed = True
        self._settle()
        if self._inlet and self._inlet.is_terminal:
            self._inlet.end()

    def _message(self, frame: Frame) -> None:
        if frame.type not in (Type.PING, Type.TOTALS, Type.CHUNK_END, Type.CHUNK_ACK, Type.TAKEN):
            raise NotHvcopy(f"the peer sent {frame.type.name}, which is no part of a stream")
        match m.decode(frame.type, frame.body):
            case m.Ping() as ping:
                self._lanes.watchdog.heard(ping)
            case m.Totals() as totals:
                self._peers_size = totals.bytes
            case m.ChunkEnd() as end:
                self._ended(end)
            case m.ChunkAck() as ack:
                self._acknowledged(ack)
            case m.Taken() as taken:
                with self._lanes.changed:
                    self._out.taken(taken)
                    self._lanes.changed.notify_all()

    def _ended(self, end: m.ChunkEnd) -> None:
        self._in.ended(end)
        with self._lanes.watchdog.own_work():
            self._durability = self._sink.finish()
        self._have_told()

    def _acknowledged(self, ack: m.ChunkAck) -> None:
        self._out.acknowledged(ack)
        self._settle()

    def _settle(self) -> None:
        """See whether everything is said; from then on nothing that breaks is a failure."""
        with self._lanes.changed:
            if self._out.over and self._confirmed:
                self._over = self._lanes.finished = True
                self._lanes.changed.notify_all()
