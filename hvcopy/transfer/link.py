"""A channel that carries frames: whole frames in, whole frames out, from any thread."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from hvcopy.buffers import buffer
from hvcopy.channel import Channel
from hvcopy.errors import BY_EXIT_CODE, ConnectionLost, HvcopyError, NotHvcopy, TimedOut, printable, said_of
from hvcopy.wire.frames import COVERED, HEADER, LIVE, MAGIC, Frame, Type, check_seal, header, parse_header
from hvcopy.wire.messages import Bye, Error, Message, Ping, decode, encode

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

BACKSTOP = 24 * 3600.0
"""Seconds after which a call of the core ends in any case; the session's watchdog judges long before."""


ERROR_WAIT = 0.15
"""Seconds that telling the peer may take: Ctrl-C must not wait for a peer that does not read."""

LAST_WORDS = 1.0
"""Seconds to hear, or to let the peer hear, why a session ended."""


AHEAD = HEADER.size + max(COVERED.values())
"""Bytes of a parted frame that may be received with what precedes it: never contents, which have their own place."""

FIRST_BODY = 64 * 1024
"""Bytes of the receive buffer at first; it grows to the largest frame that came, which its type bounds."""


def named(error: HvcopyError, peer: str) -> HvcopyError:
    """Return *error* with the peer's name and a next step, where what breaks the protocol was found without either."""
    if not isinstance(error, NotHvcopy):
        return error
    hint = error.hint or "is it hvcopy, of a like version, that is at the other end?"
    return NotHvcopy(said_of(peer, error.message), hint=hint)


