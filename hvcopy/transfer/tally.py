"""What a transfer has done so far: numbers that any thread may read, and failures as they happen."""

from __future__ import annotations

import builtins
import threading
from collections import Counter
from typing import Protocol

from msgspec import Struct, field

from hvcopy.channel import Meter
from hvcopy.errors import BY_EXIT_CODE, LocalFailure


class Observer(Protocol):
    """Whoever wants to hear of single entries; called from the transfer's threads."""

    def failed(self, path: bytes, code: int, message: str) -> None:
        """One entry failed, for good."""

    def noted(self, path: bytes, message: str) -> None:
        """One entry was skipped or treated specially, which is no failure."""


class Silent:
    """An observer that does nothing."""

    def failed(self, path: bytes, code: int, message: str) -> None:
        """Ignore it."""

    def noted(self, path: bytes, message: str) -> None:
        """Ignore it."""


class Tally(Struct):
    """Counts of one transfer.  ``bytes`` counts contents as they move, ``files`` only what is acknowledged."""

    observer: Observer = field(default_factory=Silent)
    files: int = 0
    directories: int = 0
    links: int = 0
    same: int = 0
    skipped: int = 0
    reused: int = 0
    total_bytes: int = 0
    """What the sender expected before it knew what is skipped."""
    left_out: int = 0
    total_files: int = 0
    counted: bool = False
    started: float = 0.0
    current: builtins.bytes = b""
    durability: str = ""
    here: bool = False
    """Whether this side is the one that receives."""
    lanes: int = 1
    window: int = 0
    failures: Counter[int] = field(default_factory=Counter)
    _contents: Meter = field(default_factory=Meter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    counts_files = True

    @property
    def bytes(self) -> int:
        """Contents that have moved."""
        return self._contents.moved

    @property
    def expected_bytes(self) -> int:
        """Contents that are to move in all."""
        return max(0, self.total_bytes - self.left_out)

    def leave_out(self, size: int) -> None:
        """Count a file of *size* bytes that was skipped, of which nothing moves."""
        self.add(skipped=1, left_out=size)

    def add(self, *, bytes: int = 0, **counts: int) -> None:
        """Add to the named counts.  Bytes alone, as each block of a file brings them, take no lock."""
        self._contents.add(bytes)
        if counts:
            with self._lock:
                for name, count in counts.items():
                    setattr(self, name, getattr(self, name) + count)

    def fail(self, path: builtins.bytes, code: int, message: str) -> None:
        """Count and report a failed entry; a *code* that is no failure, as a peer may send, counts as local."""
        code = code if code in BY_EXIT_CODE else LocalFailure.exit_code
        with self._lock:
            self.failures[code] += 1
        self.observer.failed(path, code, message)

    @property
    def failed(self) -> int:
        """How many entries failed."""
        return sum(self.failures.values())

    @property
    def exit_code(self) -> int:
        """0 when all went well; the one cause when nothing else was delivered or all were names; else 3."""
        if not self.failures:
            return 0
        (code, *more) = self.failures
        if not more and (code == 11 or not self.files + self.same + self.skipped):
            return code
        return 3


class StreamTally(Tally):
    """What a stream session has done so far; digests are of all bytes until now."""

    sent: int = 0
    received: int = 0
    sent_digest: builtins.bytes = b""
    received_digest: builtins.bytes = b""
    counts_files = False

    @property
    def bytes(self) -> int:
        """Bytes of both directions."""
        return self.sent + self.received
