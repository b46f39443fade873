"""Watches one run from outside: cuts it into seconds, and keeps what there is of it for whoever interrupts."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hvcopy.measuring.clock import Clock
from hvcopy.measuring.figures import Histogram, Interval, Outcome

SECOND = 1.0
REST = 0.1
"""Seconds: what is left at the end and shorter belongs to the interval before."""

Observe = Callable[[Outcome, Interval], None]


def unobserved(outcome: Outcome, interval: Interval) -> None:
    """Take no notice of an interval."""


class Recorder:
    """Fills *outcome* while it runs.  *moved* tells bytes (sent, received) by lane; ``add`` and ``count`` are for any thread."""

    def __init__(
        self, outcome: Outcome, clock: Clock, moved: Callable[[], list[tuple[int, int]]], observe: Observe
    ) -> None:
        self._outcome = outcome
        self._clock = clock
        self._moved = moved
        self._observe = observe
        self._lock = threading.Lock()
        self._trips = Histogram()
        self._counted = 0
        self._start = 0.0
        self._before = [(0, 0)] * len(moved())

    def add(self, samples: list[int]) -> None:
        """Count round trips or connections, in nanoseconds each."""
        with self._lock:
            self._trips.add(samples)
            self._counted += len(samples)

    def count(self, number: int) -> None:
        """Say that *number* of what is counted are done in all."""
        with self._lock:
            self._counted = number - self._outcome.count

    def watch(self, changed: threading.Condition, over: Callable[[], bool], limit: float) -> bool:
        """Wait until *over*, observing every second; returns False when *limit* seconds after the start came first."""
        while True:
            due = self._start + SECOND
            if due > self._outcome.plan.seconds - REST:
                due = limit
            with changed:
                if changed.wait_for(over, min(due, limit) - self._clock.seconds):
                    return True
            if self._clock.seconds >= limit:
                return False
            self.cut()

    def cut(self) -> None:
        """End an interval here, at a second or at the end of the run."""
        now, moved = self._clock.seconds, self._moved()
        with self._lock:
            trips, self._trips = self._trips, Histogram()
            counted, self._counted = self._counted, 0
        sent = [one[0] - before[0] for one, before in zip(moved, self._before, strict=True)]
        received = [one[1] - before[1] for one, before in zip(moved, self._before, strict=True)]
        interval = Interval(self._start, now, sent, received, trips, counted)
        self._start, self._before = now, moved
        self._outcome.intervals.append(interval)
        self._outcome.trips.merge(trips)
        self._outcome.count += counted
        self._outcome.seconds = now
        self._observe(self._outcome, interval)
