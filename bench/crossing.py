"""A booted guest (tests/lanes/guest.py), files on both sides of its boundary, and streams of other tools across it.

The host talks to the VMM's hybrid unix socket, the guest to AF_VSOCK; the machine itself opens no AF_VSOCK socket.
Times are the host's, so a command in the guest also costs the lane's own 20 to 70 ms; its time for one byte
shows how much.
"""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from bench import data
from bench.data import MIB
from bench.processes import Command, Failed, unix_listening
from bench.results import Result
from bench.rounds import Contender, Sample
from bench.stream_tools import own_seconds
from bench.tools import BLOCK, installed
from bench.workspace import HERE, Settings, Workspace, workspace

MEMORY = "12G"
SMALL = 16 * MIB  # for tools whose block is 8 KiB or less
PATIENCE = 300.0
NOTES = ["User-Mode Linux guest with one processor, vhost-device-vsock", "defaults with a smaller file"]

HostCommand = Callable[[str, Path], Command]
"""What listens on a unix socket of the host and writes what comes to a file."""


def crossed(settings: Settings, name: str, run: Callable[[Workspace, Any], list[Result]]) -> list[Result]:
    """What `run` finds with a booted guest; skipped, with the reason, where the lane cannot run."""
    sys.path.append(str(HERE.parent / "tests"))
    lane = import_module("lanes.guest")
    missing = import_module("lanes.parts").LaneMissing
    try:
        with workspace(settings) as work, lane.Guest(memory=MEMORY, cwd=HERE.parent) as machine:
            return run(work, machine)
    except (missing, lane.KernelDied) as error:
        return [Result(name, name, skipped=str(error))]


Recipe = tuple[str, str, tuple[int, ...]]
"""A name, and the function of `data` that makes it, with its arguments."""


