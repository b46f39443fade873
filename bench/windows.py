"""The Windows scenario: hvcopy's core under Wine against the C loop of floor_windows.c, file to file over TCP on the loopback.

Both are Windows programs on the same Wine, whose rates say nothing about Windows: only their ratio is of use.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import sys
from dataclasses import replace
from pathlib import Path

from bench import data
from bench.processes import Command, Failed
from bench.results import Result
from bench.rounds import Sample, measure
from bench.tools import Copy, Server, contender, send_to
from bench.workspace import HERE, OUT, Settings, Workspace, run_quiet, workspace

SIZE = 1 << 30
LISTENING = re.compile(r"listening (\d+)\s")
LAUNCHER = """\
#!/bin/sh
# a Windows program in this lane's prefix, in this very process
cd {folder}
{exports}
exec wine "$@"
"""


def files(settings: Settings) -> Result:
    """A file in memory, file to file."""
    try:
        lane = Lane()
    except Failed as error:
        return Result("windows", "windows", skipped=str(error))
    with workspace(settings, through_pipes=True) as native:
        work = replace(native, settings=replace(settings, hvcopy=lane.hvcopy(native)))
        source = work.data / "source"
        data.make_file(source, work.fit(settings.size or SIZE))
        data.preread(source)
        server = Server(work, f"tcp:127.0.0.1:{_unused_port()}", work.data / "root", "--open")
        found = [
            contender(work, "hvcopy --lanes 1", server.push("--lanes", "1"), source, root=server.root),
            contender(work, "hvcopy", server.push(), source, root=server.root),
            contender(work, "floor", lane.floor(work), source),
            contender(work, "floor, overlapped files", lane.floor(work, "overlapped"), source),
        ]
        notes = ["both ends Windows programs under Wine, TCP on the loopback", f"{data.extent(source)[1]} bytes"]
        return Result("windows", "windows", measure("windows", found, settings.rounds), notes)


class Lane:
    """The Windows lane of the tests (tests/lanes/windows); raises Failed with the reason when it cannot run."""

    def __init__(self) -> None:
        tests = str(HERE.parent / "tests")
        if tests not in sys.path:
            sys.path.append(tests)
        from lanes.parts import LANES, LaneMissing, locate
        from lanes.windows import wine
        from lanes.windows.built import link_package
        from lanes.windows.made import CC, RECIPES

        try:
            for part in LANES["windows"]:
                locate(part)
        except LaneMissing as error:
            raise Failed(f"the windows lane cannot run: {error}") from error
        package = {"PYTHONPATH": wine.windows_path(link_package("3.12"))}
        added = {name: text for name, text in wine.environment(package).items() if os.environ.get(name) != text}
        exports = "\n".join(f"export {name}={shlex.quote(text)}" for name, text in added.items())
        self._launcher = LAUNCHER.format(folder=shlex.quote(str(HERE.parent)), exports=exports)
        self._python = RECIPES["3.12"].python
        OUT.mkdir(exist_ok=True)
        self._floor = OUT / "floor.exe"
        run_quiet([CC, "-O2", "-Wall", "-Wextra", "-s", "-o", str(self._floor), str(HERE / "floor_windows.c"), "-lws2_32"])

    def hvcopy(self, work: Workspace) -> str:
        """The command, as a program of this machine."""
        return self._program(work, "hvcopy", [str(self._python), "-P", "-m", "hvcopy"])

    def floor(self, work: Workspace, *how: str) -> Copy:
        """Copy a file with the C loop; *how*: overlapped or not."""
        program = self._program(work, "floor", [str(self._floor)])

        def copy(source: Path, target: Path) -> Sample:
            listener = work.jobs.start(Command([program, "recv", "0", str(target), *how]))
            try:
                listener.wait_until(lambda: LISTENING.search(listener.said()) is not None)
                (port,) = LISTENING.findall(listener.said())
                return send_to(work, listener, Command([program, "send", port, str(source), *how]))
            finally:
                listener.kill()

        return copy

    def _program(self, work: Workspace, name: str, argv: list[str]) -> str:
        path = work.sockets / name
        path.write_text(self._launcher.replace('"$@"', " ".join([*map(shlex.quote, argv), '"$@"'])))
        path.chmod(0o700)
        return str(path)


def _unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
