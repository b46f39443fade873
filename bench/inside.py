"""The scenarios over AF_VSOCK loopback in a kernel that is started for them (tests/lanes/kernel.py).

`from_outside` starts the kernel and runs this benchmark in it; `INSIDE` is what runs there. No AF_VSOCK
socket is ever opened by the machine itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

from bench import data, stream_tools
from bench.data import MIB
from bench.local import tree_contenders, tree_notes
from bench.relays import Relays
from bench.results import Result, result_from
from bench.rounds import measure
from bench.stream_tools import FileSource
from bench.tools import BLOCK, Routes, Server, contender, floor_pair, installed, ncat_pair, socat_pair, stream_copy
from bench.workspace import HERE, OUT, Settings, Workspace, workspace

MEMORY = "12G"
LIMIT = 1500  # seconds for the kernel
PORT = 18518
SIZE, SMALL = 1024 * MIB, 16 * MIB  # SMALL: for tools whose block is 8 KiB or less
MANY = 5000  # small files: a system call takes 35 us there
MESSAGES = 5000
STREAM = 2048 * MIB  # more, for both of hvcopy's ends are started anew
KERNEL = "User-Mode Linux kernel, one processor, CID 1"
MISSING = 126  # kernel.py: a part of the lane is not there


def from_outside(settings: Settings, name: str) -> list[Result]:
    """Boot the kernel, run a scenario in it, bring its results back."""
    out = OUT / "inside.json"
    out.unlink(missing_ok=True)
    lane = [sys.executable, str(HERE.parent / "tests/lanes/kernel.py"), "-m", MEMORY, "-t", str(LIMIT)]
    bench = [sys.executable, str(HERE / "run.py"), "--inside", name, "--hvcopy", settings.hvcopy]
    bench += ["--rounds", str(settings.rounds), "--size", str(settings.size), "--out", str(out)]
    bench += ["--quick"] * settings.quick
    ended = subprocess.run([*lane, *bench], cwd=HERE.parent)
    if ended.returncode or not out.exists():
        why = "see tests/lanes/README.md" if ended.returncode == MISSING else f"status {ended.returncode}"
        return [Result(name, name, skipped=f"the kernel lane did not run: {why}")]
    return [result_from(one) for one in json.loads(out.read_text())]


def run_inside(settings: Settings, name: str) -> list[Result]:
    """What `from_outside` has run in the kernel."""
    if os.environ.get("HVCOPY_LANE") != "kernel":
        return [Result(name, name, skipped="not inside the kernel lane")]
    with workspace(settings) as work:
        return INSIDE[name](work)


def _files(work: Workspace) -> list[Result]:
    """File to file in memory over vsock:local, in a kernel of its own with one processor."""
    source, small = work.data / "source", work.data / "small"
    data.make_file(source, work.fit(min(work.settings.size or SIZE, SIZE)))
    data.make_file(small, SMALL)
    server = _server(work)
    routes = Routes(work, "vsock")
    found = [
        contender(work, "hvcopy --lanes 1", server.push("--lanes", "1"), source, root=server.root),
        contender(work, "hvcopy", server.push(), source, root=server.root),
        contender(work, "floor", stream_copy(work, floor_pair(work.settings.floor), routes), source),
    ]
    if installed("socat"):
        found.append(contender(work, "socat -b 1M", stream_copy(work, socat_pair(*BLOCK), routes), source))
        found.append(contender(work, "socat", stream_copy(work, socat_pair(), routes), small))
    if installed("ncat"):
        found.append(contender(work, "ncat", stream_copy(work, ncat_pair(), routes), small))
    notes = [KERNEL, "socat and ncat defaults with a smaller file"]
    return [Result("vsock-local", "vsock", measure("vsock-local", found, work.settings.rounds), notes)]


def _streams(work: Workspace) -> list[Result]:
    """From a file in memory through vsock:local to the null device."""
    source, small = work.data / "source", work.data / "small"
    size = work.fit(min(work.settings.size or STREAM, STREAM))
    data.make_file(source, size)
    data.make_file(small, SMALL)
    data.make_file(work.data / "byte", 1)
    large, little = FileSource(source, work.data / "byte"), FileSource(small, work.data / "byte")
    routes = Routes(work, "vsock")
    tools = {
        "hvcopy pipe": (stream_tools.hvcopy_pipe(work.settings.hvcopy), large, True),
        "hvcopy nc": (stream_tools.hvcopy_nc(work.settings.hvcopy), large, True),
        "floor": (stream_tools.floor(work.settings.floor), large, True),
        "socat -b 1M": (stream_tools.socat(*BLOCK), large, installed("socat")),
        "socat": (stream_tools.socat(), little, installed("socat")),
        "ncat": (stream_tools.ncat(), little, installed("ncat")),
    }
    found = [
        stream_tools.contender(work, name, tool, routes, given) for name, (tool, given, there) in tools.items() if there
    ]
    notes = [
        KERNEL,
        f"{size} bytes, tool < file in memory, receiver > /dev/null",
        f"socat and ncat defaults with {SMALL}",
    ]
    return [Result("vsock-streams", "vsock-streams", measure("vsock-streams", found, work.settings.rounds), notes)]


def _trees(work: Workspace) -> list[Result]:
    """Many small files, and a source tree, over vsock:local."""
    small, library = work.data / "small-files", work.data / "library"
    data.make_many(small, 1000 if work.settings.quick else MANY, 1024, 4096)
    data.copy_stdlib(library)
    server = _server(work)
    results = []
    for name, source in (("vsock-trees: small files", small), ("vsock-trees: library", library)):
        found = tree_contenders(work, server, Routes(work, "vsock"), source, default_block=source is small)
        notes = [KERNEL, *tree_notes(source)]
        results.append(Result(name, "vsock-trees", measure(name, found, work.settings.rounds), notes))
    return results


def _forward(work: Workspace) -> list[Result]:
    """Through a relay between a unix socket and vsock:local."""
    data.make_file(work.data / "source", work.fit(min(work.settings.size or SIZE, SIZE)))
    data.make_file(work.data / "small", SMALL)
    data.make_file(work.data / "byte", 1)
    large, small = (FileSource(work.data / name, work.data / "byte") for name in ("source", "small"))
    bench = Relays(work, large, small=small, messages=MESSAGES)
    ways = (("unix", "vsock"), ("vsock", "unix"))
    results = [run(way) for run in (bench.throughput, bench.latency) for way in ways]
    for result in results:
        result.notes.insert(0, KERNEL)
    return results


def _server(work: Workspace) -> Server:
    listening, dialing = f"vsock:any:{PORT}", f"vsock:local:{PORT}"
    return Server(work, listening, work.data / "root", "--allow", "vsock:1", dial=dialing)


INSIDE: dict[str, Callable[[Workspace], list[Result]]] = {
    "vsock-local": _files,
    "vsock-streams": _streams,
    "vsock-trees": _trees,
    "vsock-forward": _forward,
}
