"""The guest-forward scenario: `hvcopy forward` and socat in the guest, from a unix socket there to a port of the host.

A relay listens before the time starts. Throughput is timed until the sink has written everything, for the guest's end of
one direction never reaches the host, and how long a relay waits then is not its speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.crossing import PATIENCE, Crossing, crossed, good
from bench.data import MIB
from bench.processes import Child, Command, unix_listening
from bench.results import Result
from bench.rounds import Contender, Sample, measure
from bench.tools import BLOCK, UNIX_BUFFER, VSOCK_BUFFER, installed
from bench.workspace import Settings, Workspace

SIZE = 1024 * MIB
MESSAGES = 5000
NOTES = ["User-Mode Linux guest with one processor, vhost-device-vsock"]

Relay = Callable[[str, int], str]
"""The command that listens on a unix socket of the guest and relays to a port of the host."""


def guest_forward(settings: Settings) -> list[Result]:
    """Throughput and latency, guest to host."""

    def run(work: Workspace, machine: Any) -> list[Result]:
        crossing = ForwardCrossing(work, machine, SIZE)
        return [crossing.throughput(), crossing.latency()]

    return crossed(settings, "guest-forward", run)


class ForwardCrossing(Crossing):
    """Connections of the guest through each relay, and without one."""

    def throughput(self) -> Result:
        """One file through."""
        name = "guest-forward: guest to host"
        found = [self._carrying(one, relay) for one, relay in self._relays().items()]
        notes = [*NOTES, f"{self.size} bytes", "socat's default with a smaller file"]
        return Result(name, "forward", measure(name, found, self.work.settings.rounds), notes)

    def latency(self) -> Result:
        """64 bytes there and back, many times."""
        name = "guest-forward latency: guest to host"
        found = [self._bouncing(one, relay) for one, relay in self._relays().items()]
        notes = [*NOTES, f"64 bytes there and back, {MESSAGES} times a round, one under way"]
        return Result(name, "latency", measure(name, found, self.work.settings.rounds), notes)

    def _relays(self) -> dict[str, Relay | None]:
        hvcopy = self.work.settings.hvcopy
        found: dict[str, Relay | None] = {"hvcopy forward": lambda at, to: f"{hvcopy} forward unix:{at} vsock:host:{to}"}
        if installed("socat"):
            found["socat -b 1M"] = lambda at, to: f"socat -d -d {' '.join(BLOCK)} UNIX-LISTEN:{at} VSOCK-CONNECT:2:{to}"
            found["socat"] = lambda at, to: f"socat -d -d UNIX-LISTEN:{at} VSOCK-CONNECT:2:{to}"
        return found | {"direct vsock": None}

    def _joined(self, relay: Relay | None, sink: Callable[[str], Command]) -> tuple[Child, Any, str]:
        """The sink on the host, the relay in the guest, and where to dial there, as the C programs want it."""
        port = next(self._ports)
        path = f"{self.machine.hybrid}_{port}"
        listener = self.work.jobs.start(sink(path))
        listener.wait_until(lambda: unix_listening(Path(path)))
        if relay is None:
            return listener, None, f"vsock 2:{port}"
        near = f"{self.inside}/r{port}"
        process = self.machine.start(f"exec {relay(near, port)}")
        process.wait_output("forwarding" if "forward" in relay(near, port) else "listening on", 60)
        return listener, process, f"unix {near}"

    def _carrying(self, name: str, relay: Relay | None) -> Contender:
        program, copied = self.work.settings.floor, self.work.data / "copy"

        def copy(which: str) -> Sample:
            size = (self.work.data / which).stat().st_size
            sink = [str(program), "recv", "unix"]
            copied.touch()
            listener, process, at = self._joined(relay, lambda path: Command([*sink, path, str(UNIX_BUFFER), str(copied)]))
            buffer = UNIX_BUFFER if relay else VSOCK_BUFFER
            try:
                began = time.perf_counter()
                good(self.machine.start(f"exec {program} send {at} {buffer} {self.inside}/served/{which}"))
                listener.wait_until(lambda: copied.stat().st_size >= size, PATIENCE)
                return Sample(time.perf_counter() - began)
            finally:
                _end(listener, process)

        return self._contender(name, "small" if name == "socat" else "source", copy, into_guest=False)

    def _bouncing(self, name: str, relay: Relay | None) -> Contender:
        program = self.work.settings.pingpong

        def once(_: bool) -> Sample:
            listener, process, at = self._joined(relay, lambda path: Command([str(program), "echo", "unix", path]))
            try:
                pinging = self.machine.start(f"exec {program} ping {at} {MESSAGES}")
                good(pinging)
                median, high = (int(number) / 1e9 for number in pinging.output().split())
                return Sample(median, high=high)
            finally:
                _end(listener, process)

        return Contender(name, 64, once)


def _end(listener: Child, process: Any) -> None:
    if process:
        process.signal("TERM")
        process.wait(PATIENCE)
    listener.kill()
