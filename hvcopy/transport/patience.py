"""Waiting that ends: at a deadline, on Ctrl-C, or when somebody asks.  It knows no address."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections.abc import Callable

from hvcopy.errors import Interrupted

SLICE = 0.1
"""Seconds between two looks at *cancelled*."""

# poll and not epoll or select: no descriptor of its own, and no limit on the number of one.
_Selector: Callable[[], selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


def never() -> bool:
    """The *cancelled* of whoever cannot be cancelled."""
    return False


class Patience:
    """At most *seconds* of waiting from now on.

    A wait that runs out raises TimeoutError (without errno, unlike the system's ETIMEDOUT); one during which
    *cancelled* became true raises Interrupted.  KeyboardInterrupt passes through at once.
    """

    __slots__ = ("cancelled", "ends", "seconds")

    def __init__(self, seconds: float, cancelled: Callable[[], bool] = never) -> None:
        self.seconds = seconds
        self.ends = time.monotonic() + seconds
        self.cancelled = cancelled

    def left(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.ends - time.monotonic())

    def share(self, parts: int) -> Patience:
        """One of *parts* equal parts of what is left."""
        return Patience(self.left() / max(1, parts), self.cancelled)

    def readable(self, sock: socket.socket) -> None:
        """Wait until *sock* can be read or accepted from."""
        self._ready(sock, selectors.EVENT_READ)

    def writable(self, sock: socket.socket) -> None:
        """Wait until *sock* can be written to, which is also how a connect tells its end."""
        self._ready(sock, selectors.EVENT_WRITE)

    def pause(self, seconds: float) -> None:
        """Sleep *seconds*; when less is left, sleep that and raise."""
        until = time.monotonic() + seconds
        while True:
            self._check()
            now = time.monotonic()
            if now >= until:
                return
            if now >= self.ends:
                raise TimeoutError
            time.sleep(min(SLICE, until - now, self.ends - now))

    def _ready(self, sock: socket.socket, event: int) -> None:
        self._check()
        with _Selector() as selector:
            try:
                selector.register(sock, event)
            except ValueError:  # closed by another thread since the look above
                self._check()
                raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None
            while True:
                left = self.left()
                if selector.select(min(SLICE, left)):
                    return
                self._check()
                if left <= 0:
                    raise TimeoutError

    def _check(self) -> None:
        if self.cancelled():
            raise Interrupted("connecting was interrupted")
