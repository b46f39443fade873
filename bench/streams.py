"""Streams over a unix socket: `hvcopy pipe` and `hvcopy nc` beside the tools that join two pipelines."""

from __future__ import annotations

from bench import data
from bench.results import Result
from bench.rounds import Series, measure
from bench.stream_tools import (
    FileSource,
    PipedFile,
    Source,
    Tool,
    Zeroes,
    contender,
    floor,
    hvcopy_nc,
    hvcopy_pipe,
    nc,
    ncat,
    socat,
)
from bench.tools import BLOCK, Routes, installed
from bench.workspace import Settings, Workspace, workspace

GIB = 1 << 30
SIZE = 4 * GIB


def pipe_zero(settings: Settings) -> Result:
    """The verified stream, zeroes from a pipe, which `hvcopy pipe` names and does not send."""
    with workspace(settings) as work:
        return _verified(work, "pipe-zero", _zeroes(work))


def pipe_data(settings: Settings) -> Result:
    """The verified stream, bytes from a pipe that have to be sent. No target names it."""
    with workspace(settings) as work:
        source = _file(work)
        return _verified(work, "pipe-data", PipedFile(source.path, source.byte), kind="pipe-data")


def pipe_file(settings: Settings) -> Result:
    """The verified stream, from a file in the page cache."""
    with workspace(settings) as work:
        return _verified(work, "pipe-file", _file(work))


def raw(settings: Settings) -> list[Result]:
    """The raw stream, from both.

    Into a file, for splice(2) to the null device would throw pages away unread, and look like speed.
    """
    with workspace(settings) as work:
        from_pipe = _raw(work, "nc: from a pipe", _zeroes(work))
    with workspace(settings) as work:
        return [from_pipe, _raw(work, "nc: from a file", _file(work))]


def _zeroes(work: Workspace) -> Zeroes:
    return Zeroes(work.fit(work.settings.size or SIZE, copies=1))


def _file(work: Workspace) -> FileSource:
    path, byte = work.data / "source", work.data / "byte"
    data.make_file(path, work.fit(work.settings.size or SIZE))
    data.make_file(byte, 1)
    data.preread(path)
    return FileSource(path, byte)


def _verified(work: Workspace, name: str, source: Source, kind: str = "pipe") -> Result:
    tools = {"hvcopy pipe": hvcopy_pipe(work.settings.hvcopy)} | _peers(work)
    return Result(name, kind, _measured(work, name, tools, source, to_file=False), _notes(source, "/dev/null"))


def _raw(work: Workspace, name: str, source: Source) -> Result:
    tools = {"hvcopy nc": hvcopy_nc(work.settings.hvcopy)} | _peers(work)
    return Result(name, "nc", _measured(work, name, tools, source, to_file=True), _notes(source, "a file in memory"))


def _measured(work: Workspace, name: str, tools: dict[str, Tool], source: Source, *, to_file: bool) -> list[Series]:
    routes = Routes(work, "unix")
    found = [contender(work, one, tool, routes, source, to_file=to_file) for one, tool in tools.items()]
    return measure(name, found, work.settings.rounds)


def _peers(work: Workspace) -> dict[str, Tool]:
    tools = {
        "floor": (floor(work.settings.floor), True),
        "socat -b 1M": (socat(*BLOCK), installed("socat")),
        "socat": (socat(), installed("socat")),
        "nc": (nc(), installed("nc")),
        "ncat": (ncat(), installed("ncat")),
    }
    return {name: tool for name, (tool, there) in tools.items() if there}


def _notes(source: Source, sink: str) -> list[str]:
    if isinstance(source, Zeroes):
        given = "dd bs=1M of zeroes | tool"
    elif isinstance(source, PipedFile):
        given = "dd bs=1M of a file in memory | tool"
    else:
        given = "tool < file in memory"
    return [f"{source.size} bytes", f"{given}, receiver > {sink}, over a unix socket"]
