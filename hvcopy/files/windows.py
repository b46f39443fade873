"""Names below a directory's handle on Windows, by the core, which asks ntdll.  See ``system``.

What Windows has no equal of fails with OSError: owners, extended attributes, and symbolic links, which need a right that
users do not have.  Of modes it has one bit, whether the owner may write; the others are shown as they usually are.
"""

from __future__ import annotations

import errno
import os
import stat as modes
import sys
from collections.abc import Iterator

from hvcopy import fileio
from hvcopy.fileio import OPEN_ALONE, OPEN_ANY, OPEN_DIRECTORY, OPEN_NEW, OPEN_READ, OPEN_WRITE

FOLDS_CASE = True
BUSY = frozenset({errno.EBUSY})
_REPARSE_POINT, _SPARSE_FILE = 0x400, 0x200  # winnt.h, FILE_ATTRIBUTE_...
_LONG = 240
"""Characters from which on a path needs the prefix that lifts the limit of 260 (learn.microsoft.com: MAX_PATH)."""
_OTHERS_MAY_NOT_WRITE = 0o022

link = fileio.link_at
remove = fileio.remove_at
replace = fileio.replace_at
set_attributes = fileio.set_attributes


def open_folder(path: bytes | str) -> int:
    """Open the directory *path*."""
    return fileio.open_folder(long_path(os.fsdecode(path)).encode("utf-8", "surrogatepass"))


def long_path(path: str) -> str:
    r"""Return *path* so that it may be of any length: absolute and behind ``\\?\`` if it is long.

    One that the user gave so is taken to the letter, which Windows does only behind backslashes.
    """
    if path.replace("/", "\\").startswith(("\\\\?\\", "\\\\.\\")):
        return path.replace("/", "\\")
    if len(path) < _LONG:
        return path
    full = os.path.abspath(path)
    return "\\\\?\\UNC" + full[1:] if full.startswith("\\\\") else "\\\\?\\" + full


def of_any_length(path: bytes) -> bytes:
    """Return the absolute or relative *path* as calls of Python take it, however long it is."""
    return os.fsencode(long_path(os.fsdecode(path)))


def real_path(path: bytes) -> bytes:
    """Return *path* absolute, its links followed where this system says where they lead."""
    path = of_any_length(path)
    try:
        return os.path.realpath(path)
    except OSError:  # Wine 8 has no final path of more than 250 characters
        return os.path.abspath(path)


def with_slashes(path: bytes) -> bytes:
    """Return *path* with slashes alone between its parts; Win32 takes both."""
    return path.replace(b"\\", b"/")


def open_directory(parent: int, name: bytes) -> int:
    """Open a directory; *name* may be ``.`` for a second handle of the same one."""
    return fileio.open_at(parent, name, OPEN_DIRECTORY)


def open_file(parent: int, name: bytes) -> int:
    """Open for reading, whatever it is but a link or directory."""
    return fileio.open_at(parent, name, OPEN_READ)


def open_own(parent: int, name: bytes) -> int:
    """Open for reading and writing what an earlier copy left, for this process alone."""
    return fileio.open_at(parent, name, OPEN_WRITE | OPEN_ALONE)


def create(parent: int, name: bytes, mode: int = 0o600) -> int:
    """Make a new file, for reading and writing, which this process alone writes.  FileExistsError when the name is taken."""
    return fileio.open_at(parent, name, OPEN_WRITE | OPEN_NEW | OPEN_ALONE)


def keep_alone(fd: int) -> None:
    """Nothing: it was opened so."""


def anonymous(parent: int, mode: int) -> int:
    """Always OSError(ENOSYS): every file has a name."""
    raise OSError(errno.ENOSYS, fileio.describe(errno.ENOSYS))


def name_anonymous(fd: int, parent: int, name: bytes) -> None:
    """Always OSError(ENOSYS)."""
    raise OSError(errno.ENOSYS, fileio.describe(errno.ENOSYS))


