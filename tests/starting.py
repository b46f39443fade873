"""Processes of the command: forked from one that has imported it already, or begun by an interpreter of their own.

A start costs 0.15 s of processor time, nearly all of it imports, and the tests make a thousand.  The fork is a process like
any other: its own arguments, environment, folder, output, signals and exit code.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import pkgutil
import runpy
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from multiprocessing import reduction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import ports

import hvcopy

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

HVCOPY = (sys.executable, "-m", "hvcopy")
ELSEWHERE: dict[str, Any] | None = json.loads(os.environ.get("HVCOPY_TEST_COMMAND", "null"))
"""Of a lane whose command is another one: {"argv": [...], "worker": [...], "env": {...}}.

The command; what does many of them one after the other (lanes/windows/work.py); what both have in their environment.
They have TCP, and no unix sockets: see ``ports``.
"""
if ELSEWHERE:  # before any test changes the environment: they are told what differs from that of the start
    from lanes.windows import workers


class Process(Protocol):
    """What of ``subprocess.Popen`` a started command has."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None:
        """Return the status if the process is over, minus the number of the signal that ended it."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end.  Raises subprocess.TimeoutExpired."""

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it is over."""

    def kill(self) -> None:
        """Send SIGKILL, unless it is over."""

    def dismiss(self) -> None:
        """End it, unless it is over, with nothing more wanted of it."""


def start(
    arguments: Sequence[str],
    out: int,
    err: int,
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: int = subprocess.DEVNULL,
    stdout: bool = False,
) -> Process:
    """Start ``hvcopy ARGUMENTS`` on descriptors: files for what it says, and with *stdout* anything for *out*."""
    if ELSEWHERE:
        words, changed = ports.words(arguments), {**env, **ELSEWHERE["env"]}
        pipes = ({0: stdin} if stdin != subprocess.DEVNULL else {}) | ({1: out} if stdout else {})
        return workers.start(ELSEWHERE["worker"], words, (out, err), cwd=cwd, env=changed, pipes=pipes)
    return Forked(arguments, stdin, out, err, cwd=cwd, env=env)


def execute(
    arguments: Sequence[str],
    out: int,
    err: int,
    *,
    cwd: Path,
    env: Mapping[str, str],
    prefix: Sequence[str] = (),
    stdin: int = subprocess.DEVNULL,
    stdout: bool = False,
) -> Process:
    """The same in an interpreter of its own, behind *prefix*."""
    if ELSEWHERE and not prefix and (stdin != subprocess.DEVNULL or stdout):
        return start(arguments, out, err, cwd=cwd, env=env, stdin=stdin, stdout=stdout)  # each byte as it is
    if ELSEWHERE:
        command = [*prefix, *ELSEWHERE["argv"], *ports.words(arguments)]
        return Piped(command, out, err, cwd=cwd, env={**env, **ELSEWHERE["env"]}, stdin=stdin)
    command = [*prefix, *HVCOPY, *arguments]
    return Own(command, stdin=stdin, stdout=out, stderr=err, cwd=cwd, env=dict(env))


class Own(subprocess.Popen[bytes]):
    """A process with an interpreter of its own."""

    def dismiss(self) -> None:
        """Kill it."""
        self.kill()


class Piped(Own):
    """A process whose outputs reach their files by way of pipes: Wine gives Python no standard streams that are files."""

    def __init__(
        self, command: Sequence[str], out: int, err: int, *, cwd: Path, env: Mapping[str, str], stdin: int
    ) -> None:
        super().__init__(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, env=dict(env))
        assert self.stdout
        assert self.stderr
        pairs = ((self.stdout, os.dup(out), stat.S_ISREG(os.fstat(out).st_mode)), (self.stderr, os.dup(err), True))
        self._pumps = [threading.Thread(target=_pump, args=pair, daemon=True) for pair in pairs]
        for pump in self._pumps:
            pump.start()

    def poll(self) -> int | None:
        """Return the status if the process is over and all it said has been written."""
        code = super().poll()
        return None if code is None or any(pump.is_alive() for pump in self._pumps) else code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and for the last of what it said."""
        code = super().wait(timeout)
        for pump in self._pumps:
            pump.join(timeout)
        return code


def _pump(source: IO[bytes], sink: int, text: bool) -> None:
    """Pass on what it says: text with the ends of lines that tests know."""
    with source, contextlib.suppress(BrokenPipeError):
        while piece := os.read(source.fileno(), 1 << 16):
            rest = memoryview(piece.replace(b"\r\n", b"\n") if text else piece)
            while rest:
                rest = rest[os.write(sink, rest) :]
    os.close(sink)


class Forked:
    """A process of the command that needed no imports; it is killed when the tests end."""

    def __init__(
        self, arguments: Sequence[str], stdin: int, out: int, err: int, *, cwd: Path, env: Mapping[str, str]
    ) -> None:
        self._arguments = list(arguments)
        standard = {0: Passed(stdin)} if stdin != subprocess.DEVNULL else {}
        job = (self._arguments, {**standard, 1: Passed(out), 2: Passed(err)}, str(cwd), dict(env))
        self._process = _context().Process(target=_become, args=job, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The status, once it is known."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the status if the process is over."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end.  Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(["hvcopy", *self._arguments], timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it is over."""
        with contextlib.suppress(ProcessLookupError):  # over since the look, and collected by its parent
            if self._process.is_alive():
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, unless it is over."""
        self.send_signal(signal.SIGKILL)

    def dismiss(self) -> None:
        """Kill it."""
        self.kill()


class Passed:
    """A descriptor that goes to the forked process with its arguments, and is a number there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        return _received, (reduction.DupFd(self._descriptor),)


def _received(passed: Any) -> int:
    return int(passed.detach())


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    modules = [found.name for found in pkgutil.walk_packages(hvcopy.__path__, "hvcopy.")]
    context.set_forkserver_preload([name for name in modules if not name.endswith("__main__")])
    return context


def _become(arguments: list[str], standard: dict[int, int], cwd: str, env: dict[str, str]) -> None:
    """Be the command; what follows ``python -m hvcopy``."""
    os.environ.clear()
    os.environ.update(env)
    for descriptor, passed in standard.items():
        os.dup2(passed, descriptor)
        os.close(passed)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(cwd)
    sys.argv = ["hvcopy", *arguments]
    runpy.run_module("hvcopy", run_name="__main__")