class Crossing:
    """A booted guest, and what to copy on both sides: files `source`, `small` and `tiny`; or what `recipes` says."""

    def __init__(self, work: Workspace, machine: Any, size: int, recipes: Sequence[Recipe] = ()) -> None:
        self.work, self.machine = work, machine
        self.inside = f"{machine.tmpfs}/bench"
        self.size = work.fit(min(work.settings.size or size, size), copies=4)  # two here, two in the guest
        files = {"source": self.size, "small": SMALL, "tiny": 1}
        self.recipes = recipes or [(name, "make_file", (size,)) for name, size in files.items()]
        self._ports = itertools.count(21000)
        for name, maker, arguments in self.recipes:
            getattr(data, maker)(work.data / name, *arguments)
        self._say_in_guest(f"mkdir -p {self.inside}/served")
        self._say_in_guest(self._make_inside())

    # streams of other tools

    def _other_tools_in(self) -> Iterator[Contender]:
        """socat, sending on the host, receiving in the guest."""
        if installed("socat"):
            yield self._socat_in("socat -b 1M", "source", *BLOCK)
            yield self._socat_in("socat", "small")

    def _other_tools_out(self) -> Iterator[Contender]:
        """socat and ncat, sending in the guest, receiving on the host."""
        for name, options, source in (("socat -b 1M", BLOCK, "source"), ("socat", [], "small")):
            if installed("socat"):
                socat = ["socat", "-u", *options]
                yield self._stream_out(name, source, _socat_sender(socat), _socat_receiver(socat))
        if installed("ncat"):
            yield self._stream_out("ncat", "small", _ncat_sender, _ncat_receiver)

    def _socat_in(self, name: str, source: str, *options: str) -> Contender:
        """socat to socat in the guest; the CONNECT is said beforehand, for socat cannot."""

        def copy(which: str) -> Sample:
            port = next(self._ports)
            line = f"exec socat -u -d -d {' '.join(options)} VSOCK-LISTEN:{port} OPEN:{self.inside}/served/copy,creat,trunc"
            listener = self.machine.start(line)
            listener.wait_output("listening on", 30)
            with self._dialed(port) as connection:
                target = f"FD:{connection.fileno()}"
                began = time.perf_counter()
                argv = ["socat", "-u", *options, f"OPEN:{self.work.data / which},rdonly", target]
                sender = self.work.jobs.start(Command(argv), pass_fds=[connection.fileno()])
            sender.wait(PATIENCE)
            good(listener)
            return Sample(time.perf_counter() - began)

        return self._contender(name, source, copy, into_guest=True)

    def _stream_out(
        self, name: str, source: str, sender: Callable[[str, int], str], receiver: HostCommand
    ) -> Contender:
        def copy(which: str) -> Sample:
            port = next(self._ports)
            path = f"{self.machine.hybrid}_{port}"
            listener = self.work.jobs.start(receiver(path, self.work.data / "copy"))
            try:
                listener.wait_until(lambda: unix_listening(Path(path)))
                began = time.perf_counter()
                process = self.machine.start(sender(f"{self.inside}/served/{which}", port))
                good(process)
                listener.wait(PATIENCE)
                return Sample(time.perf_counter() - began, own_seconds=own_seconds(process.output()))
            finally:
                listener.kill()

        return self._contender(name, source, copy, into_guest=False)

    def _contender(self, name: str, source: str, copy: Callable[[str], Sample], *, into_guest: bool) -> Contender:
        remove = self._remove_inside if into_guest else lambda: data.remove(self.work.data / "copy")
        check = self._check_inside if into_guest else self._check_here

        def once(which: str, warm_up: bool) -> Sample:
            remove()
            try:
                sample = copy(which)
            except (EOFError, subprocess.TimeoutExpired) as error:
                raise Failed(str(error)) from error
            check(which, warm_up)
            remove()
            return sample

        size = data.extent(self.work.data / source)[1]
        return Contender(name, size, lambda warm_up: once(source, warm_up), lambda: once("tiny", False))

    # the guest's side

    def _say_in_guest(self, line: str) -> str:
        ended = self.machine.run(line, PATIENCE)
        if ended.returncode:
            raise Failed(f"in the guest: {ended.stderr[-300:]}")
        return str(ended.stdout)

    def _make_inside(self) -> str:
        """The same in the guest: it sees this checkout, though not the host's memory file system."""
        program = f"import sys; sys.path.insert(0, {str(HERE.parent)!r}); from bench import data; "
        program += f"[getattr(data, maker)(data.Path({self.inside!r}) / 'served' / name, *arguments) "
        program += f"for name, maker, arguments in {list(self.recipes)!r}]"
        return f'{sys.executable} -c "{program}"'

    def _remove_inside(self) -> None:
        self._say_in_guest(f"rm -rf {self.inside}/served/copy")

    def _check_inside(self, which: str, warm_up: bool) -> None:
        places = [f"{self.inside}/served/{name}" for name in (which, "copy")]
        extents = [f"$(find {place} -type f -printf '%s\\n' | sort -n | uniq -c)" for place in places]
        self._say_in_guest(f"diff -r {' '.join(places)}" if warm_up else f'test "{extents[0]}" = "{extents[1]}"')

    def _check_here(self, which: str, warm_up: bool) -> None:
        data.check_extent(self.work.data / which, self.work.data / "copy")
        if warm_up:
            data.check_same(self.work.data / which, self.work.data / "copy")

    @contextmanager
    def _dialed(self, port: int) -> Iterator[socket.socket]:
        """A connection to a port of the guest, past the VMM's OK."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self.machine.hybrid))
            connection.sendall(f"CONNECT {port}\n".encode())
            answer = b""
            while not answer.endswith(b"\n"):
                byte = connection.recv(1)
                if not byte:
                    raise Failed(f"the VMM refused port {port}")
                answer += byte
            connection.settimeout(None)
            yield connection


def good(process: Any) -> None:
    status = process.wait(PATIENCE)
    if status:
        raise Failed(f"{process.argv[0]} in the guest ended with {status}: {process.output()[-300:]}")


def _socat_sender(socat: list[str]) -> Callable[[str, int], str]:
    return lambda file, port: f"exec {' '.join(socat)} OPEN:{file},rdonly VSOCK-CONNECT:2:{port}"


def _socat_receiver(socat: list[str]) -> HostCommand:
    return lambda path, file: Command([*socat, f"UNIX-LISTEN:{path}", f"OPEN:{file},creat,trunc"])


def _ncat_sender(file: str, port: int) -> str:
    return f"exec ncat --send-only --vsock 2 {port} < {file}"


def _ncat_receiver(path: str, file: Path) -> Command:
    """--no-shutdown: at the end of its empty input it would half-close, which the VMM makes a full close."""
    return Command(["ncat", "-l", "--recv-only", "--no-shutdown", "-U", path], stdout=file)
