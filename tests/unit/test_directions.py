"""One direction of a relay: what its end means for whoever reads its source."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hvcopy.errors import ConnectionLost, LocalFailure
from hvcopy.relay import Direction, End, Meter, relay

PATIENCE = 20.0


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as held:
        yield held


def closed_peer(stack: ExitStack) -> End:
    """A connection whose other end was closed."""
    here, there = socket.socketpair()
    there.close()
    stack.enter_context(here)
    here.setblocking(False)
    return End(here.fileno(), "peer", family=here.family)


def standard_input(stack: ExitStack, content: bytes, *, kind: str, path: Path) -> End:
    """A pipe that stays open, or a file."""
    if kind == "file":
        path.write_bytes(content)
        fd = os.open(path, os.O_RDONLY)
    else:
        fd, writes = os.pipe()
        os.write(writes, content)
        stack.callback(os.close, writes)
    stack.callback(os.close, fd)
    return End(fd, "standard input", local=True)


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_a_peer_that_closes_before_all_that_is_there_was_read_loses_it(stack: ExitStack, tmp_path: Path, kind: str) -> None:
    """A blocking pipe is looked at along with the peer before anything is taken from it, so that nothing is on its way."""
    source = standard_input(stack, b"more", kind=kind, path=tmp_path / "f")
    one = Direction(source, closed_peer(stack), Meter())
    assert relay([one], idle=PATIENCE)
    assert isinstance(one.failure, ConnectionLost)
    assert "before everything was sent" in str(one.failure)


def test_a_peer_that_closes_when_there_is_nothing_for_it_is_no_failure(stack: ExitStack, tmp_path: Path) -> None:
    one = Direction(standard_input(stack, b"", kind="pipe", path=tmp_path), closed_peer(stack), Meter())
    assert relay([one], idle=PATIENCE)
    assert one.failure is None
    assert not one.delivered


def test_a_full_disk_says_what_to_do(stack: ExitStack, tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    stack.callback(os.close, full)
    source = standard_input(stack, b"more", kind="pipe", path=tmp_path)
    one = Direction(source, End(full, "standard output", local=True), Meter())
    assert relay([one], idle=PATIENCE)
    assert isinstance(one.failure, LocalFailure)
    assert "make room" in one.failure.hint
