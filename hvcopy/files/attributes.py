"""What a file has besides its contents: mode, times, owner, extended attributes, and whether it is still the same."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from collections.abc import Iterator

from hvcopy.errors import printable
from hvcopy.files import system
from hvcopy.wire.digests import digest

PLAIN_MODE = 0o777
"""Bits set without ownership: set-id and sticky bits only make sense with their owner."""
FULL_MODE = 0o7777
MAX_XATTRS = 256 * 1024
"""Bytes of extended attributes of one file; ext4 has room for 64 KiB at most (ext4(5))."""
_NTFS = 100
"""Nanoseconds: the finest time that Windows has (learn.microsoft.com, FILETIME)."""
_GRAINS = (1, _NTFS, 1000, 10**7, 10**9, 2 * 10**9)
"""Nanoseconds of whose multiples file systems have times, the rest being cut off: ext4, NTFS and SMB, UDF, exFAT, ext3, FAT."""
_IDENTITY = struct.Struct("<QqqQ")
_LOW_HALF = (1 << 64) - 1  # ReFS on Windows numbers its files with 128 bits


def identity(size: int, mtime_ns: int, ctime_ns: int, inode: int) -> bytes:
    """Return 16 bytes that stay the same exactly as long as the file is neither written, replaced nor touched."""
    return digest(_IDENTITY.pack(size, mtime_ns, ctime_ns, inode & _LOW_HALF))


def identity_of(found: os.stat_result) -> bytes:
    """Return the identity of an open file."""
    return identity(found.st_size, sendable_time(found.st_mtime_ns), sendable_time(found.st_ctime_ns), found.st_ino)


def sendable_time(ns: int) -> int:
    """Return a time of a file as 64 bits hold it: beyond the years 1677 to 2262 the nearest, which is also the core's rule."""
    return max(-(1 << 63), min(ns, (1 << 63) - 1))


def read_xattrs(target: int | str) -> dict[bytes, bytes]:
    """Return the extended attributes of a file that are the user's own (xattr(7): ``user.``).  Raises OSError."""
    found: dict[bytes, bytes] = {}
    try:
        for name in system.list_xattrs(target):
            if name.startswith("user."):
                found[os.fsencode(name)] = system.get_xattr(target, name)
    except OSError as error:
        if found or error.errno not in (errno.ENOTSUP, errno.ENOSYS):
            raise
    if sum(map(len, found.values())) > MAX_XATTRS or len(found) > 256:
        raise OSError(errno.E2BIG, "its extended attributes are larger than hvcopy can send")
    return found


def is_not_older(found: os.stat_result | None, mtime_ns: int) -> bool:
    """Say whether what stands there is as new as the source, as far as Windows can tell; a folder is only in the way."""
    return found is not None and found.st_mtime_ns >= mtime_ns - mtime_ns % _NTFS and not stat.S_ISDIR(found.st_mode)


def may_have_got(found: os.stat_result, mtime_ns: int) -> bool:
    """Say whether it has the time *mtime_ns* now, or what a file system left of it."""
    return sendable_time(found.st_mtime_ns) in (mtime_ns - mtime_ns % grain for grain in _GRAINS)


def apply(
    fd: int,
    *,
    mode: int,
    mtime_ns: int,
    uid: int | None = None,
    gid: int | None = None,
    xattrs: dict[bytes, bytes] | None = None,
) -> None:
    """Set owner, mode, extended attributes and times of an open file or directory, in the order that works.

    Raises OSError: a copy that was asked to keep an attribute and cannot is not whole.
    """
    if uid is not None or gid is not None:
        with keeping(f"its owner {uid}:{gid}"):
            system.set_owner(fd, -1 if uid is None else uid, -1 if gid is None else gid)
    for name, value in (xattrs or {}).items():
        if not name.startswith(b"user."):
            raise PermissionError(errno.EPERM, "it has an extended attribute outside of user.*")
        with keeping(f"its extended attribute {printable(name)}"):
            system.set_xattr(fd, name, value)
    system.set_attributes(fd, mode & FULL_MODE if uid is not None else mode & PLAIN_MODE | _upper_bits(fd), mtime_ns)


def stand(fd: int, *, mode: int, mtime_ns: int) -> bool:
    """Say whether a directory has this mode and time already, where nobody can set them."""
    found = system.fstat(fd)
    return found.st_mode & PLAIN_MODE == mode & PLAIN_MODE and may_have_got(found, mtime_ns)


def _upper_bits(fd: int) -> int:
    """Return the set-id and sticky bits of a directory: they come from who made it, or from the one above it, and stay."""
    found = system.fstat(fd).st_mode
    return found & FULL_MODE & ~PLAIN_MODE if stat.S_ISDIR(found) else 0


def not_kept(what: str, why: str) -> str:
    """Return why a file failed of which *what* was to be kept."""
    return f"{what} cannot be kept there: {why}; without -a it is not wanted"


@contextlib.contextmanager
def keeping(what: str) -> Iterator[None]:
    """Say what could not be kept, and that it is about this file: "no space" is also said of one large attribute (ext4)."""
    try:
        yield
    except OSError as error:
        raise OSError(errno.ENOTSUP, not_kept(what, error.strerror or str(error))) from None


def set_mode(fd: int, mode: int) -> None:
    """Give a new file the mode of the one that it replaces; on Windows it has what its folder gives."""
    system.set_mode(fd, mode & PLAIN_MODE)
