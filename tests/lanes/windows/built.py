"""Cross-compiles hvcopy's core for Windows, and puts a package and a wheel around it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from setuptools import Extension

from lanes.parts import CHECKOUT
from lanes.windows.made import CC, FOREIGN, RECIPES

BUILD = CHECKOUT / "build" / "windows"
RELEASE = "release"
WARNINGS = ["-Wall", "-Wextra", "-Werror"]


def build_core(minor: str, variant: str = RELEASE) -> Path:
    """hvcopy._core, one module for every CPython from 3.11 on; compiled again only when a source changed.

    *variant* is one of setup.py's.
    """
    folder = _folder(variant)
    core = folder / "_core.pyd"
    places = [CHECKOUT / "_core"] if variant == RELEASE else [CHECKOUT / "_core", CHECKOUT / "tests" / "faults"]
    sources = sorted(path for place in places for path in place.rglob("*.*") if path.suffix not in (".py", ".pyc"))
    stamp = hashlib.sha256()
    for path in [*sources, CHECKOUT / "setup.py", Path(__file__), FOREIGN / "pyconfig.h"]:
        stamp.update(str(path).encode() + path.read_bytes())
    if core.is_file() and _content(folder / "core.stamp") == stamp.hexdigest():
        return core
    folder.mkdir(parents=True, exist_ok=True)
    facts = _extension(variant)
    cython = [sys.executable, "-m", "cython", "--module-name", "hvcopy._core", "-I", "_core", "_core/core.pyx"]
    _run([*cython, "-o", str(folder / "core.c")])
    compile_ = [CC, "-O2", "-DNDEBUG", *WARNINGS, "-Wno-unused-function", "-fvisibility=hidden"]
    compile_.append(f"-I{_headers(folder)}")
    compile_ += [f"-D{name}={value}" for name, value in facts.define_macros]
    compile_ += [f"-I{folder}" for folder in facts.include_dirs]
    objects = []
    for source in facts.sources:
        path = folder / "core.c" if source.endswith(".pyx") else CHECKOUT / source
        objects.append(str(folder / (Path(source).stem + ".o")))
        _run([*compile_, "-c", str(path), "-o", objects[-1]])
    link = [CC, "-shared", "-s", "-static-libgcc", "-o", str(core), *objects, f"-L{RECIPES[minor].folder}", "-lpython3"]
    _run([*link, *(f"-l{name}" for name in facts.libraries)])
    (folder / "core.stamp").write_text(stamp.hexdigest())
    return core


def link_package(minor: str, variant: str = RELEASE) -> Path:
    """The folder to put on PYTHONPATH: the checkout's Python files, by links, and the core for Windows.

    What stands there already stays, since a program may be running from it.
    """
    tree = _folder(variant) / "tree"
    core = build_core(minor, variant)
    package = tree / "hvcopy"
    package.mkdir(parents=True, exist_ok=True)
    wanted = {path.name: path for path in (CHECKOUT / "hvcopy").iterdir()}
    for path in package.iterdir():
        if path.is_symlink() and path.name not in wanted:
            path.unlink()
    for name, source in wanted.items():
        if source.suffix not in (".so", ".pyd") and name != "__pycache__":
            with contextlib.suppress(FileExistsError):
                (package / name).symlink_to(source)
    if not _same(core, package / core.name):
        copied = package / f"{core.name}-{os.getpid()}"
        shutil.copy(core, copied)
        copied.replace(package / core.name)
    return tree


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def build_wheel(minor: str) -> Path:
    """The wheel for Windows: this checkout's own, with the core in it exchanged and its tag set."""
    core = build_core(minor)
    folder = BUILD / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    native = [sys.executable, "setup.py", "-q", "bdist_wheel", "--dist-dir", str(folder / "native")]
    _run([*native, "--bdist-dir", str(folder / "bdist")])
    wheel = [sys.executable, "-m", "wheel"]
    _run([*wheel, "unpack", "-d", str(folder), *map(str, (folder / "native").glob("*.whl"))])
    (unpacked,) = folder.glob("hvcopy-*")
    for module in (unpacked / "hvcopy").glob("_core*.so"):
        module.unlink()
    shutil.copy(core, unpacked / "hvcopy")
    _run([*wheel, "pack", "-d", str(folder), str(unpacked)])
    (packed,) = folder.glob("*.whl")
    _run([*wheel, "tags", "--remove", "--platform-tag", "win_amd64", str(packed)])
    (tagged,) = folder.glob("*.whl")
    return tagged


def _folder(variant: str) -> Path:
    return BUILD if variant == RELEASE else BUILD / variant


def _extension(variant: str) -> Extension:
    """How setup.py compiles the core on Windows."""
    here, before = os.getcwd(), os.environ.get("HVCOPY_BUILD")
    os.chdir(CHECKOUT)  # setup.py looks for its sources from there, as setuptools has it
    os.environ["HVCOPY_BUILD"] = variant
    try:
        found = runpy.run_path("setup.py", run_name="facts")["core"]("win32")
    finally:
        os.chdir(here)
        del os.environ["HVCOPY_BUILD"]
        if before is not None:
            os.environ["HVCOPY_BUILD"] = before
    assert isinstance(found, Extension)
    return found


def _headers(folder: Path) -> Path:
    """CPython's headers with the answers for Windows; the limited API is the same in each version."""
    copy = folder / "include"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(sysconfig.get_path("include"), copy)
    shutil.copy(FOREIGN / "pyconfig.h", copy)
    return copy


def _content(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(
        command, cwd=CHECKOUT, env=os.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` ended with status {done.returncode}:\n{done.stdout.decode()[-6000:]}")
