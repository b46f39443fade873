"""Which names from a peer may become files here, and the names hvcopy keeps for itself.

Pure: it judges bytes and opens nothing.  That a safe name also stays inside the root is the matter of
files/confined.py, which resolves every path below a directory handle.
"""

from __future__ import annotations

import ntpath
import re
from collections.abc import Sequence

from xxhash import xxh3_64_hexdigest

from hvcopy.wire.messages import MAX_PATH

MAX_NAME = 255
"""Bytes on Linux (NAME_MAX, limits.h), UTF-16 units on Windows."""
MAX_DEPTH = 256
"""Components of a relative path."""

_RENAME = "rename it where it comes from, or copy its folder as a tar file"
_OWN = b".hvcopy-"
_PART = b".hvcopy-part"
_BLOCKS = b".hvcopy-blocks"
_BEGUN = b".hvcopy-begun"

# C0, DEL, C1; line and paragraph separator; the embeddings, overrides and isolates that reorder what is shown
# (Unicode TR36).  Other non-printables (joiners in emoji, the narrow space in a Mac's screenshots) are in
# everyday names; errors.printable() escapes them on a terminal.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_WINDOWS_SPECIAL = re.compile(r'[<>:"|?*\\]')
# "Naming Files, Paths, and Namespaces", learn.microsoft.com: reserved in any case and with any extension.
_DEVICE = re.compile(r"(?:CON|PRN|AUX|NUL|CLOCK\$|CONIN\$|CONOUT\$|(?:COM|LPT)[1-9¹²³])", re.IGNORECASE)
_DRIVE = re.compile(rb"[A-Za-z]:")

# For single paths, most of which are such: printable ASCII, and no part empty, "." or "..".
_PART_OF_PATH = rb"(?!\.{1,2}(?:/|\Z))[ -.0-~]{1,%d}" % MAX_NAME
_ORDINARY = re.compile(rb"%b(?:/%b){0,%d}" % (_PART_OF_PATH, _PART_OF_PATH, MAX_DEPTH - 1))

# For whole batches: bytes that need no closer look, and what in the names, joined by zeros, does need one.
_PLAIN = bytes(sorted({*range(0x20, 0x7F), *range(0x80, 0x100)} - set(b"/")))
_PLAIN_WINDOWS = bytes(sorted({*range(0x20, 0x7F)} - set(b'/<>:"|?*\\$')))
_DOTS_IN_BATCH = re.compile(rb"\0\.{0,2}\0")
_CONTROL_IN_BATCH = re.compile(rb"\xc2[\x80-\x9f]|\xe2(?:\x80[\xa8-\xae]|\x81[\xa6-\xa9])")  # in UTF-8
_DEVICE_IN_BATCH = re.compile(rb"\0(?:con|prn|aux|nul|com[1-9]|lpt[1-9])[ .\0]")


def check_name(name: bytes, *, windows: bool) -> str | None:
    """Return why *name* cannot be one component of a path here, or None when it can."""
    if not name:
        return "the name is empty"
    if name in (b".", b".."):
        return f"{name.decode()} is not a name of its own"
    if b"/" in name:
        return "a name contains a slash"
    text = name.decode("utf-8", "surrogateescape")  # what is UTF-8 in it is shown as such, whatever stands beside it
    if _CONTROL.search(text):
        return "the name contains a control character"
    if windows and _NOT_UTF8.search(text):
        return f"the name is not UTF-8, which Windows needs ({_RENAME})"
    folded = name.lower()  # some file systems fold case
    if folded.startswith(_OWN) or folded.endswith((_PART, _BLOCKS, _BEGUN)):
        return "the name is one that hvcopy keeps for its own temporary files"
    if windows:
        reason = _check_windows(text)
        return f"{reason} ({_RENAME})" if reason else None
    return f"the name is longer than {MAX_NAME} bytes" if len(name) > MAX_NAME else None


def check_names(names: Sequence[bytes], *, windows: bool) -> dict[int, str]:
    """Return index and reason of each of *names* that check_name() refuses."""
    if not names or _all_plain(names, windows):
        return {}
    reasons = ((index, check_name(name, windows=windows)) for index, name in enumerate(names))
    return {index: reason for index, reason in reasons if reason}


