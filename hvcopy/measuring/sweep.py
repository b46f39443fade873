"""The sweep: every message size with every buffer, then more connections with the best of them; in turns, several times."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from hvcopy.measuring.advice import Point, advise
from hvcopy.measuring.engine import Measurer
from hvcopy.measuring.plan import Plan
from hvcopy.wire.frames import KIB, MIB

LENGTHS = (16 * KIB, 64 * KIB, 256 * KIB, MIB)
BUFFERS = (64 * KIB, 256 * KIB, MIB, 4 * MIB)
LANES = (2, 4)
ROUNDS = 3


class Sweep:
    """One sweep with *measurer*; ``points`` are those measured until now, also when ``run`` is ended by a failure."""

    def __init__(self, measurer: Measurer, plan: Plan, tell: Callable[[str], None]) -> None:
        self.points: list[Point] = []
        self._measurer = measurer
        self._plan = plan
        self._tell = tell

    def run(self, lengths: Sequence[int], buffers: Sequence[int]) -> None:
        """Measure the default buffer and *buffers*, each with all *lengths*, then connections.  Raises HvcopyError; blocks."""
        windows: dict[tuple[int, int], int] = {}
        for buffer in (0, *sorted({*buffers} - {0})):
            plan = msgspec.structs.replace(self._plan, buffer=buffer, lanes=1)
            windows.setdefault(self._measurer.windows(plan), buffer)
        smallest = {buffer: min(one for one in pair if one) if any(pair) else 0 for pair, buffer in windows.items()}
        grid = [
            Point(length, buffer, 1, window, []) for buffer, window in smallest.items() for length in sorted({*lengths})
        ]
        self._measure(grid, "messages and buffers")
        found = advise(grid)
        if found:
            best = found.best
            more = [Point(best.length, best.buffer, lanes, best.window, []) for lanes in LANES]
            self._measure(more, "connections")

    def _measure(self, points: list[Point], what: str) -> None:
        for number in range(ROUNDS):
            self._tell(f"sweep over {what}: round {number + 1} of {ROUNDS}, {len(points)} points")
            for point in points if number % 2 == 0 else reversed(points):
                plan = msgspec.structs.replace(self._plan, length=point.length, buffer=point.buffer, lanes=point.lanes)
                outcome = self._measurer.measure(plan)
                if outcome.lanes < point.lanes:  # the server grants no more
                    continue
                point.rates.append(outcome.rate)
                if len(point.rates) == 1:
                    self.points.append(point)
