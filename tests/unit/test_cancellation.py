"""A connection that is only coming about, ended from another thread."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from commands import PATIENCE, eventually
from peers import Behaviour, Listening, Peer, drain
from ports import local

from hvcopy import Address, open_stream, parse_address
from hvcopy.channel import Channel
from hvcopy.client import connect
from hvcopy.doctor.examination import Examination
from hvcopy.errors import Interrupted
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.link import Link
from hvcopy.transfer.session import Terms, grower
from hvcopy.transport import Cancellation, dial
from hvcopy.wire import messages as m

Reach = Callable[[Address, Cancellation], object]


def a_client(address: Address, cancellation: Cancellation) -> object:
    return connect(address, cancellation=cancellation)


def a_client_that_waits(address: Address, cancellation: Cancellation) -> object:
    return connect(address, wait=300, cancellation=cancellation)


def a_stream(address: Address, cancellation: Cancellation) -> object:
    return open_stream(address, timeout=300, cancellation=cancellation)


def an_examination(address: Address, cancellation: Cancellation) -> object:
    Examination(cancellation=cancellation).connect(address, key=None, timeout=300)
    return None


def busy(sock: socket.socket) -> None:
    """A listener that talks to somebody else."""
    peer = Peer(sock).shake(connector=False, role="server")
    peer.expect(m.Job)
    drain(sock)


@pytest.mark.parametrize(
    ("reach", "behaviour"),
    [(a_client, drain), (a_stream, drain), (a_stream, busy), (an_examination, drain)],
    ids=lambda one: one.__name__,
)
def test_a_greeting_is_ended_and_the_connection_closed(reach: Reach, behaviour: Behaviour, tmp_path: Path) -> None:
    cancellation, over = Cancellation(), []

    def at_end(sock: socket.socket) -> None:
        try:
            behaviour(sock)
        finally:
            over.append(sock)

    with Listening(local(tmp_path), at_end) as peer, ThreadPoolExecutor(1) as pool:
        reaching = pool.submit(reach, parse_address(peer.address), cancellation)
        eventually(lambda: peer.accepted, what="the connection")
        cancellation.cancel()
        with pytest.raises(Interrupted):
            reaching.result(PATIENCE)
        eventually(lambda: over, what="the connection's end")


def test_waiting_for_somebody_who_listens_is_ended(tmp_path: Path) -> None:
    cancellation = Cancellation()
    with ThreadPoolExecutor(1) as pool:
        reaching = pool.submit(a_client_that_waits, parse_address(local(tmp_path)), cancellation)
        cancellation.cancel()
        with pytest.raises(Interrupted):
            reaching.result(PATIENCE)


def test_what_begins_after_it_ends_at_once(tmp_path: Path) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with Listening(local(tmp_path), drain) as peer, pytest.raises(Interrupted):
        a_client(parse_address(peer.address), cancellation)


def test_the_end_of_a_session_ends_a_lane_that_is_only_coming_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that is over, or interrupted, waits for no peer that says nothing there."""
    monkeypatch.setattr("hvcopy.transfer.greeting.HANDSHAKE_SECONDS", 300)
    near, far = socket.socketpair()
    with far, Listening(local(tmp_path), drain) as peer, ThreadPoolExecutor(1) as pool:
        address = parse_address(peer.address)
        lanes = Lanes(Link(Channel(near, peer="the peer")), granted=2, token=bytes(16), timeout=300)
        terms = Terms("client", peer.address, None, 300)
        growing = pool.submit(
            grower(lanes, terms, lambda lane: dial(address, timeout=300, cancellation=lane))
        )
        eventually(lambda: peer.accepted, what="the lane")
        lanes.close()
        growing.result(PATIENCE)
        assert len(lanes.links) == 1
