"""A rate limit shared by all lanes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Throttle:
    """Lets *rate* bytes a second pass, with a tenth of a second's worth at once; 0 means no limit."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._due = time.monotonic()

    @property
    def limited(self) -> bool:
        """True when there is a limit."""
        return self._rate > 0

    def pass_through(self, count: int, stopped: Callable[[], bool]) -> None:
        """Wait until *count* more bytes may pass, or until *stopped* says that nobody waits for them."""
        with self._lock:
            self._due = max(self._due, time.monotonic() - 0.1) + count / self._rate
            due = self._due
        while (left := due - time.monotonic()) > 0 and not stopped():
            time.sleep(min(left, 0.2))
