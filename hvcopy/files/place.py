"""Giving a finished file its name: atomically, and without replacing anything unless asked."""

from __future__ import annotations

import contextlib
import errno
import os

from hvcopy import fileio
from hvcopy.files.confined import Handle

_NO_ANONYMOUS = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.ENOSYS}


def open_temporary(directory: Handle, name: bytes, *, mode: int = 0o600) -> tuple[int, bytes | None]:
    """Open a new file in *directory* for writing; returns (descriptor, its name or None when it has none).

    It is anonymous (O_TMPFILE, open(2)) where the file system knows that, so that a kill leaves nothing; else it is *name*.
    Its mode is what the umask leaves of *mode*.
    """
    try:
        return os.open(b".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, mode, dir_fd=directory.fd), None
    except OSError as error:
        if error.errno not in _NO_ANONYMOUS:
            raise
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory.fd)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, mode, dir_fd=directory.fd), name


def give_name(directory: Handle, fd: int, temporary: bytes | None, name: bytes, *, replace: bool) -> None:
    """Give the open file its final *name*.  Raises FileExistsError without *replace* when the name is taken.

    A directory is never replaced (IsADirectoryError); a symbolic link is replaced itself, never followed.
    """
    if temporary is None:
        try:
            _link_open(directory, fd, name)
            return
        except FileExistsError:
            if not replace:
                raise
        temporary = temporary_name()
        _link_open(directory, fd, temporary)
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
        os.link(temporary, name, src_dir_fd=directory.fd, dst_dir_fd=directory.fd, follow_symlinks=False)
        os.unlink(temporary, dir_fd=directory.fd)


def replace_name(directory: Handle, temporary: bytes, name: bytes) -> None:
    """Rename over whatever has *name*; on failure *temporary* is removed and the error raised."""
    try:
        os.replace(temporary, name, src_dir_fd=directory.fd, dst_dir_fd=directory.fd)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory.fd)
        raise


def temporary_name() -> bytes:
    """Return a name no other copy uses."""
    return b".hvcopy-" + os.urandom(8).hex().encode()


def _link_open(directory: Handle, fd: int, name: bytes) -> None:
    os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=directory.fd, follow_symlinks=True)
