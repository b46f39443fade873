"""Runs pieces of code against the faults build, one after the other, in one Python: its start takes longer than most do.

Takes lines of JSON, {"plan": ..., "code": ..., "folder": ...}, and answers each with {"facts": ...}, what the code said,
or {"error": TRACEBACK}.  The code finds what stands here under its names.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import gc
import json
import os
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hvcopy import _core as core
from hvcopy.descriptors import in_relay

BINARY = getattr(os, "O_BINARY", 0)
FOR_THE_CODE = (array, in_relay, socket, time)

_plan: Callable[[bytes], None] = ctypes.CDLL(core.__file__).hv_fault_plan
_said: dict[str, Any] = {}


def name_of(number: int) -> str | None:
    """The name of an errno, as POSIX has it; None for 0."""
    return errno.errorcode[number].removeprefix("WSA") if number else None


def outcome(call: Callable[..., Any], *args: Any) -> Any:
    """What a call did: its result, or the name of its errno."""
    try:
        return call(*args)
    except OSError as error:
        return name_of(error.errno or 0)


def folder(path: str) -> int:
    """Open a directory."""
    return core.open_folder(os.fsencode(path)) if sys.platform == "win32" else os.open(path, os.O_RDONLY)


def opened() -> int:
    """How many descriptors, or handles of Windows, this process has open."""
    if sys.platform != "win32":
        return len(os.listdir("/proc/self/fd"))
    is_open, flags = ctypes.windll.kernel32.GetHandleInformation, ctypes.c_ulong()
    numbers = range(4, 1 << 14, 4)  # each is asked for: GetProcessHandleCount of Wine 8 says 0, whatever is open
    return sum(bool(is_open(ctypes.c_void_p(number), ctypes.byref(flags))) for number in numbers)


def pipe(never_waits: bool = False) -> tuple[int, int]:
    """(reading end, writing end)"""
    return os.pipe() if sys.platform == "win32" else os.pipe2(os.O_NONBLOCK * never_waits)


def say(**facts: Any) -> None:
    """Have the test know."""
    _said.update(facts)


def write(directory: str, contents: Mapping[str, bytes], flags: int = 0) -> dict[str, str]:
    """Write a pack; return {name: 'ok' or the name of its errno}."""
    fd = folder(directory)
    places, data = b"", b""
    for body in contents.values():
        owner = (0, 0) if sys.platform == "win32" else (os.getuid(), os.getgid())
        places += struct.pack(core.PLACE_RECORD, len(data), len(body), 10**18, 0o640, *owner, 0)
        data += body
    names = [name.encode() for name in contents]
    answer = core.write_files(array.array("i", [fd] * len(names)), names, places, data, b".hv-", flags)
    os.close(fd)
    numbers = struct.unpack(f"<{len(names)}i", answer)
    return {name: name_of(number) or "ok" for name, number in zip(contents, numbers, strict=True)}


def read(directory: str, names: Iterable[str], limit: int = 1 << 20) -> list[tuple[int, str | None]]:
    """Read a pack; return [(status, contents)]."""
    fd = folder(directory)
    into = bytearray(1 << 20)
    wire = [name.encode() for name in names]
    records, _ = core.read_files(array.array("i", [fd] * len(wire)), wire, into, limit)
    os.close(fd)
    rows = list(struct.iter_unpack(core.FILE_RECORD, records))
    return [(row[0], into[row[10] : row[10] + row[5]].decode() if row[0] == 0 else None) for row in rows]


def run(job: Mapping[str, str]) -> dict[str, Any]:
    """Do one piece of code under its plan; nothing that it leaves is there in the next one's."""
    os.chdir(job["folder"])
    _said.clear()
    _plan(job["plan"].encode())
    try:
        exec(compile(job["code"], "code of the test", "exec"), dict(globals()))
    except BaseException:
        return {"error": traceback.format_exc()}
    finally:
        _plan(b"")
        gc.collect()
    return {"facts": dict(_said)}


if __name__ == "__main__":
    answers = sys.stdout
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            answer = run(json.loads(line))
        print(json.dumps(answer), file=answers, flush=True)
