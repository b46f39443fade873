"""Commands that are talked with while they run: standard input and output as pipes of the test's, in bytes.

    with Talker(*HVCOPY, "nc", "-l", "unix:s") as talker:
        talker.line("listening on")
        talker.say(b"..."); talker.hear(3); talker.end_input(); talker.finish()

It knows no command; for those that only have arguments and a result see commands.py.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import IO

import ports
import pytest
from commands import PATIENCE, eventually, output
from starting import HVCOPY, Own, Process, start


class Talker:
    """A running command.  *stdin* and *stdout* are descriptors in place of the pipes."""

    def __init__(
        self, *argv: object, stdin: int | None = None, stdout: int | None = None, cwd: Path | None = None
    ) -> None:
        self._err = output("stderr")
        self._start = time.monotonic()
        words = [*map(str, argv)]
        env = {**os.environ, "COLUMNS": "100"}
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        theirs = []
        if stdin is None:
            stdin, writes = os.pipe()
            theirs.append(stdin)
            self.stdin = open(writes, "wb", buffering=0)
        if stdout is None:
            reads, stdout = os.pipe()
            theirs.append(stdout)
            self.stdout = open(reads, "rb", buffering=0)
        err = self._err.fileno()
        self.process: Process
        try:
            if words[: len(HVCOPY)] == [*HVCOPY]:
                arguments = words[len(HVCOPY) :]
                self.process = start(arguments, stdout, err, cwd=cwd or Path.cwd(), env=env, stdin=stdin, stdout=True)
            else:
                self.process = Own(words, stdin=stdin, stdout=stdout, stderr=err, cwd=cwd, env=env)
        finally:
            for fd in theirs:
                os.close(fd)

    @property
    def err(self) -> str:
        """What is on standard error by now."""
        return ports.named(os.pread(self._err.fileno(), 1 << 20, 0).decode("utf-8", "surrogateescape"))

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def line(self, pattern: str) -> re.Match[str]:
        """Wait until *pattern* is found on standard error; return the match."""

        def probe() -> re.Match[str] | None:
            over = self.process.poll() is not None
            found = re.search(pattern, self.err)
            assert found or not over, f"ended with {self.process.returncode} before {pattern!r}:\n{self.err}"
            return found

        return eventually(probe, what=pattern)

    def say(self, data: bytes) -> None:
        """Write to its standard input; blocks while that is full."""
        assert self.stdin is not None
        view = memoryview(data)
        while view:
            view = view[self.stdin.write(view) or 0 :]

    def end_input(self) -> None:
        """Close its standard input."""
        assert self.stdin is not None
        self.stdin.close()

    def hear(self, size: int) -> bytes:
        """Exactly *size* bytes of its standard output; fewer when that ends."""
        assert self.stdout is not None
        got = bytearray()
        while len(got) < size and (part := self._read(self.stdout.fileno(), size - len(got))):
            got += part
        return bytes(got)

    def hear_end(self) -> bytes:
        """Everything up to the end of its standard output."""
        return self.hear(1 << 40)

    def stop_hearing(self) -> None:
        """Close the test's end of its standard output."""
        assert self.stdout is not None
        self.stdout.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def finish(self, timeout: float = PATIENCE) -> int:
        """Wait for the end; return the status.  The test fails after *timeout* seconds."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s; it said:\n{self.err}") from None
        assert "Traceback" not in self.err, self.err
        return status

    def close(self) -> None:
        """Kill what still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.stdin, self.stdout):
            if stream is not None:
                stream.close()
        self._err.close()

    def __enter__(self) -> Talker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, fd: int, size: int) -> bytes:
        ready, _, _ = select.select([fd], [], [], PATIENCE)
        assert ready, f"nothing to hear for {PATIENCE:g} s; it said:\n{self.err}"
        return os.read(fd, min(size, 1 << 20))


def hear(sock: socket.socket, size: int) -> bytes:
    """Exactly *size* bytes from a peer's socket; fewer when the stream ends."""
    got = bytearray()
    while len(got) < size and (part := sock.recv(min(size - len(got), 1 << 20))):
        got += part
    return bytes(got)


def hear_end(sock: socket.socket) -> bytes:
    """Everything up to the end of the stream."""
    return hear(sock, 1 << 40)


def quiet(sock: socket.socket) -> bool:
    """Whether neither a byte nor the end of the stream is there now."""
    return not select.select([sock], [], [], 0)[0]


def need(program: str, package: str) -> str:
    """The path of *program*; without it the test is skipped, and in CI, which installs *package*, it fails."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        reason = f"needs {program}: apt-get install {package}"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found
