"""How long a client waits for what a server does before a job begins."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import pytest
from peers import Listening, Peer

from hvcopy import parse_address
from hvcopy.client import connect
from hvcopy.errors import TimedOut
from hvcopy.wire import messages as m
from hvcopy.wire.frames import MAGIC

HANDSHAKE, MORE = 1.5, 1.7
LINE = m.Listed(b"f", "f", 1, 0, 0o644)


def slow(sock: socket.socket) -> None:
    """A server that looks at its disk for longer than a handshake may last."""
    with Peer(sock).shake(connector=False, role="server") as peer:
        peer.expect(m.Job)
        peer.idle(MORE)
        peer.send(m.Ready(bytes(16), 1, "", []), m.Listing([LINE], True))
        peer.expect(m.Bye)


def trickles(sock: socket.socket) -> None:
    """A server whose greeting takes most of a minute, though something of it comes all the time."""
    with contextlib.suppress(OSError), Peer(sock) as peer:
        hello = m.Hello(1, 1, "server", bytes(32), False, "unix:s", [], "slow", "posix")
        for byte in MAGIC + m.encode(hello):
            peer.raw(bytes([byte]))
            peer.idle(0.5)


@pytest.fixture(autouse=True)
def handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvcopy.transfer.greeting.HANDSHAKE_SECONDS", HANDSHAKE)


def test_a_server_has_longer_to_begin_than_to_greet(tmp_path: Path) -> None:
    with (
        Listening(f"unix:{tmp_path}/s", slow) as listening,
        connect(parse_address(listening.address), timeout=20) as client,
    ):
        assert list(client.entries(b"")) == [LINE]
    assert not listening.failures


def test_a_greeting_is_over_in_time_however_much_of_it_comes(tmp_path: Path) -> None:
    began = time.monotonic()
    with Listening(f"unix:{tmp_path}/s", trickles) as listening, pytest.raises(TimedOut, match="in time"):
        connect(parse_address(listening.address), timeout=20)
    assert HANDSHAKE <= time.monotonic() - began < 10


def test_a_server_that_does_not_begin_within_the_timeout_is_told_from_a_stranger(tmp_path: Path) -> None:
    with (
        Listening(f"unix:{tmp_path}/s", slow) as listening,
        connect(parse_address(listening.address), timeout=1.6) as client,
        pytest.raises(TimedOut, match=r"has not begun within 1\.6 s"),
    ):
        list(client.entries(b""))
