"""The forward scenarios: `hvcopy forward` and socat between a unix socket and TCP or vsock on the loopback, both ways.

Both ends are C programs that do as little as they can, so that the relay is what is measured. A relay is started for
each connection and listens before the time starts.
"""

from __future__ import annotations

import itertools
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import data
from bench.processes import Child, Command, Failed, unix_listening
from bench.results import Result
from bench.rounds import Contender, Sample, measure
from bench.stream_tools import FileSource
from bench.tools import BLOCK, UNIX_BUFFER, VSOCK_BUFFER, installed
from bench.workspace import Settings, Workspace, workspace

SIZE = 2 << 30
MESSAGES = 20_000
WAYS = (("unix", "tcp"), ("tcp", "unix"))
FIRST_PORT = 23000
PORT = re.compile(r"(?:listening |127\.0\.0\.1:)(\d+)\s")
"""How the floor, socat and hvcopy say on which port they listen."""
READY = re.compile("listening|forwarding")


@dataclass(frozen=True, slots=True)
class Place:
    """A unix path, or a port of the loopback; of TCP "0": any."""

    family: str
    where: str

    @property
    def buffer(self) -> str:
        """As hvcopy/transport/tuning.py."""
        return str(VSOCK_BUFFER if self.family == "vsock" else UNIX_BUFFER)

    @property
    def dialed(self) -> str:
        """For the C programs."""
        return f"1:{self.where}" if self.family == "vsock" else self.where

    @property
    def hvcopy_listening(self) -> list[str]:
        if self.family == "vsock":
            return [f"vsock:any:{self.where}", "--allow", "vsock:1"]
        return [self.hvcopy_dialed, "--open"] if self.family == "tcp" else [self.hvcopy_dialed]

    @property
    def hvcopy_dialed(self) -> str:
        return {"unix": "unix:", "tcp": "tcp:127.0.0.1:", "vsock": "vsock:local:"}[self.family] + self.where

    @property
    def socat_listening(self) -> str:
        if self.family == "tcp":
            return f"TCP-LISTEN:{self.where},bind=127.0.0.1"
        return f"{self.family.upper()}-LISTEN:{self.where}"

    @property
    def socat_dialed(self) -> str:
        return f"TCP-CONNECT:127.0.0.1:{self.where}" if self.family == "tcp" else f"{self.family.upper()}-CONNECT:{self.dialed}"


Relay = Callable[[Place, Place], Command]
"""The command that listens at the first place and relays to the second."""


def forward(settings: Settings) -> list[Result]:
    """Throughput and latency through a relay."""
    with workspace(settings) as work:
        path, byte = work.data / "source", work.data / "byte"
        data.make_file(path, work.fit(settings.size or SIZE))
        data.make_file(byte, 1)
        data.preread(path)
        bench = Relays(work, FileSource(path, byte))
        return [run(way) for run in (bench.throughput, bench.latency) for way in WAYS]


