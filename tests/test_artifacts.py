"""What users get: a whole sdist, the abi3 wheel built from it, a copy made with that away from the checkout; the docs' tables.

Building and installing need the package index; without it these tests skip, and with CI=true they fail.
"""

from __future__ import annotations

import filecmp
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from hvcopy import __version__
from hvcopy.cli.app import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
OFFLINE = re.compile(
    r"No matching distribution found|NewConnectionError|name resolution|Network is unreachable|ConnectTimeout|ProxyError"
)
BUILD_SECONDS = 560
GENERATED = (".git", ".venv", ".cache", ".*_cache", ".hypothesis", "build", "dist", "out", "__pycache__", "*.egg-info", "*.so")

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("artifacts")]


@dataclass(frozen=True)
class Artifacts:
    """What `make dist` builds."""

    sdist: Path
    wheel: Path


def cannot_run(reason: str) -> NoReturn:
    """Skip, saying why; in CI fail."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def command(*argv: object, cwd: Path, env: dict[str, str] | None = None, seconds: float = 60) -> str:
    """Run to the end; return stdout.  Skips when a package cannot be had, fails for any other bad end."""
    done = subprocess.run(
        [*map(str, argv)],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode and OFFLINE.search(done.stdout + done.stderr):
        cannot_run(f"the package index cannot be reached: {(done.stdout + done.stderr)[-300:]}")
    assert done.returncode == 0, f"{argv}: status {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """The sdist of this checkout, and the wheel built from that sdist in an environment of its own.

    Built from a copy: an sdist is put together in the tree itself, where other tests leave and take files meanwhile.
    """
    if importlib.util.find_spec("build") is None:
        cannot_run("the package `build` is missing: pip install --group check")
    folder = tmp_path_factory.mktemp("dist")
    copy = folder / "checkout"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(*GENERATED))
    build = [sys.executable, "-m", "build", "--outdir", folder]
    command(*build, "--sdist", "--no-isolation", copy, cwd=folder, seconds=BUILD_SECONDS)
    (sdist,) = folder.glob("*.tar.gz")
    command(sys.executable, "-m", "tarfile", "--extract", sdist, folder / "unpacked", cwd=folder)
    (unpacked,) = (folder / "unpacked").iterdir()
    command(*build, "--wheel", unpacked, cwd=folder, seconds=BUILD_SECONDS)
    (wheel,) = folder.glob("*.whl")
    return Artifacts(sdist, wheel)


@pytest.fixture(scope="module")
def installed(artifacts: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of a fresh environment that has nothing but the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("installed")
    command(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder, seconds=BUILD_SECONDS)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python"]
    command(*pip, "install", "--quiet", artifacts.wheel, cwd=folder, seconds=BUILD_SECONDS)
    return folder / "bin"


@pytest.fixture(scope="module")
def bundle(artifacts: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of `make bundle`, for this version of Python alone."""
    if importlib.util.find_spec("pex") is None:
        cannot_run("the package `pex` is missing: pip install --group bundle")
    made = tmp_path_factory.mktemp("bundle") / "hvcopy.pex"
    major, minor = sys.version_info[:2]
    platform = f"linux_{os.uname().machine}-cp-{major}.{minor}-cp{major}{minor}"
    options = ["-c", "hvcopy", "--venv", "--sh-boot", "--platform", platform]
    command(sys.executable, "-m", "pex", artifacts.wheel, *options, "-o", made, cwd=made.parent, seconds=BUILD_SECONDS)
    return made


def bare_environment(home: Path) -> dict[str, str]:
    """What a guest has: a Python without packages, and an empty home."""
    return {"PATH": f"{os.path.dirname(os.path.realpath(sys.executable))}:/usr/bin:/bin", "HOME": str(home)}


