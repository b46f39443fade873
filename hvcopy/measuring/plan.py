"""What is to be measured: modes by name, their bounds, the order as the wire has it (docs/protocol.md, section 12).  Pure."""

from __future__ import annotations

from msgspec import Struct

from hvcopy.errors import BadUsage, NotHvcopy, printable
from hvcopy.units import format_size
from hvcopy.wire.frames import KIB, MIB, SMALL
from hvcopy.wire.messages import MAX_MEASURED_LENGTH, MAX_MEASURED_MILLIS, Measure

FLOOD, FILES, ECHO, CONNECT = "flood", "files", "echo", "connect"
UP, DOWN, BOTH = "up", "down", "both"

SEND, RECV, BIDIR, PACKS, LATENCY, CONNECTIONS = "send", "recv", "both", "files", "latency", "connections"
MODES = {
    SEND: (FLOOD, UP),
    RECV: (FLOOD, DOWN),
    BIDIR: (FLOOD, BOTH),
    PACKS: (FILES, UP),
    LATENCY: (ECHO, UP),
    CONNECTIONS: (CONNECT, UP),
}
"""What each mode's name means; with --reverse the way of a flood and of files is the other one."""
LENGTHS = {FLOOD: MIB, FILES: 2 * KIB, ECHO: 64, CONNECT: 1}
"""Bytes of a message, or of a file, where the user names none."""
_ONE_LANE = (ECHO, CONNECT)
_NEW_MILLIS = 1000


class Plan(Struct, frozen=True):
    """One measurement.  *seconds* is how long its sender sends, *buffer* the socket buffer asked for, 0 for the default."""

    mode: str
    what: str
    way: str
    seconds: float
    length: int
    lanes: int = 1
    buffer: int = 0

    @property
    def sends(self) -> bool:
        """True when bytes flow from the client to the server."""
        return self.way in (UP, BOTH)

    @property
    def receives(self) -> bool:
        """True when bytes flow from the server to the client; echoes do both, and say so by being echoes."""
        return self.way in (DOWN, BOTH)

    def order(self, lanes: int) -> Measure:
        """Return the order for the server, with so many *lanes* opened."""
        millis = max(1, round(self.seconds * _NEW_MILLIS))
        return Measure(self.what, self.way, millis, self.length, lanes, self.buffer)


def make_plan(
    mode: str,
    *,
    seconds: float,
    length: int | None = None,
    lanes: int = 1,
    buffer: int | None = None,
    reverse: bool = False,
) -> Plan:
    """Return the plan for *mode*.  Raises BadUsage for what no server would do, with what would be possible as its hint."""
    if mode not in MODES:
        raise BadUsage(
            f"--mode {printable(mode)} is none of {', '.join([*MODES, 'sweep'])}", hint="leave it out to measure most of them"
        )
    what, way = MODES[mode]
    if reverse:
        if what in _ONE_LANE or way == BOTH:
            raise BadUsage(f"--reverse has no meaning with --mode {mode}", hint="it goes with send, files and sweep")
        mode, way = (RECV if what == FLOOD else mode), DOWN
    if what in _ONE_LANE and lanes > 1:
        raise BadUsage(f"--mode {mode} uses one connection at a time", hint="leave out --lanes")
    if not 1 <= round(seconds * _NEW_MILLIS) <= MAX_MEASURED_MILLIS:
        raise BadUsage(f"--time {seconds:g} is out of bounds", hint="a measurement takes from 1ms to 1h")
    length = LENGTHS[what] if length is None else length
    most = SMALL if what == FILES else MAX_MEASURED_LENGTH
    if not 1 <= length <= most:
        raise BadUsage(
            f"--length {length} is out of bounds",
            hint=f"{'a small file' if what == FILES else 'one write'} has 1 byte to {format_size(most)}",
        )
    if not 0 <= (buffer or 0) < 2**31:
        raise BadUsage(f"--buffer {buffer} is out of bounds", hint="give less than 2G")
    return Plan(mode, what, way, seconds, length, lanes, buffer or 0)


def check_order(order: Measure, *, granted: int) -> None:
    """Raise NotHvcopy for an order that the protocol does not know; each field alone was checked when it was decoded."""
    known = {(what, way) for what, way in MODES.values()} | {(FLOOD, DOWN), (FILES, DOWN)}
    if (order.what, order.way) not in known:
        raise NotHvcopy(f"the peer orders an unknown measurement: {printable(order.what)} {printable(order.way)}")
    if order.lanes > (1 if order.what in _ONE_LANE else granted):
        raise NotHvcopy(f"the peer counts {order.lanes} lanes, more than were granted")
    if order.what == FILES and order.length > SMALL:
        raise NotHvcopy(f"the peer orders files of {order.length} bytes, too large for packs")
