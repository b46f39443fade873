"""Where a benchmark works: a memory file system for the data, a private folder for sockets, and its programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.data import MIB
from bench.processes import Failed, Jobs

HERE = Path(__file__).resolve().parent
OUT = HERE / "out"
SPARE = 1024 * MIB  # left free for the processes themselves


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line chose."""

    hvcopy: str
    floor: Path
    rounds: int
    size: int
    """Bytes of the large file; 0 leaves the size to each scenario."""
    quick: bool

    @property
    def pingpong(self) -> Path:
        """The program beside the floor that measures latency."""
        return self.floor.with_name("pingpong")


@dataclass(frozen=True, slots=True)
class Workspace:
    """One scenario's folders and processes; all gone at the end of `workspace`."""

    settings: Settings
    data: Path
    sockets: Path
    jobs: Jobs

    def room(self) -> int:
        """Bytes that data may still take."""
        stat = os.statvfs(self.data)
        return min(stat.f_bavail * stat.f_frsize, available_memory()) - SPARE // (1 if _large() else 8)

    def fit(self, size: int, copies: int = 2) -> int:
        """`size`, halved until `copies` of it fit into memory."""
        while size * copies > self.room() and size > MIB:
            size //= 2
        return size


def available_memory() -> int:
    """MemAvailable in bytes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _large() -> bool:
    return available_memory() > 4096 * MIB


@contextmanager
def workspace(settings: Settings, *, through_pipes: bool = False) -> Iterator[Workspace]:
    """A fresh workspace (`through_pipes`: see `Jobs`); its processes are ended and its folders removed at the end."""
    memory = Path("/dev/shm")
    data = Path(tempfile.mkdtemp(prefix="hvbench-", dir=memory if memory.is_dir() else None))
    sockets = Path(tempfile.mkdtemp(prefix="hvb-"))
    try:
        with Jobs(sockets, through_pipes=through_pipes) as jobs:
            yield Workspace(settings, data, sockets, jobs)
    finally:
        shutil.rmtree(data, ignore_errors=True)
        shutil.rmtree(sockets, ignore_errors=True)


def find_hvcopy() -> str:
    """The hvcopy installed beside this interpreter, else the one on PATH; raises Failed."""
    beside = Path(sys.executable).with_name("hvcopy")
    found = str(beside) if beside.exists() else shutil.which("hvcopy")
    if not found:
        raise Failed("hvcopy is not installed for this interpreter nor on PATH; pip install it first")
    return found


def compile_floor() -> Path:
    """Compile floor.c and pingpong.c into out/, when they are newer than what stands there; raises Failed."""
    OUT.mkdir(exist_ok=True)
    for name in ("floor", "pingpong"):
        _compile(HERE / f"{name}.c", OUT / name)
    return OUT / "floor"


def _compile(source: Path, program: Path) -> None:
    newest = max(source.stat().st_mtime, (HERE / "ends.h").stat().st_mtime)
    if program.exists() and program.stat().st_mtime >= newest:
        return
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise Failed("no C compiler (cc): the yardsticks cannot be built")
    run_quiet([compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(source)])


def run_quiet(argv: Sequence[str]) -> None:
    """Run a helper to its good end; raises Failed."""
    ended = subprocess.run(argv, capture_output=True, text=True)
    if ended.returncode:
        raise Failed(f"{argv[0]}: {ended.stderr[-500:]}")
