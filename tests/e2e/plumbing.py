"""`hvcopy pipe` with pipes, files and terminals of the test's own on both sides."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from commands import Finished, Running

PIECE = 1 << 16


class Tap:
    """Reads a descriptor in a thread of its own, *size* bytes a time, until its end; closes it then."""

    def __init__(self, fd: int, *, size: int = PIECE) -> None:
        self._fd, self._size = fd, size
        self._pieces: list[bytes] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while piece := os.read(self._fd, self._size):
                self._pieces.append(piece)
        except OSError:  # a terminal whose other side is closed
            pass
        os.close(self._fd)

    @property
    def content(self) -> bytes:
        """What has come until now."""
        return b"".join(self._pieces)

    def all(self) -> bytes:
        """Everything, when the other side has closed."""
        self._thread.join(20)
        assert not self._thread.is_alive(), "the other side has not closed"
        return self.content


class Piped(Running):
    """`hvcopy pipe` with a pipe on its standard input (unless *stdin* is given), and one on its output."""

    def __init__(
        self, *arguments: object, stdin: int | None = None, prefix: Sequence[str] = (), **options: object
    ) -> None:
        self.feeding: threading.Thread | None = None
        reads, self.writes = os.pipe()
        self.reads, writes = os.pipe()
        try:
            super().__init__(
                "pipe",
                *arguments,
                prefix=prefix,
                stdin=reads if stdin is None else stdin,
                stdout=writes,
                **options,  # type: ignore[arg-type]
            )
        finally:
            os.close(reads)
            os.close(writes)
        if stdin is not None:
            self.end()

    def send(self, content: bytes) -> None:
        """Write to its standard input."""
        view = memoryview(content)
        while view:
            view = view[os.write(self.writes, view) :]

    def end(self) -> None:
        """Close its standard input."""
        if self.writes >= 0:
            os.close(self.writes)
            self.writes = -1

    def tap(self, *, size: int = PIECE) -> Tap:
        """Read its standard output to the end."""
        fd, self.reads = self.reads, -1
        return Tap(fd, size=size)

    def leave(self) -> None:
        """Be a reader of its standard output that goes away."""
        os.close(self.reads)
        self.reads = -1

    def __enter__(self) -> Self:
        return self

    def close(self) -> None:
        """End everything."""
        super().close()
        if self.feeding:  # it has the descriptor, and hears now that nobody reads
            self.feeding.join(20)
        self.end()
        if self.reads >= 0:
            self.leave()


def listening(*arguments: object, **options: object) -> Piped:
    """Start ``pipe -l`` and wait until it listens."""
    running = Piped("-l", *arguments, **options)  # type: ignore[arg-type]
    try:
        running.line(r"listening on \S+\n")
    except BaseException:
        running.close()
        raise
    return running


@contextmanager
def joined(address: str, *, left: Sequence[object] = (), right: Sequence[object] = ()) -> Iterator[tuple[Piped, Piped]]:
    """(the listening end, the connecting end), with further options each; both with pipes."""
    with listening(address, *left) as listener:
        real = listener.line(r"listening on (\S+)\n")[1]
        with Piped(real, *right) as connector:
            yield listener, connector


def feed(target: Piped, content: bytes) -> threading.Thread:
    """Write *content* and the end to a process, from a thread."""

    def run() -> None:
        try:
            target.send(content)
        except BrokenPipeError:
            pass
        target.end()

    thread = target.feeding = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def pipeline(script: str, cwd: Path, timeout: float = 20) -> Finished:
    """Run a line of bash, with a failure anywhere in a pipeline as its status."""
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}"],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr, 0.0)
