"""Asking a program: bounded in time and in what it says, ended with its children when it takes too long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO

from msgspec import Struct

from hvcopy.errors import LocalFailure, NotAllowed, TimedOut, printable

LONGEST_ANSWER = 4 << 20
"""Bytes: some thousand VMs."""
_GRACE = 2.0  # for a pipe to end after its program


class Missing(LocalFailure):
    """The program is not there."""


class Answer(Struct, frozen=True):
    """What a program said."""

    code: int
    out: bytes
    err: bytes

    @property
    def last_words(self) -> str:
        """The last line on stderr, or its status, to be printed."""
        lines = self.err[-2000:].decode("utf-8", "replace").strip().splitlines()
        return printable(lines[-1][:300]) if lines else f"exit code {self.code}"


def ask(words: Sequence[str], seconds: float, *, env: Mapping[str, str] | None = None) -> Answer:
    """Run a program and return what it said, whatever its exit code.  Raises Missing, NotAllowed, TimedOut, LocalFailure."""
    name = os.path.basename(words[0])
    try:
        # In a session of its own: what it starts is ended with it, and Ctrl-C at the terminal is ours to act on.
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except FileNotFoundError:
        raise Missing(f"{name} is not on this machine") from None
    except PermissionError as error:
        raise NotAllowed(f"{name} cannot be started: {error.strerror}") from None
    except OSError as error:
        raise LocalFailure(f"{name} cannot be started: {error.strerror}") from None
    try:
        return _hear(process, name, seconds)
    finally:
        _end(process)


def _hear(process: subprocess.Popen[bytes], name: str, seconds: float) -> Answer:
    assert process.stdout
    assert process.stderr
    readers = [_Reader(process.stdout), _Reader(process.stderr)]
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise TimedOut(
            f"{name} did not answer within {seconds:g} s", hint="try again, or allow it more: --timeout 60"
        ) from None
    out, err = (reader.result() for reader in readers)
    if out is None or err is None:
        raise LocalFailure(f"{name} answered more than {LONGEST_ANSWER >> 20} MiB, or left its answer open")
    return Answer(code, out, err)


class _Reader:
    """Reads one pipe to its end, but not without end; a program that says more finds the pipe closed."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self._heard = pipe, b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._pipe:
            self._heard = self._pipe.read(LONGEST_ANSWER + 1)

    def result(self) -> bytes | None:
        """Return all of it; None when it was too much, or a child of the program holds the pipe open."""
        self._thread.join(_GRACE)
        return None if self._thread.is_alive() or len(self._heard) > LONGEST_ANSWER else self._heard


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program, unless it is over, and what it started."""
    if process.poll() is None:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
