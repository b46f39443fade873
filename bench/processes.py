"""Processes that a benchmark starts: each is waited for or killed by its own pid, and accounted for.

Knows pids, deadlines and CPU time; nothing of the tools.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

PATIENCE = 600.0  # seconds for one process; a scenario goes on without a tool that takes longer
LAST_WORDS = 5.0  # seconds for what an ended process had said; others may hold its pipes open
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A tool that did not do its work; the scenario notes it and goes on."""


@dataclass(frozen=True, slots=True)
class Command:
    """An argument list with its redirections; None is /dev/null."""

    argv: Sequence[str]
    stdin: Path | None = None
    stdout: Path | None = None


class Child:
    """A started process, its standard error kept in a log file."""

    def __init__(
        self, popen: subprocess.Popen[bytes], argv: Sequence[str], log: Path, pumps: Sequence[threading.Thread] = ()
    ) -> None:
        self.pid = popen.pid
        self._popen = popen
        self._argv = argv
        self._log = log
        self._pumps = pumps
        self.cpu = 0.0
        self.written = 0
        """Bytes that it had written, with write(2) and the like, when it ended."""

    def wait(self, patience: float = PATIENCE) -> None:
        """Wait for a good end; raises Failed on any other, and after `patience` seconds, killing it."""
        if not self._ended(patience):
            self.kill()
            raise Failed(f"{self._argv[0]}: not done after {patience:g} s")
        self.written = self._written_so_far()
        _, status, usage = os.wait4(self.pid, 0)
        self.cpu = usage.ru_utime + usage.ru_stime
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        for pump in self._pumps:
            pump.join(LAST_WORDS)
        if self._popen.returncode:
            raise Failed(f"{' '.join(self._argv[:2])} ended with {self._popen.returncode}: {self.said()[-300:]}")

    def wait_said(self, text: str, patience: float = 30.0) -> None:
        """Wait until standard error holds `text`."""
        self.wait_until(lambda: text in self.said(), patience)

    def wait_until(self, ready: Callable[[], bool], patience: float = 30.0) -> None:
        """Wait until `ready` is true; raises Failed if the process ends first."""
        deadline = time.monotonic() + patience
        while not ready():
            if (self._ended(0.002) or time.monotonic() > deadline) and not ready():
                raise Failed(f"{' '.join(self._argv[:2])} did not get ready: {self.said()[-300:]}")

    def said(self) -> str:
        """Its standard error so far."""
        return self._log.read_text(errors="replace")

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it, unless it has ended, and wait for that."""
        if self._popen.returncode is None:
            self._popen.send_signal(number)
            try:
                self._popen.wait(10)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()

    def cpu_so_far(self) -> float:
        """Seconds of CPU time that a process still running has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def _written_so_far(self) -> int:
        """proc(5), /proc/PID/io; it stands until the process is waited for."""
        lines = Path(f"/proc/{self.pid}/io").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))

    def peak_kib(self) -> int:
        """Peak resident memory (VmHWM) of a process still running, in KiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
        return 0

    def _ended(self, patience: float) -> bool:
        descriptor = os.pidfd_open(self.pid)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(patience * 1000))
        finally:
            os.close(descriptor)


class Jobs:
    """Starts processes; none of them outlives its block.

    `through_pipes`: their outputs reach the files by way of pipes, for Wine gives Python no standard streams that are files.
    """

    def __init__(self, logs: Path, *, through_pipes: bool = False) -> None:
        self._logs = logs
        self._through_pipes = through_pipes
        self._children: list[Child] = []

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for child in reversed(self._children):
            child.kill()
        self._children.clear()

    def start(self, command: Command, pass_fds: Sequence[int] = ()) -> Child:
        """Start one process."""
        with contextlib.ExitStack() as files:
            stdin = files.enter_context((command.stdin or Path(os.devnull)).open("rb"))
            stdout = files.enter_context((command.stdout or Path(os.devnull)).open("wb"))
            return self._start(command.argv, stdin.fileno(), stdout.fileno(), pass_fds)

    def pipeline(self, commands: Sequence[Sequence[str]], pass_fds: Sequence[int] = ()) -> list[Child]:
        """Start processes joined by pipes."""
        children = []
        source = os.open(os.devnull, os.O_RDONLY)
        for number, argv in enumerate(commands):
            last = number == len(commands) - 1
            following, sink = (-1, os.open(os.devnull, os.O_WRONLY)) if last else os.pipe()
            try:
                children.append(self._start(argv, source, sink, pass_fds))
            finally:
                os.close(source)
                os.close(sink)
            source = following
        return children

    def _start(self, argv: Sequence[str], stdin: int, stdout: int, pass_fds: Sequence[int]) -> Child:
        self._children = [child for child in self._children if child._popen.returncode is None]
        log = self._logs / f"{time.monotonic_ns()}.log"
        with log.open("wb") as errors:
            sinks = [stdout, errors.fileno()]
            out, err = [subprocess.PIPE] * 2 if self._through_pipes else sinks
            popen = subprocess.Popen(argv, stdin=stdin, stdout=out, stderr=err, pass_fds=pass_fds, env=_environment())
            sources = [source for source in (popen.stdout, popen.stderr) if source]
            pumps = [
                threading.Thread(target=_pump, args=(source, os.dup(sink)), daemon=True)
                for source, sink in zip(sources, sinks, strict=False)
            ]
        for pump in pumps:
            pump.start()
        child = Child(popen, argv, log, pumps)
        self._children.append(child)
        return child


def _pump(source: IO[bytes], sink: int) -> None:
    with source:
        while piece := os.read(source.fileno(), 1 << 16):
            os.write(sink, piece)
    os.close(sink)


def _environment() -> dict[str, str]:
    """An installed package has its bytecode, so it is not compiled anew in every start that is measured."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def unix_listening(path: Path) -> bool:
    """Whether a unix socket listens at `path`, without disturbing it (flag __SO_ACCEPTCON in /proc/net/unix)."""
    with open("/proc/net/unix") as table:
        return any(line.split()[3] == "00010000" and line.rstrip().endswith(f" {path}") for line in list(table)[1:])
