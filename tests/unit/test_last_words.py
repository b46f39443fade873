"""Who gave up lets the peer read why; who was told closes at once and answers nothing (docs/protocol.md, section 9)."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator

import pytest

from hvcopy.channel import Channel
from hvcopy.errors import ConnectionLost, HvcopyError, Interrupted, LocalFailure, NotAllowed
from hvcopy.transfer import link as module
from hvcopy.transfer.greeting import greet
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.link import Link
from hvcopy.wire import messages as m
from hvcopy.wire.frames import MAGIC

FOR_EVER = 3600.0
QUIET_SECONDS = 0.3
"""How long a connection is watched to see that nobody closes it."""

pytestmark = pytest.mark.timeout(30)
Ends = tuple[Link, Link]


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    """This end and the peer's, which never closes; whoever waits for that waits for ever."""
    monkeypatch.setattr(module, "LAST_WORDS", FOR_EVER)
    near, far = socket.socketpair()
    near.setblocking(False)  # as Windows needs it
    links = [Link(Channel(sock, peer="the peer", timeout=20.0)) for sock in (near, far)]
    yield links[0], links[1]
    for one in links:
        one.close()


def assert_closed_without_a_word(peer: Link) -> None:
    """Nothing comes at the peer's end any more, and no ERROR came."""
    with pytest.raises(ConnectionLost, match="ended"):
        peer.receive()


def test_a_session_that_was_told_why_closes_at_once_and_answers_nothing(ends: Ends) -> None:
    near, far = ends
    lanes = Lanes(near, granted=1, token=b"", timeout=20.0)
    lanes.spawn(lambda: [near.receive()], "hears")
    far.send(m.Error(9, "not for you", ""))
    with lanes.changed:
        assert lanes.changed.wait_for(lambda: lanes.error, 20)
    assert isinstance(lanes.error, NotAllowed)
    lanes.close()
    assert_closed_without_a_word(far)


def test_a_session_that_was_told_why_on_a_further_lane_closes_at_once(ends: Ends) -> None:
    near, far = ends
    first, other = socket.socketpair()
    lanes = Lanes(Link(Channel(first, peer="the peer")), granted=2, token=b"", timeout=20.0)
    lanes.on_join = lambda link: lanes.spawn(lambda: [link.receive()], "hears")
    lanes.join(near)
    lanes.on_join(near)
    far.send(m.Error(10, "disk full", ""))
    with lanes.changed:
        assert lanes.changed.wait_for(lambda: lanes.error, 20)
    lanes.close()
    assert_closed_without_a_word(Link(Channel(other, peer="the peer")))
    other.close()


def test_who_still_waits_in_a_session_that_another_thread_closes_is_told(ends: Ends) -> None:
    near, far = ends
    lanes = Lanes(near, granted=1, token=b"", timeout=20.0)
    far.close()
    lanes.fail(Interrupted("by the program"))
    lanes.close()
    with pytest.raises(Interrupted):
        lanes.check()


def test_a_session_that_gives_up_says_why_and_stays_until_the_peer_closes(ends: Ends) -> None:
    near, far = ends
    lanes = Lanes(near, granted=1, token=b"", timeout=20.0)
    lanes.fail(LocalFailure("disk full"))
    closing = threading.Thread(target=lanes.close, daemon=True)
    closing.start()
    with pytest.raises(LocalFailure, match="the peer says: disk full"):
        far.receive()
    assert not select.select([far.channel.sock], [], [], QUIET_SECONDS)[0]
    far.close()
    closing.join(20)
    assert not closing.is_alive()


def test_a_peer_that_stays_is_not_waited_for_longer_than_a_moment(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAST_WORDS", 0.1)
    near, _ = ends
    lanes = Lanes(near, granted=1, token=b"", timeout=20.0)
    lanes.fail(LocalFailure("disk full"))
    lanes.close()


@pytest.mark.parametrize("connector", [True, False], ids=["connector", "listener"])
def test_a_handshake_that_ends_with_error_is_over_at_once(ends: Ends, connector: bool) -> None:
    near, far = ends
    far.channel.send(MAGIC)
    far.send(m.Error(9, "not on the list", "ask"))
    with pytest.raises(NotAllowed, match="the peer says: not on the list") as caught:
        greet(near.channel, connector=connector, role="client", address="unix:/s", key=None, software="this")
    assert caught.value.hint == "ask"
    if connector:
        far.receive_magic()
        far.receive()  # HELLO, sent before anything was heard
    assert_closed_without_a_word(far)


def test_a_peer_that_gave_up_in_place_of_an_order_is_not_answered(ends: Ends) -> None:
    near, far = ends
    far.send(m.Error(130, "interrupted", ""))
    with pytest.raises(HvcopyError) as caught:
        near.receive()
    near.refuse(caught.value)
    assert_closed_without_a_word(far)
