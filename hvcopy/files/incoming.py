"""One file that arrives in blocks: written beside its destination, and under its name only when it is whole."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from hvcopy import fileio
from hvcopy.buffers import buffer
from hvcopy.errors import DigestMismatch, LocalFailure, printable
from hvcopy.files import attributes, place, system
from hvcopy.files.blocks import BlockRecord, make_durable
from hvcopy.files.confined import Handle
from hvcopy.files.names import blocks_name, part_name
from hvcopy.wire.digests import digest
from hvcopy.wire.frames import MIB

if TYPE_CHECKING:

    from hvcopy.session.assembly import Assembly
    from hvcopy.wire.messages import Entry

RESUMABLE = 8 * MIB
"""Smaller files are sent again whole: asking for their blocks would cost more than it saves."""


class Incoming:
    """A file under way into *name* of *directory*.  ``write`` may be called by several threads, for different blocks."""

    def __init__(self, directory: Handle, name: bytes, entry: Entry, assembly: Assembly, *, sync: bool) -> None:
        """Open the part file, taking over the blocks of an interrupted attempt.  Raises OSError or LocalFailure."""
        self._directory = directory
        self._name = name
        self._entry = entry
        self._sync = sync
        self._record: BlockRecord | None = None
        self.part: bytes | None = None
        self.reused = 0
        if assembly.size >= RESUMABLE and entry.extra.identity:
            self._open_resumable(assembly)
        else:
            self._open_anew()
        try:
            # Only what holds something is cut off: ext4 takes a truncation to nothing as the start of a rewrite, and writes
            # the whole file to disk when it is closed (auto_da_alloc in Documentation/admin-guide/ext4.rst).
            if not self.reused and os.fstat(self._fd).st_size:
                system.set_size(self._fd, 0, sparse=False)
            system.set_size(self._fd, assembly.size, sparse=entry.extra.sparse)
        except BaseException:
            self.abandon(keep=False)
            raise

    def _open_anew(self) -> None:
        """Without a name where that can be had; else under the one that two copies of the same file cannot both have."""
        fd = place.open_anonymous(self._directory)
        if fd is None:
            self.part = part_name(self._name)
            fd = _open_own(self._directory, self.part)
        self._fd = fd

    def _open_resumable(self, assembly: Assembly) -> None:
        self.part = part_name(self._name)
        self._fd = _open_own(self._directory, self.part)
        try:
            self._record = BlockRecord(_open_own(self._directory, blocks_name(self._name)))
            self._record.restore(self._fd, self._entry.extra.identity, assembly)
        except BaseException:
            if os.fstat(self._fd).st_size:  # the part of an earlier attempt, which has its full length from the start
                self._close()
            else:
                self.abandon(keep=False)
            raise
        self.reused = assembly.present

    @property
    def fd(self) -> int:
        """The part, into which a block may be received directly, with ``write`` afterwards."""
        return self._fd

    @property
    def sparse(self) -> bool:
        """Whether zero pages may be left out: only where nothing can stand yet."""
        return self._entry.extra.sparse and not self.reused

    def write(self, offset: int, data: memoryview, written: int = 0) -> None:
        """Write one block, of which the first *written* bytes are there already.  Raises OSError."""
        if written < len(data):
            fileio.write_at(self._fd, data[written:], offset + written, self.sparse)
        if self._sync and offset % fileio.WRITEBACK == 0 and offset:
            fileio.start_writeback(self._fd, offset - fileio.WRITEBACK, fileio.WRITEBACK)

    def record(self, index: int, block_digest: bytes) -> None:
        """Note a written block for a later resume.  One thread at a time."""
        if self._record:
            self._record.add(index, block_digest)

    def hole(self, offset: int, length: int) -> None:
        """Leave a hole; what an interrupted attempt may have put there is overwritten with zeros."""
        if not self.reused:
            return
        start, _ = fileio.next_piece(self._fd, offset, offset + length)
        zeros = bytes(MIB)
        for position in range(start, offset + length, MIB):
            fileio.write_at(self._fd, zeros[: offset + length - position], position, False)

    def take(self, old: int, offset: int, length: int, old_offset: int, expected: bytes) -> None:
        """Copy one block from the older version *old*; raises DigestMismatch when it is no longer what it was."""
        work = buffer(length)
        if fileio.read_at(old, work, old_offset) != length or digest(work) != expected:
            raise DigestMismatch("the older version changed while it was used", hint="run the same command again")
        self.write(offset, work)

    def outdated(self) -> bool:
        """Say whether what stands under its name by now is not older than it.  Raises OSError."""
        return attributes.is_not_older(place.found(self._directory, self._name), self._entry.mtime)

    def stands(self) -> bool:
        """Say whether a file with its contents, all of which have come, stands under its name by now."""
        return place.holds(self._directory, self._name, self._fd)

    def finish(self, *, replace: bool) -> None:
        """Set the attributes, make the contents durable if asked, and give the file its name.  Raises OSError.

        FileExistsError without *replace* when the name is taken; it stays untouched, and so does the part.
        """
        extra = self._entry.extra
        attributes.apply(
            self._fd,
            mode=self._entry.mode,
            mtime_ns=self._entry.mtime,
            uid=extra.uid,
            gid=extra.gid,
            xattrs=extra.xattrs,
        )
        if self._sync:
            make_durable(self._fd, self._record)
        if self._record:  # before the name is given: a record without its part could vouch for another one
            with contextlib.suppress(FileNotFoundError):
                system.remove(self._directory.fd, blocks_name(self._name))
        place.give_name(self._directory, self._fd, self.part, self._name, replace=replace)
        self.part = None
        self._close()

    def abandon(self, *, keep: bool) -> bool:
        """Close without giving the name; returns True when a resumable part was kept, as *keep* allows."""
        kept = keep and self._record is not None and self._record.vouches
        if self.part and not kept:
            for name in (self.part, blocks_name(self._name)):
                with contextlib.suppress(OSError):
                    system.remove(self._directory.fd, name)
        self._close()
        return kept

    def _close(self) -> None:
        if self._record:
            self._record.close()
            self._record = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class InUse(LocalFailure):
    """Another copy is writing the same file."""


def _open_own(directory: Handle, name: bytes) -> int:
    """Open a part or record of ours for this process alone; whatever else has that name is removed first.

    The name must still lead to the file after the lock is held: another copy may have finished in between.
    """
    for _ in range(100):
        try:
            fd = _open_found(directory, name)
            if fd is None:
                fd = system.create(directory.fd, name)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno in system.BUSY:
                raise _in_use(name) from None
            raise
        found = os.fstat(fd)
        try:
            system.keep_alone(fd)
        except BlockingIOError:
            os.close(fd)
            raise _in_use(name) from None
        except OSError:
            os.close(fd)
            raise
        with contextlib.suppress(FileNotFoundError):
            named = system.stat(directory.fd, name)
            if (named.st_dev, named.st_ino) == (found.st_dev, found.st_ino):
                return fd
        os.close(fd)
    raise LocalFailure(f"{printable(name)} keeps changing under this copy")


def _in_use(name: bytes) -> InUse:
    return InUse(
        f"another copy is writing {printable(name)} just now; if that one broke, it lets go within the receiver's --timeout",
        hint="wait for it to end, then run the same command",
    )


def _open_found(directory: Handle, name: bytes) -> int | None:
    """Open what an earlier copy of this user left; None when there is nothing, or what was there is removed.

    A file of another owner is not gone on with: who owns it may write to it, whatever the record says.  (One that was
    just created is ours even where the file system shows another owner, as hostfs, NFS and 9p may.)
    """
    try:
        fd = system.open_own(directory.fd, name)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.EACCES):
            raise
    else:
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and system.is_mine(found):
            return fd
        os.close(fd)
    with contextlib.suppress(FileNotFoundError):
        system.remove(directory.fd, name)
    return None
