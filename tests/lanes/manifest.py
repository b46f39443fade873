#!/usr/bin/env python3
"""Lists what stands in a folder, one line an entry, so that a folder in a guest can be compared with one outside.

usage: manifest.py FOLDER

Runs on either side of a boundary by itself: it knows nothing of hvcopy, nor of its digests.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Iterator


def entries(folder: str | os.PathLike[str]) -> Iterator[str]:
    """Kind, mode, mtime in nanoseconds, SHA-256 of the contents, and path of everything below *folder*."""
    top = os.fspath(folder)
    for base, directories, files in os.walk(top):
        for name in directories + files:
            path = os.path.join(base, name)
            status = os.lstat(path)
            digest = "-"
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            yield f"{stat.filemode(status.st_mode)} {status.st_mtime_ns} {digest} {os.path.relpath(path, top)!r}"


def manifest(folder: str | os.PathLike[str]) -> list[str]:
    """All entries below *folder*, in one order everywhere."""
    return sorted(entries(folder))


def assert_same(found: list[str], wanted: list[str]) -> None:
    """Both have entries, and the same; a test that fails shows a few of those that differ."""
    assert wanted
    missing, extra = set(wanted) - set(found), set(found) - set(wanted)
    assert not missing | extra, f"missing: {sorted(missing)[:3]}, unexpected: {sorted(extra)[:3]}"


if __name__ == "__main__":
    print("\n".join(manifest(sys.argv[1])))
