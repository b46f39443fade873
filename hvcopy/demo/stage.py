"""A temporary folder with a server in it, and commands that run there one at a time.  Everything ends with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from types import TracebackType

from hvcopy.errors import BY_EXIT_CODE, BadUsage, HvcopyError, Interrupted, LocalFailure, printable

HVCOPY = (sys.executable, "-P", "-m", "hvcopy")
ADDRESS = "unix:socket"
"""Relative to the folder, for a socket's path is short (unix(7)) and TMPDIR may be long."""
SERVED = "server"
START_SECONDS = "20"
STOP_SECONDS = 5.0


class Stage:
    """The folder, the server and the command under way.  ``stop`` is for any thread, the rest for one."""

    def __init__(self) -> None:
        if os.name == "nt":
            raise BadUsage(
                "the demo goes through a unix socket, which hvcopy does not have on Windows",
                hint="in one window: hvcopy serve tcp:127.0.0.1:18518 --root DIR --open; in another: "
                "hvcopy cp -r FOLDER tcp:127.0.0.1:18518:/",
            )
        try:
            self.folder = tempfile.mkdtemp(prefix="hvcopy-demo-")
        except OSError as error:
            raise LocalFailure(f"no temporary folder: {error.strerror}", hint="name one: TMPDIR=/var/tmp") from None
        os.mkdir(self.path(SERVED))
        self._lock = threading.Lock()
        self._closing = threading.Lock()
        self._children: list[subprocess.Popen[bytes]] = []
        self._stopped = False

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def path(self, name: str) -> str:
        """Return the full path of *name* in the folder."""
        return os.path.join(self.folder, name)

    def serve(self) -> None:
        """Start the server; returns when it answers.  Raises HvcopyError."""
        self._start([*HVCOPY, "serve", ADDRESS, "--root", SERVED, "--no-fsync"], "server.log")
        self.run([*HVCOPY, "ls", ADDRESS, "--wait", START_SECONDS])

    def run(self, command: Sequence[str]) -> float:
        """Run one command in the folder to its end; returns its seconds.  Raises HvcopyError when it fails."""
        started = time.perf_counter()
        child = self._start(command, "command.log")
        status = child.wait()
        seconds = time.perf_counter() - started
        with self._lock:
            self._children.remove(child)
        self.check()
        if status:
            with open(self.path("command.log"), errors="replace") as log:
                said = " ".join(log.read(2000).split())
            kind: type[HvcopyError] = BY_EXIT_CODE.get(status, LocalFailure)
            raise kind(f"`{' '.join(command[-4:])}` ended with status {status}: {printable(said)}")
        return seconds

    def check(self) -> None:
        """Raise Interrupted when somebody asked to stop."""
        if self._stopped:
            raise Interrupted("interrupted; everything was removed")

    def stop(self, error: BaseException) -> None:
        """End what is under way; it raises Interrupted there."""
        self._stopped = True
        with self._lock:
            for child in self._children:
                child.terminate()

    def close(self) -> None:
        """End the server and remove the folder; for any thread, and harmless when it is done already."""
        with self._closing:
            self._end_children()
            self.remove("")

    def remove(self, name: str) -> None:
        """Remove a file or tree of the folder, or with an empty name the folder; copies of read-only folders too."""
        path = self.path(name)
        if not os.path.isdir(path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        for base, folders, _ in os.walk(path):
            for folder in folders:
                if not os.path.islink(inner := os.path.join(base, folder)):
                    os.chmod(inner, 0o700)
        shutil.rmtree(path, ignore_errors=True)

    def _start(self, command: Sequence[str], log: str) -> subprocess.Popen[bytes]:
        """A session of its own: Ctrl-C is for us, and we end what we started."""
        self.check()
        with open(self.path(log), "wb") as output:
            child = subprocess.Popen(
                command,
                cwd=self.folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        with self._lock:
            self._children.append(child)
        if self._stopped:
            child.terminate()
        return child

    def _end_children(self) -> None:
        with self._lock:
            children, self._children = self._children, []
        for child in children:
            child.terminate()
        for child in children:
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _environment() -> dict[str, str]:
    """The children find this very package, and write no byte code into the library that is copied."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
