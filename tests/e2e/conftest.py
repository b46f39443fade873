"""Servers for the tests of whole commands: one process each, over every transport that a machine has by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import Server, serving
from starting import ELSEWHERE

from e2e.netcats import Stage
from e2e.trees import plant

TRANSPORTS = ("tcp",) if ELSEWHERE else ("unix", "tcp")


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    """Ends with the test whatever was entered into it: processes, relays, scripted peers."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def socket_address(tmp_path: Path) -> str:
    """An address of a unix socket where nobody listens yet."""
    return f"unix:{tmp_path}/s"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder that a server offers."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The folder of the client."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the root, where nothing may land."""
    return plant(tmp_path / "outside", {"x": b"untouched"})


@pytest.fixture
def serve(root: Path, socket_address: str, processes: ExitStack) -> Callable[..., Server]:
    """Start a server of ``root`` on a unix socket, with further options."""
    return lambda *options: processes.enter_context(serving(socket_address, root, *options))


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    """A server of ``root`` on a unix socket."""
    return serve()


@pytest.fixture(params=TRANSPORTS)
def any_server(
    request: pytest.FixtureRequest, root: Path, socket_address: str, processes: ExitStack
) -> Server:
    """A server of ``root``, over each transport in turn."""
    if request.param == "unix":
        return processes.enter_context(serving(socket_address, root))
    return processes.enter_context(serving("tcp:127.0.0.1:0", root, "--open"))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Starts `hvcopy nc`; everything ends with the test."""
    with ExitStack() as stack:
        yield Stage(stack, tmp_path)
