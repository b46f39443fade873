"""Runs the command line in processes of its own: start, wait for a line, read what it said, end it by its pid.

It knows the command and its output, no protocol.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

import ports
from starting import ELSEWHERE, execute, start

SLOWER = 3 if ELSEWHERE else 1
"""How much longer than here a command may take where it is not at home: it shares this machine's processors with Wine."""
PATIENCE = 20.0 * SLOWER
"""Seconds that anything expected may take; far above what it does take, for slow machines."""
POLL = 0.01

T = TypeVar("T")


def eventually(probe: Callable[[], T | None], *, what: str, seconds: float = PATIENCE) -> T:
    """Return the first true value of *probe*, asked every few milliseconds; fail the test after *seconds*."""
    ends = time.monotonic() + seconds
    while not (value := probe()):
        assert time.monotonic() < ends, f"not within {seconds:g} s: {what}"
        time.sleep(POLL)
    return value


@dataclass(frozen=True, slots=True)
class Finished:
    """What one command left behind."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def result(self) -> dict[str, Any]:
        """The object of ``--json``: all that is on stdout."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def resume_command(self) -> list[str]:
        """The arguments of the command that the message says to run again."""
        found = re.search(r"run again: hvcopy (.*)", self.err)
        assert found, f"no command that goes on in:\n{self.err}"
        return shlex.split(found[1])


class Running:
    """One process of the command, its output in files, so that no full pipe can stop it, unless *stdout* is given.

    With *prefix*, *env* or *anew* it has an interpreter of its own.
    """

    def __init__(
        self,
        *arguments: object,
        prefix: Sequence[str] = (),
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        anew: bool = False,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> None:
        self._out, self._err = output("stdout"), output("stderr")
        self._start = time.monotonic()
        outputs = self._out.fileno() if stdout is None else stdout, self._err.fileno()
        words, folder = [*map(str, arguments)], cwd or Path.cwd()
        environment = {**os.environ, "COLUMNS": "100", **(env or {})}
        streams = {"cwd": folder, "env": environment, "stdin": stdin, "stdout": stdout is not None}
        if prefix or env or anew:
            self.process = execute(words, *outputs, **streams, prefix=prefix)
        else:
            self.process = start(words, *outputs, **streams)
        if ELSEWHERE:  # a worker may have had to be started first
            self._start = time.monotonic()

    @property
    def pid(self) -> int:
        """The process, for signals to it and to nothing else."""
        return self.process.pid

    @property
    def ended(self) -> bool:
        """True when the process is over."""
        return self.process.poll() is not None

    @property
    def err(self) -> str:
        """What is on stderr by now."""
        return _content(self._err)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def line(self, pattern: str) -> re.Match[str]:
        """Wait until *pattern* is found on stderr; return the match.  Fails when the process ends before."""

        def probe() -> re.Match[str] | None:
            over = self.ended
            found = re.search(pattern, self.err)
            assert found or not over, f"ended with {self.process.returncode} before {pattern!r}:\n{self.err}"
            return found

        return eventually(probe, what=pattern)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.process.kill()
        self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def finish(self, timeout: float = PATIENCE) -> Finished:
        """Wait for the end; the test fails, and the process is killed, after *timeout* seconds."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {timeout:g} s; it said:\n{self.err}") from None
        return Finished(self.process.returncode, _content(self._out), self.err, self.elapsed)

    def close(self) -> None:
        """Kill what still runs, and forget its output."""
        if not self.ended:
            self.process.dismiss()
            self.process.wait()
        self._out.close()
        self._err.close()

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def run(
    *arguments: object,
    timeout: float = PATIENCE,
    prefix: Sequence[str] = (),
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    anew: bool = False,
) -> Finished:
    """Run one command to its end."""
    with Running(*arguments, prefix=prefix, cwd=cwd, env=env, anew=anew) as running:
        return running.finish(max(timeout, 2 * PATIENCE) if ELSEWHERE else timeout)


class Server(Running):
    """``hvcopy serve`` on *address*, ready: ``address`` is where it really listens."""

    def __init__(
        self,
        address: str,
        root: Path,
        *options: object,
        prefix: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__("serve", address, "--root", root, *options, prefix=prefix, env=env)
        self.root = root
        try:
            self.address = self.line(r"serving .* on (\S+)\n")[1]
        except BaseException:
            self.close()
            raise

    def at(self, path: object = "") -> str:
        """The remote path *path* of this server."""
        return f"{self.address}:/{path}"


@contextmanager
def serving(address: str, root: Path, *options: object, prefix: Sequence[str] = ()) -> Iterator[Server]:
    """A server for the time of a ``with``; contents are not forced to disk, which would be most of a test's time."""
    with Server(address, root, "--no-fsync", *options, prefix=prefix) as server:
        assert isinstance(server, Server)
        yield server


@contextmanager
def answering(address: str, *options: object) -> Iterator[tuple[Running, str]]:
    """``hvcopy bench --serve`` for the time of a ``with``, ready, and the address where it really listens."""
    with Running("bench", "--serve", address, *options) as running:
        yield running, running.line(r"answering to bench on (\S+)\n")[1]


@contextmanager
def forwarding(
    listen_at: str, target: str, *options: object, prefix: Sequence[str] = ()
) -> Iterator[tuple[Running, str]]:
    """``hvcopy forward`` for the time of a ``with``, ready, and the address where it really listens."""
    with Running("forward", listen_at, target, *options, prefix=prefix) as running:
        yield running, running.line(r"forwarding (\S+) to")[1]


def output(name: str) -> IO[bytes]:
    """A file for what a process says, which is in no folder: to make one there costs ext4 more than a small command."""
    return os.fdopen(os.memfd_create(name), "w+b")


def _content(file: Any) -> str:
    """Everything in *file* by now; the position belongs to the process that writes, so it is not moved."""
    content = os.pread(file.fileno(), 1 << 24, 0)
    return ports.named(content.decode("utf-8", "surrogateescape"))
