"""Giving a finished file its name: atomically, and without replacing anything unless asked."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from hvcopy import fileio
from hvcopy.buffers import buffer
from hvcopy.files import system
from hvcopy.files.confined import Handle
from hvcopy.wire.frames import MIB

_NO_ANONYMOUS = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.ENOSYS}


def open_anonymous(directory: Handle, *, mode: int = 0o600) -> int | None:
    """Open a new file without a name (O_TMPFILE, open(2)), so that a kill leaves nothing; None where that is not known.

    Its mode is what the umask leaves of *mode*.  Raises OSError.
    """
    try:
        return system.anonymous(directory.fd, mode)
    except OSError as error:
        if error.errno not in _NO_ANONYMOUS:
            raise
    return None


def open_temporary(directory: Handle, *, mode: int = 0o600) -> tuple[int, bytes | None]:
    """Open a new file in *directory* for writing; returns (descriptor, its name or None when it is anonymous)."""
    fd = open_anonymous(directory, mode=mode)
    if fd is not None:
        return fd, None
    name = temporary_name()
    return system.create(directory.fd, name, mode), name


def give_name(directory: Handle, fd: int, temporary: bytes | None, name: bytes, *, replace: bool) -> None:
    """Give the open file its final *name*.  Raises FileExistsError without *replace* when the name is taken.

    A directory is never replaced (IsADirectoryError); a symbolic link is replaced itself, never followed.
    """
    if temporary is None:
        try:
            system.name_anonymous(fd, directory.fd, name)
            return
        except FileExistsError:
            if not replace:
                raise
        temporary = temporary_name()
        system.name_anonymous(fd, directory.fd, temporary)
    elif not replace:
        rename_new(directory, temporary, name)
        return
    replace_name(directory, temporary, name)


def rename_new(directory: Handle, temporary: bytes, name: bytes) -> None:
    """Rename, but never over something (FileExistsError).

    Where renameat2(2) is missing or the file system refuses it, a link and an unlink do the same.
    """
    try:
        fileio.rename_new(directory.fd, temporary, name)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        system.link(directory.fd, temporary, directory.fd, name)
        system.remove(directory.fd, temporary)


def replace_name(directory: Handle, temporary: bytes, name: bytes) -> None:
    """Rename over whatever has *name*; on failure *temporary* is removed and the error raised."""
    try:
        system.replace(directory.fd, temporary, name)
    except OSError:
        with contextlib.suppress(OSError):
            system.remove(directory.fd, temporary)
        raise


def temporary_name() -> bytes:
    """Return a name no other copy uses."""
    return b".hvcopy-" + os.urandom(8).hex().encode()


def found(directory: Handle, name: bytes) -> os.stat_result | None:
    """Return the status of what stands there, a link itself; None for nothing.  Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        return system.stat(directory.fd, name)
    return None


def holds(directory: Handle, name: bytes, fd: int) -> bool:
    """Say whether a file stands there with the bytes of the open file *fd*; False for what is no file, or cannot be read."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        standing = system.open_file(directory.fd, name)
        stack.callback(os.close, standing)
        if not all(stat.S_ISREG(os.fstat(one).st_mode) for one in (standing, fd)):
            return False
        left, right, at = buffer(MIB), buffer(MIB), 0
        while True:
            count = fileio.read_at(standing, left, at)
            if fileio.read_at(fd, right, at) != count or left[:count] != right[:count]:
                return False
            if count < MIB:
                return True
            at += count
    return False