class Relays:
    """Connections through each relay, and without one; through socat with its default block `small`, where that is given."""

    def __init__(
        self, work: Workspace, source: FileSource, *, small: FileSource | None = None, messages: int = MESSAGES
    ) -> None:
        self.work, self.source, self.messages = work, source, messages
        self._small = small or source
        self._numbers = itertools.count(1)
        hvcopy = work.settings.hvcopy
        self.relays: dict[str, Relay] = {
            "hvcopy forward": lambda at, to: Command([hvcopy, "forward", *at.hvcopy_listening, to.hvcopy_dialed])
        }
        if installed("socat"):
            self.relays["socat -b 1M"] = lambda at, to: _socat(at, to, *BLOCK)
            self.relays["socat"] = lambda at, to: _socat(at, to)

    def throughput(self, way: tuple[str, str]) -> Result:
        """One file through, one direction."""
        name = f"forward: {way[0]} to {way[1]}"
        found = [self._carrying(one, way, relay) for one, relay in self.relays.items()]
        found += [self._carrying(f"direct {family}", (family, family), None) for family in sorted(set(way))]
        notes = [f"{self.source.size} bytes", "the floor's sender < file in memory, its receiver > /dev/null"]
        return Result(name, "forward", measure(name, found, self.work.settings.rounds), notes)

    def latency(self, way: tuple[str, str]) -> Result:
        """64 bytes there and back, many times."""
        name = f"forward latency: {way[0]} to {way[1]}"
        found = [self._bouncing(one, way, relay) for one, relay in self.relays.items()]
        found += [self._bouncing(f"direct {family}", (family, family), None) for family in sorted(set(way))]
        notes = [f"64 bytes there and back, {self.messages} times a round, one under way"]
        return Result(name, "latency", measure(name, found, self.work.settings.rounds), notes)

    def _carrying(self, name: str, way: tuple[str, str], relay: Relay | None) -> Contender:
        program = str(self.work.settings.floor)
        source = self._small if name == "socat" else self.source

        def once(source: FileSource, warm_up: bool) -> Sample:
            copy = self.work.data / "copy" if warm_up else None
            there = self._place(way[1])
            sink = self.work.jobs.start(Command([program, "recv", there.family, there.where, there.buffer, "-"], stdout=copy))
            with self._joined(sink, there, way[0], relay) as (dialed, cpu):
                began = time.perf_counter()
                argv = [program, "send", dialed.family, dialed.dialed, dialed.buffer, "-"]
                (sender,) = source.start(self.work.jobs, argv)
                sender.wait()
                sink.wait()
                sample = Sample(time.perf_counter() - began, sender.cpu + sink.cpu + cpu())
            written = sink.written
            if copy:
                written = copy.stat().st_size
                source.check_same(copy)
                copy.unlink()
            if written < source.size:
                raise Failed(f"{name}: {written} bytes of {source.size} arrived")
            return sample

        return Contender(
            name,
            source.size,
            lambda warm_up: once(source, warm_up),
            lambda: once(FileSource(source.byte, source.byte), False),
        )

    def _bouncing(self, name: str, way: tuple[str, str], relay: Relay | None) -> Contender:
        program = str(self.work.settings.pingpong)

        def once(_: bool) -> Sample:
            there, out = self._place(way[1]), self.work.sockets / "latency"
            sink = self.work.jobs.start(Command([program, "echo", there.family, there.where]))
            with self._joined(sink, there, way[0], relay) as (dialed, cpu):
                argv = [program, "ping", dialed.family, dialed.dialed, str(self.messages)]
                pinging = self.work.jobs.start(Command(argv, stdout=out))
                pinging.wait()
                sink.wait()
                spent = pinging.cpu + sink.cpu + cpu()
            median, high = (int(number) / 1e9 for number in out.read_text().split())
            return Sample(median, spent, high=high)

        return Contender(name, 64, once)

    def _place(self, family: str) -> Place:
        number = next(self._numbers)
        return Place(
            family,
            {"unix": f"{self.work.sockets}/r{number}", "tcp": "0", "vsock": str(FIRST_PORT + number)}[family],
        )

    @contextmanager
    def _joined(
        self, sink: Child, there: Place, family: str, relay: Relay | None
    ) -> Iterator[tuple[Place, Callable[[], float]]]:
        """Where to dial to reach the sink, and what says the relay's CPU seconds."""
        try:
            there = _listening(sink, there)
            if relay is None:
                yield there, lambda: 0.0
                return
            here = self._place(family)
            process = self.work.jobs.start(relay(here, there))
            try:
                dialed, started = _listening(process, here), process.cpu_so_far()
                yield dialed, lambda: process.cpu_so_far() - started
            finally:
                process.kill(signal.SIGTERM)
        finally:
            sink.kill()


def _listening(process: Child, place: Place) -> Place:
    """Wait until a process listens; the place with the port that it got."""
    if place.family == "unix":
        process.wait_until(lambda: unix_listening(Path(place.where)))
        return place
    if place.family == "vsock":
        process.wait_until(lambda: READY.search(process.said()) is not None)
        return place
    process.wait_until(lambda: PORT.search(process.said()) is not None)
    return Place(place.family, PORT.findall(process.said())[0])


def _socat(at: Place, to: Place, *options: str) -> Command:
    return Command(["socat", "-d", "-d", *options, at.socat_listening, to.socat_dialed])
