"""The guest scenario: files across a VM boundary, both ways."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from typing import Any

from bench.crossing import NOTES, Crossing, Recipe, crossed, good
from bench.data import MIB
from bench.processes import Command, Failed
from bench.results import Result
from bench.rounds import Contender, Sample, measure
from bench.stream_tools import own_seconds
from bench.tools import run_client
from bench.workspace import Settings, Workspace

PORT, HOST_PORT = 18518, 18519
SIZE = 1024 * MIB


def guest(settings: Settings) -> list[Result]:
    """Both directions."""

    def run(work: Workspace, machine: Any) -> list[Result]:
        crossing = FileCrossing(work, machine, SIZE)
        return [crossing.to_guest(), crossing.to_host()]

    return crossed(settings, "guest", run)


class FileCrossing(Crossing):
    """With hvcopy serving in the guest."""

    def __init__(self, work: Workspace, machine: Any, size: int, recipes: Sequence[Recipe] = ()) -> None:
        super().__init__(work, machine, size, recipes)
        serve = f"exec {work.settings.hvcopy} serve vsock:any:{PORT} --root {self.inside}/served --allow vsock:2"
        try:
            machine.start(f"{serve} --no-fsync").wait_output("serving", 60)
        except (EOFError, subprocess.TimeoutExpired) as error:
            raise Failed(f"no hvcopy server in the guest: {error}") from error
        self.remote = f"hybrid:{machine.hybrid}:{PORT}"

    def to_guest(self) -> Result:
        """Host to guest."""
        name = "guest: host to guest"
        found = [self._push("hvcopy --lanes 1", "--lanes", "1"), self._push("hvcopy")]
        found.append(self._push("hvcopy --lanes 4", "--lanes", "4"))
        found += self._other_tools_in()
        notes = [*NOTES, "ncat cannot say CONNECT to the VMM's socket, so it only appears the other way"]
        return Result(name, "guest", measure(name, found, self.work.settings.rounds), notes)

    def to_host(self) -> Result:
        """Guest to host: pulled by the host, and pushed by the guest."""
        name = "guest: guest to host"
        listen = [self.work.settings.hvcopy, "serve", f"hybrid:{self.machine.hybrid}:{HOST_PORT}", "--no-fsync"]
        server = self.work.jobs.start(Command([*listen, "--root", str(self.work.data), "--open"]))
        server.wait_said("serving")
        found = [self._pull("hvcopy --lanes 1", "--lanes", "1"), self._pull("hvcopy")]
        found.append(self._pull("hvcopy --lanes 4", "--lanes", "4"))
        found.append(self._push_out("hvcopy in the guest --lanes 1", "--lanes", "1"))
        found.append(self._push_out("hvcopy in the guest"))
        found += self._other_tools_out()
        return Result(name, "guest", measure(name, found, self.work.settings.rounds), NOTES)

    def _push(self, name: str, *options: str) -> Contender:
        def copy(source: str) -> Sample:
            argv = [self.work.settings.hvcopy, "cp", *options, str(self.work.data / source), f"{self.remote}:/copy"]
            return run_client(self.work, argv)

        return self._contender(name, "source", copy, into_guest=True)

    def _pull(self, name: str, *options: str) -> Contender:
        def copy(source: str) -> Sample:
            argv = [self.work.settings.hvcopy, "cp", *options, f"{self.remote}:/{source}", str(self.work.data / "copy")]
            return run_client(self.work, argv)

        return self._contender(name, "source", copy, into_guest=False)

    def _push_out(self, name: str, *options: str) -> Contender:
        """`hvcopy cp` run in the guest, to a server on the host."""

        def copy(source: str) -> Sample:
            argv = [self.work.settings.hvcopy, "cp", "--no-fsync", "--json", *options, f"{self.inside}/served/{source}"]
            began = time.perf_counter()
            process = self.machine.start([*argv, f"vsock:host:{HOST_PORT}:/copy"])
            good(process)
            seconds = time.perf_counter() - began
            return Sample(seconds, own_seconds=own_seconds(process.output()))

        return self._contender(name, "source", copy, into_guest=False)
