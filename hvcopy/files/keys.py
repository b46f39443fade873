"""The key that both sides prove to have (docs/protocol.md, section 3): made, read and checked."""

from __future__ import annotations

import contextlib
import os
import stat
from select import select

from hvcopy.errors import BadUsage, LocalFailure, NotAllowed, make_room, printable

KEY_SIZE = 32
LONGEST_KEY = 256
"""Bytes that are read of a key file, whose text is shorter."""
PROGRAM_SECONDS = 10.0
"""A program that is to write the key, as <(PROGRAM), may take so long."""
_KEY_PREFIX = "hvcopy-key-1 "


def check_key(key: object) -> None:
    """Raise TypeError or BadUsage for what is no key, unless it is None."""
    if not isinstance(key, bytes | None):
        raise TypeError("a key is bytes, as load_key returns")
    if key is not None and len(key) != KEY_SIZE:
        raise BadUsage(f"a key has {KEY_SIZE} bytes, not {len(key)}", hint="make a file of one with `hvcopy key FILE`")


def new_key(path: str) -> None:
    """Write a new key to *path*, mode 0600.  Raises LocalFailure, UnsafeName; never replaces a file."""
    from hvcopy.files.destination import refuse_unsafe

    refuse_unsafe(path)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "w") as file:
                file.write(_KEY_PREFIX + os.urandom(KEY_SIZE).hex() + "\n")
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(path)  # what there was no room for is no key
            raise
    except FileExistsError:
        raise LocalFailure(f"{printable(path)} exists already and was left alone", hint="choose another name") from None
    except OSError as error:
        hint = make_room(error.errno) or "choose another place for it"
        raise LocalFailure(f"{printable(path)}: {error.strerror}", hint=hint) from None


def load_key(path: str) -> bytes:
    """Return the 32 bytes of a key file.  Raises NotAllowed when others may read it, LocalFailure when it is none."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            mode = os.fstat(fd).st_mode
            text = _read(fd, mode).decode("ascii", "replace")
        finally:
            os.close(fd)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        hint = "make one for both sides: hvcopy key FILE" if missing else "check whose it is: only its owner may read it"
        raise LocalFailure(f"key file {printable(path)}: {error.strerror}", hint=hint) from None
    except ValueError:  # a NUL
        raise LocalFailure(f"key file {printable(path)}: no file can have that name") from None
    if os.name == "posix" and text and stat.S_IMODE(mode) & 0o077:
        from shlex import quote

        raise NotAllowed(f"key file {printable(path)} can be read by others", hint=f"chmod 600 {quote(printable(path))}")
    try:
        key = bytes.fromhex(text.removeprefix(_KEY_PREFIX).strip())
    except ValueError:
        key = b""
    if len(key) != KEY_SIZE or not text.startswith(_KEY_PREFIX):
        raise LocalFailure(f"{printable(path)} is no hvcopy key file", hint="make one: hvcopy key FILE")
    return key


def _read(fd: int, mode: int) -> bytes:
    """Return the beginning of a file, or of what a program writes, as ``<(PROGRAM)``; of a FIFO without one, nothing."""
    if stat.S_ISREG(mode):
        return os.read(fd, LONGEST_KEY)
    if not stat.S_ISFIFO(mode):
        return b""
    try:
        return os.read(fd, LONGEST_KEY)
    except BlockingIOError:
        select([fd], [], [], PROGRAM_SECONDS)
        return os.read(fd, LONGEST_KEY)
