"""The vsock-local scenario: AF_VSOCK over loopback in a kernel that is started for it (tests/lanes/kernel.py).

`from_outside` starts the kernel and runs this benchmark in it; `vsock_local` is what runs there. No AF_VSOCK
socket is ever opened by the machine itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from bench import data
from bench.data import MIB
from bench.results import Result, result_from
from bench.rounds import measure
from bench.tools import BLOCK, Routes, Server, contender, floor_pair, installed, ncat_pair, socat_pair, stream_copy
from bench.workspace import HERE, OUT, Settings, workspace

NAME = "vsock-local"
MEMORY = "2G"
LIMIT = 1500  # seconds for the kernel
PORT = 18518
SIZE, SMALL = 256 * MIB, 16 * MIB  # SMALL: for tools whose block is 8 KiB or less
MISSING = 126  # kernel.py: a part of the lane is not there


def from_outside(settings: Settings) -> Result:
    """Boot the kernel, run `vsock_local` in it, bring its result back."""
    out = OUT / "inside.json"
    out.unlink(missing_ok=True)
    lane = [sys.executable, str(HERE.parent / "tests/lanes/kernel.py"), "-m", MEMORY, "-t", str(LIMIT)]
    bench = [sys.executable, str(HERE / "run.py"), "--inside", "kernel", "--hvcopy", settings.hvcopy]
    bench += ["--rounds", str(settings.rounds), "--size", str(settings.size), "--out", str(out)]
    ended = subprocess.run([*lane, *bench], cwd=HERE.parent)
    if ended.returncode or not out.exists():
        why = "see tests/lanes/README.md" if ended.returncode == MISSING else f"status {ended.returncode}"
        return Result(NAME, "vsock", skipped=f"the kernel lane did not run: {why}")
    return result_from(json.loads(out.read_text())[0])


def vsock_local(settings: Settings) -> Result:
    """File to file in memory over vsock:local, in a kernel of its own with one processor."""
    if os.environ.get("HVCOPY_LANE") != "kernel":
        return Result(NAME, "vsock", skipped="not inside the kernel lane")
    with workspace(settings) as work:
        source, small = work.data / "source", work.data / "small"
        data.make_file(source, work.fit(min(settings.size or SIZE, SIZE)))
        data.make_file(small, SMALL)
        listening, dialing = f"vsock:any:{PORT}", f"vsock:local:{PORT}"
        server = Server(work, listening, work.data / "root", "--allow", "vsock:1", dial=dialing)
        routes = Routes(work, "vsock")
        found = [
            contender(work, "hvcopy --lanes 1", server.push("--lanes", "1"), source, root=server.root),
            contender(work, "hvcopy", server.push(), source, root=server.root),
            contender(work, "floor", stream_copy(work, floor_pair(settings.floor), routes), source),
        ]
        if installed("socat"):
            found.append(contender(work, "socat -b 1M", stream_copy(work, socat_pair(*BLOCK), routes), source))
            found.append(contender(work, "socat", stream_copy(work, socat_pair(), routes), small))
        if installed("ncat"):
            found.append(contender(work, "ncat", stream_copy(work, ncat_pair(), routes), small))
        notes = ["User-Mode Linux kernel, one processor, CID 1", "socat and ncat defaults with a smaller file"]
        return Result(NAME, "vsock", measure(NAME, found, settings.rounds), notes)
