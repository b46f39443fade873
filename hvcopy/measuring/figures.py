"""The figures of a measurement: counts, rates, percentiles.  Pure statistics: no clock, no socket, no words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct, field

from hvcopy.measuring.plan import Plan

GIB = 1 << 30
PERCENTILES = (50.0, 90.0, 99.0, 99.9)


class Histogram:
    """How often each duration was seen, in nanoseconds: exact below 256, else within 1/128; memory does not grow with time.

    Buckets as in HdrHistogram (hdrhistogram.org): a power of two is cut into 128.
    """

    def __init__(self, samples: Iterable[int] = ()) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0
        self.total = 0
        self.least = 0
        self.most = 0
        self.add(samples)

    def add(self, samples: Iterable[int]) -> None:
        """Count *samples*, none of them negative."""
        samples = list(samples)
        if not samples:
            return
        self._counts.update(map(_bucket, samples))
        self._note(len(samples), sum(samples), min(samples), max(samples))

    def merge(self, other: Histogram) -> None:
        """Count what *other* has counted."""
        if other.count:
            self._counts.update(other._counts)
            self._note(other.count, other.total, other.least, other.most)

    def percentile(self, percent: float) -> int:
        """Return the duration that *percent* of the samples do not exceed; 0 without samples."""
        wanted, seen = max(1, -(-self.count * percent // 100)), 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= wanted:
                return min(max(_middle(bucket), self.least), self.most)
        return 0

    @property
    def mean(self) -> float:
        """The mean duration; 0 without samples."""
        return self.total / self.count if self.count else 0.0

    def _note(self, count: int, total: int, least: int, most: int) -> None:
        self.least = min(self.least, least) if self.count else least
        self.most = max(self.most, most)
        self.count += count
        self.total += total


def _bucket(value: int) -> int:
    shift = max(0, value.bit_length() - 8)
    return (shift << 7) + (value >> shift)


def _middle(bucket: int) -> int:
    shift = max(0, (bucket >> 7) - 1)
    return ((bucket - (shift << 7)) << shift) + ((1 << shift) >> 1)


class Flow(Struct, frozen=True):
    """Bytes in one direction, as one end has counted and timed them."""

    bytes: int
    seconds: float

    @property
    def rate(self) -> float:
        """Bytes a second; 0 where no time has passed."""
        return self.bytes / self.seconds if self.seconds > 0 else 0.0


NOTHING = Flow(0, 0.0)


class Side(Struct):
    """What one end has done: both flows, seconds of processor time, and its window in bytes (0 when unknown)."""

    sent: Flow = NOTHING
    received: Flow = NOTHING
    user: float = 0.0
    system: float = 0.0
    window: int = 0

    @property
    def cpu(self) -> float:
        """Seconds of processor time."""
        return self.user + self.system

    @property
    def cpu_per_gib(self) -> float:
        """Seconds of processor time for each GiB that went through this end; 0 when none did."""
        moved = self.sent.bytes + self.received.bytes
        return self.cpu * GIB / moved if moved else 0.0


class Interval(Struct, frozen=True):
    """One second or so, in seconds since the start; bytes by lane, and what was counted or timed in it."""

    start: float
    end: float
    sent: list[int]
    received: list[int]
    trips: Histogram
    count: int = 0


class Outcome(Struct):
    """One measurement, finished or not.  *there* is None until, or unless, the peer has told its figures.

    *count* is round trips, files or connections; *seconds* from the start to the end or to now.
    """

    plan: Plan
    peer: str
    began: float
    lanes: int = 1
    here: Side = field(default_factory=Side)
    there: Side | None = None
    intervals: list[Interval] = field(default_factory=list)
    trips: Histogram = field(default_factory=Histogram)
    count: int = 0
    seconds: float = 0.0
    done: bool = False

    def up(self) -> tuple[Flow | None, Flow | None]:
        """Return what the client has sent and what the server has received of it; None for what is not known."""
        return self._known(self.here.sent), self._known(self.there.received if self.there else NOTHING)

    def down(self) -> tuple[Flow | None, Flow | None]:
        """Return what the server has sent and what the client has received of it; None for what is not known."""
        return self._known(self.there.sent if self.there else NOTHING), self._known(self.here.received)

    @property
    def rate(self) -> float:
        """Bytes a second of what is known best: received rather than sent; both directions together."""
        total = 0.0
        for wanted, (sent, received) in ((self.plan.sends, self.up()), (self.plan.receives, self.down())):
            best = received or sent
            total += best.rate if wanted and best else 0.0
        return total

    @property
    def window(self) -> int:
        """The smaller of the windows that are known, 0 when none is."""
        known = [side.window for side in (self.here, self.there) if side and side.window]
        return min(known, default=0)

    @staticmethod
    def _known(flow: Flow) -> Flow | None:
        return flow if flow.seconds > 0 else None
