"""Directory handles below a root, never through a symbolic link.

Every component is opened relative to its parent's handle, and not if it is a link (``system``), so neither ``..`` nor a
link swapped in while we work leads out (CVE-2026-29518, CVE-2019-11251); no path string is resolved twice.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import OrderedDict

from hvcopy.files import system

NEW_DIRECTORY_MODE = 0o700
"""Until everything below it is done; the sender's mode is set at its end."""


class Handle:
    """An open directory, closed when the last reference is gone."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.fd)


def open_directory(path: bytes | str) -> Handle:
    """Open a directory that the user of this side named; links in *path* are followed.  Raises OSError."""
    return Handle(system.open_folder(path))


def enter(parent: Handle, name: bytes, *, create: bool = False) -> Handle:
    """Open directory *name* of *parent*, making it first if *create*.  Raises OSError (ELOOP or ENOTDIR for a link)."""
    try:
        return _entered(parent, name)
    except FileNotFoundError:
        if not create:
            raise
    with contextlib.suppress(FileExistsError):
        system.make_directory(parent.fd, name, NEW_DIRECTORY_MODE)
    return _entered(parent, name)


def _entered(parent: Handle, name: bytes) -> Handle:
    try:
        return Handle(system.open_directory(parent.fd, name))
    except NotADirectoryError as error:
        found = 0
        with contextlib.suppress(OSError):
            found = system.stat(parent.fd, name).st_mode
        if stat.S_ISLNK(found):
            raise NotADirectoryError(error.errno, "a symbolic link stands there, which is not followed") from None
        raise


def check_component(name: bytes) -> None:
    """Raise PermissionError for what is no entry of a folder but leads elsewhere.

    Names were judged long before (``names``); this is the last wall, for one that was forgotten.
    """
    if name in (b"", b".", b"..") or (system.WINDOWS and (b"\\" in name or b":" in name)):
        raise PermissionError(errno.EPERM, "the name leads out of its folder")


class Directories:
    """Handles of directories below *root*, the last *keep* of them kept open.  For one thread.

    In *disks*, if given, one of each file system that is entered stays open, by its device.
    """

    def __init__(self, root: Handle, *, keep: int = 32, disks: dict[int, Handle] | None = None) -> None:
        self._root = root
        self._keep = keep
        self._disks = disks
        self._open: OrderedDict[bytes, Handle] = OrderedDict()

    def get(self, path: bytes, *, create: bool = False) -> Handle:
        """Return the handle of the directory *path* (parts joined by ``/``, empty for the root).  Raises OSError."""
        if not path:
            return self._root
        found = self._open.get(path)
        if found is not None:
            self._open.move_to_end(path)
            return found
        parent, _, name = path.rpartition(b"/")
        check_component(name)
        handle = enter(self.get(parent, create=create), name, create=create)
        if self._disks is not None:
            self._disks.setdefault(system.fstat(handle.fd).st_dev, handle)
        self._open[path] = handle
        if len(self._open) > self._keep:
            self._open.popitem(last=False)
        return handle

    def known(self, path: bytes) -> Handle | None:
        """Return the handle of a directory that is open already, else None."""
        return self._open.get(path)

    def forget(self) -> None:
        """Close all handles but the root's."""
        self._open.clear()
