"""Runs a few lines against the faults build of the core, in a process of their own, with a plan of faults.

Skips loudly when that build is missing; with CI=true that fails: a test that never runs proves nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TREE = Path(__file__).resolve().parents[2] / "build" / "faults"
HOW = "the faults build is missing: run python tests/faults/build.py faults"
ELSEWHERE: dict[str, Any] | None = json.loads(os.environ.get("HVCOPY_TEST_FAULTS", "null"))
"""Of a lane whose Python is another one: {"argv": [...], "env": {...}}, with the build on its path."""
PRELUDE = """
import array, ctypes, errno, json, os, socket, struct, sys, time
from hvcopy import _core as core
from hvcopy.descriptors import in_relay

BINARY = getattr(os, "O_BINARY", 0)

def name_of(number):
    "The name of an errno, as POSIX has it; None for 0."
    return errno.errorcode[number].removeprefix("WSA") if number else None

def outcome(call, *args):
    "What a call did: its result, or the name of its errno."
    try:
        return call(*args)
    except OSError as error:
        return name_of(error.errno)

def folder(path):
    "Open a directory."
    return core.open_folder(os.fsencode(path)) if sys.platform == "win32" else os.open(path, os.O_RDONLY)

def opened():
    "How many descriptors, or handles of Windows, this process has open."
    if sys.platform != "win32":
        return len(os.listdir("/proc/self/fd"))
    count = ctypes.c_ulong()
    assert ctypes.windll.kernel32.GetProcessHandleCount(ctypes.c_void_p(-1), ctypes.byref(count))
    return count.value

def pipe(never_waits=False):
    "(reading end, writing end)"
    return os.pipe() if sys.platform == "win32" else os.pipe2(os.O_NONBLOCK * never_waits)

def say(**facts):
    print(json.dumps(facts))

def write(directory, contents, flags=0):
    "Write a pack; return {name: 'ok' or the name of its errno}."
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
    return {n: name_of(e) or "ok" for n, e in zip(contents, numbers)}

def read(directory, names, limit=1 << 20):
    "Read a pack; return [(status, contents)]."
    fd = folder(directory)
    into = bytearray(1 << 20)
    wire = [name.encode() for name in names]
    records, used = core.read_files(array.array("i", [fd] * len(names)), wire, into, limit)
    os.close(fd)
    rows = list(struct.iter_unpack(core.FILE_RECORD, records))
    return [(r[0], into[r[10]:r[10] + r[5]].decode() if r[0] == 0 else None) for r in rows]
"""


@pytest.fixture
def run_faulty(tmp_path: Path) -> Callable[[str, str], dict[str, Any]]:
    """Return run(plan, code): the facts that *code* said under *plan*; its working directory is tmp_path."""
    if not ELSEWHERE and not list(TREE.glob("hvcopy/_core*.so")):
        if os.environ.get("CI") == "true":
            pytest.fail(HOW)
        pytest.skip(HOW)

    python = ELSEWHERE or {"argv": [sys.executable, "-P"], "env": {"PYTHONPATH": str(TREE)}}

    def run(plan: str, code: str) -> dict[str, Any]:
        done = subprocess.run(
            [*python["argv"], "-c", PRELUDE + textwrap.dedent(code)],
            cwd=tmp_path,
            env=os.environ | python["env"] | {"HVCOPY_FAULTS": plan},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, f"status {done.returncode}\n{done.stderr}"
        facts: dict[str, Any] = json.loads(done.stdout)
        return facts

    return run