def clean_environment() -> dict[str, str]:
    """The environment without what could lead back to the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


def ours(names: Sequence[str]) -> set[str]:
    """The names that belong to the project, of all that a listing of the checkout may hold."""
    hidden = re.compile(r"(^|/)(\.gitignore|\.gitattributes|__pycache__)|^bench/out/")
    return {name for name in names if not hidden.search(name)}


def test_sdist_holds_the_whole_checkout(artifacts: Artifacts) -> None:
    with tarfile.open(artifacts.sdist) as archive:
        top, held = set(), set()
        for member in archive.getmembers():
            first, _, rest = member.name.partition("/")
            top.add(first)
            if member.isfile():
                held.add(rest)
    assert top == {f"hvcopy-{__version__}"}
    for name in ("_core/core.pyx", "_core/pack/read_pack.c", "tests/conftest.py", "docs/protocol.md", ".ci/run", "Makefile"):
        assert name in held
    assert not [name for name in held if name.endswith((".so", ".pyc"))]
    if (ROOT / ".git").exists():
        listed = command("git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", cwd=ROOT).split("\0")
        tracked = {name for name in listed if name and (ROOT / name).exists()}
        assert ours(sorted(tracked)) - held == set()


def test_wheel_is_abi3_and_holds_the_package_alone(artifacts: Artifacts) -> None:
    assert re.fullmatch(rf"hvcopy-{__version__}-cp311-abi3-\w+\.whl", artifacts.wheel.name)
    with zipfile.ZipFile(artifacts.wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(f"hvcopy-{__version__}.dist-info/entry_points.txt").decode()
    assert {name.split("/")[0] for name in names} == {"hvcopy", f"hvcopy-{__version__}.dist-info"}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "hvcopy").rglob("*.py")}
    expected = sources | {"hvcopy/_core.abi3.so", "hvcopy/_core.pyi", "hvcopy/py.typed"}
    assert {name for name in names if name.startswith("hvcopy/")} == expected
    assert "hvcopy = hvcopy.cli:main" in entry_points


@pytest.fixture
def served(installed: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a server that runs from the installed wheel, with nothing of the checkout in reach."""
    (tmp_path / "root").mkdir()
    server = subprocess.Popen(
        [installed / "hvcopy", "serve", "unix:socket", "--root", "root"],
        cwd=tmp_path,
        env=clean_environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        yield "unix:socket"
    finally:
        server.terminate()
        assert server.wait(20) == 0


def test_the_bundle_and_the_installed_wheel_copy_both_ways(
    installed: Path, bundle: Path, served: str, tmp_path: Path
) -> None:
    def hvcopy(*arguments: object) -> str:
        return command(bundle, *arguments, cwd=tmp_path, env=bare_environment(tmp_path / "home"))

    (tmp_path / "home").mkdir()
    probe = "import hvcopy, hvcopy._core as core; print(hvcopy.__file__); print(core.__file__)"
    homes = command(installed / "python", "-c", probe, cwd=tmp_path, env=clean_environment()).split()
    assert all(Path(home).is_relative_to(installed.parent) for home in homes)
    assert hvcopy("--version").strip() == f"hvcopy {__version__}"
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "large").write_bytes(os.urandom(40_000_000))
    for number in range(300):
        (tree / "inner" / f"{number}").write_bytes(os.urandom(number * 7))
    hvcopy("cp", "-r", "--wait", "20", "tree", f"{served}:/")
    assert "tree/" in hvcopy("ls", served)
    hvcopy("cp", "-r", f"{served}:/tree", "back")
    names = [str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()]
    for copy in ("root/tree", "back"):
        same, *others = filecmp.cmpfiles(tree, tmp_path / copy, names, shallow=False)
        assert (len(same), others) == (301, [[], []])


# ---- the docs' tables

OPTIONS = runpy.run_path(str(ROOT / "docs" / "generate_options.py"))


@pytest.mark.parametrize("name", COMMANDS)
def test_page_of_each_command_has_its_options(name: str) -> None:
    written = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert "<!-- options -->\n| option |" in written
    assert written == OPTIONS["page"](name), "run: python docs/generate_options.py"


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []
