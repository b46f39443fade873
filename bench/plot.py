"""The ratios that have targets as one picture: median, spread, target; beside the tables.

By matplotlib, an extra of hvcopy's; without it there is no picture, and the run says so.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.results import Result
from bench.rounds import ratio
from bench.targets import LATENCY, least

MET, MISSED = "tab:blue", "tab:red"


@dataclass(frozen=True, slots=True)
class Row:
    """How many times as fast as a peer: median, least and greatest of the rounds, and what it should be at least."""

    label: str
    middle: float
    low: float
    high: float
    target: float


def draw(results: Sequence[Result], path: Path) -> bool:
    """Write the picture; False when matplotlib is missing or nothing was measured that has a target."""
    rows = list(_rows(results))
    if not rows or not available():
        path.unlink(missing_ok=True)
        return False
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "hvcopy"  # the same figures make the same file
    figure = Figure(figsize=(9, 1.2 + 0.24 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        colour = MET if row.middle >= row.target else MISSED
        axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2, alpha=0.5)
        axes.plot([row.middle], [place], "o", color=colour)
        axes.plot([row.target], [place], "|", color="black", markersize=10)
    axes.set_xscale("log")
    ticks = [0.25, 0.5, 1, 2, 5, 10, 20, 50, 100]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.axvline(1, color="gray", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("times as fast as the peer, start to exit: median, spread; black: target")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, metadata={"Date": None})
    return True


def available() -> bool:
    """Whether pictures can be drawn."""
    return importlib.util.find_spec("matplotlib") is not None


def _rows(results: Sequence[Result]) -> Iterator[Row]:
    for result in results:
        for ours in result.series:
            for peer in result.series:
                if not (ours.name.startswith("hvcopy") and ours.samples and peer.samples and peer is not ours):
                    continue
                label = f"{result.name}: {ours.name} / {peer.name}"
                target = least(result.kind, ours.name, peer.name)
                if result.kind == "latency" and peer.name.startswith("socat"):
                    times = [[one.seconds for one in series.samples] for series in (peer, ours)]
                    yield Row(f"{label}, median", *ratio(*times), 1 / LATENCY)
                elif target is not None:
                    yield Row(label, *ratio(ours.rates(), peer.rates()), target)
