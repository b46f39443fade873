"""Commands over there without a start of their own: processes of work.py, each taken again when its command is over."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

PATIENCE = 60.0
SOFTLY = 3.0
"""Seconds that a command has to end after an interrupt, which takes 2 s at most; then its process is killed."""
END = b"\0over\0"
WORK = Path(__file__).with_name("work.py")
CTRL_C, CTRL_BREAK = 2, 21
LAST_WORDS = 5.0

_numbers = itertools.count(1)
_idle: list[Worker] = []
_at_start = dict(os.environ)


class Worker:
    """A process that does one command at a time."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            command = [*argv, str(listener.getsockname()[1])]
            self.process = subprocess.Popen(
                command, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            self._control = self._accept(listener)
        assert self.process.stdout
        assert self.process.stderr
        self.job: Job | None = None
        for number, stream in enumerate((self.process.stdout, self.process.stderr)):
            threading.Thread(target=self._pump, args=(number, stream), daemon=True).start()
        threading.Thread(target=self._listen, daemon=True).start()

    def _accept(self, listener: socket.socket) -> socket.socket:
        listener.settimeout(PATIENCE / 100)
        for _ in range(100):
            with contextlib.suppress(TimeoutError):
                return listener.accept()[0]
            if self.process.poll() is not None:
                break
        self.process.kill()
        said = self.process.stderr.read() if self.process.stderr else b""
        raise AssertionError(f"the worker did not begin: {said.decode(errors='replace')}")

    def tell(self, message: object) -> None:
        """Send it a line of JSON."""
        with contextlib.suppress(OSError):
            self._control.sendall(json.dumps(message).encode() + b"\n")

    def _pump(self, number: int, stream: IO[bytes]) -> None:
        """Pass output on to whose it is; the mark of its end may come in two pieces."""
        held = b""
        while piece := os.read(stream.fileno(), 1 << 16):
            held += piece
            while (at := held.find(END)) >= 0:
                self._give(number, held[:at], over=True)
                held = held[at + len(END) :]
            keep = next((n for n in range(len(END) - 1, 0, -1) if held.endswith(END[:n])), 0)
            self._give(number, held[: len(held) - keep])
            held = held[len(held) - keep :]
        self._give(number, held, over=True)

    def _give(self, number: int, content: bytes, *, over: bool = False) -> None:
        if self.job:
            self.job.take(number, content, over=over)

    def _listen(self) -> None:
        for line in self._control.makefile("rb"):
            message = json.loads(line)
            if self.job:
                self.job.end(message["code"], fit=message["fit"])
        code = self.process.wait()
        if self.job:
            self.job.end(code, fit=False)


class Job:
    """One command, as ``starting.Process`` has it."""

    def __init__(self, worker: Worker, arguments: Sequence[str], sinks: Sequence[int]) -> None:
        self._worker = worker
        self._arguments = list(arguments)
        self._sinks = [os.dup(sink) for sink in sinks]
        self._over = [threading.Event() for _ in sinks]
        self._ended = threading.Event()
        self._number = next(_numbers)
        self._code, self._fit = 0, False
        self.pid = worker.process.pid
        self.returncode: int | None = None

    def begin(self, cwd: Path, env: Mapping[str, str]) -> None:
        """Have it done."""
        self._worker.job = self
        changed = {name: text for name, text in env.items() if _at_start.get(name) != text}
        self._worker.tell({"run": self._number, "argv": self._arguments, "cwd": str(cwd), "env": changed})

    def take(self, number: int, content: bytes, *, over: bool) -> None:
        """Output of the command, with the ends of lines that tests know."""
        if content and not self._over[number].is_set():
            os.write(self._sinks[number], content.replace(b"\r\n", b"\n"))
        if over:
            self._over[number].set()

    def end(self, code: int, *, fit: bool) -> None:
        """The command is over, or its process."""
        if not fit:
            self._worker.process.kill()
        self._code, self._fit = code, fit
        self._ended.set()

    def poll(self) -> int | None:
        """Return the status if it is over."""
        return self.wait(0) if self._ended.is_set() else None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and for the last of what it said.  Raises subprocess.TimeoutExpired."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(["hvcopy", *self._arguments], timeout or 0)
        if self.returncode is None:
            for over in self._over:
                over.wait(LAST_WORDS)
            self._worker.job = None
            for sink in self._sinks:
                os.close(sink)
            self.returncode = self._code
            if self._fit:
                _idle.append(self._worker)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Ctrl-C for SIGINT, Ctrl-Break for SIGTERM; to the process any other."""
        if self._ended.is_set():
            return
        if number in (signal.SIGINT, signal.SIGTERM):
            event = CTRL_C if number == signal.SIGINT else CTRL_BREAK
            self._worker.tell({"interrupt": self._number, "signal": event})
        else:
            self._worker.process.send_signal(number)

    def kill(self) -> None:
        """End the process in the middle of it, whatever that is."""
        self.send_signal(signal.SIGKILL)

    def dismiss(self) -> None:
        """End a command of which nothing more is wanted."""
        self.send_signal(signal.SIGINT)
        if not self._ended.wait(SOFTLY):
            self.kill()


def start(
    argv: Sequence[str], arguments: Sequence[str], sinks: Sequence[int], *, cwd: Path, env: Mapping[str, str]
) -> Job:
    """Have a worker, an idle one or a new one by the command *argv*, do ``hvcopy ARGUMENTS`` with *sinks* for its outputs."""
    while _idle:
        worker = _idle.pop()
        if worker.process.poll() is None:
            break
    else:
        worker = Worker(argv, env)
    job = Job(worker, arguments, sinks)
    job.begin(cwd, env)
    return job
