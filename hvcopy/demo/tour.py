"""What the demonstration does, in order: a tree, then a large file; by cp, to the server, back; then the comparison."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from hvcopy.demo.compare import Extent, difference, extent
from hvcopy.demo.memory import available, read_all, touch_memory
from hvcopy.demo.stage import ADDRESS, HVCOPY, SERVED, Stage
from hvcopy.errors import DigestMismatch, LocalFailure, printable
from hvcopy.units import format_size

MIB = 1 << 20
SPARE = 256 * MIB
"""Room beyond the copies themselves, for what file systems add."""
COMMON = ("--no-fsync", "--quiet")


@dataclass(frozen=True, slots=True)
class Source:
    """Something to copy: its title for people, where it is, how much it is."""

    title: str
    path: str
    extent: Extent

    @property
    def name(self) -> str:
        """The name of its copies."""
        return os.path.basename(self.path)


@dataclass(frozen=True, slots=True)
class Row:
    """One measured copy; *cp_seconds* is what plain cp took for the same, 0 when there is none."""

    way: str
    extent: Extent
    seconds: float
    cp_seconds: float


@dataclass
class Tour:
    """Runs the demonstration on *stage*; ``on_source``, ``on_row`` and ``on_note`` hear of it as it happens."""

    stage: Stage
    size: int
    on_source: Callable[[Source], None]
    on_row: Callable[[Row], None]
    on_note: Callable[[str], None]
    _cp: list[str] = field(default_factory=list)

    def run(self) -> int:
        """Copy everything; returns how many copies were compared and found equal.  Raises HvcopyError; blocks."""
        library = os.path.dirname(os.__file__)
        self.on_note("looking through the standard library")
        tree = Source("Python's standard library", library, extent(library))
        need = self._check_room(tree.extent)
        self._cp = _plain_cp()
        if not self._cp:
            self.on_note("there is no cp here, so nothing to compare the rates with")
        self.on_note("warming up: memory is slow when it is used for the first time")
        touch_memory(need, check=self.stage.check)
        self.stage.serve()
        return self._copy(tree) + self._copy(self._large_file())

    def _copy(self, source: Source) -> int:
        stage, name, tree = self.stage, source.name, os.path.isdir(source.path)
        os.makedirs(stage.path("pulled"), exist_ok=True)
        read_all(source.path, check=stage.check)
        self.on_source(source)
        cp_seconds = 0.0
        deep = ("-r", "--links") if tree else ()
        if self._cp:
            cp_seconds = stage.run([*self._cp, *deep[:1], source.path, "plain"])
            stage.remove("plain")
            self.on_row(Row("cp -r" if tree else "cp", source.extent, cp_seconds, cp_seconds))
        push = stage.run([*HVCOPY, "cp", *deep, *COMMON, source.path, f"{ADDRESS}:/"])
        self.on_row(Row("hvcopy push", source.extent, push, cp_seconds))
        pull = stage.run([*HVCOPY, "cp", *deep, *COMMON, f"{ADDRESS}:/{name}", "pulled"])
        self.on_row(Row("hvcopy pull", source.extent, pull, cp_seconds))
        self.on_note("comparing both copies with the source, byte by byte")
        for folder in (SERVED, "pulled"):
            self._compare(source, os.path.join(folder, name))
        return 2

    def _compare(self, source: Source, copy: str) -> None:
        """Raise unless *copy* is equal to its source; then remove it."""
        if found := difference(source.path, self.stage.path(copy), check=self.stage.check):
            raise DigestMismatch(
                f"NOT EQUAL: {printable(found)}",
                hint="if something else wrote to the source meanwhile, run it again; else report it, please",
            )
        self.stage.remove(copy)

    def _large_file(self) -> Source:
        """Write the file of random bytes; it is on disk afterwards, so that writing it disturbs no measurement."""
        self.on_note(f"writing {format_size(self.size)} of random bytes")
        path = self.stage.path("random")
        with open(path, "wb", buffering=0) as file:
            for start in range(0, self.size, MIB):
                self.stage.check()
                file.write(os.urandom(min(MIB, self.size - start)))
            os.fsync(file.fileno())
        return Source("a file of random bytes", path, Extent(1, self.size))

    def _check_room(self, tree: Extent) -> int:
        """Return the bytes that all copies take at most.  Raises LocalFailure when the folder has less."""
        need = max(2 * (tree.bytes + 4096 * tree.files), 3 * self.size) + SPARE
        free = shutil.disk_usage(self.stage.folder).free
        if free < need:
            raise LocalFailure(
                f"{self.stage.folder}: {format_size(free)} free, and the demo needs {format_size(need)} there",
                hint="take another folder with TMPDIR=/var/tmp, or a smaller file with --size 64M",
            )
        if sys.platform != "win32" and (load := os.getloadavg()[0]) > (os.cpu_count() or 1):
            self.on_note(f"this machine is busy (load {load:.1f}): the rates will be low and uneven")
        memory = available()
        if memory and memory < need:
            self.on_note(f"only {format_size(memory)} of memory is free: the rates will be those of the disk")
        return need


def _plain_cp() -> list[str]:
    """Return cp's command, told to move the bytes and not only to share them; empty when there is none."""
    cp = shutil.which("cp")
    if cp is None:
        return []
    found = subprocess.run([cp, "--help"], capture_output=True, text=True, check=False)
    return [cp, "--reflink=never"] if "--reflink" in found.stdout else [cp]

