"""Where a source lands: as ``cp -r`` would put it, compared with the real ``cp -r`` case by case."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import run, serving

from e2e.trees import picture, plant

SOURCES: dict[str, bytes | None] = {"file": b"file", "other": b"other", "d/x": b"x", "d/e/y": b"y", "empty": None}
STANDING: dict[str, bytes | None] = {"there/old": b"old", "there/d/kept": b"kept", "plain": b"plain"}


@dataclass(frozen=True, slots=True)
class Case:
    """Sources and destination as typed, relative to the folder of each side."""

    sources: tuple[str, ...]
    destination: str

    def __str__(self) -> str:
        return f"{','.join(self.sources)}>{self.destination}"


CASES = [
    Case((source,), destination)
    for source in ("file", "d", "d/", "d/.", "empty")
    for destination in ("", "new", "new/", "there", "there/", "plain", "there/new", "no/new", "there/d")
] + [
    Case(("file", "other"), "there"),
    Case(("file", "other"), "there/"),
    Case(("file", "d"), "there"),
    Case(("file", "d"), "new"),
    Case(("file", "d"), "new/"),
    Case(("file", "other"), "plain"),
    Case(("d", "empty"), "there/d"),
    Case((".",), "new"),
    Case((".",), "there"),
    Case(("d/..",), "there"),
    Case(("d/../file",), "there"),
    Case(("./file",), "./there"),
    Case(("file/",), "there"),
    Case(("d//e",), "there//d"),
]
REFUSED_BY_BOTH = "refused"


def by_cp(folder: Path, case: Case) -> object:
    """Do it with ``cp -r``; returns what stands then, or that it refused."""
    source, target = plant(folder / "source", SOURCES), plant(folder / "target", STANDING)
    ends = [*(f"{source}/{name}" for name in case.sources), f"{target}/{case.destination}"]
    done = subprocess.run(["cp", "-r", *ends], capture_output=True, text=True, check=False)
    return _outcome(done.returncode, target)


def _outcome(code: int, target: Path) -> object:
    return REFUSED_BY_BOTH if code and picture(target) == picture(plant(target.with_name("as new"), STANDING)) else picture(target)


def by_push(folder: Path, case: Case, address: str) -> object:
    """Do it by pushing to a server of ``folder/target``."""
    source, target = plant(folder / "source", SOURCES), plant(folder / "target", STANDING)
    with serving(address, target) as server:
        ends = [*(f"{source}/{name}" for name in case.sources), server.at(case.destination)]
        done = run("cp", "-r", "--overwrite", *ends)
    assert "Traceback" not in done.err
    return _outcome(done.code, target)


def by_pull(folder: Path, case: Case, address: str) -> object:
    """Do it by pulling from a server of ``folder/source``."""
    source, target = plant(folder / "source", SOURCES), plant(folder / "target", STANDING)
    with serving(address, source, "--read-only") as server:
        ends = [*(server.at(name) for name in case.sources), f"{target}/{case.destination}"]
        done = run("cp", "-r", "--overwrite", "--no-fsync", *ends)
    assert "Traceback" not in done.err
    return _outcome(done.code, target)


@pytest.mark.skipif(shutil.which("cp") is None, reason="needs cp to compare with")
@pytest.mark.parametrize("group", range(8))
def test_sources_land_where_cp_puts_them(group: int, tmp_path: Path) -> None:
    wrong = {}
    for number, case in enumerate(CASES[group::8]):
        wanted = by_cp(tmp_path / f"cp{number}", case)
        for name, way in (("push", by_push), ("pull", by_pull)):
            if name == "pull" and case.sources[0] == "d/..":
                continue  # names of the server with .. in them are refused by rule
            found = way(tmp_path / f"{name}{number}", case, f"unix:{tmp_path}/{name}{number}.s")
            if found != wanted:
                wrong[f"{name} {case}"] = f"\n  found  {found}\n  wanted {wanted}"
    assert not wrong, "".join(f"\n{case}{why}" for case, why in wrong.items())
