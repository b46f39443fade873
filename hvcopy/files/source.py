"""Where a copy takes files from: what the user of this side named, or what a peer asked for below a root."""

from __future__ import annotations

import errno
import os
import stat

from msgspec import Struct

from hvcopy.errors import BadUsage, LocalFailure, UnsafeName, printable
from hvcopy.files import system
from hvcopy.files.confined import Directories, Handle, open_directory
from hvcopy.files.names import check_typed

USE_FOLDER = "copy the folder they are in, with -r"
"""What helps against too many sources."""


class Source(Struct):
    """One source: the directory *handle* itself when *name* is empty, else the file *name* in it.

    *called* is the name it has for the receiver; empty for a root, whose contents are meant.
    """

    index: int
    handle: Handle
    name: bytes
    called: bytes

    @property
    def is_dir(self) -> bool:
        """True when the source is a directory."""
        return not self.name


def open_local(index: int, path: str, *, recursive: bool) -> Source:
    """Open what the user named; a symbolic link given by name is followed, as cp does.

    Raises LocalFailure, BadUsage, and on Windows UnsafeName.
    """
    _want_own_name(path)
    raw = system.with_slashes(os.fsencode(path))
    try:
        found = os.stat(system.of_any_length(raw))
        if stat.S_ISDIR(found.st_mode):
            _want_recursive(recursive, path)
            called = os.path.basename(raw.rstrip(b"/"))
            return Source(index, open_directory(raw), b"", b"" if called in (b".", b"..") else called)
        if raw.endswith((b"/", b"/.")):  # Windows would take it for the file
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        _want_regular(found, path)
        real = system.real_path(raw)
        handle = open_directory(os.path.dirname(real))
        return Source(index, handle, os.path.basename(real), os.path.basename(raw))
    except OSError as error:
        full = error.errno == errno.EMFILE
        hint = f"raise the limit of open files (ulimit -n), or {USE_FOLDER}" if full else "nothing was sent; check the path"
        raise LocalFailure(f"{printable(raw)}: {error.strerror}", hint=hint) from None


def open_beneath(index: int, root: Handle, path: bytes, *, recursive: bool, must_be_dir: bool = False) -> Source:
    """Open *path* below *root* without following any link.  Raises LocalFailure or BadUsage; *path* was checked."""
    shown = printable(b"/" + path)
    directory, _, name = path.rpartition(b"/")
    try:
        parent = Directories(root).get(directory)
        if not name:
            _want_recursive(recursive, shown)
            return Source(index, parent, b"", b"")
        found = system.stat(parent.fd, name)
        if stat.S_ISDIR(found.st_mode):
            _want_recursive(recursive, shown)
            return Source(index, Handle(system.open_directory(parent.fd, name)), b"", name)
        if stat.S_ISLNK(found.st_mode):
            raise LocalFailure(f"{shown} is a symbolic link, and links are not followed out of a served folder")
        if must_be_dir:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        _want_regular(found, shown)
        return Source(index, parent, name, name)
    except OSError as error:
        raise not_opened(shown, error) from None


def not_opened(shown: str, error: OSError) -> LocalFailure:
    """Return what a client is told of a path below the root that cannot be opened."""
    forbidden = isinstance(error, PermissionError)
    hint = "whoever runs the server has no right to read that" if forbidden else "`hvcopy ls ADDRESS` shows what is there"
    return LocalFailure(f"{shown}: {error.strerror}", hint=hint)


def _want_recursive(recursive: bool, path: str) -> None:
    if not recursive:
        raise BadUsage(f"{printable(path)} is a directory", hint="add -r to copy directories")


def _want_own_name(path: str) -> None:
    """Raise UnsafeName for what Windows takes for another name, which is not the one that it would be sent under."""
    verbatim = path.replace("/", "\\").startswith("\\\\?\\")  # there names are taken as they are
    if system.WINDOWS and not verbatim and (reason := check_typed(path.rstrip("/\\"))):
        raise UnsafeName(f"{printable(path)}: {reason}", hint="type its name as it is")


def _want_regular(found: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise LocalFailure(f"{printable(path)} is neither a regular file nor a directory")