class Link:
    """Frames over one channel.  ``send`` may be called by several threads, ``receive`` by one."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        channel.wait_in_system()
        self.early = True
        self._receiving = False
        self.heartbeat_bytes = 0
        self.deadline = 0.0
        self.watched = False
        self.told = False
        self.rest = 0
        self._sending = threading.Lock()
        self._sequence = 0
        self._whole = (0, 0)
        self._expected = 0
        self._ahead = memoryview(bytearray(AHEAD))
        self._held = (0, 0)
        self._body = buffer(FIRST_BODY)

    @property
    def waiting(self) -> bool:
        """Whether this end waits for the peer's bytes: not while it writes those that have come."""
        return self._receiving and not self.channel.received.storing

    def send(self, *messages: Message) -> None:
        """Send control messages, as one write.  Blocks while the peer does not read."""
        with self._sending:
            self._send(b"".join(self._encoded(message) for message in messages))
            self._is_whole()

    def send_bye(self) -> None:
        """Send the last word.  All is confirmed by then, so that it does no harm if the peer is gone."""
        with contextlib.suppress(HvcopyError):
            self.send(Bye())

    def send_frame(self, kind: Type, *parts: ReadableBuffer, flags: int = 0) -> None:
        """Send one frame whose body is 1 to 7 buffers, as one write.  Blocks while the peer does not read."""
        length = sum(memoryview(part).nbytes for part in parts)
        with self._sending:  # of a frame in parts, the first is just what the seal covers
            head = header(kind, parts[0], length=length, flags=flags, sequence=self._sequence)
            self._sequence += 1
            self._send(head, *parts)
            self._is_whole()

    def send_live(
        self, kind: Type, fixed: bytes, fd: int, offset: int, length: int, rest: Callable[[int], ReadableBuffer]
    ) -> None:
        """Send one frame of *fixed* and *length* bytes of file *fd*, or of a pipe with offset -1, without a copy on the way.

        Where the system could not send all of it, *rest* is asked for the last so many bytes.  Blocks as ``send``.
        """
        with self._sending:
            head = header(kind, fixed, length=len(fixed) + length, flags=LIVE, sequence=self._sequence)
            self._sequence += 1
            self.channel.send(head, fixed, timeout=self._patience)
            if offset < 0:
                left = length - self.channel.send_pipe(fd, length, timeout=self._patience)
            else:
                left = length - self.channel.send_file(fd, offset, length, timeout=self._patience)
            if left:
                self._send(rest(left))
            self._is_whole()

    def send_parted(self, kind: Type, length: int, parts: Iterable[ReadableBuffer]) -> None:
        """Send one frame of *length* bytes, each part in a write of its own, the header within the first.

        For types whose seal covers nothing of the body.  *parts* may wait for the peer in between.
        """
        with self._sending:
            head = header(kind, b"", length=length, sequence=self._sequence)
            self._sequence += 1
            for part in parts:
                self._send(head, part)
                head = b""
            self._is_whole()

    def send_greeting(self, data: bytes, *, sent: int) -> None:
        """Send what the handshake says; *sent* frames are then on their way."""
        with self._sending:
            self._send(data)
            self._sequence = sent
            self._is_whole()

    def send_if_free(self, message: Message) -> None:
        """Send *message* unless another thread is sending just now, or nothing more goes into the socket.

        Either way the peer has something of us to hear; the watchdog, whose thread this is, must never wait for it.
        """
        if self._sending.acquire(blocking=False):
            try:
                if not self.channel.writable() or not self._goes_on():
                    return
                frame = self._encoded(message)
                if isinstance(message, Ping):
                    self.heartbeat_bytes += len(frame)
                self._send(frame)
                self._is_whole()
            finally:
                self._sending.release()

    def _encoded(self, message: Message) -> bytes:
        frame = encode(message, self._sequence)
        self._sequence += 1
        return frame

    def _is_whole(self) -> None:
        """All frames begun so far have left."""
        self._whole = (self._sequence, self.channel.sent.moved)

    def _goes_on(self) -> bool:
        """Go on behind the last frame that left whole, as if what failed since had never been tried; False when some of it
        has left, as whose rest the peer would take whatever comes."""
        self._sequence, sent = self._whole
        return self.channel.sent.moved == sent

    def _send(self, *parts: ReadableBuffer) -> None:
        self.channel.send(*parts, timeout=self._patience)

    def receive_magic(self) -> None:
        """Receive and check the peer's preamble.  Raises NotHvcopy with what came instead."""
        got = bytearray(len(MAGIC))
        count = self._receive(memoryview(got), self._patience)
        if count == 0:
            raise ConnectionLost(
                f"{self.channel.peer}: the peer closed the connection before it had said anything",
                hint="check the address and port, and whether --allow on that side names this one",
            )
        if got[:count] != MAGIC[:count]:
            raise NotHvcopy(
                f"{self.channel.peer}: the peer does not speak hvcopy; it sent '{printable(bytes(got[:count]))}'",
                hint="check the port; raw peers (socat, ncat, sshd) need `hvcopy nc`",
            )
        if count < len(MAGIC):
            raise NotHvcopy(f"{self.channel.peer}: the peer closed the connection within the greeting")

    @property
    def _patience(self) -> float:
        """Seconds without progress that end a call: the watchdog's judgement is better, where there is one."""
        return BACKSTOP if self.watched else self.channel.timeout

    def receive(self, *, timeout: float | None = None, parted: Type | None = None) -> Frame:
        """Return the next frame; its body is valid until the next call.  Of a frame of type *parted* it is only what the
        seal covers: ``rest`` bytes are left to ``next_part``, ``receive_part`` or ``receive_block``.

        Raises ConnectionLost at the end of the stream, NotHvcopy for what breaks the protocol, and the error that
        the peer sent with ERROR.
        """
        self._receiving = True
        try:
            timeout = self._patience if timeout is None else timeout
            head = self._next_header(timeout, HEADER.size + (COVERED[parted] if parted else 0))
            kind, flags, length = parse_header(head, early=self.early, sequence=self._expected)
            self._expected += 1
            if kind is Type.PING:
                self.heartbeat_bytes += HEADER.size + length
            now = min(length, COVERED[kind]) if kind is parted else length
            body = self._room(now)
            if now:
                self._fill(body, timeout)
            check_seal(head, kind, body)
            self.rest = length - now
            if self.rest:
                return Frame(kind, flags, bytes(body))
        finally:
            self._receiving = False
        if kind is Type.ERROR:
            self.told = True
            raise self._peer_error(body)
        return Frame(kind, flags, body)

    def receive_part(self, into: memoryview) -> None:
        """Fill *into* with what follows of a parted frame's body.  Raises ConnectionLost at the end of the stream."""
        self._receiving = True
        try:
            self._fill(into, self._patience)
        finally:
            self._receiving = False
        self.rest -= len(into)

    def receive_block(self, fd: int, offset: int, *, sparse: bool) -> tuple[memoryview, int]:
        """Receive what follows of a parted frame's body, and write it to file *fd* at *offset* meanwhile.

        Returns it, valid until the next call, and how much of it is written: all, unless the file failed.  Raises
        ConnectionLost at the end of the stream.
        """
        size = self.rest
        room = self._room(size + AHEAD)  # the next frame's beginning comes along, which spares a call
        self._receiving = True
        try:
            received, written = self.channel.receive_file(
                room, size, fd, offset, sparse=sparse, timeout=self._patience
            )
        finally:
            self._receiving = False
        if received < size:
            raise self._ended()
        self._ahead[: received - size] = room[size:received]
        self._held = (0, received - size)
        self.rest = 0
        return room[:size], written

    def next_part(self) -> memoryview:
        """Receive and return what is to be dealt with at once of a parted frame's body; valid until the next call."""
        part = self._room(min(self.rest, self.channel.piece))
        self.receive_part(part)
        return part

    def pass_over(self) -> None:
        """Receive what follows of a parted frame's body, for nothing."""
        while self.rest:
            self.next_part()

    def _room(self, size: int) -> memoryview:
        if size > len(self._body):
            self._body = buffer(size)
        return self._body[:size]

    def _next_header(self, timeout: float, limit: int) -> bytes:
        """Return the next 16 bytes; up to *limit* are received along once the handshake is over."""
        if self.early or self.deadline:
            limit = HEADER.size
        first, end = self._held
        count = end - first
        self._ahead[:count] = self._ahead[first:end]
        while count < HEADER.size:
            self._held = (0, count)
            got = self._receive_some(self._ahead[count:limit], timeout)
            if not got:
                raise self._ended()
            count += got
        self._held = (HEADER.size, count)
        return bytes(self._ahead[: HEADER.size])

    def _fill(self, into: memoryview, timeout: float) -> None:
        first, end = self._held
        held = min(end - first, len(into))
        if held:
            into[:held] = self._ahead[first : first + held]
            self._held = (first + held, end)
        if held < len(into) and self._receive(into[held:], timeout) < len(into) - held:
            raise self._ended()

    def _ended(self) -> ConnectionLost:
        return ConnectionLost(f"{self.channel.peer}: the connection ended before the transfer did")

    def _receive(self, into: memoryview, timeout: float) -> int:
        """Fill *into*, unless the stream ends before."""
        if not self.deadline:
            return self.channel.receive_exact(into, timeout=timeout)
        count = 0
        while count < len(into) and (got := self._receive_some(into[count:], timeout)):
            count += got
        return count

    def _receive_some(self, into: memoryview, timeout: float) -> int:
        """Receive what is there; while there is a deadline, it bounds the whole, however the peer trickles."""
        if not self.deadline:
            return self.channel.receive_some(into, timeout=timeout)
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimedOut(f"{self.channel.peer}: the peer did not finish the handshake in time")
        try:
            return self.channel.receive_some(into, timeout=left)
        except TimedOut:
            raise TimedOut(
                f"{self.channel.peer}: the peer is connected, but what it was to say did not come in time",
                hint="is it hvcopy at the other end?",
            ) from None

    def _peer_error(self, body: memoryview) -> HvcopyError:
        error = decode(Type.ERROR, body)
        assert isinstance(error, Error)
        kind = BY_EXIT_CODE.get(error.code, ConnectionLost)
        return kind(f"{self.channel.peer} says: {printable(error.message)}", hint=printable(error.hint))

    def send_preamble(self) -> None:
        """Send the eight bytes that precede everything, unless something has left already or the connection is beyond that."""
        with contextlib.suppress(HvcopyError, OSError):
            if not self.channel.sent.moved:
                self.channel.send(MAGIC, timeout=1.0)
                self._is_whole()

    def send_error(self, error: HvcopyError) -> None:
        """Tell the peer why this end gives up, unless the connection or a frame under way is beyond that."""
        with contextlib.suppress(HvcopyError, OSError):
            if self._sending.acquire(timeout=ERROR_WAIT):
                try:
                    if not self._goes_on():
                        return
                    # a character has up to 4 bytes in UTF-8, and the frame is bounded to 4096
                    message = Error(error.exit_code, error.message[:700], error.hint[:250])
                    self.channel.send(self._encoded(message), timeout=ERROR_WAIT)
                    self._is_whole()
                finally:
                    self._sending.release()

    def refuse(self, error: HvcopyError) -> None:
        """Send ERROR, let the peer read it, and close; a peer that gave up itself is not answered, nor after ``cancel``."""
        if not (self.told or self.channel.cancelled):
            self.send_error(error)
            self.linger()
        self.close()

    def linger(self) -> None:
        """After the last word wait until the peer has closed, for at most LAST_WORDS.

        Closing with bytes unread resets a TCP connection and may take our last words along.
        """
        self.channel.discard(LAST_WORDS)

    def close(self) -> None:
        """Close the connection."""
        self.channel.close()
