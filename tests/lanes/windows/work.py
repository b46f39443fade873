"""Does one command of hvcopy after the other in one Windows Python, whose start takes longer than most commands:

work.py PORT    connects to 127.0.0.1:PORT and takes lines of JSON: {"run": NUMBER, "argv": [...], "cwd": ..., "env": {...}},
                {"interrupt": NUMBER, "signal": NUMBER}; answers {"over": NUMBER, "code": ..., "fit": ...}

Each command has the main thread, and descriptors 1 and 2 as they are; at its end END is written to both, so that
whoever reads them knows where its output ends.  "fit": nothing of it is left behind.
"""

from __future__ import annotations

import _thread
import contextlib
import importlib
import json
import os
import pkgutil
import queue
import socket
import sys
import threading
import traceback
from typing import Any

END = b"\0over\0"
STANDARD = (1, 2)


class Worker:
    """Takes jobs and interrupts from a connection."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._jobs: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running = 0
        self._threads = 0
        self._environment = dict(os.environ)
        self._kept = [os.dup(fd) for fd in STANDARD]

    def listen(self) -> None:
        """Read lines to the end of the connection, which is this process's end as well."""
        for line in self._control.makefile("rb"):
            message = json.loads(line)
            if "run" in message:
                self._jobs.put(message)
                continue
            with self._lock:
                if self._running == message["interrupt"]:
                    _thread.interrupt_main(message["signal"])
        os._exit(0)

    def work(self) -> None:
        """Do what comes."""
        threading.Thread(target=self.listen, daemon=True).start()
        self._threads = threading.active_count()
        while job := self._jobs.get():
            try:
                self._do(job)
            except KeyboardInterrupt:  # one that came too late
                continue

    def _do(self, job: dict[str, Any]) -> None:
        os.chdir(job["cwd"])
        os.environ.clear()
        os.environ.update(self._environment | job["env"])
        sys.argv = ["hvcopy", *job["argv"]]
        with self._lock:
            self._running = job["run"]
        code = run()
        with self._lock:
            self._running = 0
        fit = threading.active_count() == self._threads
        for fd, kept in zip(STANDARD, self._kept, strict=True):
            os.dup2(kept, fd)
            os.write(fd, END)
        self._control.sendall(json.dumps({"over": job["run"], "code": code, "fit": fit}).encode() + b"\n")


def run() -> int:
    """Be the command; its status, as the interpreter gives it."""
    from hvcopy.cli import main

    try:
        main()
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 120
    return code


def prepare() -> None:
    """Import what commands import; the halves for other systems refuse to be."""
    import hvcopy

    for module in pkgutil.walk_packages(hvcopy.__path__, "hvcopy."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(AssertionError, ImportError):
                importlib.import_module(module.name)


if __name__ == "__main__":
    connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    prepare()
    Worker(connection).work()
