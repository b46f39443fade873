"""The method: one uncounted warm-up each, then every contender once per round, and ratios within the rounds.

Knows contenders, samples and medians; nothing of tools or files.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.processes import Failed


@dataclass(frozen=True, slots=True)
class Sample:
    """One copy: seconds from the start of its command to the end of the last process, CPU seconds of all."""

    seconds: float
    cpu: float = 0.0
    own_seconds: float | None = None
    """What the tool itself reports, from its connection to the peer's confirmation."""
    high: float | None = None
    """Of a latency: the 99th percentile, where `seconds` is the median."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to copy. `size` bytes; `copy(warm-up)` raises Failed; `tiny()` copies one byte the same way."""

    name: str
    size: int
    copy: Callable[[bool], Sample]
    tiny: Callable[[], Sample] | None = None


@dataclass(slots=True)
class Series:
    """All samples of one contender."""

    name: str
    size: int
    samples: list[Sample] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    error: str | None = None

    @property
    def start(self) -> float:
        """Median seconds for one byte: what the tool costs before the data counts; 0 when not measured."""
        return statistics.median(self.starts) if self.starts else 0.0

    def rates(self) -> list[float]:
        """Bytes per second of each round, start to exit."""
        return [self.size / sample.seconds for sample in self.samples]

    def net_rates(self) -> list[float]:
        """As `rates`, with the tool's own time for one byte taken off; empty where that would be a guess.

        It is one when the start is not measured, or takes more than half of a copy: the rest is then noise.
        """
        if not self.starts or any(self.start > sample.seconds / 2 for sample in self.samples):
            return []
        return [self.size / (sample.seconds - self.start) for sample in self.samples]

    def own_rates(self) -> list[float]:
        """As `rates`, by the tool's own clock; empty for a tool that tells no time."""
        own = [sample.own_seconds for sample in self.samples]
        return [self.size / seconds for seconds in own if seconds] if all(own) else []

    def as_dict(self) -> dict[str, Any]:
        """For JSON: everything measured."""
        return {
            "name": self.name,
            "bytes": self.size,
            "error": self.error,
            "samples": [asdict(sample) for sample in self.samples],
            "one_byte_seconds": self.starts,
        }


def series_from(stored: dict[str, Any]) -> Series:
    """The inverse of `Series.as_dict`."""
    samples = [Sample(**sample) for sample in stored["samples"]]
    return Series(stored["name"], stored["bytes"], samples, stored["one_byte_seconds"], stored["error"])


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def measure(title: str, contenders: Sequence[Contender], rounds: int) -> list[Series]:
    """Warm up, then run the rounds; the order is reversed in every other one. A failing contender drops out."""
    pairs = [(contender, Series(contender.name, contender.size)) for contender in contenders]
    for contender, series in pairs:
        _attempt(f"{title}: warm-up", contender, series, warm_up=True)
    for number in range(rounds):
        for contender, series in pairs if number % 2 == 0 else reversed(pairs):
            if series.error is None:
                _attempt(f"{title}: round {number + 1}/{rounds}", contender, series, warm_up=False)
    return [series for _, series in pairs]


def _attempt(title: str, contender: Contender, series: Series, *, warm_up: bool) -> None:
    try:
        sample = contender.copy(warm_up)
        start = contender.tiny() if contender.tiny and not warm_up else None
        if not warm_up:
            series.samples.append(sample)
        if start:
            series.starts.append(start.seconds)
        said = f"{sample.seconds:.3f} s, {contender.size / sample.seconds / 1e6:.0f} MB/s"
        if sample.high is not None:
            said = f"median {sample.seconds * 1e6:.1f} us, p99 {sample.high * 1e6:.1f} us"
        say(f"{title}: {contender.name}: {said}")
    except (Failed, OSError) as error:
        series.error = str(error)
        say(f"{title}: {contender.name}: failed: {error}")


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and greatest of the rounds' own ratios; neither may be empty."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=False)]
    return statistics.median(ratios), min(ratios), max(ratios)
