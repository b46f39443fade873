"""Round trips of single messages, within frames (docs/protocol.md, section 12) and over a channel without any."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice

from hvcopy.channel import Channel
from hvcopy.errors import ConnectionLost, NotHvcopy
from hvcopy.measuring.clock import until
from hvcopy.transfer.link import Link
from hvcopy.wire.frames import KIB, Frame, Type

TRAIN = 64 * KIB
"""Bytes of messages in one ECHO, if they are more than one."""
TRAIN_MESSAGES = 256
"""Messages in one ECHO: bounds by how much a run overstays its time."""


def messages_of(length: int) -> int:
    """Return how many messages of *length* bytes go into one ECHO."""
    return max(1, min(TRAIN_MESSAGES, TRAIN // length))


def call(link: Link, message: bytes, count: int, heard: Callable[[Frame], object]) -> list[int]:
    """Send one ECHO of *count* messages; return the nanoseconds of each round trip.

    *heard* is given what comes before the answer.  Raises NotHvcopy for an answer of another length.
    """
    back = memoryview(bytearray(len(message)))
    samples: list[int] = []

    def parts() -> Iterator[bytes]:
        yield b""  # the header goes first, and is no part of a round trip
        while (frame := link.receive(parted=Type.ECHO)).type is not Type.ECHO:
            heard(frame)
        if link.rest != count * len(message):
            raise NotHvcopy(f"the peer answered an ECHO of {count * len(message)} bytes with one of {link.rest}")
        for _ in range(count):
            began = time.perf_counter_ns()
            yield message
            link.receive_part(back)
            samples.append(time.perf_counter_ns() - began)

    link.send_parted(Type.ECHO, count * len(message), parts())
    return samples


def answer(link: Link, length: int) -> None:
    """Give back the messages of *length* bytes of the ECHO whose header came just now."""
    message = memoryview(bytearray(length))

    def parts() -> Iterator[memoryview | bytes]:
        yield b""
        while link.rest:
            part = message[: link.rest]
            link.receive_part(part)
            yield part

    link.send_parted(Type.ECHO, link.rest, parts())


def call_raw(
    channel: Channel, message: bytes, back: bytearray, count: int, over: Callable[[], bool], samples: list[int]
) -> None:
    """The same over a channel, to a peer that gives everything back; at most *count*, until *over* but one at
    least, added to *samples*.  *back* has room for one, and what came of the last.

    Raises ConnectionLost at the peer's end, NotHvcopy when something else comes back.
    """
    for _ in islice(until(over), count):
        began = time.perf_counter_ns()
        if channel.exchange(message, back) < len(message):
            raise ConnectionLost(f"{channel.peer}: the peer ended the connection before it had echoed everything")
        took = time.perf_counter_ns() - began
        if back != message:
            raise NotHvcopy(f"{channel.peer}: what came back is not what was sent: the peer is no echo")
        samples.append(took)
