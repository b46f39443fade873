"""What hvcopy costs before the data counts: one byte from start to exit, and when a stream's first byte has arrived."""

from __future__ import annotations

import os
import select
import sys
import time

from bench import data, stream_tools
from bench.processes import Command, Failed
from bench.results import Result
from bench.rounds import Contender, Sample, measure
from bench.stream_tools import FileSource, Tool
from bench.tools import Routes, Server, contender, installed, wait_listening
from bench.workspace import HERE, Settings, Workspace, workspace

PATIENCE = 30.0


def startup(settings: Settings) -> Result:
    """One byte over a unix socket, beside the smallest Typer program and a bare interpreter."""
    with workspace(settings) as work:
        byte = work.data / "byte"
        data.make_file(byte, 1)
        server = Server(work, f"unix:{work.sockets}/hvcopy", work.data / "root")
        routes = Routes(work, "unix")
        streams = {
            "hvcopy pipe, first byte": stream_tools.hvcopy_pipe(settings.hvcopy),
            "hvcopy nc, first byte": stream_tools.hvcopy_nc(settings.hvcopy),
        }
        if installed("socat"):
            streams["socat, first byte"] = stream_tools.socat()
        source = FileSource(byte, byte)
        copy = contender(work, "hvcopy cp", server.push(), byte, root=server.root)
        found = [
            Contender(copy.name, 1, copy.copy),
            *(_first_byte(work, name, tool, routes, source) for name, tool in streams.items()),
            Contender("Typer hello", 1, lambda _: _run(work, sys.executable, str(HERE / "hello_typer.py"))),
            Contender("python -c pass", 1, lambda _: _run(work, sys.executable, "-c", "pass")),
        ]
        return Result("startup", "startup", measure("startup", found, max(settings.rounds, 15)), ["one byte"])


def _run(work: Workspace, *argv: str) -> Sample:
    began = time.perf_counter()
    child = work.jobs.start(Command(argv))
    child.wait()
    return Sample(time.perf_counter() - began, child.cpu)


def _first_byte(work: Workspace, name: str, tool: Tool, routes: Routes, source: FileSource) -> Contender:
    """From the start of the command that dials to when its listener, up before, has written the byte to a pipe."""

    def once(_: bool) -> Sample:
        route = routes.fresh()
        pipe = route.path.with_suffix(".pipe")
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            listener = work.jobs.start(Command(tool.listener(route), stdout=pipe))
            wait_listening(listener, route, tool.ready)
            began = time.perf_counter()
            (sender,) = source.start(work.jobs, tool.sender(route))
            if not select.select([reader], [], [], PATIENCE)[0] or len(os.read(reader, 2)) != 1:
                raise Failed(f"{name}: it did not come")
            seconds = time.perf_counter() - began
            sender.wait()
            listener.wait()
            return Sample(seconds, sender.cpu)
        finally:
            os.close(reader)
            pipe.unlink()

    return Contender(name, 1, once)
