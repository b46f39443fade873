"""Makes a genuine Windows CPython that runs under Wine, from packages alone.

The python.org DLLs and extension modules are in the Windows wheels of panda3d on the Python package index, signed by
the Python Software Foundation; the standard library's Python files come from a CPython of the same version on this
machine.  Nothing of it is committed or passed on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lanes.parts import CHECKOUT, LaneMissing, cache
from lanes.windows import wine

FOREIGN = Path(__file__).resolve().with_name("foreign")
CC = "x86_64-w64-mingw32-gcc"
PROBE = "import os, platform; print(platform.python_version(), os.path.dirname(os.__file__), sep='\\n')"
# api-ms-win: Wine has its own; _wmi aborts the process under Wine 8; Tk and the test modules are not needed
UNWANTED = ("api-ms-win", "tcl86t", "tk86t", "_tkinter", "_wmi", "_test", "_ctypes_test")
NOT_LIBRARY = {"test", "site-packages", "lib-dynload", "idlelib", "turtledemo", "ensurepip", "__pycache__", "lib2to3"}
NOT_FOR_WINDOWS = ("build", "matplotlib", "wheel")
WAY = 1
"""To be raised when the code below makes something else of the same parts."""


@dataclass(frozen=True)
class Recipe:
    """One Python: `full` is the version of the DLLs in the pinned wheel."""

    minor: str
    full: str
    panda3d: str
    sha256: str

    @property
    def tag(self) -> str:
        """As in python312.dll."""
        return self.minor.replace(".", "")

    @property
    def folder(self) -> Path:
        """Where it is made; python.exe is in it.  Checkouts that make it differently can share a cache."""
        return cache() / "windows" / f"python-{self.minor}-{_stamp(self)[:8]}"

    @property
    def python(self) -> Path:
        """python.exe."""
        return self.folder / "python.exe"


RECIPES = {
    recipe.minor: recipe
    for recipe in (
        Recipe("3.12", "3.12.1", "1.10.14", "a5f2defd822d38848f8ae1956115adcb6cc7f464f03a67e73681cc72df125ef4"),
        Recipe("3.13", "3.13.0", "1.10.15", "81da0be19890802980828dde4c59f920f7e49bb9e6ec02375c899cace8074baf"),
    )
}


def find(minor: str) -> Path | None:
    """python.exe, if it was made by the recipe as it now is."""
    python = RECIPES[minor].python
    return python if python.is_file() and wine.prefix().is_dir() else None


def make(minor: str) -> None:
    """Makes one Python, and Wine's prefix if need be; call it under the lanes' lock.  Raises LaneMissing."""
    recipe = RECIPES[minor]
    library = _find_library(recipe)
    (cache() / "windows").mkdir(parents=True, exist_ok=True)
    make_prefix()
    with tempfile.TemporaryDirectory(dir=cache() / "windows") as scratch:
        folder = Path(scratch) / "python"
        _unpack(recipe, Path(scratch), folder)
        shutil.copytree(library, folder / "Lib", ignore=_left_out)
        _compile(recipe, Path(scratch), folder)
        _install_packages(recipe, folder)
        shutil.rmtree(recipe.folder, ignore_errors=True)
        folder.rename(recipe.folder)
    done = wine.run([recipe.python, "-c", "import sys, ssl, winreg, socket, msgspec; print(sys.version)"], timeout=120)
    if not done.stdout.startswith(recipe.full + " "):
        shutil.rmtree(recipe.folder)
        raise LaneMissing(f"the Windows Python that was made does not run: {done.stdout}{done.stderr}")


def make_prefix() -> None:
    """Makes Wine's registry and drive C, as Windows 10, where a crash opens no debugger."""
    if wine.prefix().is_dir():
        return
    try:
        _wine(["wineboot", "-i"], 180)
        version = ["reg.exe", "add", r"HKCU\Software\Wine", "/v", "Version", "/t", "REG_SZ", "/d", "win10", "/f"]
        _wine(version, 60)
        key = r"HKLM\Software\Microsoft\Windows NT\CurrentVersion\AeDebug"
        wine.run(["reg.exe", "delete", key, "/v", "Debugger", "/f"], timeout=60)
    except BaseException:
        shutil.rmtree(wine.prefix(), ignore_errors=True)
        raise


