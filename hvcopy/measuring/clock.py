"""Time and processor time of this process since a moment."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator


def processor() -> tuple[float, float]:
    """Return the user and system seconds that this process has used."""
    if sys.platform == "win32":
        return os.times()[:2]
    else:
        from resource import RUSAGE_SELF, getrusage  # os.times counts in hundredths there

        used = getrusage(RUSAGE_SELF)
        return used.ru_utime, used.ru_stime


def until(over: Callable[[], bool]) -> Iterator[None]:
    """Take turns until *over*, one at least: the shortest run shall measure something on the busiest machine."""
    yield
    while not over():
        yield


class Clock:
    """Starts when it is made, for a run of *seconds*."""

    def __init__(self, seconds: float) -> None:
        self._user, self._system = processor()
        self._start = time.monotonic()
        self._end = self._start + seconds

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def over(self) -> bool:
        """Say whether the run's time is over."""
        return time.monotonic() >= self._end

    def processor(self) -> tuple[float, float]:
        """Return the user and system seconds used since the start."""
        user, system = processor()
        return user - self._user, system - self._system
