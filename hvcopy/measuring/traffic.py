"""What flows over the lanes of one measurement, at either end: who sends, who hears, and when it is over."""

from __future__ import annotations

import os
from collections.abc import Callable

from hvcopy.errors import NotHvcopy
from hvcopy.measuring import echoes
from hvcopy.measuring.clock import Clock, until
from hvcopy.measuring.figures import NOTHING, Flow, Side
from hvcopy.measuring.packs import Packs
from hvcopy.measuring.plan import BOTH, CONNECT, DOWN, ECHO, FILES, FLOOD, UP
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.link import Link
from hvcopy.wire import messages as m
from hvcopy.wire.frames import HEADER, MIB, Frame, Type

SENT, RECEIVED = 0, 1
FRAME_PIECES = 256
"""Messages in one FLOOD at most: bounds by how much a run overstays its time."""


class Traffic:
    """One measurement at one end.  State changes under ``lanes.changed``; ``flow`` and ``moved`` are for any thread.

    It uses the first lanes, as many as the *order* counts.
    """

    def __init__(self, lanes: Lanes, order: m.Measure, *, client: bool) -> None:
        self.order = order
        self.links = lanes.links[: order.lanes]
        self.clock = Clock(order.millis / 1000)
        self.figures: m.Figures | None = None
        self.left = False
        moves = order.what in (FLOOD, FILES)
        self.sends = moves and order.way in (BOTH, UP if client else DOWN)
        self.receives = moves and order.way in (BOTH, DOWN if client else UP)
        self.packs = Packs(lanes, order.length) if order.what == FILES else None
        self._lanes = lanes
        self._client = client
        self._base = [(link.channel.sent.moved, link.channel.received.moved) for link in self.links]
        told_on_one = order.what in (ECHO, CONNECT)
        self._unended = self.links[:1] if told_on_one and client else list(self.links) if self.sends else []
        self._awaited = self.links[:1] if told_on_one and not client else list(self.links) if self.receives else []
        self._sent = self._received = NOTHING
        self._ends: dict[int, list[int]] = {}

    def start(self, run: Callable[[], None] | None = None) -> None:
        """Start the threads; *run* is what the client does on lane 0 in an echo or a connect, and hears it as well."""
        for number, link in enumerate(self.links):
            if self.sends:
                self._lanes.spawn(lambda link=link: self._send(link), f"send {number}", sends=True)  # type: ignore[misc]
            if number == 0 and run is not None:
                self._lanes.spawn(run, "run")
            elif number == 0 or self.receives:
                self._lanes.spawn(lambda link=link: self.hear(link), f"hear {number}")  # type: ignore[misc]

    @property
    def over(self) -> bool:
        """True when everything was sent, heard and acknowledged; the client has the server's figures then."""
        return not (
            self._unended
            or self._awaited
            or (self.packs and not self.packs.settled)
            or (self._client and self.figures is None)
        )

    def moved(self) -> list[tuple[int, int]]:
        """Return the bytes sent and received until now, by lane: of a direction that is over, until its end."""
        with self._lanes.changed:
            sent, received = (self._ends.get(index) or self._counted(index) for index in (SENT, RECEIVED))
        return list(zip(sent, received, strict=True))

    def _counted(self, index: int) -> list[int]:
        meters = [(link.channel.sent, link.channel.received)[index] for link in self.links]
        return [meter.moved - base[index] for meter, base in zip(meters, self._base, strict=True)]

    def side(self) -> Side:
        """Return this end's figures: as of the end of each direction, or until now."""
        user, system = self.clock.processor()
        sent, received = self._sent, self._received
        if self.sends and sent is NOTHING:
            sent = self._flow(SENT)
        if self.receives and received is NOTHING:
            received = self._flow(RECEIVED)
        return Side(sent, received, user, system, self.links[0].channel.window)

    def _whole(self, index: int) -> Flow:
        """End the count of a direction: what is said afterwards on its lanes belongs to no message."""
        self._ends[index] = self._counted(index)
        return self._flow(index)

    def _flow(self, index: int) -> Flow:
        return Flow(sum(both[index] for both in self.moved()), self.clock.seconds)

    def _send(self, link: Link) -> None:
        if self.packs:
            for _ in until(self.stop):
                self.packs.send(link)
        else:
            flood(link, self.order.length, self.stop)
        self._lanes.check()
        self.end(link)

    def stop(self) -> bool:
        """Say whether nothing more is to be sent: the time is over, or the session, which then needs the link to say why."""
        return self.clock.over() or self._lanes.error is not None

    def end(self, link: Link) -> None:
        """Say that nothing more is sent on *link*."""
        link.send(m.Lull())
        with self._lanes.changed:
            self._unended.remove(link)
            if not self._unended and self.sends:
                self._sent = self._whole(SENT)
            self._lanes.changed.notify_all()

    def hear(self, link: Link) -> None:
        """Hear one lane until nothing more comes on it.  Raises HvcopyError."""
        while self.heard(link, link.receive(parted=Type.ECHO)):
            pass

    def heard(self, link: Link, frame: Frame) -> bool:
        """Take one frame; returns False after the last one of its lane.  Raises NotHvcopy for what is out of turn."""
        first, what = link is self.links[0], self.order.what
        match frame.type:
            case Type.FLOOD if what == FLOOD and link in self._awaited and len(frame.body):
                return True
            case Type.PACK if self.packs and link in self._awaited:
                self.packs.take(frame.body)
                return True
            case Type.ECHO if what == ECHO and link in self._awaited and link.rest:
                echoes.answer(link, self.order.length)
                return True
        message = m.decode(frame.type, frame.body) if frame.type in m.SCHEMA else None
        match message:
            case m.Ping() if first:
                self._lanes.watchdog.heard(message)
            case m.Acks() if first and self.packs and self.sends:
                self.packs.acknowledged(message)
            case m.Lull() if link in self._awaited:
                self._ended(link)
                return first
            case m.Figures() if first and self._client and self.figures is None:
                self._note(figures=message)
                return False
            case m.Bye() if first and not self._client:
                self._note(left=True)
                return False
            case _:
                raise NotHvcopy(f"the peer sent {frame.type.name} out of turn")
        return True

    def _ended(self, link: Link) -> None:
        with self._lanes.changed:
            self._awaited.remove(link)
            if not self._awaited and self.receives:
                self._received = self._whole(RECEIVED)
            self._lanes.changed.notify_all()

    def _note(self, *, figures: m.Figures | None = None, left: bool = False) -> None:
        with self._lanes.changed:
            self.figures, self.left = figures, left
            self._lanes.changed.notify_all()


def flood(link: Link, length: int, over: Callable[[], bool]) -> None:
    """Send FLOOD in writes of *length* bytes, headers within, until *over*.  Raises HvcopyError; blocks."""
    piece = memoryview(os.urandom(length))
    count = max(1, min(FRAME_PIECES, MIB // length))
    first = piece[: max(0, length - HEADER.size)]
    parts = [first, *[piece] * (count - 1)]
    size = sum(map(len, parts))
    for _ in until(over):
        link.send_parted(Type.FLOOD, size, parts)
