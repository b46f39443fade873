"""Asking a program: bounded in time and in what it says, ended when it takes too long; on POSIX with its children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from msgspec import Struct

from hvcopy import threads
from hvcopy.errors import Interrupted, LocalFailure, NotAllowed, TimedOut, printable

LONGEST_ANSWER = 4 << 20
"""Bytes: some thousand VMs."""
_GRACE = 2.0  # for the pipes to end after their program
_SLICE = 0.1  # seconds between two looks at whether it is still wanted; on Windows Ctrl-C is not noticed during a wait
_over = threading.Event()


def end_all() -> None:
    """End every program that is being asked in any thread, and from now on each at its start: this process is about to end."""
    _over.set()


def never() -> bool:
    """The *cancelled* of a question that nobody takes back."""
    return False


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


def ask(
    words: Sequence[str],
    seconds: float,
    *,
    env: Mapping[str, str] | None = None,
    cancelled: Callable[[], bool] = never,
) -> Answer:
    """Run a program and return what it said, whatever its exit code.

    Raises Missing, NotAllowed, TimedOut, LocalFailure, and Interrupted soon after *cancelled* became true.
    """
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
        return _hear(process, name, seconds, cancelled)
    finally:
        _end(process)


def _hear(process: subprocess.Popen[bytes], name: str, seconds: float, cancelled: Callable[[], bool]) -> Answer:
    assert process.stdout
    assert process.stderr
    readers = [_Reader(process.stdout), _Reader(process.stderr)]
    ends = time.monotonic() + seconds
    while (code := _status(process, min(_SLICE, ends - time.monotonic()))) is None:
        if _over.is_set() or cancelled():
            raise Interrupted(f"asking {name} was interrupted")
        if time.monotonic() >= ends:
            raise TimedOut(f"{name} did not answer within {seconds:g} s", hint=f"try again, or {more_time(seconds)}")
    until = min(time.monotonic() + _GRACE, max(ends, time.monotonic() + _SLICE))
    out, err = (reader.result(until) for reader in readers)
    if out is None or err is None:
        if sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        raise LocalFailure(f"{name} answered more than {LONGEST_ANSWER >> 20} MiB, or left its answer open")
    return Answer(code, out, err)


def more_time(seconds: float) -> str:
    """Return the advice for a program to which *seconds* were too short, where ``--timeout`` is its bound."""
    return f"allow it more: --timeout {max(60, 2 * seconds):g}"


def _status(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Wait for the program's end, and return its status; None when it has not come in time."""
    try:
        return process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return None


class _Reader:
    """Reads one pipe to its end, but not without end; a program that says more finds the pipe closed."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self._heard = pipe, b""
        self._thread = threads.start(self._read, "answer")

    def _read(self) -> None:
        with self._pipe:
            self._heard = self._pipe.read(LONGEST_ANSWER + 1)

    def result(self, until: float) -> bytes | None:
        """Return all of it; None when it was too much, or a child of the program holds the pipe open."""
        self._thread.join(max(0.0, until - time.monotonic()))
        return None if self._thread.is_alive() or len(self._heard) > LONGEST_ANSWER else self._heard


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program, unless it is over, and what it started."""
    if process.poll() is None:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
