"""Every connection to one address joined to a connection to another: any transport to any, many at once.

Each connection has a thread, in which it is dialed and relayed; their number is bounded.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from hvcopy import threads
from hvcopy.address import Address
from hvcopy.admission import Admission
from hvcopy.channel import POLL_SECONDS, Channel
from hvcopy.errors import ConnectionLost, HvcopyError, Interrupted, LocalFailure, TimedOut
from hvcopy.relay import Direction, peer_end, relay
from hvcopy.transport import Cancellation, Listener, dial
from hvcopy.transport.closing import closed_wholly, half_closes, has_left
from hvcopy.transport.connecting import load

MAX_CONNECTIONS = 64
STOP_SECONDS = 3.0
GRACE = 5.0
"""Seconds without a byte that a target has to go on after its client's end, where its transport cannot half-close: it
cannot be told that nothing more comes, and would be kept for ever.  And to take what a client that has gone had sent: a
target that waits until its answer is read would wait for ever."""


LOOK = 1.0
"""Seconds of silence after one side's end, or of dialing, before it is looked whether that side is still there."""


class Events:
    """What a forwarder tells whoever runs it; called from its threads.  The base class is silent."""

    def opened(self, peer: str) -> None:
        """A connection was let in and reached its target."""

    def closed(self, peer: str, sent: int, received: int) -> None:
        """A connection is over: bytes to the target and back, however it ended."""

    def failed(self, peer: str, error: HvcopyError) -> None:
        """A connection was refused, did not reach its target, or broke."""

    def full(self, limit: int) -> None:
        """No more connections are taken until one ends."""


class Join:
    """A client joined with its target.  ``run`` blocks until both directions are over; ``cancel`` ends it from any thread.

    The end of a direction is passed on as one, a broken connection as a broken one.  *grace* is None when the target's
    transport can end one direction and keep the other; else the target has so many seconds after its client's end.
    """

    def __init__(self, client: Channel, target: Channel, *, idle: float | None, grace: float | None) -> None:
        self._client = client
        self._target = target
        self._idle = idle
        self._grace = grace
        self._ended = False
        """The client's end was passed on, as well as that could be done."""
        self._answered = False
        """The target's end was."""
        self._left = False
        """The client was gone when something was to be sent to it; what it had sent before may still be delivered."""

    def cancel(self) -> None:
        """End ``run`` within 200 ms."""
        self._client.cancel()
        self._target.cancel()

    def run(self) -> None:
        """Relay, and close both.  Raises ConnectionLost, TimedOut or Interrupted after closing."""
        ends = (self._client, self._target)
        for channel in ends:
            channel.break_at_exit(True)
        try:
            failure = self._relay()
            if failure:
                raise failure
        except BaseException:
            for channel in ends:
                channel.abort()
            raise
        for channel in ends:
            channel.break_at_exit(False)
            channel.close()

    def _relay(self) -> HvcopyError | None:
        """Move bytes until both directions are over; returns the first failure."""
        client, target = peer_end(self._client), peer_end(self._target)
        there = Direction(client, target, self._target.sent)
        back = Direction(target, client, self._target.received)
        going = [there, back]
        failure: HvcopyError | None = None
        while going and self._move(going):
            for one in sorted((one for one in going if one.over), key=lambda one: one.delivered):
                going.remove(one)
                failure = failure or one.failure
                if one.broke_off:
                    return failure
                if not one.delivered:  # whoever takes no more may still have something to say
                    self._left = one is back and closed_wholly(self._client)
                    continue
                if failure:  # a reset is told once, to whichever direction saw it first: this end may be no end
                    return failure
                if one is back:
                    self._answered = True
                    self._client.end_sending()  # behind a VMM this ends both directions, and then the answer has arrived
                elif not self._end_target():
                    return None
        return failure

    def _end_target(self) -> bool:
        """Tell the target that its client has ended, as well as its transport can; False when that is all over."""
        self._ended = True
        if self._grace is None:
            self._target.end_sending()
            return True
        return self._client.takes_more()

    def _move(self, going: list[Direction]) -> bool:
        """Relay until a direction is over.  False when there is nobody any more for whom to go on."""
        if self._left:
            return self._deliver(going)
        if not (self._ended or self._answered):
            return relay(going, idle=self._idle)
        grace = self._grace if self._ended else None
        limit = self._idle if grace is None else grace
        silence, heard = 0.0, (-1, 0, 0)
        while True:
            step = LOOK if limit is None else min(LOOK, limit - silence)
            try:
                return relay(going, idle=step)
            except TimedOut:
                waiting = sum(one.waiting for one in going)
                now = self._target.received.moved, self._target.sent.moved, waiting
                silence, heard = step if heard != now else silence + step, now
            # Some VMMs do not tell one side of the other's end (docs/nc.md), so that it would never end either.
            if self._answered and closed_wholly(self._target):
                return False
            if self._ended and closed_wholly(self._client):
                if waiting:
                    raise ConnectionLost(f"{self._client.peer}: it closed before everything was sent to it")
                return False
            # With bytes on their way to a slow client it is not the target that is silent.
            graced = grace is not None and not waiting
            limit = grace if graced else self._idle
            if limit is not None and silence >= limit:
                if graced:
                    return False
                raise TimedOut(f"{self._client.peer} and {self._target.peer}: nothing moved for {limit:g} s")

    def _deliver(self, going: list[Direction]) -> bool:
        """Relay what a client that has gone had sent, as long as its target takes it."""
        limit = GRACE if self._idle is None else min(GRACE, self._idle)
        try:
            return relay(going, idle=limit)
        except TimedOut:
            raise ConnectionLost(
                f"{self._client.peer}: it left, and {self._target.peer} took nothing more of what it had sent for {limit:g} s"
            ) from None


