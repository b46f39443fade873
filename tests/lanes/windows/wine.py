"""Runs Windows programs under Wine, in a prefix of the lanes' own."""

from __future__ import annotations

import atexit
import fcntl
import functools
import os
import re
import subprocess
import sys
import threading
import time
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


@functools.cache
def command() -> tuple[str, ...]:
    """What starts a program there: wine, with addresses that are not random, where the kernel lets one choose that.

    Wine 8 must have the page at 0x7ffe0000, and ends with 1 and without a word when it is taken (virtual_alloc_first_teb in
    dlls/ntdll/unix/virtual.c).  Linux 6.9 and later start a heap anywhere in the GiB that follows the program
    (arch_randomize_brk): one start of Wine in two thousand had its own there.  Docker's seccomp profile refuses setarch -R.
    """
    fixed = ("setarch", "-R")
    try:
        refused = subprocess.run([*fixed, "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode
    except FileNotFoundError:
        refused = 1
    return ("wine",) if refused else (*fixed, "wine")


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


def wake(env: Mapping[str, str]) -> None:
    """Has Wine's server and its services there until this process ends, and for some seconds more.

    Debian's server ends with the last program.  With the next one services begin anew, which takes 5 s; and they keep that
    program's outputs open for as long as they live, so that who waits for the end of its outputs waits for everybody's end.
    Here that is a program of which nobody waits for anything: it lives until its input ends.
    """
    with _waking:
        if _holders and _holders[-1].poll() is None:
            return
        nowhere = subprocess.DEVNULL  # it would hold pipes open
        with open(prefix().parent / "waking", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            server = ["wineserver", f"-p{_LINGERS}"]
            subprocess.run(server, env=env, stdin=nowhere, stdout=nowhere, stderr=nowhere, check=False)
            holder = subprocess.Popen(
                [*command(), "cmd.exe", "/c", "echo up& set /p x="],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=nowhere,
            )
            assert holder.stdout
            holder.stdout.readline()
        _holders.append(holder)
        atexit.register(holder.communicate)


def start(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Starts a program with its outputs in pipes; Wine 8 gives Python no standard streams that are regular files."""
    whole = environment(env)
    wake(whole)
    return subprocess.Popen(
        [*command(), *map(str, argv)],
        cwd=cwd,
        env=whole,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(
    argv: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end.  Raises subprocess.TimeoutExpired, having killed it."""
    with Program(argv, cwd=cwd, env=env) as program:
        return program.finish(timeout)


class Program:
    """A running program whose outputs are collected; ended, at the latest, with the `with` block."""

    def __init__(
        self, argv: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.process = start(argv, cwd=cwd, env=env)
        assert self.process.stdout
        assert self.process.stderr
        self._outputs = [bytearray(), bytearray()]
        streams = zip((self.process.stdout, self.process.stderr), self._outputs, strict=True)
        self._pumps = [threading.Thread(target=_collect, args=pair, daemon=True) for pair in streams]
        for pump in self._pumps:
            pump.start()

    @property
    def err(self) -> str:
        """What it has said on stderr by now."""
        return _text(bytes(self._outputs[1]))

    def line(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Waits for *pattern* on stderr."""
        ends = time.monotonic() + seconds
        while not (found := re.search(pattern, self.err)):
            assert self.process.poll() is None, f"ended with {self.process.returncode} before {pattern!r}:\n{self.err}"
            assert time.monotonic() < ends, f"not within {seconds:g} s: {pattern!r} in:\n{self.err}"
            time.sleep(0.02)
        return found

    def finish(self, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Waits for its end."""
        code = self.process.wait(seconds)
        for pump in self._pumps:
            pump.join(_LAST_WORDS)
        out, err = (_text(bytes(output)) for output in self._outputs)
        return subprocess.CompletedProcess(self.process.args, code, out, err)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()  # the process that Windows sees is this one
        self.process.wait()


def stream(argv: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> int:
    """Runs a program to its end with its outputs passed on as they come; gives its status."""
    process = start(argv, cwd=cwd, env=env)
    assert process.stdout
    assert process.stderr
    pumps = [
        threading.Thread(target=_pump, args=pair, daemon=True)
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
            pump.join(_LAST_WORDS)


_LAST_WORDS = 5.0
_LINGERS = 30

_waking = threading.Lock()
_holders: list[subprocess.Popen[bytes]] = []

_NOT_FOR_WINDOWS = {"DISPLAY", "WAYLAND_DISPLAY", "PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV"}


def _pump(source: IO[bytes], sink: IO[bytes]) -> None:
    while piece := os.read(source.fileno(), 1 << 16):
        sink.write(piece)
        sink.flush()


def _collect(source: IO[bytes], into: bytearray) -> None:
    while piece := os.read(source.fileno(), 1 << 16):
        into += piece


def _text(output: bytes) -> str:
    return output.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
