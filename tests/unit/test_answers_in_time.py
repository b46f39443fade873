"""How long a client waits for what a server does before a job begins."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from peers import Listening, Peer

from hvcopy import parse_address
from hvcopy.client import connect
from hvcopy.errors import TimedOut
from hvcopy.wire import messages as m

HANDSHAKE, MORE = 1.5, 1.7
LINE = m.Listed(b"f", "f", 1, 0, 0o644)


def slow(sock: socket.socket) -> None:
    """A server that looks at its disk for longer than a handshake may last."""
    with Peer(sock).shake(connector=False, role="server") as peer:
        peer.expect(m.Job)
        peer.idle(MORE)
        peer.send(m.Ready(bytes(16), 1, "", []), m.Listing([LINE], True))
        peer.expect(m.Bye)


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


def test_a_server_that_does_not_begin_within_the_timeout_is_told_from_a_stranger(tmp_path: Path) -> None:
    with (
        Listening(f"unix:{tmp_path}/s", slow) as listening,
        connect(parse_address(listening.address), timeout=1.6) as client,
        pytest.raises(TimedOut, match=r"has not begun within 1\.6 s"),
    ):
        list(client.entries(b""))
