"""Raw bytes from one end to another, without the GIL: the core's relay, with our errors.

It knows descriptors and who is behind them.  What the end of one direction means is its caller's to decide.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Sequence

from msgspec import Struct

from hvcopy._core import DELIVERED, FLOWING, SINK_FAILED, SOURCE_FAILED, Flow, Meter, describe
from hvcopy._core import relay as core_relay
from hvcopy.channel import AF_VSOCK, Channel, broken
from hvcopy.descriptors import in_relay, socket_words
from hvcopy.errors import HvcopyError, Interrupted, LocalFailure, ReaderGone, TimedOut, make_room

__all__ = ["Direction", "End", "Meter", "peer_end", "relay"]

ROOM = 256 << 10
"""Bytes of a buffer where bulk moves by reference: it is for the small pieces."""
COPIED_ROOM = 1 << 20
"""Bytes of a buffer where all is copied: for AF_VSOCK, where the size of one send decides the speed
(docs/transports.md#buffers), and between sockets for what comes from a unix one (docs/performance.md#streams)."""
COPIED_TAIL = 16 << 20
"""Bytes at a file's end that are copied.  What moves by reference still belongs to the file until the peer has read
it; once this much has gone after it, it was read: socket buffers and pipes hold less."""
EVERYTHING = 1 << 62

_AF_UNIX = getattr(socket, "AF_UNIX", 1)


class End(Struct, frozen=True):
    """A descriptor to read from or write to.  *name* is for messages; *local*: it belongs to no peer."""

    fd: int
    name: str
    local: bool = False
    messages: bool = False
    """The size of a single send matters, and splice(2) would break it into small ones."""
    family: int = 0
    sends_wait: bool = False
    """A send waits in the system for room, for a moment (`Channel.wait_in_system`)."""
    awake: bool = False
    """Who reads it looks again for a moment before it sleeps."""


def peer_end(channel: Channel) -> End:
    """Return the end that is a connection; from now on *channel* is only for this."""
    channel.wait_in_system()
    family = channel.sock.family
    fd, messages = channel.sock.fileno(), family == AF_VSOCK
    return End(fd, channel.peer, messages=messages, family=family, sends_wait=channel.bounded, awake=channel.awake)


class Direction:
    """One way through a relay.  *meter* counts what has arrived at the sink.  Raises LocalFailure for a closed end."""

    def __init__(self, source: End, sink: End, meter: Meter) -> None:
        self.source = source
        self.sink = sink
        self._meter = meter
        copied = source.messages or sink.messages or (source.family == _AF_UNIX and not sink.local)
        try:
            by_reference = 0 if copied else _by_reference(source)
            room = COPIED_ROOM if copied else ROOM
            ends = _for_core(source), _for_core(sink)
            self._flow = Flow(*ends, meter, room, by_reference, sink.sends_wait, source.awake)
        except OSError as error:
            raise LocalFailure(f"{source.name} or {sink.name}: {error.strerror}") from error

    @property
    def over(self) -> bool:
        """True when nothing more will move."""
        return self._flow.state != FLOWING

    @property
    def delivered(self) -> bool:
        """True when the source has ended and the sink has taken everything."""
        return self._flow.state == DELIVERED

    @property
    def waiting(self) -> int:
        """Bytes taken from the source that the sink has not taken."""
        return self._flow.waiting

    @property
    def broke_off(self) -> bool:
        """True when the source failed: what it had sent may not all have come, and more will not."""
        return self._flow.state == SOURCE_FAILED

    @property
    def unread(self) -> bool:
        """True when nobody reads a sink of this side any more."""
        return self.sink.local and self._flow.state == SINK_FAILED and self._flow.errno == errno.EPIPE

    @property
    def failure(self) -> HvcopyError | None:
        """What broke it; None also for a peer that takes no more while nothing was on its way to it."""
        if self._flow.state in (FLOWING, DELIVERED):
            return None
        reading = self._flow.state == SOURCE_FAILED
        code = self._flow.errno
        end = self.source if reading else self.sink
        if not reading and code == errno.EPIPE and not self.waiting and not end.local:
            return None
        words = describe(code) if end.local else socket_words(code)
        if end.local:
            if not reading and code == errno.EPIPE:
                return ReaderGone(f"the reader of {end.name} closed it after {self._meter.moved} bytes")
            return LocalFailure(f"{end.name}: {words}", hint=make_room(code))
        what = "the connection broke" if reading else "the connection broke before everything was sent"
        return broken(end.name, OSError(code, words), family=end.family, what=what)


def relay(directions: Sequence[Direction], *, idle: float | None, limit: float | None = None) -> bool:
    """Move bytes along those of *directions* that are not over, until one more is, or for *limit* seconds.

    Returns False when *limit* was reached or none goes on.  Blocks.  Raises TimedOut when nothing moves for *idle*
    seconds, Interrupted within 200 ms of a cancelled meter, LocalFailure when the system has no memory.
    """
    flows = [one._flow for one in directions if not one.over]
    if not flows:
        return False
    try:
        return core_relay(flows, _milliseconds(idle), _milliseconds(limit))
    except TimeoutError:
        names = sorted({end.name for one in directions for end in (one.source, one.sink) if not end.local})
        raise TimedOut(f"{' and '.join(names)}: nothing moved for {idle:g} s") from None
    except OSError as error:
        if error.errno == errno.ECANCELED:
            raise Interrupted("interrupted") from None
        raise LocalFailure(f"waiting for bytes failed: {error.strerror}") from error


def _for_core(end: End) -> int:
    return in_relay(end.fd) if end.local else end.fd


def _by_reference(source: End) -> int:
    if not source.local:
        return EVERYTHING
    status = os.fstat(source.fd)
    if not stat.S_ISREG(status.st_mode):
        return EVERYTHING
    return max(0, status.st_size - os.lseek(source.fd, 0, os.SEEK_CUR) - COPIED_TAIL)


def _milliseconds(seconds: float | None) -> int:
    return -1 if seconds is None else max(0, int(seconds * 1000))
