"""Where a source lands: as ``cp -r`` would put it, compared with the real ``cp -r`` case by case."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import Server, run

from e2e.trees import leftovers, noise, picture, plant

SOURCES: dict[str, bytes | None] = {
    "file": b"file",
    "other": b"other",
    "d/x": b"x",
    "d/e/y": b"y",
    "empty": None,
}
STANDING: dict[str, bytes | None] = {"there/old": b"old", "there/d/kept": b"kept", "plain": b"plain"}


@dataclass(frozen=True, slots=True)
class Case:
    """Sources and destination as typed, relative to the folder of each side."""

    sources: tuple[str, ...]
    destination: str

    def __str__(self) -> str:
        return f"{','.join(self.sources)}>{self.destination}"


CASES = [
    *(Case(("file",), to) for to in ("", "new", "new/", "there", "there/", "plain", "there/new", "no/new")),
    *(
        Case(("d",), to)
        for to in ("", "new", "new/", "there", "there/", "plain", "there/new", "no/new", "there/d")
    ),
    *(Case(("d/",), to) for to in ("new", "there")),
    *(Case(("d/.",), to) for to in ("", "new", "there", "plain", "there/new")),
    *(Case(("empty",), to) for to in ("new", "there", "plain")),
    Case(("file", "other"), "there"),
    Case(("file", "other"), "there/"),
    Case(("file", "d"), "there"),
    Case(("file", "d"), "new"),
    Case(("file", "other"), "plain"),
    Case(("d", "empty"), "there/d"),
    Case((".",), "new"),
    Case((".",), "there"),
    Case(("d/..",), "there"),
    Case(("./file",), "./there"),
    *(Case((file,), to) for file in ("file/", "file/.") for to in ("there", "new")),
    Case(("d//e",), "there//d"),
]
GROUPS = 6
REFUSED_BY_BOTH = "refused"


def by_cp(folder: Path, case: Case) -> object:
    """Do it with ``cp -r``; returns what stands then, or that it refused."""
    ends = [*(f"{folder}/source/{name}" for name in case.sources), f"{folder}/target/{case.destination}"]
    return _outcome(folder, subprocess.run(["cp", "-r", *ends], capture_output=True, check=False).returncode)


def by_push(folder: Path, case: Case, server: Server) -> object:
    """Do it by pushing to *server*."""
    there = folder.relative_to(server.root)
    ends = [
        *(f"{folder}/source/{name}" for name in case.sources),
        server.at(f"{there}/target/{case.destination}"),
    ]
    return _outcome(folder, run("cp", "-r", "--overwrite", "--progress", "none", *ends).code)


def by_pull(folder: Path, case: Case, server: Server) -> object:
    """Do it by pulling from *server*."""
    there = folder.relative_to(server.root)
    ends = [
        *(server.at(f"{there}/source/{name}") for name in case.sources),
        f"{folder}/target/{case.destination}",
    ]
    return _outcome(folder, run("cp", "-r", "--overwrite", "--no-fsync", "--progress", "none", *ends).code)


def _outcome(folder: Path, code: int) -> object:
    found = picture(folder / "target")
    untouched = picture(plant(folder / "untouched", STANDING))
    return REFUSED_BY_BOTH if code and found == untouched else found


@pytest.mark.skipif(shutil.which("cp") is None, reason="needs cp to compare with")
@pytest.mark.parametrize("group", range(GROUPS))
def test_sources_land_where_cp_puts_them(group: int, server: Server) -> None:
    wrong = {}
    for number, case in enumerate(CASES[group::GROUPS]):
        outcomes: dict[str, object] = {}
        for name in ("cp", "push", "pull"):
            folder = server.root / f"{number}{name}"
            plant(folder / "source", SOURCES)
            plant(folder / "target", STANDING)
            if name == "cp":
                outcomes[name] = by_cp(folder, case)
            elif name == "push" or ".." not in case.sources[0]:  # names of the server never have .. in them
                outcomes[name] = (by_push if name == "push" else by_pull)(folder, case, server)
        wrong.update({f"{name} {case}": found for name, found in outcomes.items() if found != outcomes["cp"]})
    assert not wrong


def ends(server: Server, source: str, target: str, *, pull: bool) -> tuple[str, str]:
    """Return what to copy from *source* to *target*, both below the server's root, which both sides can reach."""
    here = f"{server.root}/"
    return (server.at(source), here + target) if pull else (here + source, server.at(target))


def begin(server: Server, *, pull: bool) -> None:
    """Copy *d* to the new *new*, all but one file, whose name is refused."""
    plant(server.root, SOURCES | {"d/.hvcopy-own": b"refused"})
    assert run("cp", "-r", *ends(server, "d", "new", pull=pull)).code == 11
    (server.root / "d/.hvcopy-own").rename(server.root / "d/own")


@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_the_same_command_goes_on_with_a_directory_of_which_something_failed(pull: bool, server: Server) -> None:
    begin(server, pull=pull)
    done = run("cp", "-r", *ends(server, "d", "new", pull=pull))
    assert done.code == 0, done.err
    assert picture(server.root / "new") == picture(server.root / "d")
    assert not leftovers(server.root)


@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_nothing_is_noted_any_more_when_all_is_found_to_be_there(pull: bool, server: Server) -> None:
    plant(server.root, {"d/large": noise(300_000), "d/.hvcopy-own": b"refused"})
    command = ["cp", "-r", *ends(server, "d", "new", pull=pull)]
    assert run(*command).code == 11
    assert leftovers(server.root / "new") == []
    assert len(leftovers(server.root)) == 2
    (server.root / "d/.hvcopy-own").unlink()
    assert run(*command).code == 0
    assert leftovers(server.root) == []


@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_another_source_goes_into_a_directory_that_is_not_whole(pull: bool, server: Server) -> None:
    begin(server, pull=pull)
    for source in ("empty", "file"):
        done = run("cp", "-r", *ends(server, source, "new", pull=pull))
        assert done.code == 0, done.err
        assert picture(server.root / "new" / source) == picture(server.root / source)


@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_a_source_goes_into_a_link_to_a_directory_that_is_not_whole(pull: bool, server: Server) -> None:
    """Whoever moved it away and left a link has it followed where links are: on their own side."""
    begin(server, pull=pull)
    (server.root / "new").rename(server.root / "moved")
    (server.root / "new").symlink_to("moved")
    done = run("cp", "-r", *ends(server, "d", "new", pull=pull))
    assert done.code == (0 if pull else 10), done.err
    assert (server.root / "moved/d").exists() == pull


@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_a_dry_run_begins_nothing(pull: bool, server: Server) -> None:
    plant(server.root, SOURCES)
    before = picture(server.root)
    assert run("cp", "-r", "--dry-run", *ends(server, "d", "new", pull=pull)).code == 0
    assert picture(server.root) == before
