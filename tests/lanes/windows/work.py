"""Does one command of hvcopy after the other in one Windows Python, whose start takes longer than most commands:

work.py PORT    connects to 127.0.0.1:PORT and takes lines of JSON:
                {"run": NUMBER, "argv": [...], "cwd": ..., "env": {...}, "pipes": {"0": PORT, "1": PORT}},
                {"interrupt": NUMBER, "signal": NUMBER}, {"connections": "?"};
                answers {"over": NUMBER, "code": ..., "fit": ...}, {"connections": [[OWN END, OTHER END], ...]}

Each command has the main thread, and descriptors 1 and 2 as they are; at its end END is written to both, so that
whoever reads them knows where its output ends.  "fit": nothing of it is left behind.  With "pipes" its standard input or
output is a pipe of Windows, whose other end is a connection to that port: Wine lets nobody look into a pipe of Linux.
"""

from __future__ import annotations

import _thread
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import queue
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

END = b"\0over\0"
STANDARD = (1, 2)
CTRL_BREAK = 21
IN, OUT = 0, 1
PIECE = 1 << 16
LAST_WORDS, SOON = 5.0, 0.2
"""Seconds that a reader has for what is left of a command's output, and of that of one that failed."""
SELDOM = {
    "hvcopy.__main__",
    "hvcopy.demo",
    "hvcopy.doctor",
    "hvcopy.machines",
    "hvcopy.measuring.plot",
    "hvcopy.measuring.raw",
    "hvcopy.registration",
    "hvcopy.transport.hyperv",
    "hvcopy.transport.vsock",
}
"""What few commands import, and then themselves: a quarter of the start, since TLS and XML come with it."""


class Worker:
    """Takes jobs and interrupts from a connection."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._jobs: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._handlers: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running = 0
        self._threads = 0
        self._environment = dict(os.environ)
        self._kept = {fd: os.dup(fd) for fd in (IN, *STANDARD)}

    def listen(self) -> None:
        """Read lines to the end of the connection, which is this process's end as well."""
        for line in self._control.makefile("rb"):
            message = json.loads(line)
            if "run" in message:
                with self._lock:
                    self._running = message["run"]
                self._jobs.put(message)
            elif "connections" in message:
                self._say({"connections": list(connections())})
            else:
                self._interrupt(message["interrupt"], message["signal"])
        os._exit(0)

    def _say(self, message: dict[str, Any]) -> None:
        self._control.sendall(json.dumps(message).encode() + b"\n")

    def _interrupt(self, number: int, event: int) -> None:
        """Interrupt a job once it has its handlers, unless it is over: before, each command ends as Python has it."""
        while True:
            with self._lock:
                if self._running != number:
                    return
                if signal.getsignal(CTRL_BREAK) is not nothing:
                    _thread.interrupt_main(event)
                    return
            self._handlers.get()

    def work(self) -> None:
        """Do what comes."""
        self._tell_of_handlers()
        self._deaf()
        threading.Thread(target=self.listen, daemon=True).start()
        self._threads = threading.active_count()
        while job := self._jobs.get():
            self._do(job)

    def _do(self, job: dict[str, Any]) -> None:
        os.chdir(job["cwd"])
        os.environ.clear()
        os.environ.update(self._environment | job["env"])
        sys.argv = ["hvcopy", *job["argv"]]
        pipes = [Pipe(int(fd), port) for fd, port in job["pipes"].items()]
        code = 1
        with contextlib.suppress(KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.default_int_handler)
            code = run()
        self._deaf()
        for fd, kept in self._kept.items():
            os.dup2(kept, fd)
        for pipe in pipes:
            pipe.end(LAST_WORDS if code == 0 else SOON)
        fit = threading.active_count() == self._threads
        for fd in STANDARD:
            os.write(fd, END)
        self._say({"over": job["run"], "code": code, "fit": fit})

    def _tell_of_handlers(self) -> None:
        """Have each call of signal.signal noted: by a queue, which an interrupt cannot leave locked."""
        system = signal.signal

        def note(number: int, handler: Any) -> Any:
            before = system(number, handler)
            self._handlers.put(number)
            return before

        signal.signal = note

    def _deaf(self) -> None:
        """Let no interrupt of a job that is over reach what comes after it."""
        while self._running or signal.getsignal(signal.SIGINT) is not nothing:
            with contextlib.suppress(KeyboardInterrupt):
                with self._lock:
                    self._running = 0
                for event in (signal.SIGINT, CTRL_BREAK):
                    signal.signal(event, nothing)


class Pipe:
    """A pipe that is a standard descriptor, its other end joined with a connection to *port*."""

    def __init__(self, standard: int, port: int) -> None:
        reads, writes = os.pipe()
        mine, theirs = (writes, reads) if standard == IN else (reads, writes)
        os.dup2(theirs, standard)
        os.close(theirs)
        self._standard = standard
        self._connection = socket.create_connection(("127.0.0.1", port))
        pump = self._fill if standard == IN else self._drain
        self._pump = threading.Thread(target=pump, args=(mine,), daemon=True)
        self._pump.start()

    def end(self, seconds: float) -> None:
        """Take no more input, and wait for the output to be passed on, now that the descriptor is something else."""
        if self._standard == IN:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
        self._pump.join(seconds)

    def _fill(self, pipe: int) -> None:
        with self._connection, contextlib.suppress(OSError):
            try:
                while piece := self._connection.recv(PIECE):
                    rest = memoryview(piece)
                    while rest:
                        rest = rest[os.write(pipe, rest) :]
            finally:
                os.close(pipe)

    def _drain(self, pipe: int) -> None:
        with self._connection, contextlib.suppress(OSError):
            try:
                while not is_closed(self._connection):
                    if waiting_in(pipe):
                        self._connection.sendall(os.read(pipe, PIECE))
                    else:
                        time.sleep(0.002)  # Windows has nothing that waits for a pipe (docs/windows.md)
            finally:
                os.close(pipe)


def waiting_in(pipe: int) -> int:
    """How many bytes a pipe holds.  Raises OSError at its end."""
    import _winapi
    import msvcrt

    return _winapi.PeekNamedPipe(msvcrt.get_osfhandle(pipe), 0)[0]


def is_closed(sock: socket.socket) -> bool:
    """Whether the other side, which says nothing, has closed."""
    return bool(select.select([sock], [], [], 0)[0])


def connections() -> Iterator[list[str]]:
    """The two ends of every connection there is."""
    for sock in gc.get_objects():
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                yield ["{}:{}".format(*sock.getsockname()), "{}:{}".format(*sock.getpeername())]


def nothing(number: int, frame: FrameType | None) -> None:
    """Be a signal's handler that does nothing."""


def run() -> int:
    """Be the command; its status, as the process would have it."""
    from hvcopy.cli import run as run_command
    from hvcopy.cli import signals

    signals.forget()  # of the command before, which was over by then
    try:
        code = run_command()
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 120
    return code


def prepare(name: str = "hvcopy") -> None:
    """Import what commands import; the halves for other systems refuse to be."""
    with contextlib.suppress(AssertionError, ImportError):
        package = importlib.import_module(name)
        for module in pkgutil.iter_modules(getattr(package, "__path__", ()), name + "."):
            if module.name not in SELDOM:
                prepare(module.name)


if __name__ == "__main__":
    prepare()
    Worker(socket.create_connection(("127.0.0.1", int(sys.argv[1])))).work()
