"""hvcopy's command line inside a lane: run a command there, serve there, and see what stands there.

It knows the command and its output, no protocol; for the same outside of a lane see tests/commands.py.
"""

from __future__ import annotations

import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from commands import Finished
from starting import HVCOPY

from lanes.uml import GuestProcess, KernelDied

PATIENCE = 120.0
"""Seconds that one command may take in there, far above what it does take; starting one takes 0.3 to 0.6 s."""
MANIFEST = str(Path(__file__).resolve().with_name("manifest.py"))


class Machine(Protocol):
    """A `lanes.guest.Guest`, or a `lanes.uml.Kernel`."""

    def start(self, command: list[str] | str) -> GuestProcess:
        """Starts a command there."""

    def run(self, command: list[str] | str, timeout: float) -> subprocess.CompletedProcess[str]:
        """Runs a command there to its end."""


def start_inside(machine: Machine, *arguments: object) -> GuestProcess:
    """Starts one command of hvcopy."""
    return machine.start([*HVCOPY, *map(str, arguments)])


def run_inside(machine: Machine, *arguments: object, timeout: float = PATIENCE) -> Finished:
    """Runs one command of hvcopy to its end."""
    began = time.monotonic()
    done = machine.run([*HVCOPY, *map(str, arguments)], timeout)
    return Finished(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


@contextmanager
def serving_inside(machine: Machine, address: str, root: object, *options: object) -> Iterator[GuestProcess]:
    """A server for the time of a `with`, which then ends on SIGTERM with status 0; or with its machine."""
    server = start_inside(machine, "serve", address, "--root", root, *options)
    try:
        server.wait_output("serving", PATIENCE)
        yield server
    finally:
        with suppress(KernelDied):
            server.signal("TERM")
            ended = server.wait(PATIENCE)
            assert ended == 0, server.output()
            assert "Traceback" not in server.output(), server.output()


@contextmanager
def answering_inside(machine: Machine, address: str, *options: object) -> Iterator[GuestProcess]:
    """A server of benchmarks for the time of a `with`, which then ends on SIGTERM with status 0."""
    server = start_inside(machine, "bench", "--serve", address, *options)
    server.wait_output("answering", PATIENCE)
    yield server
    server.signal("TERM")
    assert server.wait(PATIENCE) == 0, server.output()
    assert "Traceback" not in server.output(), server.output()


@contextmanager
def forwarding_inside(machine: Machine, listen_at: str, target: str, *options: object) -> Iterator[GuestProcess]:
    """A forwarder for the time of a `with`, which then ends on SIGTERM with status 0."""
    forwarder = start_inside(machine, "forward", listen_at, target, *options)
    forwarder.wait_output("forwarding", PATIENCE)
    yield forwarder
    forwarder.signal("TERM")
    assert forwarder.wait(PATIENCE) == 0, forwarder.output()
    assert "Traceback" not in forwarder.output(), forwarder.output()


def pytest_inside(machine: Machine, folder: Path, *arguments: str, timeout: float = 100) -> dict[str, bool]:
    """Runs tests there, none of which fails; gives for each, by name, whether it did run."""
    report = folder / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", f"--junitxml={report}"]
    done = machine.run([sys.executable, "-m", "pytest", *options, *arguments], timeout)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    cases = ElementTree.parse(report).getroot().iter("testcase")
    return {str(case.get("name")): case.find("skipped") is None for case in cases}


def manifest_inside(machine: Machine, folder: object) -> list[str]:
    """What stands in a folder there, read there; see `manifest.manifest`."""
    done = machine.run([sys.executable, "-IS", MANIFEST, str(folder)], PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
