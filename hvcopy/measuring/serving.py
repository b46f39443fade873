"""The end that answers: one measurement at a time, for whoever is let in, bounded in time and in what it costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec

from hvcopy.admission import Admission
from hvcopy.channel import Channel
from hvcopy.errors import NotAllowed, NotHvcopy, TimedOut
from hvcopy.measuring.figures import Outcome, Side
from hvcopy.measuring.plan import MODES, RECV, Plan, check_order
from hvcopy.measuring.traffic import Traffic
from hvcopy.server import Events, Reception
from hvcopy.session.handshake import Agreed
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.link import Link
from hvcopy.transfer.session import BYE_WAIT, expect
from hvcopy.transfer.tally import Tally
from hvcopy.transport import Listener, tuning
from hvcopy.wire import messages as m
from hvcopy.wire.frames import Type

MOST_BUFFER = tuning.VSOCK_BUFFER
"""Bytes of a socket buffer that a client may wish for."""
ORDER_SECONDS = 10.0
GRACE_SECONDS = 2.0
"""Section 12: for the order to come at most, and beyond its time and the timeout for a measurement to end."""
TURN_SECONDS, CLOSE_SECONDS = 0.5, 5.0
"""For the session before to be closed, which a client's next one may overtake; and longer once its measurement is over."""
MAX_BUFFER = 2**31 - 1


def resize(channel: Channel, buffer: int) -> None:
    """Ask for a buffer of so many bytes, and let ``channel.window`` tell what it became."""
    tuning.resize(channel.sock, buffer)
    channel.window = tuning.window(channel.sock)


class BenchServer(Reception):
    """Measures with its clients.  *measured* hears of each measurement, from its session's thread."""

    def __init__(
        self,
        listener: Listener,
        admission: Admission,
        *,
        timeout: float = 30.0,
        most_buffer: int = MOST_BUFFER,
        events: Events | None = None,
        measured: Callable[[str, Outcome], None] = lambda peer, outcome: None,
    ) -> None:
        super().__init__(listener, admission, kinds=frozenset({"bench"}), timeout=timeout, events=events)
        self._most_buffer = most_buffer
        self._measured = measured
        self._turn = threading.Lock()
        self._over = threading.Event()

    def carry_out(self, link: Link, agreed: Agreed, job: m.Job, lanes: Lanes, tally: Tally) -> None:
        """Do one measurement."""
        if not self._take_turn():
            busy = NotAllowed("another measurement is under way there", hint="try again when it is over")
            link.refuse(busy)
            raise busy
        try:
            with lanes.closing():
                self._measure(lanes, tally)
        finally:
            self._turn.release()

    def _take_turn(self) -> bool:
        taken = self._turn.acquire(timeout=TURN_SECONDS)
        if not taken and self._over.is_set():
            taken = self._turn.acquire(timeout=CLOSE_SECONDS)
        if taken:
            self._over.clear()
        return taken

    def _measure(self, lanes: Lanes, tally: Tally) -> None:
        control, deadline = lanes.control, time.monotonic() + min(ORDER_SECONDS, self.timeout)
        control.deadline = deadline
        lanes.on_join = lambda link: _notify(lanes)
        control.send(m.Ready(lanes.token, lanes.granted, "", []))
        order = expect(control, Type.MEASURE)
        assert isinstance(order, m.Measure)
        check_order(order, granted=lanes.granted)
        with lanes.changed:
            lanes.changed.wait_for(
                lambda: len(lanes.links) >= order.lanes or lanes.error is not None, deadline - time.monotonic()
            )
            lanes.check()
            if len(lanes.links) < order.lanes:
                raise NotHvcopy("the peer counts lanes that did not join")
            lanes.granted = order.lanes  # who joins from now on gets its READY and is closed
        control.deadline = 0.0
        if order.buffer:
            for link in lanes.links:
                resize(link.channel, min(order.buffer, self._most_buffer))
        traffic = self._run(lanes, order, tally)
        if traffic.over:
            outcome = Outcome(
                _plan(order), control.channel.peer, time.time(), order.lanes, there=traffic.side(), done=True
            )
            outcome.seconds = traffic.clock.seconds
            outcome.count = traffic.packs.files if traffic.packs else 0
            self._measured(control.channel.peer, outcome)

    def _run(self, lanes: Lanes, order: m.Measure, tally: Tally) -> Traffic:
        control = lanes.control
        control.send(msgspec.structs.replace(order, buffer=min(control.channel.window, MAX_BUFFER)))
        traffic = Traffic(lanes, order, client=False)
        lanes.begin(tally)
        traffic.start()
        with lanes.changed:
            limit = order.millis / 1000 + GRACE_SECONDS + self.timeout
            ended = lanes.changed.wait_for(lambda: traffic.over or traffic.left or lanes.error is not None, limit)
        lanes.check()
        if not ended:
            raise TimedOut(f"the measurement was not over {GRACE_SECONDS + self.timeout:g} s after its time")
        self._over.set()
        if traffic.over:
            control.send(_figures(traffic.side()))
            with lanes.changed:
                lanes.changed.wait_for(lambda: traffic.left or lanes.error is not None, BYE_WAIT)
        return traffic


def _notify(lanes: Lanes) -> None:
    with lanes.changed:
        lanes.changed.notify_all()


def _figures(side: Side) -> m.Figures:
    def micros(seconds: float) -> int:
        return round(seconds * 1_000_000)

    return m.Figures(
        side.sent.bytes,
        micros(side.sent.seconds),
        side.received.bytes,
        micros(side.received.seconds),
        micros(side.user),
        micros(side.system),
        side.window,
    )


def _plan(order: m.Measure) -> Plan:
    """Return the plan behind an order, with the name that the client's user gave its mode."""
    names = {pair: name for name, pair in MODES.items()}
    mode = names.get((order.what, order.way)) or (RECV if order.what == "flood" else order.what)
    return Plan(mode, order.what, order.way, order.millis / 1000, order.length, order.lanes, order.buffer)
