"""Shows a running transfer: a tqdm bar, plain lines, JSON lines, or nothing.  Always on stderr; called from one thread."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from hvcopy.errors import printable
from hvcopy.transfer.tally import Tally
from hvcopy.units import format_rate, format_size

if TYPE_CHECKING:
    from tqdm import tqdm

BAR_AFTER = 0.3
"""Seconds before a bar appears: a small copy is over by then, and importing tqdm would be most of its time."""
SCREEN = {"ncols": 79, "nrows": 24}
"""Of a terminal that does not know its size, as a guest's serial console: tqdm would show nothing on one of none."""
PLAIN_EVERY = 5.0
JSON_EVERY = 1.0
KINDS = ("auto", "bar", "plain", "json", "none")


class Progress:
    """Shows *tally* as *kind* says; ``tick`` it often, it is cheap.  ``auto`` is a bar on a terminal, else plain lines."""

    def __init__(self, kind: str, tally: Tally) -> None:
        if kind == "auto":
            kind = "bar" if sys.stderr.isatty() else "plain"
        self._kind = kind
        self._tally = tally
        self._start = time.monotonic()
        self._last = self._start
        self._bar: tqdm[Any] | None = None

    def tick(self) -> None:
        """Show the state if it is time to."""
        now = time.monotonic()
        if self._kind == "bar" and now - self._start >= BAR_AFTER:
            self._show_bar()
        elif self._kind == "plain" and self._tally.started and now - self._last >= PLAIN_EVERY:
            self._last = now
            sys.stderr.write(self._line(now) + "\n")
        elif self._kind == "json" and now - self._last >= JSON_EVERY:
            from json import dumps

            self._last = now
            sys.stderr.write(dumps(self._object(now)) + "\n")

    def close(self) -> None:
        """Show the final state of a bar and leave it."""
        if self._bar is not None:
            self._show_bar()
            self._bar.close()
            self._bar = None

    def clear(self) -> None:
        """Take the bar off the line, for a message; the next tick draws it again."""
        if self._bar is not None:
            self._bar.clear()

    def _show_bar(self) -> None:
        tally = self._tally
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=tally.expected_bytes or None,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                file=sys.stderr,
                **_screen(),
                initial=tally.reused,
                miniters=0,
            )
            self._bar.start_t -= time.monotonic() - self._start
        self._bar.total = max(tally.expected_bytes, tally.bytes) if tally.counted else None
        self._bar.n = tally.bytes
        name = printable(tally.current)[-30:]
        if not tally.counts_files:
            self._bar.refresh()
            return
        self._bar.set_postfix_str(f"{self._files()} {name}".strip(), refresh=False)
        self._bar.refresh()

    def _line(self, now: float) -> str:
        tally = self._tally
        rate = (tally.bytes - tally.reused) / max(now - self._start, 1e-6)
        text = f"{format_size(tally.bytes)}"
        if tally.counted and tally.expected_bytes:
            share = 100 * tally.bytes // tally.expected_bytes
            text += f" of {format_size(tally.expected_bytes)} ({share} %)"
            if rate > 0:
                text += f", {max(0, tally.expected_bytes - tally.bytes) / rate:.0f} s left"
        files = f", {self._files()} {printable(tally.current)}" if tally.counts_files else ""
        return f"hvcopy: {text}, {format_rate(rate)}{files}".rstrip()

    def _files(self) -> str:
        """Return how many were dealt with, in whatever way, and of how many unless that is more than was counted."""
        tally = self._tally
        done = tally.files + tally.links + tally.same + tally.skipped + tally.failed
        return f"{done}/{tally.total_files} files" if tally.total_files and done <= tally.total_files else f"{done} files"

    def _object(self, now: float) -> dict[str, object]:
        tally = self._tally
        return {
            "event": "progress",
            "bytes": tally.bytes,
            "total_bytes": tally.expected_bytes if tally.counted else None,
            "files": tally.files,
            "total_files": tally.total_files if tally.counted else None,
            "links": tally.links,
            "same": tally.same,
            "skipped": tally.skipped,
            "reused_bytes": tally.reused,
            "failed": tally.failed,
            "seconds": round(now - self._start, 3),
            "current": printable(tally.current),
        }


def _screen() -> dict[str, Any]:
    """Return what tells tqdm how much room there is: that it look for itself, unless the terminal does not know."""
    try:
        known = os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except OSError:  # no terminal
        known = True
    return {"dynamic_ncols": True} if known else SCREEN
