"""The length of a benchmark's message is that of each write: heard by a peer whose socket keeps apart what is written."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from hvcopy.channel import Channel
from hvcopy.measuring import raw
from hvcopy.measuring.traffic import FRAME_PIECES, flood
from hvcopy.transfer.link import Link
from hvcopy.wire.frames import HEADER, MIB

PATIENCE = 20.0
each_length = pytest.mark.parametrize("length", [1, 16, 17, 4099, 64 << 10, 100_003])


def writes(send: Callable[[Channel, Callable[[], bool]], object]) -> list[int]:
    """The sizes of what is written in two rounds (unix(7), SOCK_SEQPACKET)."""
    heard: list[int] = []
    with ExitStack() as closing:
        near, far = map(closing.enter_context, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        near.setblocking(False)
        far.settimeout(PATIENCE)
        hearing = threading.Thread(target=lambda: heard.extend(iter(lambda: len(far.recv(2 * MIB)), 0)))
        hearing.start()
        rounds = itertools.count()
        send(Channel(near, peer="the peer"), lambda: next(rounds) == 1)
        near.close()
        hearing.join()
    return heard


@each_length
def test_without_a_protocol_each_write_is_a_message(length: int) -> None:
    assert writes(lambda channel, over: raw.send(channel, length, over)) == [length] * 2


@each_length
def test_in_frames_each_write_is_a_message_with_the_header_in_the_first(length: int) -> None:
    frame = [max(length, HEADER.size), *[length] * (max(1, min(FRAME_PIECES, MIB // length)) - 1)]
    assert writes(lambda channel, over: flood(Link(channel), length, over)) == frame * 2
