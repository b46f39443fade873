"""How each tool carries a stream from standard input to standard output: commands, input, what counts as time.

Time runs from the start of the command that dials, and of what feeds it, to the end of all processes.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench import data
from bench.processes import Child, Command, Failed, Jobs
from bench.rounds import Contender, Sample
from bench.tools import Route, Routes, wait_listening
from bench.workspace import Workspace


class Source(Protocol):
    """What is sent."""

    @property
    def size(self) -> int:
        """Bytes."""

    def start(self, jobs: Jobs, argv: list[str]) -> list[Child]:
        """Start the command with this on its standard input; returns all processes, the command last."""

    def check_same(self, copy: Path) -> None:
        """Raise Failed unless every byte arrived."""

    def tiny(self) -> Source:
        """One byte, given the same way."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file as standard input."""

    path: Path
    byte: Path
    """A file of one byte."""

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def start(self, jobs: Jobs, argv: list[str]) -> list[Child]:
        return [jobs.start(Command(argv, stdin=self.path))]

    def check_same(self, copy: Path) -> None:
        data.check_same(self.path, copy)

    def tiny(self) -> Source:
        return FileSource(self.byte, self.byte)


@dataclass(frozen=True, slots=True)
class PipedFile(FileSource):
    """A file through a pipe."""

    def start(self, jobs: Jobs, argv: list[str]) -> list[Child]:
        return jobs.pipeline([_dd(self.path), argv])

    def tiny(self) -> Source:
        return PipedFile(self.byte, self.byte)


@dataclass(frozen=True, slots=True)
class Zeroes:
    """Zeroes through a pipe."""

    size: int

    def start(self, jobs: Jobs, argv: list[str]) -> list[Child]:
        return jobs.pipeline([[*_dd(Path("/dev/zero")), f"count={self.size}", "iflag=count_bytes"], argv])

    def check_same(self, copy: Path) -> None:
        if subprocess.run(["cmp", "-n", str(self.size), str(copy), "/dev/zero"], stdout=subprocess.DEVNULL).returncode:
            raise Failed(f"{copy.name} has other bytes than zeroes")

    def tiny(self) -> Source:
        return Zeroes(1)


def _dd(path: Path) -> list[str]:
    """It writes 1 MiB at once: head(1) with its 8 KiB would be what is measured."""
    return ["dd", f"if={path}", "bs=1M", "status=none"]


@dataclass(frozen=True, slots=True)
class Tool:
    """The command that listens and writes what comes to its standard output, and the one that dials and sends."""

    listener: Callable[[Route], list[str]]
    sender: Callable[[Route], list[str]]
    ready: str = "listening"
    """What the listener says when it listens; on a unix socket the kernel is asked instead."""


def hvcopy_pipe(program: str) -> Tool:
    """The verified stream; its sender tells its own seconds."""
    listening = ["pipe", "-l", "--no-fsync", "--progress", "none"]
    sending = ["pipe", "--json", "--progress", "none"]
    return Tool(
        lambda route: [program, *listening, *_allowed(route), _hv_listening(route)],
        lambda route: [program, *sending, _hv_dialed(route)],
        "listening on",
    )


def hvcopy_nc(program: str) -> Tool:
    """The raw stream."""
    return Tool(
        lambda route: [program, "nc", "-l", "--recv-only", *_allowed(route), _hv_listening(route)],
        lambda route: [program, "nc", "--send-only", _hv_dialed(route)],
        "listening on",
    )


def _allowed(route: Route) -> list[str]:
    return ["--allow", f"vsock:{route.cid}"] if route.family == "vsock" else []


def _hv_listening(route: Route) -> str:
    return f"unix:{route.path}" if route.family == "unix" else f"vsock:any:{route.port}"


def _hv_dialed(route: Route) -> str:
    return f"unix:{route.path}" if route.family == "unix" else f"vsock:{route.cid}:{route.port}"


def floor(program: Path) -> Tool:
    """The C loop without verification."""

    def argv(verb: str, route: Route, address: str) -> list[str]:
        return [str(program), verb, route.family, address, str(route.buffer), "-"]

    return Tool(
        lambda route: argv("recv", route, str(route.path) if route.family == "unix" else str(route.port)),
        lambda route: argv("send", route, str(route.path) if route.family == "unix" else f"{route.cid}:{route.port}"),
    )


def socat(*options: str) -> Tool:
    """socat in one direction (-u)."""

    def listener(route: Route) -> list[str]:
        return ["socat", "-u", "-d", "-d", *options, route.socat_listening, "STDOUT"]

    def sender(route: Route) -> list[str]:
        return ["socat", "-u", *options, "STDIN", route.socat_dialed]

    return Tool(listener, sender, "listening on")


def nc() -> Tool:
    """OpenBSD nc (unix only)."""
    return Tool(lambda route: ["nc", "-lU", str(route.path)], lambda route: ["nc", "-NU", str(route.path)])


def ncat() -> Tool:
    """ncat."""

    def listener(route: Route) -> list[str]:
        address = ["-U", str(route.path)] if route.family == "unix" else ["--vsock", str(route.port)]
        return ["ncat", "-v", "-l", "--recv-only", *address]

    def sender(route: Route) -> list[str]:
        address = ["-U", str(route.path)] if route.family == "unix" else ["--vsock", str(route.cid), str(route.port)]
        return ["ncat", "--send-only", *address]

    return Tool(listener, sender, "Listening on")


def contender(
    work: Workspace, name: str, tool: Tool, routes: Routes, source: Source, *, to_file: bool = False
) -> Contender:
    """One way to carry `source`: into a file that is compared in the warm-up; then to the null device, and counted.

    With `to_file` always into a file in memory.
    """

    def once(which: Source, warm_up: bool) -> Sample:
        copy = work.data / "copy" if warm_up or to_file else None
        sample, written = _carry(work, tool, routes.fresh(), which, copy)
        if copy:
            written = copy.stat().st_size
            if warm_up:
                which.check_same(copy)
            copy.unlink()
        if written < which.size:  # to the null device: by write(2), with what it said on standard error
            raise Failed(f"{name}: the receiver wrote {written} bytes of {which.size}")
        return sample

    return Contender(name, source.size, lambda warm_up: once(source, warm_up), lambda: once(source.tiny(), False))


def _carry(work: Workspace, tool: Tool, route: Route, source: Source, copy: Path | None) -> tuple[Sample, int]:
    """Returns also how much the receiver wrote."""
    listener = work.jobs.start(Command(tool.listener(route), stdout=copy))
    try:
        wait_listening(listener, route, tool.ready)
        began = time.perf_counter()
        children = source.start(work.jobs, tool.sender(route))
        for child in children:
            child.wait()
        listener.wait()
        seconds = time.perf_counter() - began
        cpu = sum(child.cpu for child in (*children, listener))
        return Sample(seconds, cpu, own_seconds(children[-1].said())), listener.written
    finally:
        listener.kill()


def own_seconds(said: str) -> float | None:
    """The seconds of the result object among what hvcopy said; None for a tool that tells none."""
    for line in said.splitlines():
        if line.startswith("{"):
            return float(json.loads(line)["seconds"])
    return None
