#!/usr/bin/env python3
"""The foreign parts that the lanes are built from: where they are, and how to get them.

usage: parts.py [--fetch] [kernel|guest|windows|windows-3.13]

Prints what is there and what is missing; status 0 if the lane (default: every lane) is complete, 1 if not.
Nothing is installed on the machine: what is fetched goes to $HVCOPY_LANE_CACHE (default: .cache/lanes in the
checkout).
"""

import argparse
import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

VHOST_DEVICE_VSOCK_VERSION = "0.3.0"
CHECKOUT = Path(__file__).resolve().parents[2]


class LaneMissing(RuntimeError):
    """A lane cannot run on this machine; the text says what is missing and how to get it."""


@dataclass(frozen=True)
class Part:
    """One foreign part: `find` gives its path or None, `fetch` obtains it or raises LaneMissing."""

    name: str
    find: Callable[[], Path | None]
    fetch: Callable[[], None]
    hint: str


def cache() -> Path:
    """The folder for fetched parts; not created by this call."""
    return Path(os.environ.get("HVCOPY_LANE_CACHE") or CHECKOUT / ".cache" / "lanes").absolute()


def find_kernel() -> Path | None:
    """The User-Mode Linux executable, unpacked from Debian's package."""
    path = cache() / "user-mode-linux" / "usr" / "bin" / "linux.uml"
    return path if path.exists() and find_modules() else None


def find_modules() -> Path | None:
    """The folder with that kernel's vsock modules."""
    return next((cache() / "user-mode-linux" / "usr/lib/uml/modules").glob("*/kernel/net/vmw_vsock"), None)


def find_busybox() -> Path | None:
    """busybox from PATH, else the fetched one."""
    return _first(shutil.which("busybox"), cache() / "busybox-static" / "bin" / "busybox")


def find_daemon() -> Path | None:
    """vhost-device-vsock from $VHOST_DEVICE_VSOCK, PATH, cargo's own folder, else the fetched one."""
    name = "vhost-device-vsock"
    if chosen := os.environ.get("VHOST_DEVICE_VSOCK"):
        found = shutil.which(chosen)
        return Path(found) if found else None
    cargo_home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    return _first(shutil.which(name), cargo_home / "bin" / name, cache() / "bin" / name)


