"""Processes of the command: forked from one that has imported it already, or begun by an interpreter of their own.

A start costs 0.15 s of processor time, nearly all of it imports, and the tests make a thousand.  The fork is a process like
any other: its own arguments, environment, folder, output, signals and exit code.
"""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Protocol

import hvcopy

HVCOPY = (sys.executable, "-m", "hvcopy")


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


def start(arguments: Sequence[str], out: int, err: int, *, cwd: Path, env: Mapping[str, str]) -> Process:
    """Start ``hvcopy ARGUMENTS`` with two descriptors of files as its output."""
    return Forked(arguments, out, err, cwd=cwd, env=env)


def execute(
    arguments: Sequence[str],
    out: int,
    err: int,
    *,
    cwd: Path,
    env: Mapping[str, str],
    prefix: Sequence[str] = (),
    stdin: int = subprocess.DEVNULL,
) -> Process:
    """The same in an interpreter of its own, behind *prefix*."""
    command = [*prefix, *HVCOPY, *arguments]
    return subprocess.Popen(command, stdin=stdin, stdout=out, stderr=err, cwd=cwd, env=dict(env))


class Forked:
    """A process of the command that needed no imports; it is killed when the tests end."""

    def __init__(
        self, arguments: Sequence[str], out: int, err: int, *, cwd: Path, env: Mapping[str, str]
    ) -> None:
        self._arguments = list(arguments)
        outputs = [f"/proc/{os.getpid()}/fd/{descriptor}" for descriptor in (out, err)]
        job = (self._arguments, *outputs, str(cwd), dict(env))
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
        if self._process.is_alive():
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, unless it is over."""
        self.send_signal(signal.SIGKILL)


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    modules = [found.name for found in pkgutil.walk_packages(hvcopy.__path__, "hvcopy.")]
    context.set_forkserver_preload([name for name in modules if not name.endswith("__main__")])
    return context


def _become(arguments: list[str], out: str, err: str, cwd: str, env: dict[str, str]) -> None:
    """Be the command; what follows ``python -m hvcopy``."""
    os.environ.clear()
    os.environ.update(env)
    for standard, path in ((1, out), (2, err)):
        opened = os.open(path, os.O_WRONLY)
        os.dup2(opened, standard)
        os.close(opened)
    os.chdir(cwd)
    sys.argv = ["hvcopy", *arguments]
    runpy.run_module("hvcopy", run_name="__main__")
