"""One file that is sent in blocks: which ranges are left, and whether the source is still what was announced."""

from __future__ import annotations

import errno
import os

from hvcopy import fileio
from hvcopy.files import attributes, sparse, system
from hvcopy.files.confined import Handle
from hvcopy.session.sender import Asked
from hvcopy.wire.digests import hasher

RANGE_BLOCKS = 8
"""Blocks a lane takes at once: large enough to cost nothing, small enough that lanes end together."""
CHANGED = "it changed while it was read, or has no fixed size (as in /proc); nothing of it was delivered"


class Outgoing:
    """The source of one asked file.  ``take`` is called under the session's lock, everything else outside of it."""

    CHANGED = CHANGED

    def __init__(self, asked: Asked, handle: Handle, name: bytes, identity: bytes) -> None:
        self.asked = asked
        self.identity = identity
        self.busy = 0
        self.exhausted = False
        self.code = 0
        self.message = ""
        self.differs = False
        self._handle = handle
        self._name = name
        self._fd = -1
        self._next = 0
        self._holes: list[tuple[int, int]] = []

    def open(self) -> None:
        """Open the source and look that it is the announced one.  Raises OSError."""
        self._fd = self._opened()
        assembly = self.asked.assembly
        assert assembly is not None
        if system.looks_sparse(os.fstat(self._fd)):
            self._holes = sparse.hole_runs(self._fd, self.asked.size, assembly.block)[::-1]

    def _opened(self) -> int:
        fd = system.open_file(self._handle.fd, self._name)
        if attributes.identity_of(os.fstat(fd)) != self.identity:
            os.close(fd)
            raise OSError(errno.ESTALE, CHANGED)
        return fd

    def fail_reading(self, error: OSError) -> None:
        """Give the file up because of *error*."""
        self.fail(10, not_read(error))

    @property
    def fd(self) -> int:
        """The open source, to be sent from without a copy."""
        return self._fd

    def unchanged(self) -> bool:
        """Say whether the open source still has the announced size, times and inode."""
        return attributes.identity_of(os.fstat(self._fd)) == self.identity

    def take(self) -> tuple[int, int, bool] | None:
        """Return the next (first block, count, is a hole) to deal with, or None when all are given out."""
        assembly = self.asked.assembly
        assert assembly is not None
        while self._next < assembly.count and assembly.has(self._next):
            self._next += 1
        first = self._next
        if self.code or first >= assembly.count:
            self.exhausted = True
            return None
        while self._holes and sum(self._holes[-1]) <= first:
            self._holes.pop()
        end, hole = min(first + RANGE_BLOCKS, assembly.count), False
        if self._holes:
            start, count = self._holes[-1]
            hole = start <= first
            end = start + count if hole else min(end, start)
        last = first + 1
        while last < end and not assembly.has(last):
            last += 1
        self._next = last
        self.busy += 1
        return first, last - first, hole

    def read(self, into: memoryview, offset: int) -> None:
        """Fill *into* from *offset*.  Raises OSError when the source shrank or cannot be read."""
        _read(self._fd, into, offset)

    def digest(self, piece: memoryview, offset: int, length: int) -> bytes:
        """Return the digest of *length* bytes from *offset* on, read by way of *piece*.  Raises OSError as ``read``."""
        return _digest(self._fd, piece, offset, length)

    def still_gives(self, piece: memoryview, offset: int, length: int, value: bytes) -> bool:
        """Say whether the source is the announced one and its bytes have the digest *value*; it may be closed by now."""
        try:
            fd = self._opened()
        except OSError:
            return False
        try:
            return _digest(fd, piece, offset, length) == value
        except OSError:
            return False
        finally:
            os.close(fd)

    def fail(self, code: int, message: str) -> None:
        """Give the file up; what is under way ends by itself."""
        self.code = self.code or code
        self.message = self.message or message

    def close(self) -> None:
        """Close the source."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _read(fd: int, into: memoryview, offset: int) -> None:
    if fileio.read_at(fd, into, offset) < len(into):
        raise OSError(errno.ESTALE, CHANGED)


def _digest(fd: int, piece: memoryview, offset: int, length: int) -> bytes:
    state = hasher()
    for start in range(offset, offset + length, len(piece)):
        part = piece[: offset + length - start]
        _read(fd, part, start)
        state.update(part)
    return state.digest()


def not_read(error: OSError) -> str:
    """Return what is said of a source that the sender could not read: the receiver's user would look at the wrong side."""
    why = error.strerror or str(error)
    return why if why == CHANGED else f"reading failed: {why}"
