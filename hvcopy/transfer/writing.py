"""Writes blocks in a thread of its own, so that a lane receives and checks the next block while one goes to disk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from hvcopy.transfer.lanes import Lanes

DEPTH = 2
"""Blocks that may wait: enough to keep both threads busy, and little memory."""
LARGEST = 4 << 20
"""Larger frames are written by the lane itself: they would take too much memory in the queue."""


class Writer:
    """A queue of writes of one lane.  A write that fails ends the session."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._changed = threading.Condition()
        self._waiting: deque[Callable[[], None]] = deque()
        self._closed = False
        self._started = False

    def put(self, write: Callable[[], None]) -> None:
        """Queue *write*; blocks while DEPTH wait.  Raises the session's failure."""
        if not self._started:
            self._started = True
            self._lanes.spawn(self._run, "writer")
        with self._changed:
            while len(self._waiting) >= DEPTH:
                self._lanes.check()
                self._changed.wait(0.5)
            self._waiting.append(write)
            self._changed.notify_all()

    def close(self) -> None:
        """Let the thread end once everything is written."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closed:
                        return
                    self._lanes.check()
                    self._changed.wait(0.5)
                write = self._waiting[0]
            write()
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()
