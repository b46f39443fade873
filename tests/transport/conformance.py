"""What every connected Channel must do, whatever carries it.

check_channel(make_pair)      make_pair() is a context manager that gives two connected channels
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from hvcopy.channel import Channel
from hvcopy.errors import ConnectionLost, Interrupted, TimedOut

MakePair = Callable[[], AbstractContextManager[tuple[Channel, Channel]]]

BIG = 24 << 20
"""Bytes: more than any transport's buffers hold."""


def check_channel(make_pair: MakePair) -> None:
    """Run every check, each over a fresh pair."""
    for check in CHECKS:
        with make_pair() as (left, right):
            check(left, right)


def receive(channel: Channel, size: int) -> bytes:
    data = bytearray(size)
    return bytes(data[: channel.receive_exact(data)])


def bytes_keep_their_order(left: Channel, right: Channel) -> None:
    pieces = [bytes([n & 0xFF]) * (n * 37 % 5000 + 1) for n in range(300)]
    with ThreadPoolExecutor(1) as pool:
        sending = [pool.submit(left.send, piece) for piece in pieces]
        assert receive(right, sum(map(len, pieces))) == b"".join(pieces)
        for sent in sending:
            sent.result()


def parts_of_one_send_arrive_in_order(left: Channel, right: Channel) -> None:
    left.send(b"ab", b"", b"c", bytearray(b"def"), memoryview(b"-gh-")[1:3], b"i", b"j", b"k")
    assert receive(right, 11) == b"abcdefghijk"


def empty_sends_leave_no_trace(left: Channel, right: Channel) -> None:
    left.send(b"")
    left.send(b"x", b"")
    left.send(b"", b"y")
    assert receive(right, 2) == b"xy"
    assert right.receive_exact(bytearray()) == 0


def a_large_send_arrives_whole(left: Channel, right: Channel) -> None:
    data = hashlib.shake_128(b"big").digest(1 << 20) * (BIG >> 20)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(left.send, data)
        assert hashlib.sha256(receive(right, BIG)).digest() == hashlib.sha256(data).digest()
        sending.result()
    assert (left.sent.moved, right.received.moved) == (BIG, BIG)


def receive_some_takes_what_is_there(left: Channel, right: Channel) -> None:
    left.send(b"abc")
    into, got = bytearray(1 << 16), b""
    while len(got) < 3:
        count = right.receive_some(into)
        assert 1 <= count <= 3 - len(got)
        got += into[:count]
    assert got == b"abc"


def the_end_of_the_stream_is_a_value(left: Channel, right: Channel) -> None:
    left.send(b"last")
    left.close()
    into = bytearray(10)
    assert right.receive_exact(into) == 4
    assert into[:4] == b"last"
    assert right.receive_some(into) == 0
    assert right.receive_exact(into) == 0


def silence_ends_at_the_deadline(left: Channel, right: Channel) -> None:
    with pytest.raises(TimedOut, match="nothing could be received"):
        right.receive_some(bytearray(1), timeout=0.05)
    with pytest.raises(TimedOut, match="nothing could be received"):
        right.receive_exact(bytearray(1), timeout=0.05)
    left.send(b"!")
    assert receive(right, 1) == b"!"


def a_reader_that_stops_ends_the_send(left: Channel, right: Channel) -> None:
    with pytest.raises(TimedOut, match="nothing could be sent"):
        left.send(bytes(BIG), timeout=0.2)
    assert 0 < left.sent.moved < BIG


def sending_to_a_closed_peer_fails(left: Channel, right: Channel) -> None:
    right.close()
    with pytest.raises(ConnectionLost):
        left.send(bytes(BIG))


def cancel_ends_a_receive_in_another_thread(left: Channel, right: Channel) -> None:
    begun = threading.Event()

    def wait_for_data() -> int:
        begun.set()
        return right.receive_exact(bytearray(1))

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_for_data)
        assert begun.wait(10)
        right.cancel()
        with pytest.raises(Interrupted):
            waiting.result(10)
    assert right.sock.fileno() >= 0


def both_directions_flow_at_once(left: Channel, right: Channel) -> None:
    to_right, to_left = b"r" * BIG, b"l" * BIG
    with ThreadPoolExecutor(4) as pool:
        sends = [pool.submit(left.send, to_right), pool.submit(right.send, to_left)]
        at_left, at_right = pool.submit(receive, left, BIG), pool.submit(receive, right, BIG)
        assert at_left.result() == to_left
        assert at_right.result() == to_right
        for send in sends:
            send.result()


CHECKS: tuple[Callable[[Channel, Channel], None], ...] = (
    bytes_keep_their_order,
    parts_of_one_send_arrive_in_order,
    empty_sends_leave_no_trace,
    a_large_send_arrives_whole,
    receive_some_takes_what_is_there,
    the_end_of_the_stream_is_a_value,
    silence_ends_at_the_deadline,
    a_reader_that_stops_ends_the_send,
    sending_to_a_closed_peer_fails,
    cancel_ends_a_receive_in_another_thread,
    both_directions_flow_at_once,
)
