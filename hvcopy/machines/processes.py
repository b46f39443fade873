"""Processes of this machine by their command lines, and what a path in one of them is called from here."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from msgspec import Struct

LONGEST_LINE = 1 << 20
"""Bytes of a command line; longer ones are looked at so far."""


class Process(Struct, frozen=True):
    """One process: its id, its command line, and whether it is stopped."""

    pid: int
    words: list[str]
    stopped: bool

    @property
    def program(self) -> str:
        """The last part of its name, as it calls itself."""
        return os.path.basename(self.words[0])


def all_processes(proc: str = "/proc") -> Iterator[Process]:
    """Yield every process that can be seen, in the order of ids; kernel threads and those that end meanwhile are left out."""
    with contextlib.suppress(OSError):
        for pid in sorted(int(name) for name in os.listdir(proc) if name.isdigit()):
            with contextlib.suppress(OSError):
                words = _read(f"{proc}/{pid}/cmdline").rstrip(b"\0").split(b"\0")
                state = _read(f"{proc}/{pid}/stat").rpartition(b")")[2].split()
                if words[0] and state and state[0] not in (b"Z", b"X"):
                    yield Process(pid, [os.fsdecode(word) for word in words], state[0] in (b"T", b"t"))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(LONGEST_LINE)


def is_root() -> bool:
    """Whether nobody may see more of other processes than this one does."""
    return sys.platform != "win32" and os.geteuid() == 0


def path_from_here(process: Process, path: str) -> str | None:
    """Return what *path* of another process is called here: its current folder and its root may be others.

    None when only the process's own user, or root, may know them, and they matter.
    """
    try:
        if not path.startswith("/"):
            path = os.path.join(os.readlink(f"/proc/{process.pid}/cwd"), path)
        root = f"/proc/{process.pid}/root"
        if os.path.samefile(root, "/"):
            return os.path.normpath(path)
        named = os.readlink(root)
        # In a mount namespace of its own the root's name means nothing here, but the link itself leads there.
        below = named if os.path.isdir(named) and os.path.samefile(root, named) else root
        return below + os.path.normpath(path)
    except OSError:
        return path if path.startswith("/") and os.path.exists(path) else None


def option(words: list[str], *names: str) -> str:
    """Return the last value of ``--name VALUE`` or ``--name=VALUE``, "" when there is none."""
    found = ""
    for index, word in enumerate(words):
        for name in names:
            if word == name and index + 1 < len(words):
                found = words[index + 1]
            elif word.startswith(f"{name}="):
                found = word[len(name) + 1 :]
    return found


def fields(text: str) -> dict[str, str]:
    """Return the fields of ``a=1,b=2`` as QEMU and its likes write them: a doubled comma is one of a value."""
    parts = (part.replace("\0", ",").partition("=") for part in text.replace(",,", "\0").split(","))
    return {name: value for name, _, value in parts}