def check_path(path: bytes, *, windows: bool) -> str | None:
    """Return why the relative path *path*, parts joined by ``/``, is unsafe here, or None when it is safe."""
    if not windows and len(path) <= MAX_PATH and _ORDINARY.fullmatch(path) and _OWN not in path.lower():
        return None
    if path.startswith(b"/"):
        return "the path is absolute"
    if windows and _DRIVE.match(path):
        return "the path names a drive"
    if len(path) > MAX_PATH:
        return f"the path is longer than {MAX_PATH} bytes"
    if not path:
        return "the path is empty"
    if b"//" in path or path.endswith(b"/"):
        return "the path has an empty part"
    parts = path.split(b"/")
    if len(parts) > MAX_DEPTH:
        return f"the path is deeper than {MAX_DEPTH} directories"
    return next(iter(check_names(parts, windows=windows).values()), None)


def check_asked(path: bytes, *, windows: bool) -> str | None:
    """Return what ``check_path`` does of a *path* that somebody typed, who can but type another."""
    reason = check_path(path, windows=windows)
    if reason and windows and b"\\" in path:
        return "folders are parted by / in a remote path, not by \\"
    return reason and reason.removesuffix(f" ({_RENAME})")


def check_typed(path: str) -> str | None:
    """Return why Windows would take the last part of *path*, which was typed there, for another name; None when not."""
    name = ntpath.basename(path)
    if name in ("", ".", ".."):
        return None
    return "the name contains a control character" if _CONTROL.search(name) else _check_windows(name)


def is_device(path: str) -> bool:
    """Whether *path*, typed on Windows, names a device and nothing more: what ``nul.txt`` is, depends on the Windows."""
    return _DEVICE.fullmatch(path) is not None


def collision_key(name: bytes, *, folds_case: bool) -> bytes:
    """Return what two names have in common when they are one file: caseless and composed if *folds_case*.

    Follows canonical caseless matching (Unicode 3.13, D145); stricter than any one file system's table.
    """
    if not folds_case:
        return name
    from unicodedata import normalize

    text = normalize("NFD", name.decode("utf-8", "surrogateescape")).casefold()
    return normalize("NFC", text).encode("utf-8", "surrogateescape")


def part_name(name: bytes) -> bytes:
    """Return the name under which the file *name* grows: never one that check_name() lets through."""
    return _own_name(name, _PART)


def blocks_name(name: bytes) -> bytes:
    """Return the name under which the verified blocks of an unfinished *name* are noted."""
    return _own_name(name, _BLOCKS)


def begun_name(name: bytes, source: bytes) -> bytes:
    """Return the name under which it is noted that a directory called *source* has begun to become *name*."""
    return _own_name(name, b"." + xxh3_64_hexdigest(source).encode() + _BEGUN)


def _own_name(name: bytes, suffix: bytes) -> bytes:
    """A dot, *name*, *suffix*; of a name too long for that, its beginning and its digest."""
    room = MAX_NAME - 1 - len(suffix)
    if len(name) > room:
        digest = xxh3_64_hexdigest(name).encode()
        cut = room - len(digest)
        for _ in range(3):  # not inside a character
            cut -= name[cut] & 0xC0 == 0x80
        name = name[:cut] + digest
    return b"." + name + suffix


def _all_plain(names: Sequence[bytes], windows: bool) -> bool:
    """Whether nothing in *names* needs a closer look: a few scans over all of them together in C."""
    joined = b"\0" + b"\0".join(names) + b"\0"
    others = joined.translate(None, _PLAIN_WINDOWS if windows else _PLAIN)
    if others != bytes(len(names) + 1) or max(map(len, names)) > MAX_NAME:
        return False
    folded = joined.lower()
    if _OWN in folded or _DOTS_IN_BATCH.search(joined):
        return False
    if windows:
        return not (b".\0" in joined or b" \0" in joined or _DEVICE_IN_BATCH.search(folded))
    return joined.isascii() or not _CONTROL_IN_BATCH.search(joined)


def _check_windows(text: str) -> str | None:
    if special := _WINDOWS_SPECIAL.search(text):
        return f"Windows forbids {special[0]} in names"
    if text.endswith((".", " ")):
        return "Windows drops a dot or space at the end of a name"
    if _DEVICE.fullmatch(text.partition(".")[0].rstrip(" ")):
        return "the name is a device on Windows"
    if len(text.encode("utf-16-le")) > 2 * MAX_NAME:
        return f"the name is longer than {MAX_NAME} UTF-16 units"
    return None
