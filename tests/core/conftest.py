"""Connected sockets, and children that run a few lines against the core under test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hvcopy

Pair = tuple[socket.socket, socket.socket]


def tcp_pair() -> Pair:
    """Return two ends of a TCP connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    return near, far


KINDS = ["tcp-nonblocking"] if sys.platform == "win32" else ["unix", "unix-nonblocking", "tcp", "tcp-nonblocking"]
"""On Windows no call of the core takes a socket that blocks (docs/windows.md), and unix sockets are TCP's."""


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two connected sockets: every family and mode behaves the same."""
    kind: str = request.param
    near, far = socket.socketpair() if kind.startswith("unix") else tcp_pair()
    for end in (near, far):
        end.setblocking("nonblocking" not in kind)
    with near, far:
        yield near, far


@pytest.fixture
def unix_pair() -> Iterator[Pair]:
    """Two connected unix sockets, blocking where the core takes such."""
    near, far = socket.socketpair()
    for end in (near, far):
        end.setblocking(sys.platform != "win32")
    with near, far:
        yield near, far


@pytest.fixture
def run_child(tmp_path: Path) -> Callable[[str], str]:
    """Return run(code): what a new interpreter with the same core prints; it works in tmp_path."""
    tree = str(Path(hvcopy.__file__).parents[1])

    def run(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-c", textwrap.dedent(code)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": tree},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, f"status {done.returncode}\n{done.stderr}"
        return done.stdout.strip()

    return run
