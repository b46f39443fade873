"""Tells a slow peer from a dead or stuck one, and lets the peer hear that this end lives (docs/protocol.md, section 9).

Ticks are counted, each bounded, instead of reading the clock: a machine that was paused or asleep does not condemn its
peer on waking.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from hvcopy import threads
from hvcopy.errors import ConnectionLost, HvcopyError, TimedOut
from hvcopy.transfer.link import Link
from hvcopy.wire.messages import Ping

HEARTBEAT = 0.5
"""Seconds of own silence after which a PING is due."""
TICK = 0.25
SHORTEST = 3 * HEARTBEAT
"""A shorter timeout counts as this: the peer must have had the chance to be heard."""


class OwnWork:
    """What this end does with its own disk, entered by any thread; without a lock, which each block of a file would take."""

    def __init__(self) -> None:
        self.done = 0
        self._threads: list[None] = []  # one for each thread at it: append and pop are whole by themselves

    @property
    def busy(self) -> bool:
        """True while a thread is at it."""
        return bool(self._threads)

    def __enter__(self) -> None:
        self._threads.append(None)

    def __exit__(self, *_: object) -> None:
        self._threads.pop()
        self.done += 1


class Watchdog:
    """Watches the links of one session from a thread of its own, and calls *fail* once when the peer is given up."""

    def __init__(self, links: list[Link], *, timeout: float, fail: Callable[[HvcopyError], None]) -> None:
        self._links = links
        self._timeout = max(timeout, SHORTEST)
        self._fail = fail
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._own_work = OwnWork()
        self._progress = 0
        self._peer: tuple[int, bool] = (0, False)
        self._every_lane = False
        self._spoke: dict[Link, tuple[int, float]] = {}

    def start(self, *, every_lane: bool = False) -> None:
        """Begin to watch; with *every_lane* heartbeats go out on further lanes too, as a sender's must."""
        self._every_lane = every_lane
        self._thread = threads.start(self._run, "watchdog")

    def stop(self) -> None:
        """End the thread, wait for it, and let go of whom it would tell."""
        self._stop.set()
        if self._thread and self._thread is not threading.current_thread() and self._thread.is_alive():
            self._thread.join()
        self._fail = lambda error: None

    def heard(self, ping: Ping) -> None:
        """Take a PING of the peer."""
        self._peer = (ping.progress, ping.busy)

    def worked(self) -> None:
        """Note a piece of work that moved no bytes: an entry found, a block compared.

        Two threads at once may count as one, which is progress as well.
        """
        self._own_work.done += 1

    def own_work(self) -> OwnWork:
        """While this lasts, this end is busy with its own disk: the peer hears so, and nobody is judged stuck."""
        return self._own_work

    def _run(self) -> None:
        silent = stalled = 0.0
        heard = -1
        seen: tuple[object, ...] = ()
        before = time.monotonic()
        while not self._stop.wait(TICK):
            now = time.monotonic()
            tick, before = min(now - before, 2 * TICK), now
            self._beat(now)
            first = self._links[0]
            received = first.channel.received.moved
            silent = silent + tick if received == heard and first.waiting else 0.0
            heard = received
            state = (self._own_progress(), self._peer[0])
            stuck = state == seen and not self._busy and not self._peer[1]
            stalled = stalled + tick if stuck else 0.0
            seen = state
            if silent > self._timeout or stalled > self._timeout:
                self._fail(self._verdict(silent))
                return

    @property
    def _busy(self) -> bool:
        """True while this end is at its own disk."""
        return self._own_work.busy or any(link.channel.received.storing for link in list(self._links))

    def _own_progress(self) -> int:
        """Return bytes moved, without heartbeats, and pieces of work done; it never falls."""
        moved = sum(
            one.channel.sent.moved + one.channel.received.moved - one.heartbeat_bytes for one in list(self._links)
        )
        self._progress = max(self._progress, moved + self._own_work.done)
        return self._progress

    def _beat(self, now: float) -> None:
        for link in list(self._links) if self._every_lane else self._links[:1]:
            if self._silent_for(link, now) >= HEARTBEAT:
                with contextlib.suppress(HvcopyError, OSError):
                    link.send_if_free(Ping(self._own_progress(), self._busy))
                    self._spoke[link] = (link.channel.sent.moved, now)

    def _silent_for(self, link: Link, now: float) -> float:
        """Seconds in which no look found that this end had sent something on *link*; no sender has to look at a clock."""
        sent = link.channel.sent.moved
        before, since = self._spoke.setdefault(link, (sent, now - TICK))
        if sent != before:
            self._spoke[link] = (sent, now)
            return 0.0
        return now - since

    def _verdict(self, silent: float) -> HvcopyError:
        peer = self._links[0].channel.peer
        if silent > self._timeout:
            return ConnectionLost(
                f"{peer}: nothing was heard from the peer for {self._timeout:g} s; it was killed, paused or cut off"
            )
        return TimedOut(
            f"{peer}: the peer is alive, but nothing has moved for {self._timeout:g} s",
            hint="look what blocks it there; a longer --timeout waits longer",
        )
