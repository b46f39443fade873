"""What is typed and shown at a console of Windows; at a terminal, elsewhere.

There a read waits for a whole line, shows what is typed only while it waits, and cannot be called off.  So one thread reads,
and passes lines on through a pipe, for which one can wait as for any other.
"""

from __future__ import annotations

import os
import sys
import threading

from hvcopy import threads
from hvcopy._core import Meter, is_terminal, read_some
from hvcopy.descriptors import own

LINE = 32 << 10
"""Bytes of the longest line that can be typed."""
FOR_EVER_MS = (1 << 31) - 1


def is_screen(fd: int) -> bool:
    """Say whether somebody sees what is written; os.isatty says so of every device of Windows, NUL as well."""
    return is_terminal(fd)


def own_input(fd: int) -> tuple[int, bool]:
    """Return as ``descriptors.own`` does what *fd* is read from; the descriptor is the caller's where it is another one.

    Raises LocalFailure or OSError.
    """
    if sys.platform == "win32" and is_terminal(fd):
        return _keyboard.lines(fd), True
    return own(fd, os.O_RDONLY)


class _Keyboard:
    """Lines of the one console that a process has.  Those that nobody has read are the next reader's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reads = -1

    def lines(self, fd: int) -> int:
        """Return a descriptor of lines typed at console *fd*, to their end."""
        with self._lock:
            if self._reads < 0:
                reads, writes = os.pipe()
                threads.start(self._pass_on, "keyboard", os.dup(fd), writes)
                self._reads = reads
            return os.dup(self._reads)

    def _pass_on(self, console: int, writes: int) -> None:
        line = memoryview(bytearray(LINE))
        try:
            while count := self._read(console, line):
                rest = line[:count]
                while rest:
                    rest = rest[os.write(writes, rest) :]
        finally:
            with self._lock:  # whoever asks after the end gets what is typed after it
                os.close(self._reads)
                self._reads = -1
            os.close(writes)
            os.close(console)

    def _read(self, console: int, into: memoryview) -> int:
        try:
            return read_some(console, into, Meter(), FOR_EVER_MS, False, True)
        except OSError:  # the console is gone, and with it who typed
            return 0


_keyboard = _Keyboard()