@dataclass
class Forwarder:
    """Joins whoever *admission* lets in at *listener* with *target*.  ``run`` blocks until ``stop``, from any thread.

    *wait* and *timeout* are for dialing the target (see ``dial``), *idle* ends a connection on which nothing moves.
    """

    listener: Listener
    target: Address
    admission: Admission
    wait: float = 0.0
    timeout: float = 30.0
    idle: float | None = None
    limit: int = MAX_CONNECTIONS
    buffer: int | None = None
    events: Events = field(default_factory=Events)

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._slots = threading.BoundedSemaphore(self.limit)
        self._lock = threading.Lock()
        self._joins: set[Join] = set()
        load(self.target)

    def run(self) -> None:
        """Accept and join until stopped; then end what is under way."""
        while self._wait_for_slot():
            channel = self.listener.accept(POLL_SECONDS)
            if channel is None:
                self._slots.release()
                continue
            try:
                threads.start(self._serve, channel.peer, channel)
            except LocalFailure:
                self.events.failed(channel.peer, LocalFailure("the system has no memory for another connection"))
                channel.abort()
                self._slots.release()
        self._end_all()

    def stop(self) -> None:
        """Accept nothing more, and end what is under way; ``run`` returns within a few seconds."""
        self._stopping.set()

    def _wait_for_slot(self) -> bool:
        """Take a slot for the next connection; False when stopped.  More connections wait in the listener's queue."""
        if not self._slots.acquire(blocking=False):
            self.events.full(self.limit)
            while not self._slots.acquire(timeout=POLL_SECONDS):
                if self._stopping.is_set():
                    return False
        if self._stopping.is_set():
            self._slots.release()
            return False
        return True

    def _end_all(self) -> None:
        ends = time.monotonic() + STOP_SECONDS
        with self._lock:
            for join in self._joins:
                join.cancel()
        for _ in range(self.limit):
            if not self._slots.acquire(timeout=max(0.0, ends - time.monotonic())):
                return

    def _serve(self, client: Channel) -> None:
        try:
            self._join(client)
        except Interrupted:
            pass
        except HvcopyError as error:
            self.events.failed(client.peer, error)
        finally:
            client.abort()
            self._slots.release()

    def _join(self, client: Channel) -> None:
        self.admission.check(client)
        target = self._reach(client)
        join = Join(client, target, idle=self.idle, grace=None if half_closes(self.target) else GRACE)
        with self._lock:
            self._joins.add(join)
        try:
            if self._stopping.is_set():
                join.cancel()
            self.events.opened(client.peer)
            join.run()
        finally:
            with self._lock:
                self._joins.discard(join)
            self.events.closed(client.peer, target.sent.moved, target.received.moved)

    def _reach(self, client: Channel) -> Channel:
        """Connect to the target; from a moment on only while there is a client for whom to do it, or something that it sent."""
        look_at = time.monotonic() + LOOK

        def cancelled() -> bool:
            nonlocal look_at
            if self._stopping.is_set():
                return True
            if time.monotonic() < look_at:
                return False
            look_at = time.monotonic() + LOOK
            return has_left(client)

        try:
            return dial(
                self.target,
                wait=self.wait,
                timeout=self.timeout,
                buffer=self.buffer,
                cancellation=Cancellation(cancelled),
            )
        except Interrupted:
            if self._stopping.is_set():
                raise
            raise ConnectionLost(f"{client.peer}: it left before {self.target} was reached") from None
