"""A file that is written from beginning to end by what the user named it, and has that name only when it is whole."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hvcopy import fileio
from hvcopy.buffers import PAGE
from hvcopy.errors import LocalFailure, make_room, printable
from hvcopy.files import attributes, place, system
from hvcopy.files.confined import open_directory
from hvcopy.files.destination import refuse_unsafe
from hvcopy.files.names import check_typed, is_device
from hvcopy.wire.messages import CACHED, SYNCED

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer



def is_replaceable(path: str) -> bool:
    """Say whether *path* is a regular file or nothing yet: a device or FIFO is written to as it is."""
    if system.WINDOWS and check_typed(path) and not is_device(path):
        return True
    try:
        return stat.S_ISREG(os.stat(system.of_any_length(os.fsencode(path))).st_mode)
    except OSError:
        return True


class OutputFile:
    """Writes what ``finish`` gives the name *path*, replacing a file that has it; without that, nothing is left.

    A symbolic link is followed.  Modes are those of the file that is replaced, or what the umask leaves.  *sync*: on disk first.
    """

    def __init__(self, path: str, *, sync: bool) -> None:
        """Raises LocalFailure when the folder is missing or cannot be written to, UnsafeName for what can be no name here."""
        refuse_unsafe(path)
        self.name = path
        self._sync = sync
        self._length = 0
        with _told_of(self.name):
            raw = os.fsencode(path)
            real = system.real_path(raw)
            self._called = os.path.basename(real)
            if system.with_slashes(raw).endswith(b"/"):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self._directory = open_directory(os.path.dirname(real))
            self._fd, self._temporary = place.open_temporary(self._directory, mode=0o666)
            try:
                with contextlib.suppress(FileNotFoundError):
                    standing = os.stat(system.of_any_length(real)).st_mode
                    if not stat.S_ISREG(standing):  # whoever looked before could not see it, or it came since
                        raise OSError(errno.EEXIST, "no regular file stands there; it is not replaced")
                    attributes.set_mode(self._fd, standing)
            except OSError:
                self.close()
                raise

    def write(self, data: ReadableBuffer) -> None:
        """Add *data*, by a hole when it is a page or more of zeros and nothing else.  Raises LocalFailure."""
        with _told_of(self.name):
            size = memoryview(data).nbytes
            if size >= PAGE and fileio.all_zeros(data):
                fileio.set_size(self._fd, self._length + size, True)
            else:
                fileio.write_at(self._fd, data, self._length, False)
            before, self._length = self._length, self._length + size
            if self._sync and before // fileio.WRITEBACK != self._length // fileio.WRITEBACK:
                start = before // fileio.WRITEBACK * fileio.WRITEBACK
                fileio.start_writeback(self._fd, start, fileio.WRITEBACK)

    def lost(self) -> None:
        """Nothing: a file has no reader that could leave."""

    def finish(self) -> str:
        """Give the file its name; returns how durable it is.  Raises LocalFailure."""
        with _told_of(self.name):
            if self._sync:
                os.fsync(self._fd)
            place.give_name(self._directory, self._fd, self._temporary, self._called, replace=True)
            self._temporary = None
            if self._sync:
                system.sync_folder(self._directory.fd)
        self.close()
        return SYNCED if self._sync else CACHED

    def cancel(self) -> None:
        """Nothing: a write to a file waits for no reader."""

    def close(self) -> None:
        """Let go; what was not finished is gone.  Harmless when done already."""
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                system.remove(self._directory.fd, self._temporary)
            self._temporary = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@contextlib.contextmanager
def _told_of(path: str) -> Iterator[None]:
    """Turn the system's failures into one that names the file."""
    try:
        yield
    except OSError as error:
        hint = make_room(error.errno) or "check the path, or choose another"
        raise LocalFailure(f"{printable(path)}: {error.strerror or error}", hint=hint) from error
