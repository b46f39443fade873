"""The guest-forward scenario: `hvcopy forward` and socat, from a unix socket of the guest to a port of the host, and back.

A relay listens before the time starts. Throughput is timed until the sink has written everything, for the guest's end of
one direction never reaches the host, and how long a relay waits then is not its speed. The other way the sink ends with
the end of the stream.

Into the guest one has to say CONNECT to the VMM's socket, which socat cannot: its relay is given a connection of which that
was said before, so it lacks one round trip before the first byte. The C programs say it themselves where no relay stands.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
DIRECT = "direct hybrid: no relay"
SAID_BEFORE = "socat cannot say CONNECT to the VMM's socket: that was said before on the connection it was given"

Relay = Callable[[str, int], str]
"""The command that listens on a unix socket of the guest and relays to a port of the host."""


def guest_forward(settings: Settings) -> list[Result]:
    """Throughput and latency, both ways."""

    def run(work: Workspace, machine: Any) -> list[Result]:
        crossing = ForwardCrossing(work, machine, SIZE)
        into = IntoGuest(work, machine, SIZE)
        return [crossing.throughput(), crossing.latency(), into.throughput(), into.latency()]

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


class IntoGuest(Crossing):
    """Connections of the host through each relay there to a port of the guest, and without one."""

    def throughput(self) -> Result:
        """One file through."""
        name = "guest-forward: host to guest"
        found = [self._carrying(one) for one in self._relays()]
        notes = [*NOTES, f"{self.size} bytes", SAID_BEFORE, "socat's default with a smaller file"]
        return Result(name, "forward", measure(name, found, self.work.settings.rounds), notes)

    def latency(self) -> Result:
        """64 bytes there and back, many times."""
        name = "guest-forward latency: host to guest"
        found = [self._bouncing(one) for one in self._relays()]
        notes = [*NOTES, f"64 bytes there and back, {MESSAGES} times a round, one under way", SAID_BEFORE]
        return Result(name, "latency", measure(name, found, self.work.settings.rounds), notes)

    def _relays(self) -> list[str]:
        return ["hvcopy forward", *(["socat -b 1M", "socat"] if installed("socat") else []), DIRECT]

    @contextmanager
    def _joined(self, relay: str, listener: str) -> Iterator[tuple[Any, list[str]]]:
        """What listens in the guest at the port that `listener` leaves open, and where the C programs dial on the host."""
        port = next(self._ports)
        there = self.machine.start(f"exec {listener.format(port=port)}")
        there.wait_output("listening", 60)
        near = self.work.sockets / f"r{port}"
        with ExitStack() as held:
            if relay == DIRECT:
                yield there, ["hybrid", f"{self.machine.hybrid}:{port}"]
                return
            if relay == "hvcopy forward":
                argv = [self.work.settings.hvcopy, "forward", f"unix:{near}", f"hybrid:{self.machine.hybrid}:{port}"]
                process = self.work.jobs.start(Command(argv))
            else:
                process = self._socat(port, near, BLOCK if relay != "socat" else [])
            held.callback(process.kill, signal.SIGTERM)
            process.wait_until(lambda: unix_listening(near))
            yield there, ["unix", str(near)]

    def _socat(self, port: int, near: Path, options: Sequence[str]) -> Child:
        """The connection is then its own, whose end is to be heard in the guest; shut-down: at once, as hvcopy tells it."""
        with self._dialed(port) as connection:
            argv = ["socat", *options, f"UNIX-LISTEN:{near}", f"FD:{connection.fileno()},shut-down"]
            return self.work.jobs.start(Command(argv), pass_fds=[connection.fileno()])

    def _carrying(self, relay: str) -> Contender:
        program = str(self.work.settings.floor)
        sink = f"{program} recv vsock {{port}} {VSOCK_BUFFER} {self.inside}/served/copy"

        def copy(which: str) -> Sample:
            with self._joined(relay, sink) as (there, at):
                began = time.perf_counter()
                self.work.jobs.start(Command([program, "send", *at, str(UNIX_BUFFER), str(self.work.data / which)]))
                good(there)
                return Sample(time.perf_counter() - began)

        return self._contender(relay, "small" if relay == "socat" else "source", copy, into_guest=True)

    def _bouncing(self, relay: str) -> Contender:
        program = str(self.work.settings.pingpong)

        def once(_: bool) -> Sample:
            said = self.work.sockets / "times"
            with self._joined(relay, f"{program} echo vsock {{port}}") as (there, at):
                self.work.jobs.start(Command([program, "ping", *at, str(MESSAGES)], stdout=said)).wait(PATIENCE)
                good(there)
            median, high = (int(number) / 1e9 for number in said.read_text().split())
            return Sample(median, high=high)

        return Contender(relay, 64, once)


def _end(listener: Child, process: Any) -> None:
    if process:
        process.signal("TERM")
        process.wait(PATIENCE)
    listener.kill()
