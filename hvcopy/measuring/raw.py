"""Measurements without a protocol: plain bytes to a peer that discards, from one that sends, back from one that echoes."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

from hvcopy import threads
from hvcopy.address import Address
from hvcopy.channel import Channel
from hvcopy.errors import BadUsage, ConnectionLost, Interrupted, NotHvcopy, TimedOut
from hvcopy.measuring import echoes
from hvcopy.measuring.clock import Clock, until
from hvcopy.measuring.figures import NOTHING, Flow, Outcome, Side
from hvcopy.measuring.plan import CONNECT, DOWN, ECHO, FILES, FLOOD, UP, Plan
from hvcopy.measuring.recording import Observe, Recorder, unobserved
from hvcopy.transport import Cancellation, dial, pinned
from hvcopy.wire.frames import MAGIC, MIB

STOP_SECONDS = 0.5
"""Seconds after its time in which a run ends by itself; then it is cancelled: the peer neither reads nor sends."""
STALL_SECONDS = 1.0
"""Without an answer when a run is cancelled: an echo that was much quicker until then has stopped, and is not slow."""
CLOSE_SECONDS = 0.5
"""For a peer to read the rest and close."""

_WITHOUT = "one that speaks hvcopy is measured without --raw"
_HINTS = {
    UP: f"a raw peer reads until this end closes, as hvcopy bench --raw --serve ADDRESS does; {_WITHOUT}",
    DOWN: f"a raw peer sends by itself, as hvcopy bench --raw --serve -R ADDRESS does; {_WITHOUT}",
    ECHO: f"this needs a peer that echoes, such as: socat VSOCK-LISTEN:18518,fork EXEC:cat; {_WITHOUT}",
}


class Run:
    """The connections of one measurement and their threads; the first failure before its time is over ends it.

    Afterwards only a peer that stalled is one.
    """

    def __init__(self, channels: list[Channel], seconds: float) -> None:
        self.channels = channels
        self.changed = threading.Condition()
        self.clock = Clock(seconds)
        self.error: BaseException | None = None
        self._running = 0
        self._ears = 0
        self._under_way: Counter[str] = Counter()
        self._ends: dict[str, float] = {}

    def spawn(self, work: Callable[[], None], name: str = "", *, ear: bool = False) -> None:
        """Run *work* in a thread; when all of one *name* are done, the time of that direction stands still.

        An *ear* only hears what the peer says meanwhile: the run is over without it.
        """

        def run() -> None:
            error: BaseException | None = None
            try:
                work()
            except BaseException as caught:
                error = caught
            with self.changed:
                self._running -= 1
                self._ears -= ear
                self._under_way[name] -= 1
                self._ends[name] = self.clock.seconds
                counts = isinstance(error, TimedOut) or not self.clock.over()
                if error and (isinstance(error, BadUsage) or (counts and not ear)):
                    self.error = self.error or error
                self.changed.notify_all()

        with self.changed:
            threads.start(run, name)
            self._running += 1
            self._ears += ear
            self._under_way[name] += 1

    def sent(self) -> bool:
        """Say whether the time is over and everything sent: an echo takes the rest only while it is heard."""
        return self.clock.over() and not self._under_way[UP]

    @property
    def over(self) -> bool:
        """True when every thread has ended, or one has failed."""
        return self.error is not None or self._running == self._ears

    def moved(self) -> list[tuple[int, int]]:
        """Return the bytes sent and received until now, by connection."""
        return [(channel.sent.moved, channel.received.moved) for channel in self.channels]

    def side(self, plan: Plan) -> Side:
        """Return the figures until now, each direction's by its own end."""
        user, system = self.clock.processor()
        window = self.channels[0].window if self.channels else 0
        sent = self._flow(0, UP) if plan.what == FLOOD and plan.sends else NOTHING
        received = self._flow(1, DOWN) if plan.receives else NOTHING
        return Side(sent, received, user, system, window)

    def _flow(self, index: int, name: str) -> Flow:
        return Flow(sum(one[index] for one in self.moved()), self._ends.get(name, self.clock.seconds))

    def fail(self, error: BaseException) -> None:
        """End everything with *error*; for any thread."""
        with self.changed:
            self.error = self.error or error
            self.changed.notify_all()
        self.cancel()

    def cancel(self) -> None:
        """End every blocked call."""
        for channel in self.channels:
            channel.cancel()

    def end(self) -> None:
        """End the threads, which goes before closing: a descriptor closed under a call could be another file's then."""
        self.cancel()
        with self.changed:
            self.changed.wait_for(lambda: self._running == 0)

    def close(self) -> None:
        """Close, having let the peer read the rest if all went well; after ``end``."""
        ends = time.monotonic() + CLOSE_SECONDS
        for channel in self.channels:
            if not self.error:
                channel.discard(ends - time.monotonic())
            channel.close()


