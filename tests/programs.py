"""Programs that say what a test wants, under the names that hvcopy looks for, and processes that look like others."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commands import eventually


def program(path: Path, body: str) -> Path:
    """Make an executable of *body*, a shell script that finds nothing else on its PATH than the shell's own words."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def says(text: str, *, code: int = 0, err: str = "") -> str:
    """Return the body of a script that prints *text*."""
    return f"printf %s {shlex.quote(text)}; printf %s {shlex.quote(err)} >&2; exit {code}"


HANGS = "while :; do /bin/sleep 60; done"
"""The body of a script that never ends by itself, and has a child."""


def is_over(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@contextmanager
def process_called(*words: object, cwd: Path | None = None) -> Iterator[int]:
    """A harmless process whose command line is *words* with two more after the first: a shell that waits to be ended.  Its id."""
    first, *others = map(str, words)
    with subprocess.Popen(
        [first, "-c", "read line", *others], executable="/bin/sh", stdin=subprocess.PIPE, cwd=cwd
    ) as process:
        line = Path(f"/proc/{process.pid}/cmdline")
        try:  # exec closes descriptors, which is what Popen waits for, before it sets the command line
            eventually(lambda: line.read_bytes().startswith(first.encode() + b"\0"), what="its command line")
            yield process.pid
        finally:
            process.kill()


@contextmanager
def vmm_called(*words: object, plan: Path, cwd: Path | None = None) -> Iterator[int]:
    """A process that looks like a VMM and answers as its API: tests/vmm.py with a *plan*.  Its id, once it is ready."""
    first, *others = map(str, words)
    command = [first, str(Path(__file__).with_name("vmm.py")), str(plan), *others]
    with subprocess.Popen(
        command, executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=cwd
    ) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == b"ready\n"
            yield process.pid
        finally:
            process.kill()
