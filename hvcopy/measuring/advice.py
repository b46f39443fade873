"""What follows from a sweep: the smallest settings that are as good as the best ones, and what they gain.  Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from msgspec import Struct

from hvcopy.wire.frames import KIB, MIB

EQUAL = 0.95
"""Of two rates: what is at least this share of the best counts as equal; runs on one machine differ by as much."""


class Point(Struct, frozen=True):
    """One setting and the rates measured with it, in bytes a second.  *buffer* 0 is the default; *window* what that gave."""

    length: int
    buffer: int
    lanes: int
    window: int
    rates: list[float]

    @property
    def rate(self) -> float:
        """The median; 0 before the first run."""
        return statistics.median(self.rates) if self.rates else 0.0

    @property
    def spread(self) -> float:
        """The greatest difference between two runs, as a share of the median."""
        return (max(self.rates) - min(self.rates)) / self.rate if self.rate else 0.0


class Advice(Struct, frozen=True):
    """The *best* setting in that sense, the *base* it is compared with, and the options to type for it.

    *message* is the smallest size of a message that other tools need with this buffer.
    """

    best: Point
    base: Point
    options: list[str]
    message: int

    @property
    def gain(self) -> float:
        """How many times the base's rate the best one has; within the limit of what counts as equal, 1."""
        gain = self.best.rate / self.base.rate if self.base.rate else 1.0
        return gain if gain * EQUAL > 1 else 1.0

    @property
    def certain(self) -> bool:
        """True when the best setting's slowest run was faster than the base's fastest."""
        return min(self.best.rates) > max(self.base.rates)


def advise(points: Sequence[Point]) -> Advice | None:
    """Return what to use on this link; None when nothing moved at all.

    Of the points with the longest message, which is what hvcopy itself writes, those as good as the fastest: fewest
    connections first, then the default buffer, then the smallest window.  The base is the default buffer on one connection.
    """
    moved = [point for point in points if point.rate > 0]
    if not moved:
        return None
    longest = max(point.length for point in moved)
    own = [point for point in moved if point.length == longest]
    best = min(_as_good(own), key=lambda one: (one.lanes, one.buffer != 0, one.window or one.buffer))
    base = min(own, key=lambda one: (one.lanes, one.buffer != 0))
    options = [f"--buffer {short(best.buffer)}"] if best.buffer else []
    if best.lanes > 1:
        options.append(f"--lanes {best.lanes}")
    same = [point for point in moved if point.buffer == best.buffer and point.lanes == 1]
    return Advice(best, base, options, min((one.length for one in _as_good(same)), default=longest))


def _as_good(points: Sequence[Point]) -> list[Point]:
    limit = EQUAL * max((point.rate for point in points), default=0.0)
    return [point for point in points if point.rate >= limit]


def smaller_messages(points: Sequence[Point], found: Advice) -> list[tuple[int, float]]:
    """Return (length, share of the rate of the advised one) of shorter messages on its buffer and one connection."""
    same = {one.length: one.rate for one in points if one.buffer == found.best.buffer and one.lanes == 1}
    whole = same.get(found.message, 0.0)
    return [(length, same[length] / whole) for length in sorted(same) if length < found.message and whole]


def short(size: int) -> str:
    """Return *size* as an option takes it: ``64k``, ``1M``, ``1000``."""
    for unit, letter in ((MIB, "M"), (KIB, "k")):
        if size and size % unit == 0:
            return f"{size // unit}{letter}"
    return str(size)