class RawEngine:
    """A ``Measurer`` whose peer is anything: a sink, a source, an echo.  It knows this end's figures only."""

    def __init__(self, address: Address, *, wait: float = 0.0, timeout: float = 30.0) -> None:
        self.current: Outcome | None = None
        self._address = self._target = address
        self._wait = wait
        self._timeout = timeout
        self._run: Run | None = None
        self._cancellation = Cancellation()

    def windows(self, plan: Plan) -> tuple[int, int]:
        """See ``Measurer``."""
        channel = self._dial(plan)
        channel.close()
        return channel.window, 0

    def measure(self, plan: Plan, observe: Observe = unobserved) -> Outcome:
        """See ``Measurer``; ConnectionLost or TimedOut when nothing at all came from a peer that was to send or to echo."""
        if plan.what == FILES:
            raise BadUsage("--mode files needs hvcopy at the other end", hint="leave out --raw")
        outcome = self.current = Outcome(plan, str(self._address), time.time(), plan.lanes)
        channels = [] if plan.what == CONNECT else [self._dial(plan) for _ in range(plan.lanes)]
        run = self._run = Run(channels, plan.seconds)
        recorder = Recorder(outcome, run.clock, run.moved, observe)
        try:
            self._start(run, plan, recorder)
            recorder.watch(run.changed, lambda: run.over, plan.seconds + STOP_SECONDS)
        finally:
            run.end()
            recorder.cut()
            outcome.here = run.side(plan)
            run.close()
        needed = _HINTS[ECHO if plan.what == ECHO else DOWN if plan.way == DOWN else UP]
        if isinstance(run.error, (ConnectionLost, NotHvcopy, TimedOut)):
            run.error.hint = run.error.hint or needed
        if run.error:
            raise run.error
        if plan.receives and not outcome.here.received.bytes:
            if outcome.here.received.seconds < plan.seconds:
                raise ConnectionLost(f"{self._address}: the peer ended before it had sent anything", hint=_HINTS[DOWN])
            raise TimedOut(f"{self._address}: nothing came in {plan.seconds:g} s", hint=_HINTS[DOWN])
        if plan.what == ECHO and not outcome.count:
            raise TimedOut(f"{self._address}: nothing came back in {plan.seconds:g} s", hint=needed)
        outcome.done = True
        return outcome

    def interrupt(self, error: BaseException) -> None:
        """See ``Measurer``."""
        if self._run:
            self._run.fail(error)
        self._cancellation.cancel()

    def _dial(self, plan: Plan) -> Channel:
        wait, self._wait = self._wait, 0.0
        channel = dial(
            self._target,
            wait=wait,
            timeout=self._timeout,
            buffer=plan.buffer or None,
            cancellation=self._cancellation,
            start=("the program that is to answer on {}",),
        )
        self._target = pinned(self._target, channel)
        return channel

    def _start(self, run: Run, plan: Plan, recorder: Recorder) -> None:
        if plan.what == CONNECT:
            run.spawn(lambda: self._connect(run, plan, recorder))
        for channel in run.channels:
            if plan.what == ECHO:
                run.spawn(lambda channel=channel: _echo(run, channel, plan.length, recorder))  # type: ignore[misc]
                continue
            if plan.sends:
                run.spawn(lambda channel=channel: send(channel, plan.length, run.clock.over), UP)  # type: ignore[misc]
            if plan.receives:
                run.spawn(lambda channel=channel: receive(channel, run.sent), DOWN)  # type: ignore[misc]
            else:
                run.spawn(lambda channel=channel: _hear(channel), ear=True)  # type: ignore[misc]

    def _connect(self, run: Run, plan: Plan, recorder: Recorder) -> None:
        for _ in until(lambda: run.error is not None or run.clock.over()):
            began = time.perf_counter_ns()
            self._dial(plan).close()
            recorder.add([time.perf_counter_ns() - began])


def send(channel: Channel, length: int, over: Callable[[], bool]) -> None:
    """Write messages of *length* bytes until *over*, then tell the peer that this is all.  Raises HvcopyError."""
    message = os.urandom(length)
    for _ in until(over):
        channel.send(message)
    with contextlib.suppress(OSError):
        channel.sock.shutdown(socket.SHUT_WR)


def receive(channel: Channel, over: Callable[[], bool]) -> None:
    """Read and forget until the peer's end, or *over*.  Raises HvcopyError, BadUsage when the peer speaks hvcopy."""
    _hear(channel)
    waste = bytearray(MIB)
    while not over() and channel.receive_some(waste):
        pass


def _hear(channel: Channel) -> None:
    """Read what the peer says first.  Raises BadUsage when that is hvcopy's preamble, and what receiving raises."""
    first = bytearray(len(MAGIC))
    channel.receive_exact(first)
    _refuse_hvcopy(channel, first)


def _refuse_hvcopy(channel: Channel, heard: bytearray) -> None:
    if heard.startswith(MAGIC):  # it says so at once, and what follows it only throws away
        raise BadUsage(f"{channel.peer}: the peer speaks hvcopy, and these are plain bytes", hint="leave out --raw")


def _echo(run: Run, channel: Channel, length: int, recorder: Recorder) -> None:
    message, back = os.urandom(length), bytearray(length)
    count, slowest = echoes.messages_of(length), 0
    for _ in until(run.clock.over):
        samples: list[int] = []
        began = time.perf_counter_ns()
        try:
            echoes.call_raw(channel, message, back, count, run.clock.over, samples)
            slowest = max([slowest, *samples])  # none, if its time ended just now
        except Interrupted:
            silent, slowest = time.perf_counter_ns() - began - sum(samples), max([slowest, *samples])
            if slowest and silent > max(STALL_SECONDS * 1e9, 4 * slowest):
                raise TimedOut(f"{channel.peer}: nothing came back any more, for {silent / 1e9:.1f} s") from None
            raise
        finally:
            recorder.add(samples)
            _refuse_hvcopy(channel, back)
