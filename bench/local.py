"""Scenarios on one machine: a large file and trees over a unix socket, memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench import data
from bench.results import Result
from bench.rounds import Contender, measure
from bench.tools import (
    BLOCK,
    Routes,
    Server,
    contender,
    floor_pair,
    installed,
    local_copy,
    nc_pair,
    ncat_pair,
    socat_pair,
    stream_copy,
    tar_copy,
)
from bench.workspace import Settings, Workspace, workspace

GIB = 1 << 30


def large_file(settings: Settings, name: str, size: int) -> Result:
    """A file in the page cache, file to file in memory, over a unix socket."""
    with workspace(settings) as work:
        source = work.data / "source"
        fitted = work.fit(settings.size or size)
        data.make_file(source, fitted)
        data.preread(source)
        contenders = file_contenders(work, source)
        notes = [f"{fitted} bytes"] + ([f"memory allows no {size}"] if fitted < (settings.size or size) else [])
        return Result(name, "file", measure(name, contenders, settings.rounds), notes)


def file_contenders(work: Workspace, source: Path) -> list[Contender]:
    """Every tool that is installed, over unix sockets."""
    server = Server(work, f"unix:{work.sockets}/hvcopy", work.data / "root")
    routes = Routes(work, "unix")
    pairs = {
        "floor": (floor_pair(work.settings.floor), True),
        "socat": (socat_pair(), installed("socat")),
        "socat -b 1M": (socat_pair(*BLOCK), installed("socat")),
        "nc": (nc_pair(), installed("nc")),
        "ncat": (ncat_pair(), installed("ncat")),
    }
    found = [
        contender(work, "hvcopy --lanes 1", server.push("--lanes", "1"), source, root=server.root),
        contender(work, "hvcopy", server.push(), source, root=server.root),
    ]
    found += [
        contender(work, name, stream_copy(work, pair, routes), source) for name, (pair, there) in pairs.items() if there
    ]
    if installed("rsync"):
        found.append(contender(work, "rsync", local_copy(work, "rsync"), source))
    found.append(contender(work, "cp", local_copy(work, "cp"), source))
    return found


def small_files(settings: Settings) -> Result:
    """Many files of 1 to 4 KiB over a unix socket."""
    with workspace(settings) as work:
        source = work.data / "source"
        count = 10_000 if settings.quick else 100_000
        data.make_many(source, count, 1024, 4096)
        return _tree(work, "small-100k", source)


def library_tree(settings: Settings) -> Result:
    """A real source tree: this interpreter's standard library."""
    with workspace(settings) as work:
        source = work.data / "source"
        data.copy_stdlib(source)
        return _tree(work, "tree", source)


def _tree(work: Workspace, name: str, source: Path) -> Result:
    data.preread(source)
    server = Server(work, f"unix:{work.sockets}/hvcopy", work.data / "root")
    found = tree_contenders(work, server, Routes(work, "unix"), source)
    if installed("rsync"):
        found.append(contender(work, "rsync -a", local_copy(work, "rsync", "-a", contents=True), source))
    found.append(contender(work, "cp -r", local_copy(work, "cp", "-r"), source))
    return Result(name, "tree", measure(name, found, work.settings.rounds), tree_notes(source))


def tree_contenders(
    work: Workspace, server: Server, routes: Routes, source: Path, *, default_block: bool = True
) -> list[Contender]:
    """What copies a tree over a connection; without `default_block` not through socat as it is."""
    found = [
        contender(work, "hvcopy --lanes 1", server.push("--lanes", "1"), source, root=server.root),
        contender(work, "hvcopy", server.push(), source, root=server.root),
    ]
    if installed("tar", "socat"):
        if default_block:
            found.append(contender(work, "tar|socat|tar", tar_copy(work, routes), source))
        found.append(contender(work, "tar|socat -b 1M|tar", tar_copy(work, routes, *BLOCK), source))
    return found


def tree_notes(source: Path) -> list[str]:
    """How much a tree holds."""
    files, size = data.extent(source)
    return [f"{files} files, {size} bytes"]


def memory(settings: Settings) -> Result:
    """Peak resident memory of both ends, less that of an interpreter with Typer."""
    figures = {"baseline": _peak(settings, [sys.executable, "-c", "import typer"])}
    notes = []
    for label, lanes in (("1 lane", ["--lanes", "1"]), ("default lanes", [])):
        with workspace(settings) as work:
            source = work.data / "source"
            size = work.fit(settings.size or 4 * GIB)
            data.make_file(source, size)
            notes = [f"file of {size} bytes"]
            _both_ends(work, source, f"large file, {label}", lanes, figures)
    with workspace(settings) as work:
        source = work.data / "source"
        count = 20_000 if settings.quick else 200_000
        data.make_many(source, count, 16, 512)
        notes.append(f"{count} files of 16 to 512 bytes")
        _both_ends(work, source, "many files", [], figures)
    return Result("memory", "memory", [], notes, figures)


def _both_ends(work: Workspace, source: Path, label: str, options: list[str], figures: dict[str, int]) -> None:
    address = f"unix:{work.sockets}/hvcopy"
    server = Server(work, address, work.data / "root")
    recursive = ["-r"] if source.is_dir() else []
    argv = [work.settings.hvcopy, "cp", "-q", "--no-fsync", *recursive, *options, str(source), f"{address}:/copy"]
    figures[f"{label}: client, sending"] = _peak(work.settings, argv)
    figures[f"{label}: server, receiving"] = server.process.peak_kib()
    data.check_extent(source, server.root / "copy")
    server.process.kill(15)
    data.remove(source)  # makes room for the way back
    source_again = Server(work, address, server.root)
    argv = [work.settings.hvcopy, "cp", "-q", "--no-fsync", *recursive, *options, f"{address}:/copy", str(source)]
    figures[f"{label}: client, receiving"] = _peak(work.settings, argv)
    figures[f"{label}: server, sending"] = source_again.process.peak_kib()
    data.check_extent(server.root / "copy", source)


def _peak(settings: Settings, argv: list[str]) -> int:
    """Peak resident memory of a command in KiB, started by a small process that adds nothing to it."""
    out = settings.floor.with_name("peak")
    subprocess.run([str(settings.floor), "peak", str(out), *argv], check=True, stdout=subprocess.DEVNULL)
    return int(out.read_text())
