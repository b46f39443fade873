"""Names below a directory's handle on POSIX: the calls that take a dir_fd.  See ``system``."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator

from hvcopy.fileio import IS_DIRECTORY, IS_FILE, IS_LINK, IS_OTHER, sync_filesystem

assert sys.platform != "win32"

import fcntl  # noqa: E402

FOLDS_CASE = False
"""Whether two names that differ in case only are one file here, as far as hvcopy can know beforehand."""
BUSY = frozenset({errno.EWOULDBLOCK})
"""Errors of ``open_own`` and ``keep_alone`` that say that another process has the file."""
NO_LOCKS = frozenset({errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL})
_DESCRIPTORS = "/proc/self/fd"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

fstat = os.fstat


def open_folder(path: bytes | str) -> int:
    """Open the directory *path*."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def of_any_length(path: bytes) -> bytes:
    """Return *path* as calls of Python take it."""
    return path


def real_path(path: bytes) -> bytes:
    """Return *path* absolute, its links followed."""
    return os.path.realpath(path)


def with_slashes(path: bytes) -> bytes:
    """Return *path* with slashes alone between its parts."""
    return path


def open_directory(parent: int, name: bytes) -> int:
    """Open a directory; *name* may be ``.`` for a second handle of the same one."""
    return os.open(name, _DIRECTORY, dir_fd=parent)


def open_file(parent: int, name: bytes) -> int:
    """Open for reading, whatever it is but a link."""
    return os.open(name, os.O_RDONLY | _FILE, dir_fd=parent)


def open_own(parent: int, name: bytes) -> int:
    """Open for reading and writing what an earlier copy left; see ``keep_alone``."""
    return os.open(name, os.O_RDWR | _FILE, dir_fd=parent)


def create(parent: int, name: bytes, mode: int = 0o600) -> int:
    """Make a new file, for reading and writing.  FileExistsError when the name is taken."""
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=parent)


def keep_alone(fd: int) -> None:
    """Have the file for this process alone until it is closed.  Raises BlockingIOError when another one has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # a file system without locks cannot protect two copies from each other
        if error.errno not in NO_LOCKS:
            raise


def anonymous(parent: int, mode: int) -> int:
    """Make a file without a name (O_TMPFILE, open(2)).  OSError where the file system has none, or it could get no name later.

    That leads over proc(5), which a chroot or an early init may lack; the other way, AT_EMPTY_PATH, needs CAP_DAC_READ_SEARCH.
    """
    if not os.access(_DESCRIPTORS, os.X_OK):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return os.open(b".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, mode, dir_fd=parent)


def name_anonymous(fd: int, parent: int, name: bytes) -> None:
    """Give such a file a name; FileExistsError when it is taken."""
    os.link(f"{_DESCRIPTORS}/{fd}", name, dst_dir_fd=parent, follow_symlinks=True)


def make_directory(parent: int, name: bytes, mode: int) -> None:
    """Make a directory."""
    os.mkdir(name, mode, dir_fd=parent)


def stat(parent: int, name: bytes) -> os.stat_result:
    """Look at what has the name, at a link itself."""
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def remove(parent: int, name: bytes) -> None:
    """Remove a file or link."""
    os.unlink(name, dir_fd=parent)


def replace(parent: int, old: bytes, new: bytes) -> None:
    """Rename over whatever has the new name but a directory."""
    os.replace(old, new, src_dir_fd=parent, dst_dir_fd=parent)


def link(old_parent: int, old: bytes, new_parent: int, new: bytes) -> None:
    """Give a file a second name; FileExistsError when it is taken."""
    os.link(old, new, src_dir_fd=old_parent, dst_dir_fd=new_parent, follow_symlinks=False)


def symlink(target: bytes, parent: int, name: bytes) -> None:
    """Make a symbolic link."""
    os.symlink(target, name, dir_fd=parent)


def read_link(parent: int, name: bytes) -> bytes:
    """Return where a symbolic link leads."""
    return os.readlink(name, dir_fd=parent)


def chown_link(parent: int, name: bytes, uid: int, gid: int) -> None:
    """Set the owner of a link itself."""
    os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)


def set_link_time(parent: int, name: bytes, mtime_ns: int) -> None:
    """Set the time of a link itself."""
    os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent, follow_symlinks=False)


def list_folder(fd: int) -> Iterator[tuple[bytes, int]]:
    """Yield the name and kind (IS_FILE, IS_DIRECTORY, IS_LINK, IS_OTHER) of each entry."""
    with os.scandir(fd) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            if entry.is_symlink():
                yield name, IS_LINK
            elif entry.is_dir(follow_symlinks=False):
                yield name, IS_DIRECTORY
            else:
                yield name, IS_FILE if entry.is_file(follow_symlinks=False) else IS_OTHER


def set_owner(fd: int, uid: int, gid: int) -> None:
    """Set the owner; -1 leaves it."""
    os.fchown(fd, uid, gid)


def set_mode(fd: int, mode: int) -> None:
    """Set the mode of an open file."""
    os.fchmod(fd, mode)


def list_xattrs(target: int | str) -> list[str]:
    """Return the names of the extended attributes."""
    return os.listxattr(target, follow_symlinks=isinstance(target, int))


def get_xattr(target: int | str, name: str) -> bytes:
    """Return the value of an extended attribute."""
    return os.getxattr(target, name, follow_symlinks=isinstance(target, int))


def set_xattr(fd: int, name: bytes, value: bytes) -> None:
    """Set an extended attribute of an open file."""
    os.setxattr(fd, name, value)


def set_attributes(fd: int, mode: int, mtime_ns: int) -> None:
    """Set mode and time of an open file or directory."""
    os.fchmod(fd, mode)
    os.utime(fd, ns=(mtime_ns, mtime_ns))


def set_size(fd: int, size: int, *, sparse: bool) -> None:
    """Cut a file off or make it longer by a hole."""
    os.ftruncate(fd, size)


def is_mine(found: os.stat_result) -> bool:
    """Say whether the file belongs to this user."""
    return found.st_uid == os.geteuid()


def looks_sparse(found: os.stat_result) -> bool:
    """Say whether the file has fewer blocks on disk than its size needs (st_blocks counts 512 bytes, stat(2))."""
    return found.st_blocks * 512 < found.st_size


def sync_folder(fd: int) -> None:
    """Wait until the names in a folder are on disk."""
    try:
        os.fsync(fd)
    except OSError as error:  # some file systems sync files alone, or everything
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
        sync_filesystem(fd)


def data_runs(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of what is no hole.  OSError where the file system cannot tell."""
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole to the end (lseek(2))
                return
            raise
        position = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, position
