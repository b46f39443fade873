"""Whether a peer that has ended its direction has closed wholly, as far as this machine knows."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from commands import eventually

from hvcopy.transport.closing import closed_here

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """(ours, the peer's)."""
    host: str = request.param
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError as error:
        pytest.skip(f"this machine has no {host}: {error}")
    with listener, socket.create_connection(listener.getsockname()[:2]) as peer:
        ours, _ = listener.accept()
        with ours:
            yield ours, peer


def test_a_peer_that_is_there_has_not_closed_though_it_has_ended(pair: Pair) -> None:
    ours, peer = pair
    assert not closed_here(ours)
    peer.shutdown(socket.SHUT_WR)
    assert ours.recv(1) == b""
    assert not closed_here(ours)


def test_a_peer_that_has_closed_is_known_to_have(pair: Pair) -> None:
    ours, peer = pair
    peer.close()
    assert ours.recv(1) == b""
    eventually(lambda: closed_here(ours), what="a socket without an inode")


def test_a_socket_that_somebody_else_still_holds_is_not_closed(pair: Pair) -> None:
    ours, peer = pair
    peer.shutdown(socket.SHUT_WR)
    with peer.dup():
        peer.close()
        assert not closed_here(ours)


def test_of_other_sockets_nothing_is_known() -> None:
    ours, peer = socket.socketpair()
    peer.close()
    with ours:
        assert not closed_here(ours)
    assert not closed_here(ours)
