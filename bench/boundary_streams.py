"""The guest-streams scenario: `hvcopy pipe` and `hvcopy nc` across a VM boundary, both ways."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

from bench.crossing import NOTES, PATIENCE, Crossing, crossed, good
from bench.data import MIB
from bench.processes import Command, Failed
from bench.results import Result
from bench.rounds import Contender, Sample, measure
from bench.stream_tools import own_seconds
from bench.workspace import Settings, Workspace

SIZE = 2048 * MIB  # more than for files: both of hvcopy's ends are started anew


def guest_streams(settings: Settings) -> list[Result]:
    """Both directions."""

    def run(work: Workspace, machine: Any) -> list[Result]:
        crossing = StreamCrossing(work, machine, SIZE)
        return [crossing.to_guest(), crossing.to_host()]

    return crossed(settings, "guest-streams", run)


class StreamCrossing(Crossing):
    """One end of each stream on the host, the other in the guest; from a file in memory to a file in memory."""

    def to_guest(self) -> Result:
        """Host to guest."""
        found = [
            self._into("hvcopy pipe", "pipe -l --no-fsync --progress none", "pipe --json --progress none"),
            self._into("hvcopy nc", "nc -l --recv-only", "nc --send-only"),
            *self._other_tools_in(),
        ]
        return self._result("guest-streams: host to guest", found)

    def to_host(self) -> Result:
        """Guest to host."""
        found = [
            self._out_of("hvcopy pipe", "pipe -l --no-fsync --progress none", "pipe --json --progress none"),
            self._out_of("hvcopy nc", "nc -l --recv-only", "nc --send-only"),
            *self._other_tools_out(),
        ]
        return self._result("guest-streams: guest to host", found)

    def _result(self, name: str, found: list[Contender]) -> Result:
        return Result(name, "guest-streams", measure(name, found, self.work.settings.rounds), NOTES)

    def _into(self, name: str, listening: str, sending: str) -> Contender:
        """The listener in the guest, the sender on the host."""
        program = self.work.settings.hvcopy

        def copy(which: str) -> Sample:
            port = next(self._ports)
            line = f"exec {program} {listening} vsock:any:{port} --allow vsock:2 > {self.inside}/served/copy"
            listener = self.machine.start(f"{line} < /dev/null")
            listener.wait_output("listening on", 60)
            began = time.perf_counter()
            argv = [program, *sending.split(), f"hybrid:{self.machine.hybrid}:{port}"]
            sender = self.work.jobs.start(Command(argv, stdin=self.work.data / which))
            try:
                sender.wait(PATIENCE)
                good(listener)
            except (Failed, subprocess.TimeoutExpired) as error:
                raise Failed(f"{error}; the other end said: {listener.output()[-300:]}") from error
            return Sample(time.perf_counter() - began, own_seconds=own_seconds(sender.said()))

        return self._contender(name, "source", copy, into_guest=True)

    def _out_of(self, name: str, listening: str, sending: str) -> Contender:
        """The sender in the guest, the listener on the host."""
        program, hybrid = self.work.settings.hvcopy, self.machine.hybrid

        def sender(file: str, port: int) -> str:
            return f"exec {program} {sending} vsock:host:{port} < {file}"

        def receiver(path: str, file: Path) -> Command:
            port = path.rpartition("_")[2]
            return Command([program, *listening.split(), f"hybrid:{hybrid}:{port}", "--open"], stdout=file)

        return self._stream_out(name, "source", sender, receiver)
