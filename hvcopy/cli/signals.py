"""Ctrl-C and its like: noted at once, and raised only where something might be waited for.

An exception that Python raises in its own bookkeeping, a weakref callback or ``__del__``, is lost, and the signal with it:
start-up is full of those.  What was noted is still there to be asked for.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

_noted = False
_raising = False


def watch() -> None:
    """Note SIGINT, unless it is ignored as in a shell's background job, SIGTERM, and Ctrl-Break on Windows, from now on."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _note)
    signal.signal(signal.SIGTERM, _note)
    if sys.platform == "win32":
        signal.signal(signal.SIGBREAK, _note)


def watch_hang_up() -> None:
    """Note SIGHUP as well, unless it is ignored as by nohup.  Not for every command: ssh ends its ProxyCommand with it, of
    which its user is to hear nothing.
    """
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _note)


def check() -> None:
    """Raise KeyboardInterrupt for a signal that was noted."""
    if _noted:
        forget()
        raise KeyboardInterrupt


def forget() -> None:
    """What was noted has been dealt with."""
    global _noted
    _noted = False


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Within the block a signal raises KeyboardInterrupt as it comes: something there may wait for ever."""
    global _raising
    before, _raising = _raising, True
    try:
        yield
    finally:
        _raising = before


def _note(number: int, frame: FrameType | None) -> None:
    global _noted
    again, _noted = _noted, True
    if _raising or again:  # who asks twice is not to wait for the next check
        raise KeyboardInterrupt
