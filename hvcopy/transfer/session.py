"""Setting up sessions: who connects to whom, which connections belong together, how extra lanes join."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable

from msgspec import Struct

from hvcopy.channel import Channel
from hvcopy.errors import BadUsage, ConnectionLost, HvcopyError, NotHvcopy
from hvcopy.files.keys import check_key
from hvcopy.session.handshake import Agreed
from hvcopy.transfer.greeting import greet
from hvcopy.transfer.lanes import MAX_LANES, Lanes
from hvcopy.transfer.link import Link, named
from hvcopy.transport import Cancellation
from hvcopy.units import LONGEST_DURATION
from hvcopy.wire import messages as m
from hvcopy.wire.frames import Type

SOFTWARE = "hvcopy 0.1"
BYE_WAIT = 2.0
"""Seconds to wait for the other end's last word."""


class Terms(Struct, frozen=True):
    """What one end brings to every connection of a session."""

    role: str
    address: str
    key: bytes | None
    timeout: float
    takes: frozenset[str] = frozenset()
    """The kinds of jobs that a server does."""

    def __post_init__(self) -> None:
        """Raise BadUsage or TypeError for what a program, unlike a command, may bring."""
        check_key(self.key)
        if not 0 < self.timeout <= LONGEST_DURATION:
            raise BadUsage(f"a timeout of {self.timeout} s cannot be", hint=f"more than 0, at most {LONGEST_DURATION} s")

    def meet(self, channel: Channel, *, connector: bool) -> tuple[Link, Agreed]:
        """Do the handshake on *channel* on these terms: see ``greet``, which closes it on failure."""
        return greet(
            channel,
            connector=connector,
            role=self.role,
            address=self.address,
            key=self.key,
            software=SOFTWARE,
            takes=self.takes,
        )


def expect(link: Link, *kinds: Type) -> m.Message:
    """Receive one message that must be of one of *kinds*.  Raises NotHvcopy otherwise."""
    try:
        frame = link.receive()
        if frame.type not in kinds:
            raise NotHvcopy(f"the peer sent {frame.type.name} out of turn")
        return m.decode(frame.type, frame.body)
    except NotHvcopy as error:
        raise named(error, link.channel.peer) from error


def await_bye(link: Link) -> None:
    """Wait a little for the last word: whoever closes first may take the other's last bytes along."""
    link.deadline = time.monotonic() + BYE_WAIT
    with contextlib.suppress(HvcopyError):
        while link.receive().type is not Type.BYE:
            pass


def new_token() -> bytes:
    """Return the name of a new session, which nobody can guess."""
    return os.urandom(16)


def clamp_lanes(wanted: int) -> int:
    """Return how many lanes are granted of those *wanted*."""
    return max(1, min(wanted, MAX_LANES))


def grower(lanes: Lanes, terms: Terms, dial: Callable[[Cancellation], Channel]) -> Callable[[], None]:
    """Return a function that opens the further lanes granted; a lane that cannot be opened is done without.

    The end of the session ends that, too.
    """

    def grow() -> None:
        for index in range(1, lanes.granted):
            try:
                channel = dial(lanes.opening)
            except HvcopyError:
                return
            try:
                link, _ = terms.meet(channel, connector=True)
                link.send(m.Lane(lanes.token, index))
                expect(link, Type.READY)
                link.deadline = 0.0
            except HvcopyError:
                channel.close()
                return
            if not adopt(lanes, link):
                link.close()
                return

    return grow


def adopt(lanes: Lanes, link: Link) -> bool:
    """Make *link* a lane of the session; False when it is over or has enough."""
    on_join = lanes.on_join
    if on_join is None or not lanes.join(link):
        return False
    on_join(link)
    return True


class Registry:
    """The sessions of a listening end, by token: where further lanes find theirs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[bytes, Lanes] = {}

    def enter(self, lanes: Lanes) -> None:
        """Let lanes join from now on."""
        with self._lock:
            self._sessions[lanes.token] = lanes

    def leave(self, lanes: Lanes) -> None:
        """Let no more lanes join."""
        with self._lock:
            self._sessions.pop(lanes.token, None)

    def all(self) -> list[Lanes]:
        """Return the sessions under way."""
        with self._lock:
            return list(self._sessions.values())

    def join(self, link: Link, lane: m.Lane) -> None:
        """Give the connection to the session it names.  Refuses it, politely, when there is none."""
        with self._lock:
            lanes = self._sessions.get(lane.token)
        if lanes is None or lanes.on_join is None:
            link.refuse(NotHvcopy("there is no such session"))
            return
        link.deadline = 0.0
        try:
            link.send(m.Ready(lane.token, lanes.granted, "", []))
        except ConnectionLost:  # the client is done by now, and needs no lane
            link.close()
            return
        if not adopt(lanes, link):
            link.close()