def fetch_package(package: str) -> None:
    """Downloads a Debian package and unpacks it below the cache; several callers at once are safe."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise LaneMissing(f"{package} comes from a Debian package; needs apt-get and dpkg-deb")
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        unpacked = Path(folder) / "unpacked"
        as_root = os.geteuid() == 0
        # apt's own unprivileged user usually may not write below a checkout
        sandbox = ["-o", "APT::Sandbox::User=root"] if as_root else []
        download = ["apt-get", "-qq", *sandbox, "download", package]
        try:
            _run(download, cwd=folder)
        except LaneMissing:
            if not as_root:
                raise
            _run(["apt-get", "-qq", "update"], cwd=folder)
            _run(download, cwd=folder)
        archive = next(Path(folder).glob("*.deb"))
        _run(["dpkg-deb", "-x", str(archive), str(unpacked)], cwd=folder)
        target = cache() / package
        shutil.rmtree(target, ignore_errors=True)
        unpacked.rename(target)


def fetch_daemon() -> None:
    """Builds the pinned vhost-device-vsock with cargo into the cache (about a minute)."""
    if os.environ.get("VHOST_DEVICE_VSOCK"):
        raise LaneMissing("$VHOST_DEVICE_VSOCK names no executable; correct it or unset it")
    if not shutil.which("cargo"):
        raise LaneMissing("vhost-device-vsock is built from its crate; needs cargo (https://rustup.rs)")
    crate = ["vhost-device-vsock", "--version", VHOST_DEVICE_VSOCK_VERSION]
    _run(["cargo", "install", "--locked", "--root", str(cache()), *crate], cwd=cache())


KERNEL = Part(
    "user-mode-linux",
    find_kernel,
    lambda: fetch_package("user-mode-linux"),
    "apt-get download user-mode-linux, then dpkg-deb -x into the cache",
)
BUSYBOX = Part(
    "busybox",
    find_busybox,
    lambda: fetch_package("busybox-static"),
    "apt-get install busybox, or apt-get download busybox-static, then dpkg-deb -x into the cache",
)
DAEMON = Part(
    "vhost-device-vsock",
    find_daemon,
    fetch_daemon,
    f"cargo install --locked --version {VHOST_DEVICE_VSOCK_VERSION} vhost-device-vsock",
)
WINE = Part("wine", lambda: _first(shutil.which("wine")), lambda: _not_fetched(WINE), "apt-get install wine wine64")
MINGW = Part(
    "mingw-w64",
    lambda: _first(shutil.which("x86_64-w64-mingw32-gcc")) if shutil.which("gendef") else None,
    lambda: _not_fetched(MINGW),
    "apt-get install gcc-mingw-w64-x86-64-win32 mingw-w64-x86-64-dev mingw-w64-tools",
)


def _windows_python(minor: str) -> Part:
    def find() -> Path | None:
        from lanes.windows import made  # not above: it imports this module

        return made.find(minor)

    def make() -> None:
        from lanes.windows import made

        made.make(minor)

    hint = f"makes it from a wheel of panda3d and the library of a CPython {minor} on this machine"
    return Part(f"Windows Python {minor}", find, make, hint)


LANES: dict[str, tuple[Part, ...]] = {
    "kernel": (KERNEL, BUSYBOX),
    "guest": (KERNEL, BUSYBOX, DAEMON),
    "windows": (WINE, MINGW, _windows_python("3.12")),
    "windows-3.13": (WINE, MINGW, _windows_python("3.13")),
}


def locate(part: Part) -> Path:
    """The part's path. Raises LaneMissing with the command that fetches it."""
    _check_machine()
    path = part.find()
    if path is None:
        raise LaneMissing(f"{part.name} is missing; python3 tests/lanes/parts.py --fetch does: {part.hint}")
    return path


def fetch(lane: str) -> None:
    """Obtains what the lane still lacks. Raises LaneMissing if that is not possible."""
    _check_machine()
    with _locked(cache()):
        for part in LANES[lane]:
            if part.find() is None:
                part.fetch()


def require(lane: str) -> None:
    """Skips the calling pytest test, saying why, if the lane cannot run here; fails it if $CI is `true`."""
    import pytest

    reason = ""
    try:
        for part in LANES[lane]:
            locate(part)
    except LaneMissing as error:
        reason = f"the {lane} lane cannot run: {error}"
    if reason and os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(reason)


def _check_machine() -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise LaneMissing("the lanes run on x86-64 Linux only")


def _not_fetched(part: Part) -> None:
    raise LaneMissing(f"{part.name} must be installed on the machine: {part.hint}")


def _first(*candidates: str | Path | None) -> Path | None:
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            return Path(candidate).absolute()
    return None


def _run(command: list[str], cwd: str | Path) -> None:
    result = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    if result.returncode:
        raise LaneMissing(f"`{' '.join(command)}` ended with status {result.returncode}")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Creates the folder, hidden from git, and holds its lock: two fetchers must not write one file."""
    import fcntl  # not on Windows, where this module must still import so that tests can be skipped

    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description="Finds or fetches the parts of the test lanes.")
    parser.add_argument("--fetch", action="store_true", help="obtain what is missing")
    parser.add_argument("lane", nargs="?", choices=sorted(LANES), help="default: every lane")
    options = parser.parse_args()
    complete = True
    for lane in [options.lane] if options.lane else LANES:
        try:
            if options.fetch:
                fetch(lane)
        except LaneMissing as error:
            print(f"parts: {error}", file=sys.stderr)
        print(f"{lane} lane:")
        for part in LANES[lane]:
            try:
                print(f"  {part.name:20} {locate(part)}")
            except LaneMissing as error:
                complete = False
                print(f"  {part.name:20} MISSING: {error}")
    return 0 if complete else 1


if __name__ == "__main__":
    from lanes import parts  # as those who import it know it, with the one LaneMissing

    sys.exit(parts.main())
