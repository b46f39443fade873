"""A second process to measure against, behind a unix socket in a folder that nobody else may enter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from types import TracebackType

from hvcopy.address import LONGEST_SOCKET_PATH, UnixAddress
from hvcopy.errors import BadUsage, LocalFailure, printable

END_SECONDS = 5.0
START_SECONDS = 20.0
_PREFIX = "hvcopy-bench-"


class Myself:
    """For the time of a ``with``; its ``address`` answers within START_SECONDS.  ``close`` is for any thread."""

    def __init__(self, *, most_buffer: int, timeout: float) -> None:
        if os.name == "nt":
            raise BadUsage(
                "measuring against itself goes through a unix socket, which hvcopy does not have on Windows",
                hint="in one window: hvcopy bench --serve tcp:127.0.0.1:18518 --open; in another: "
                "hvcopy bench tcp:127.0.0.1:18518",
            )
        roomy = len(os.fsencode(tempfile.gettempdir())) + len(_PREFIX) + 20 < LONGEST_SOCKET_PATH
        try:
            self._folder = tempfile.mkdtemp(prefix=_PREFIX, dir=None if roomy else "/tmp")
        except OSError as error:
            raise LocalFailure(f"no temporary folder: {error.strerror}", hint="name one: TMPDIR=/var/tmp") from None
        self.address = UnixAddress(os.path.join(self._folder, "socket"))
        self._closing = threading.Lock()
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "hvcopy.measuring.child", self.address.path, str(most_buffer), str(timeout)],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us, and we end what we started
        )

    def explain(self) -> LocalFailure | None:
        """Return why the other process has ended, None while it runs."""
        if self._child.poll() is None:
            return None
        assert self._child.stderr is not None
        said = printable(b" ".join(self._child.stderr.read(2000).split()))
        return LocalFailure(f"the second process ended with status {self._child.returncode}: {said}")

    def close(self) -> None:
        """End the process and remove the folder; harmless when it is done already."""
        with self._closing:
            if self._child.poll() is None:
                assert self._child.stdin is not None
                self._child.stdin.close()
                try:
                    self._child.wait(END_SECONDS)
                except subprocess.TimeoutExpired:
                    self._child.kill()
                    self._child.wait()
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Myself:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _environment() -> dict[str, str]:
    """The other process finds this very package."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"PYTHONPATH": path}