def make_directory(parent: int, name: bytes, mode: int) -> None:
    """Make a directory, with the rights that it inherits."""
    fileio.make_directory_at(parent, name)


def fstat(fd: int) -> os.stat_result:
    """Look at what is open: a link counts as one, and modes are what they usually are on POSIX."""
    found = os.fstat(fd)
    mode = found.st_mode & ~_OTHERS_MAY_NOT_WRITE
    if sys.platform == "win32" and found.st_file_attributes & _REPARSE_POINT and fileio.is_link(fd):
        mode = modes.S_IFLNK | 0o777
    further = {name for name in dir(found) if name.startswith("st_")} - set(os.stat_result.__match_args__)
    return os.stat_result((mode, *found[1:10]), {name: getattr(found, name) for name in further})


def stat(parent: int, name: bytes) -> os.stat_result:
    """Look at what has the name, at a link itself."""
    fd = fileio.open_at(parent, name, OPEN_ANY)
    try:
        return fstat(fd)
    finally:
        os.close(fd)


def symlink(target: bytes, parent: int, name: bytes) -> None:
    """Always OSError(ENOSYS)."""
    raise OSError(errno.ENOSYS, "hvcopy makes no symbolic links on Windows")


def read_link(parent: int, name: bytes) -> bytes:
    """Always OSError(ENOSYS)."""
    raise OSError(errno.ENOSYS, "hvcopy sends no symbolic links from Windows")


def chown_link(parent: int, name: bytes, uid: int, gid: int) -> None:
    """Always OSError(ENOSYS)."""
    set_owner(-1, uid, gid)


def set_link_time(parent: int, name: bytes, mtime_ns: int) -> None:
    """Always OSError(ENOSYS)."""
    raise OSError(errno.ENOSYS, fileio.describe(errno.ENOSYS))


def list_folder(fd: int) -> Iterator[tuple[bytes, int]]:
    """Yield the name and kind (IS_FILE, IS_DIRECTORY, IS_LINK) of each entry."""
    again = open_directory(fd, b".")  # under Wine a handle's second listing would be its first once more
    try:
        found = fileio.list_directory(again)
    finally:
        os.close(again)
    yield from found


def set_owner(fd: int, uid: int, gid: int) -> None:
    """Always OSError(ENOSYS)."""
    raise OSError(errno.ENOSYS, "Windows has no owners by number")


def set_mode(fd: int, mode: int) -> None:
    """Nothing: a new file has the rights that its folder gives."""


def list_xattrs(target: int | str) -> list[str]:
    """Return none: hvcopy sends no extended attributes from Windows."""
    return []


def get_xattr(target: int | str, name: str) -> bytes:
    """Always OSError(ENOSYS)."""
    raise OSError(errno.ENOSYS, fileio.describe(errno.ENOSYS))


def set_xattr(fd: int, name: bytes, value: bytes) -> None:
    """Always OSError(ENOSYS): a copy that was asked to keep one is not whole without it."""
    raise OSError(errno.ENOSYS, "it has extended attributes, which hvcopy does not keep on Windows")


def set_size(fd: int, size: int, *, sparse: bool) -> None:
    """Cut a file off or make it longer, by a hole if it is *sparse*."""
    fileio.set_size(fd, size, sparse)


def is_mine(found: os.stat_result) -> bool:
    """Always: who may write a file is its folder's matter, and so is what stands in it."""
    return True


def looks_sparse(found: os.stat_result) -> bool:
    """Say whether the file may have holes."""
    return bool(sys.platform == "win32" and found.st_file_attributes & _SPARSE_FILE)


def sync_folder(fd: int) -> None:
    """Nothing: its names are in the file system's journal."""


def data_runs(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of what is no hole.  OSError where the file system cannot tell."""
    position = 0
    while position < size:
        start, end = fileio.next_piece(fd, position, size)
        if start >= size:
            return
        yield start, end
        position = max(end, position + 1)
