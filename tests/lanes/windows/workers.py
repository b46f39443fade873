"""Commands over there without a start of their own: processes of work.py, each taken again when its command is over."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from lanes.windows import forgotten

PATIENCE = 60.0
SOFTLY = 3.0
"""Seconds that a command has to end after an interrupt, which takes 2 s at most; then its process is killed."""
END = b"\0over\0"
WORK = Path(__file__).with_name("work.py")
CTRL_C, CTRL_BREAK = 2, 21
IN, OUT = 0, 1
PIECE = 1 << 16
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
        self._connections: list[forgotten.Connection] = []
        self._told = threading.Event()
        outputs = enumerate((self.process.stdout, self.process.stderr))
        self._pumps = [threading.Thread(target=self._pump, args=output, daemon=True) for output in outputs]
        for pump in self._pumps:
            pump.start()
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

    def kill(self) -> None:
        """End it in the middle of whatever that is, and its connections with it."""
        self.tell({"connections": "?"})
        self._told.wait(LAST_WORDS)
        self.process.kill()
        self.process.wait()
        for pump in self._pumps:  # Wine's server ends everything of a process before it listens to another
            pump.join(PATIENCE)
        forgotten.end(self._connections)
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)

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
        with contextlib.suppress(OSError):  # a reset, when it is killed with an interrupt unread
            for line in self._control.makefile("rb"):
                message = json.loads(line)
                if "connections" in message:
                    self._connections = [(mine, theirs) for mine, theirs in message["connections"]]
                    self._told.set()
                elif self.job:
                    self.job.end(message["code"], fit=message["fit"])
        self._told.set()
        code = self.process.wait()
        if self.job:
            self.job.end(code, fit=False)


class Job:
    """One command, as ``starting.Process`` has it."""

    def __init__(
        self, worker: Worker, arguments: Sequence[str], sinks: Sequence[int], pipes: Mapping[int, int]
    ) -> None:
        self._worker = worker
        self._pipes = {number: os.dup(fd) for number, fd in pipes.items()}
        self._arguments = list(arguments)
        nowhere = os.open(os.devnull, os.O_WRONLY)  # for what goes through a pipe: nothing else may hold that open
        self._sinks = [os.dup(nowhere if OUT + at in self._pipes else sink) for at, sink in enumerate(sinks)]
        os.close(nowhere)
        self._over = [threading.Event() for _ in sinks]
        self._ended = threading.Event()
        self._number = next(_numbers)
        self._code, self._fit = 0, False
        self.pid = worker.process.pid
        self.returncode: int | None = None

    def begin(self, cwd: Path, env: Mapping[str, str]) -> None:
        """Have it done."""
        self._worker.job = self
        ports = {number: join(fd, to_it=number == IN) for number, fd in self._pipes.items()}
        changed = {name: text for name, text in env.items() if _at_start.get(name) != text}
        job = {"run": self._number, "argv": self._arguments, "cwd": str(cwd), "env": changed, "pipes": ports}
        self._worker.tell(job)

    def take(self, number: int, content: bytes, *, over: bool) -> None:
        """Output of the command, with the ends of lines that tests know."""
        if content and not self._over[number].is_set():
            os.write(self._sinks[number], content.replace(b"\r\n", b"\n"))
        if over:
            self._over[number].set()

    def end(self, code: int, *, fit: bool) -> None:
        """The command is over, or its process, which is what comes after the end of a command that leaves something behind."""
        if self._ended.is_set():
            return
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
        elif number == signal.SIGKILL:
            self._worker.kill()
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


def join(fd: int, *, to_it: bool) -> int:
    """The port of a connection that will be joined with a descriptor, which is closed at the end of either."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(PATIENCE)
    threading.Thread(target=_join, args=(listener, fd, to_it), daemon=True).start()
    return int(listener.getsockname()[1])


def _join(listener: socket.socket, fd: int, to_it: bool) -> None:
    try:
        with contextlib.suppress(OSError), listener, listener.accept()[0] as sock:
            sock.settimeout(None)
            (_give if to_it else _take)(sock, fd)
    finally:
        os.close(fd)


def _give(sock: socket.socket, fd: int) -> None:
    """Send what there is to read; whoever writes it hears at once of a command that has ended."""
    while sock not in select.select([fd, sock], [], [])[0]:
        piece = os.read(fd, PIECE)
        if not piece:
            sock.shutdown(socket.SHUT_WR)
            return
        sock.sendall(piece)


def _take(sock: socket.socket, fd: int) -> None:
    """Write what comes, until it ends or nobody reads it."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    poll.register(fd, 0)  # POLLERR: the reader has left
    while fd not in dict(poll.poll()):
        piece = sock.recv(PIECE)
        if not piece:
            return
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(fd, rest) :]


def start(
    argv: Sequence[str],
    arguments: Sequence[str],
    sinks: Sequence[int],
    *,
    cwd: Path,
    env: Mapping[str, str],
    pipes: Mapping[int, int] | None = None,
) -> Job:
    """Have a worker, an idle one or a new one by the command *argv*, do ``hvcopy ARGUMENTS`` with *sinks* for its outputs.

    *pipes*: descriptors that its standard input (0) and output (1) are joined with, byte for byte.
    """
    while _idle:
        worker = _idle.pop()
        if worker.process.poll() is None:
            break
    else:
        worker = Worker(argv, env)
    job = Job(worker, arguments, sinks, pipes or {})
    job.begin(cwd, env)
    return job
