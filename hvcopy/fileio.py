"""Positioned and batched file I/O: the file half of ``hvcopy._core``.  It knows no policy and no path rules."""

from __future__ import annotations

from hvcopy._core import (
    CHANGED,
    FILE_RECORD,
    NO_ROOM,
    NOT_REGULAR,
    PLACE_RECORD,
    REPLACE,
    SET_OWNER,
    SYNC,
    TOO_LARGE,
    read_at,
    read_files,
    rename_new,
    start_writeback,
    sync_filesystem,
    write_at,
    write_files,
    zero_runs,
)

__all__ = [
    "CHANGED",
    "FILE_RECORD",
    "NOT_REGULAR",
    "NO_ROOM",
    "PLACE_RECORD",
    "REPLACE",
    "SET_OWNER",
    "SYNC",
    "TOO_LARGE",
    "read_at",
    "read_files",
    "rename_new",
    "start_writeback",
    "sync_filesystem",
    "write_at",
    "write_files",
    "zero_runs",
]
