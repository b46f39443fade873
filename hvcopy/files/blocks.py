"""The record of verified blocks beside a file that is arriving, so that an interrupted copy goes on where it was.

Layout: a head of 64 bytes (magic, identity of the source, size, block size, id of this boot), then 24 bytes a block: index and
digest, appended after the block was written.  A record torn by a kill is cut off.  Within the same boot the page cache
vouches for what was written; after another boot each block is read again and compared before it counts.  So a power cut may
cost what the system had not written yet, of the record or of the part, and never brings a wrong block; that is why the record
is not forced to disk, which would hold up the lanes.
"""

from __future__ import annotations

import contextlib
import os
import struct

from hvcopy import fileio
from hvcopy.buffers import buffer
from hvcopy.files import system
from hvcopy.session.assembly import Assembly
from hvcopy.wire.digests import ABSENT, digest

_HEAD = struct.Struct("<8s16sQQ16s8x")
_BLOCK = struct.Struct("<Q16s")
_MAGIC = b"hvblk\r\n1"
FLUSH_BLOCKS = 16
"""Blocks recorded by one append: what a kill can cost, and a system call per 16 MiB."""


def boot_id() -> bytes:
    """Return 16 bytes that differ after every boot of this machine; zeros where the system has none (proc(5))."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return bytes.fromhex(file.read().strip().replace(b"-", b"").decode())
    except (OSError, ValueError):
        return bytes(16)


class BlockRecord:
    """The open record of one arriving file.  Appending is for one thread at a time; the caller holds the file's lock."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._end = 0
        self._pending = bytearray()
        self.vouches = True

    def restore(self, part: int, identity: bytes, assembly: Assembly) -> int:
        """Take over the blocks of an earlier attempt into *assembly*; returns how many.

        Nothing is taken over when the source is no longer the same or the head is not ours; the record then starts anew.
        """
        head = _pread(self._fd, _HEAD.size, 0)
        wanted = _HEAD.pack(_MAGIC, identity, assembly.size, assembly.block, boot_id())
        same_boot = head == wanted and wanted[40:56] != bytes(16)
        # a part of ours has its full length from the start: another one is not what the record speaks of
        other_part = os.fstat(part).st_size != assembly.size
        if other_part or len(head) < _HEAD.size or head[:40] != wanted[:40]:
            self._restart(wanted)
            return 0
        taken = self._read_blocks(part, assembly, trusted=same_boot)
        if not same_boot:
            self._restart(wanted)
            for index in range(assembly.count):
                if assembly.has(index):
                    self._pending += _BLOCK.pack(index, assembly.digest_of(index))
            os.fsync(part)
            self.flush()
        return taken

    def _read_blocks(self, part: int, assembly: Assembly, *, trusted: bool) -> int:
        taken, position = 0, _HEAD.size
        work = None if trusted else buffer(assembly.block)
        while True:
            piece = _pread(self._fd, _BLOCK.size * 4096, position)
            whole = len(piece) - len(piece) % _BLOCK.size
            for index, value in _BLOCK.iter_unpack(piece[:whole]):
                if index >= assembly.count or assembly.has(index) or value == ABSENT:
                    continue
                if work is not None and not _stands(part, work, assembly, index, value):
                    continue
                assembly.add(index, value)
                taken += 1
            position += whole
            if whole < _BLOCK.size * 4096:
                self._end = position
                system.set_size(self._fd, position, sparse=False)
                return taken

    def _restart(self, head: bytes) -> None:
        system.set_size(self._fd, 0, sparse=False)
        self._end = fileio.write_at(self._fd, head, 0, False)

    def add(self, index: int, block_digest: bytes) -> None:
        """Note that block *index* is written and verified."""
        self._pending += _BLOCK.pack(index, block_digest)
        if len(self._pending) >= FLUSH_BLOCKS * _BLOCK.size:
            self.flush()

    def flush(self) -> None:
        """Append what is noted.  A disk too full for it costs the resume, not the copy."""
        with contextlib.suppress(OSError):
            if self._pending:
                self._end += fileio.write_at(self._fd, self._pending, self._end, False)
        self._pending = bytearray()

    def forget(self) -> None:
        """Vouch for nothing any more."""
        self.vouches = False
        self._pending = bytearray()
        self._restart(b"")

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        os.close(self._fd)


def _pread(fd: int, size: int, offset: int) -> bytes:
    work = bytearray(size)
    return bytes(work[: fileio.read_at(fd, work, offset)])


def make_durable(part: int, record: BlockRecord | None) -> None:
    """Wait until the part is on disk.  Raises OSError, and then the record vouches for nothing any more.

    What could not be written may be gone, and another call would not say so again (fsync(2)).
    """
    try:
        os.fsync(part)
    except OSError:
        if record:
            record.forget()
        raise


def _stands(part: int, work: memoryview, assembly: Assembly, index: int, value: bytes) -> bool:
    start, length = index * assembly.block, assembly.length_of(index)
    view = work[:length]
    return fileio.read_at(part, view, start) == length and digest(view) == value