def requirements() -> list[str]:
    """What hvcopy and its tests need, from pyproject.toml, and what pip takes as Linux's markers would leave it out."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    named = [*project["project"]["dependencies"], *project["dependency-groups"]["test"]]
    return [one for one in named if not one.startswith(NOT_FOR_WINDOWS)] + ["colorama", "pip"]


def _stamp(recipe: Recipe) -> str:
    """Changes with all that the result is made from, but for the versions that the package index has today."""
    parts = [repr(recipe), *requirements(), str(WAY)]
    parts += [path.read_text() for path in sorted(FOREIGN.iterdir())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _find_library(recipe: Recipe) -> Path:
    """The folder with os.py of a native CPython: of the very version, else of the same minor one."""
    near: Path | None = None
    for python in _interpreters(recipe.minor):
        try:
            answer = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, timeout=60, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        version, folder = answer.stdout.splitlines()
        if version == recipe.full:
            return Path(folder)
        if version.startswith(recipe.minor + "."):
            near = near or Path(folder)
    if near is None:
        raise LaneMissing(
            f"a CPython {recipe.minor} whose standard library can be copied (best {recipe.full}): "
            f"pyenv install {recipe.full}, or a package python{recipe.minor}"
        )
    return near


def _interpreters(minor: str) -> Iterator[str]:
    name = f"python{minor}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    uv = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "uv/python"
    for pattern in (pyenv.glob(f"{minor}.*/bin/{name}"), uv.glob(f"cpython-{minor}.*/bin/{name}")):
        yield from map(str, sorted(pattern))
    if found := shutil.which(name):
        yield found


def _unpack(recipe: Recipe, scratch: Path, folder: Path) -> None:
    _pip(["download", "--no-deps", "-d", str(scratch), *_target(recipe), f"panda3d=={recipe.panda3d}"])
    wheel = next(scratch.glob("panda3d-*.whl"))
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != recipe.sha256:
        raise LaneMissing(f"{wheel.name} is not the file that was checked: its SHA-256 is {found}")
    (folder / "DLLs").mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.namelist():
            path = PurePosixPath(entry)
            if path.parent.name != "deploy_libs" or path.name.startswith(UNWANTED) or "t-win_amd64" in path.name:
                continue
            beside = path.name.lower().startswith(("python", "vcruntime"))
            (folder / ("." if beside else "DLLs") / path.name).write_bytes(archive.read(entry))


def _left_out(_: str, names: list[str]) -> set[str]:
    return {name for name in names if name in NOT_LIBRARY or name.startswith("config-")}


def _compile(recipe: Recipe, scratch: Path, folder: Path) -> None:
    """python.exe, the DLLs that are missing, and the import library that an abi3 extension is linked against."""
    dll = f"python{recipe.tag}"
    _run(["gendef", f"{dll}.dll"], folder)
    _run(["x86_64-w64-mingw32-dlltool", "-d", f"{dll}.def", "-D", f"{dll}.dll", "-l", f"lib{dll}.a"], folder)
    _run(["x86_64-w64-mingw32-windres", "python.rc", str(scratch / "manifest.o")], FOREIGN)
    link = [CC, "-municode", "-O2", "-s", "-o", "python.exe", str(FOREIGN / "python.c"), str(scratch / "manifest.o")]
    _run([*link, "-L.", f"-l{dll}"], folder)
    random = [CC, "-shared", "-O2", "-s", "-o", "bcryptprimitives.dll", str(FOREIGN / "bcryptprimitives.c"), "-ladvapi32"]
    _run(random, folder)
    exports = []
    for line in (folder / f"{dll}.def").read_text().splitlines():
        name, _, kind = line.partition(" ")
        if name.startswith(("Py", "_Py")):
            exports.append((name, " DATA" if kind.strip() == "DATA" else ""))
    forwards = "".join(f"{name} = {dll}.{name}{kind}\n" for name, kind in exports)
    (scratch / "forward.def").write_text(f"LIBRARY python3.dll\nEXPORTS\n{forwards}")
    imports = "".join(f"{name}{kind}\n" for name, kind in exports)
    (scratch / "import.def").write_text(f"LIBRARY python3.dll\nEXPORTS\n{imports}")
    build = [CC, "-shared", "-nostdlib", "-e", "DllMain", "-o", "python3.dll", str(FOREIGN / "python3.c")]
    _run([*build, str(scratch / "forward.def")], folder)
    library = ["-d", str(scratch / "import.def"), "-D", "python3.dll", "-l", "libpython3.dll.a"]
    _run(["x86_64-w64-mingw32-dlltool", *library], folder)


def _install_packages(recipe: Recipe, folder: Path) -> None:
    site = folder / "Lib" / "site-packages"
    _pip(["install", "--no-compile", "--target", str(site), *_target(recipe), *requirements()])


def _target(recipe: Recipe) -> list[str]:
    abis = [option for abi in (f"cp{recipe.tag}", "abi3", "none") for option in ("--abi", abi)]
    platform = ["--platform", "win_amd64", "--python-version", recipe.minor, "--implementation", "cp"]
    return ["--only-binary", ":all:", *platform, *abis]


def _pip(arguments: Sequence[str]) -> None:
    verb, *rest = arguments
    _run([sys.executable, "-m", "pip", verb, "--quiet", "--disable-pip-version-check", *rest], CHECKOUT)


def _run(command: Sequence[str], cwd: Path) -> None:
    done = subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        said = done.stdout.decode(errors="backslashreplace").strip()[-2000:]
        raise LaneMissing(f"`{' '.join(command)}` ended with status {done.returncode}: {said}")


def _wine(argv: Sequence[str], timeout: float) -> None:
    done = wine.run(argv, timeout=timeout)
    if done.returncode:
        raise LaneMissing(f"`wine {' '.join(argv)}` ended with status {done.returncode}: {done.stdout}{done.stderr}")
