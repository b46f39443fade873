"""Where sources go: the directory rules of ``cp -r`` (docs/copying.md has them as a table)."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import NamedTuple

from hvcopy.errors import LocalFailure, UnsafeName, printable
from hvcopy.files import system
from hvcopy.files.begun import Begun
from hvcopy.files.confined import Directories, Handle, open_directory
from hvcopy.files.names import check_asked, check_name, check_typed

NOWHERE = b"\0"
"""The path of a source whose name is refused: no system call takes it."""


class Places(NamedTuple):
    """"into" or "as", the path below the root of each source, and why sources, by index, are refused for their names.

    *begun* is what to note of a directory that the source becomes.
    """

    layout: str
    prefixes: list[bytes]
    refused: dict[int, str]
    begun: Begun | None = None


def resolve(
    root: Handle, path: bytes, *, names: list[bytes], dirs: list[bool], must_be_dir: bool, typed: bytes = b""
) -> Places:
    """Decide where each source goes.  Raises LocalFailure, and UnsafeName when nothing is left to go anywhere.

    *names* are the sources' own names, empty for a root whose contents are meant; *typed* is what messages call *path*.
    """
    shown = printable(typed or b"/" + path)
    path = path.strip(b"/")
    if path and (reason := check_asked(path, windows=system.WINDOWS)):
        raise UnsafeName(f"{shown}: {reason}", hint="choose another name")
    found = _standing(root, path)
    becomes = _becoming(path, names, dirs)
    if found is not None and stat.S_ISDIR(found.st_mode):
        if becomes and becomes.stands(Directories(root).get(becomes.folder)):
            return Places("as", [path], {}, becomes)
        refused = {index: reason for index, name in enumerate(names) if (reason := _bad_name(name))}
        if refused and len(refused) == len(names):
            raise UnsafeName(f"{printable(names[0])}: {refused[0]}", hint="copy it under another name, or rename it")
        prefixes = [path + b"/" + name if path and name else path or name for name in names]
        return Places("into", [NOWHERE if index in refused else one for index, one in enumerate(prefixes)], refused)
    if len(names) != 1:
        raise LocalFailure(f"{shown} is not a directory, but several sources were to go into it", hint="make that folder first")
    if found is not None and (dirs[0] or must_be_dir):
        raise LocalFailure(f"{shown} exists and is not a directory", hint="choose another name")
    if must_be_dir and not dirs[0]:
        raise LocalFailure(
            f"{shown}/ is not there", hint="make the directory first, or leave the slash out to name the file"
        )
    return Places("as", [path], {}, becomes)


def resolve_local(path: str, *, names: list[bytes], dirs: list[bool]) -> tuple[Handle, Places]:
    """Return (a directory's handle, where below it each source goes) for what the user of this side named."""
    raw = system.with_slashes(os.fsencode(path)) or b"."
    try:
        parent, rest = os.path.split(raw.rstrip(b"/"))
        if os.path.isdir(system.of_any_length(raw)) and not _goes_on(parent, rest, names, dirs):
            root, rest = open_directory(raw), b""
        else:
            root = open_directory(parent or b".")
    except OSError as error:
        raise LocalFailure(f"{printable(raw)}: {error.strerror}", hint=_another_folder(error)) from None
    return root, resolve(root, rest, names=names, dirs=dirs, must_be_dir=raw.endswith(b"/"), typed=raw.rstrip(b"/"))


def refuse_unsafe(path: str) -> None:
    """Raise UnsafeName for the *path* of a new file whose last part Windows would take for another name."""
    if system.WINDOWS and (reason := check_typed(path)):
        raise UnsafeName(f"{printable(path)}: {reason}", hint="choose another name")


def _becoming(path: bytes, names: list[bytes], dirs: list[bool]) -> Begun | None:
    """Return what to note of *path*, if a directory can become it; one whose contents are meant goes there either way."""
    return Begun.of(path, names[0]) if path and len(names) == 1 and dirs[0] and names[0] else None


def _goes_on(folder: bytes, name: bytes, names: list[bytes], dirs: list[bool]) -> bool:
    """Whether the source has begun to become the directory *name*, and no link to one, in *folder*."""
    becomes = _becoming(name, names, dirs)
    with contextlib.suppress(OSError):
        handle = open_directory(folder or b".")
        return becomes is not None and becomes.stands(handle) and stat.S_ISDIR(system.stat(handle.fd, name).st_mode)
    return False


def _another_folder(error: OSError) -> str:
    """Return what helps where the folder for something new could not be opened."""
    missing = isinstance(error, FileNotFoundError)
    return "make the folder first: only the last part is created" if missing else "choose another folder"


def _bad_name(name: bytes) -> str | None:
    return check_name(name, windows=system.WINDOWS) if name else None


def _standing(root: Handle, path: bytes) -> os.stat_result | None:
    if not path:
        return os.fstat(root.fd)
    directory, _, name = path.rpartition(b"/")
    try:
        parent = Directories(root).get(directory)
    except OSError as error:
        raise LocalFailure(f"{printable(b'/' + directory)}: {error.strerror}", hint=_another_folder(error)) from None
    try:
        return system.stat(parent.fd, name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LocalFailure(f"{printable(b'/' + path)}: {error.strerror}") from None
