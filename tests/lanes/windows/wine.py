"""Runs Windows programs under Wine, in a prefix of the lanes' own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from lanes.parts import cache


def prefix() -> Path:
    """The folder with Wine's registry and drive C, made once by `made.make_prefix`."""
    return cache() / "windows" / "prefix"


def windows_path(path: str | Path) -> str:
    """A path of this machine as programs under Wine see it: the root is drive Z."""
    return "Z:" + str(Path(path).absolute()).replace("/", "\\")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without a display, and with what Wine needs."""
    env = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_WINDOWS}
    env |= {
        "WINEPREFIX": str(prefix()),
        "WINEARCH": "win64",
        "WINEDEBUG": os.environ.get("WINEDEBUG", "-all"),
        "WINEDLLOVERRIDES": "mscoree=;mshtml=",
        "HVCOPY_LANE": "windows",
    }
    return env | dict(extra or {})


def start(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Starts a program with its outputs in pipes; Wine 8 gives Python no standard streams that are regular files."""
    return subprocess.Popen(
        ["wine", *map(str, argv)],
        cwd=cwd,
        env=environment(env),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(
    argv: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end.  Raises subprocess.TimeoutExpired, having killed it."""
    with start(argv, cwd=cwd, env=env) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess([*map(str, argv)], process.returncode, _text(out), _text(err))


def stream(argv: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> int:
    """Runs a program to its end with its outputs passed on as they come; gives its status."""
    process = start(argv, cwd=cwd, env=env)
    assert process.stdout
    assert process.stderr
    pumps = [
        threading.Thread(target=_pump, args=pair)
        for pair in ((process.stdout, sys.stdout.buffer), (process.stderr, sys.stderr.buffer))
    ]
    for pump in pumps:
        pump.start()
    try:
        return process.wait()
    except BaseException:
        process.kill()
        raise
    finally:
        for pump in pumps:
            pump.join()


_NOT_FOR_WINDOWS = {"DISPLAY", "WAYLAND_DISPLAY", "PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV"}


def _pump(source: IO[bytes], sink: IO[bytes]) -> None:
    while piece := os.read(source.fileno(), 1 << 16):
        sink.write(piece)
        sink.flush()


def _text(output: bytes) -> str:
    return output.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
