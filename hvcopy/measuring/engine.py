"""The end that asks: one measurement after another against a server of benchmarks, each in a session of its own."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Protocol

import msgspec

from hvcopy.address import Address
from hvcopy.channel import Channel
from hvcopy.errors import BadUsage, NotHvcopy, TimedOut
from hvcopy.measuring import echoes
from hvcopy.measuring.clock import until
from hvcopy.measuring.figures import Flow, Outcome, Side
from hvcopy.measuring.plan import CONNECT, ECHO, Plan
from hvcopy.measuring.recording import Observe, Recorder, unobserved
from hvcopy.measuring.serving import GRACE_SECONDS
from hvcopy.measuring.traffic import Traffic
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.session import Terms, clamp_lanes, expect, grower
from hvcopy.transfer.tally import Tally
from hvcopy.transport import Cancellation, dial, pinned
from hvcopy.wire import messages as m
from hvcopy.wire.frames import Type

ANSWERS = ("hvcopy bench --serve {}",)
"""What answers to a benchmark."""


class Measurer(Protocol):
    """Whoever can carry out plans: ``Engine``, and ``RawEngine`` without a protocol."""

    current: Outcome | None

    def windows(self, plan: Plan) -> tuple[int, int]:
        """Return the windows in bytes, here and there, that *plan* would have; 0 for what is not known.  Blocks."""

    def measure(self, plan: Plan, observe: Observe = unobserved) -> Outcome:
        """Carry out *plan*; until it returns, ``current`` is what there is of it.  Raises HvcopyError; blocks.

        *observe* hears of each second, in this thread.
        """

    def interrupt(self, error: BaseException) -> None:
        """End what is under way in another thread, and whatever would come after it."""


class Engine:
    """Measures against ``hvcopy bench --serve`` at *address*; *wait* seconds are given to the first connection alone."""

    def __init__(self, address: Address, *, key: bytes | None = None, wait: float = 0.0, timeout: float = 30.0) -> None:
        self.current: Outcome | None = None
        self._address = self._target = address
        self._terms = Terms("client", str(address), key, timeout)
        self._wait = wait
        self._lanes: Lanes | None = None
        self._stopped: BaseException | None = None
        self._cancellation = Cancellation()

    def windows(self, plan: Plan) -> tuple[int, int]:
        """See ``Measurer``."""
        lanes = self._open(plan)
        with lanes.closing():
            answer = self._order(lanes, plan.order(1))
            lanes.control.send(m.Bye())
            return lanes.control.channel.window, answer.buffer

    def measure(self, plan: Plan, observe: Observe = unobserved) -> Outcome:
        """See ``Measurer``."""
        outcome = self.current = Outcome(plan, str(self._address), time.time())
        lanes = self._open(plan)
        with lanes.closing():
            self._run(lanes, outcome, observe)
            lanes.control.send(m.Bye())
        return outcome

    def interrupt(self, error: BaseException) -> None:
        """See ``Measurer``."""
        self._stopped = error
        if self._lanes:
            self._lanes.fail(error)
        self._cancellation.cancel()

    def _dial(self, cancellation: Cancellation, buffer: int, wait: float = 0.0) -> Channel:
        channel = dial(
            self._target,
            wait=wait,
            timeout=self._terms.timeout,
            buffer=buffer or None,
            cancellation=cancellation,
            start=ANSWERS,
            keyed=self._terms.key is not None,
        )
        self._target = pinned(self._target, channel)
        return channel

    def _open(self, plan: Plan) -> Lanes:
        """Begin a session, with as many lanes as are granted and can be had."""
        wait, self._wait, self._lanes = self._wait, 0.0, None
        link, _ = self._terms.meet(self._dial(self._cancellation, plan.buffer, wait), connector=True)
        lanes = Lanes(link, granted=1, token=b"", timeout=self._terms.timeout)
        try:
            link.send(m.Job("bench", [], m.Options(), b"", plan.lanes))
            ready = self._expect_ready(lanes)
            lanes.granted, lanes.token = min(clamp_lanes(ready.lanes), plan.lanes), ready.token
            self._lanes = lanes
            if self._stopped:
                raise self._stopped
            lanes.on_join = lambda link: None
            grower(lanes, self._terms, lambda lane: self._dial(lane, plan.buffer))()
        except BaseException as error:
            lanes.fail(error)
            lanes.close()
            raise
        link.deadline = 0.0
        return lanes

    def _expect_ready(self, lanes: Lanes) -> m.Ready:
        try:
            ready = expect(lanes.control, Type.READY)
        except BadUsage as error:
            raise BadUsage(error.message, hint=f"`hvcopy bench --serve {self._address}` answers to bench") from error
        assert isinstance(ready, m.Ready)
        return ready

    def _order(self, lanes: Lanes, order: m.Measure) -> m.Measure:
        lanes.control.send(order)
        answer = expect(lanes.control, Type.MEASURE)
        assert isinstance(answer, m.Measure)
        if msgspec.structs.replace(answer, buffer=order.buffer) != order:
            raise NotHvcopy(f"{self._address}: the server answered another order than it was given")
        return answer

    def _run(self, lanes: Lanes, outcome: Outcome, observe: Observe) -> None:
        plan, outcome.lanes = outcome.plan, len(lanes.links)
        self._order(lanes, plan.order(outcome.lanes))
        traffic = Traffic(lanes, plan.order(outcome.lanes), client=True)
        recorder = Recorder(outcome, traffic.clock, traffic.moved, observe)
        lanes.begin(Tally())
        traffic.start(partial(self._echo, lanes, traffic, recorder) if plan.what == ECHO else None)
        if plan.what == CONNECT:
            lanes.spawn(partial(self._connect, lanes, traffic, recorder), "connect")
        try:
            limit = plan.seconds + GRACE_SECONDS + self._terms.timeout
            ended = recorder.watch(lanes.changed, lambda: traffic.over or lanes.error is not None, limit)
        finally:
            if traffic.packs:
                recorder.count(traffic.packs.files)
            recorder.cut()
            outcome.here = traffic.side()
        lanes.check()
        if not ended or traffic.figures is None:
            raise TimedOut(f"{self._address}: the server has not ended the measurement in time")
        outcome.there, outcome.done = _side(traffic.figures), True

    def _echo(self, lanes: Lanes, traffic: Traffic, recorder: Recorder) -> None:
        link, message = lanes.control, os.urandom(traffic.order.length)
        count = echoes.messages_of(len(message))
        for _ in until(traffic.stop):
            recorder.add(echoes.call(link, message, count, lambda frame: traffic.heard(link, frame)))
        lanes.check()
        traffic.end(link)
        traffic.hear(link)

    def _connect(self, lanes: Lanes, traffic: Traffic, recorder: Recorder) -> None:
        for _ in until(traffic.stop):
            began = time.perf_counter_ns()
            link, _ = self._terms.meet(self._dial(self._cancellation, traffic.order.buffer), connector=True)
            try:
                link.send(m.Lane(lanes.token, 1))
                expect(link, Type.READY)
            finally:
                link.close()
            recorder.add([time.perf_counter_ns() - began])
            lanes.watchdog.worked()
        lanes.check()
        traffic.end(lanes.control)


def _side(figures: m.Figures) -> Side:
    def seconds(micros: int) -> float:
        return micros / 1_000_000

    return Side(
        Flow(figures.sent, seconds(figures.sending)),
        Flow(figures.received, seconds(figures.receiving)),
        seconds(figures.user),
        seconds(figures.system),
        figures.window,
    )
