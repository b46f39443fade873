"""Every family's channels pass the same checks."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from hvcopy.address import HybridAddress
from hvcopy.channel import Channel
from hvcopy.errors import ConnectionLost
from hvcopy.transport import dial
from transport.conformance import CHECKS, MakePair
from transport.muxer import Muxer, half_close_is_full_close
from transport.pairs import LOOPBACK, PORT, connected, hybrid_pair, unix_address

FAMILIES: dict[str, Callable[[Path], MakePair]] = {
    "unix": lambda folder: lambda: connected(unix_address(folder)),
    "tcp": lambda folder: lambda: connected(LOOPBACK),
    "hybrid": lambda folder: lambda: hybrid_pair(folder),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("family", FAMILIES)
def test_channel_conforms(family: str, check: Callable[[Channel, Channel], None], tmp_path: Path) -> None:
    with FAMILIES[family](tmp_path)() as (left, right):
        check(left, right)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("family", FAMILIES)
def test_channel_conforms_from_the_listening_end(
    family: str, check: Callable[[Channel, Channel], None], tmp_path: Path
) -> None:
    with FAMILIES[family](tmp_path)() as (left, right):
        check(right, left)


def test_hybrid_half_close_ends_both_directions(tmp_path: Path) -> None:
    """Why the protocol carries its ends in-band: what this muxer does, real ones do."""
    path = str(tmp_path / "v.sock")
    with Muxer(path, half_close_is_full_close) as muxer:
        channel = dial(HybridAddress(path, PORT), timeout=10)
        with muxer.guest() as guest:
            channel.send(b"question")
            channel.sock.shutdown(socket.SHUT_WR)
            assert guest.recv(100) == b"question"
            assert guest.recv(100) == b""
            with pytest.raises(BrokenPipeError):
                guest.sendall(b"answer")
            assert channel.receive_some(bytearray(10)) == 0
            with pytest.raises(ConnectionLost):
                channel.send(b"more")
        channel.close()
