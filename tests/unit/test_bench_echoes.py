"""Round trips to a peer without a protocol: how many are taken."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from hvcopy.channel import Channel
from hvcopy.measuring.echoes import call_raw


def trips(answers: int, count: int, over: bool) -> int:
    """How many of at most *count* are taken when the peer has answered so many before they are asked for."""
    with ExitStack() as closing:
        near, far = map(closing.enter_context, socket.socketpair())
        far.sendall(b"?" * answers)
        samples: list[int] = []
        call_raw(Channel(near, peer="the peer"), b"?", bytearray(1), count, lambda: over, samples)
        return len(samples)


def test_a_time_that_is_over_before_it_began_has_one_round_trip() -> None:
    assert trips(answers=2, count=2, over=True) == 1


def test_no_more_are_taken_than_asked_for() -> None:
    assert trips(answers=3, count=2, over=False) == 2
