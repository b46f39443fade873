"""What tests of the receiving side of a tree share."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hvcopy.files import sink as sinks
from hvcopy.files import system
from hvcopy.files.confined import open_directory
from hvcopy.files.sink import REFUSE, Plan, Sink
from hvcopy.wire import messages as m
from hvcopy.wire.frames import PACK_RECORD

TIME = 1_700_000_000_000_000_000
File = tuple[bytes, bytes]


def plan(root: Path, existing: str = REFUSE, *, prefixes: list[bytes] | None = None, owner: bool = False) -> Plan:
    """Return a plan: the first source is a directory that goes into the root itself, unless *prefixes* say otherwise."""
    prefixes = prefixes or [b""]
    dirs = [index == 0 for index in range(len(prefixes))]
    return Plan(open_directory(os.fsencode(root)), prefixes, dirs, existing, sync=False, owner=owner)


def group(*files: File, directory: bytes = b"", source: int = 0, mtime: int = TIME, mode: int = 0o644, flags: int = 0) -> m.Group:
    """Return a group of files of one directory."""
    records = b"".join(PACK_RECORD.pack(len(data), mtime, mode, 0, 0, flags, 0) for _, data in files)
    return m.Group(source, directory, [name for name, _ in files], records)


def put(
    sink: Sink, *groups: tuple[m.Group, bytes], admit: Callable[[int, bytes], str | None] = lambda source, path: None
) -> sinks.Packed:
    """Write a pack."""
    return sink.write_pack([one for one, _ in groups], memoryview(b"".join(data for _, data in groups)), admit)


def entry(kind: int, path: bytes, extra: m.Extra = m.NO_EXTRA, *, mode: int = 0o755, source: int = 0) -> m.Entry:
    """Return an entry."""
    return m.Entry(kind, 1, source, path, mode, 0, TIME, extra)


def tree(root: Path) -> list[str]:
    """Return everything below *root*."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def cannot_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the system has no memory to say what stands under a name."""

    def stat_fails(*_: object) -> os.stat_result:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(system, "stat", stat_fails)
