"""The listening end without a protocol: discards what each peer sends, or sends to it."""

from __future__ import annotations

import time
from collections.abc import Callable

from hvcopy.admission import Admission
from hvcopy.channel import Channel
from hvcopy.errors import NotAllowed
from hvcopy.measuring import raw
from hvcopy.measuring.clock import Clock
from hvcopy.measuring.figures import Flow, Outcome, Side
from hvcopy.measuring.plan import Plan
from hvcopy.server import Events, Reception
from hvcopy.transport import Listener


class RawServer(Reception):
    """A sink, or with a *plan* that receives a source.  *measured* hears of each connection, from its thread."""

    def __init__(
        self,
        listener: Listener,
        admission: Admission,
        *,
        plan: Plan,
        timeout: float = 30.0,
        events: Events | None = None,
        measured: Callable[[str, Outcome], None] = lambda peer, outcome: None,
    ) -> None:
        super().__init__(listener, admission, kinds=frozenset(), timeout=timeout, events=events)
        self._plan = plan
        self._measured = measured

    def converse(self, channel: Channel) -> None:
        """Measure one connection until its peer, or the plan's time, ends it."""
        try:
            self.admission.check(channel)
        except NotAllowed:
            channel.close()
            raise
        clock = Clock(self._plan.seconds)
        try:
            if self._plan.receives:  # the plan is the peer's: what it receives, this end sends
                raw.send(channel, self._plan.length, clock.over)
            else:
                raw.receive(channel, lambda: False)
        finally:
            self._report(channel, clock)
            channel.close()

    def _report(self, channel: Channel, clock: Clock) -> None:
        sent, received = Flow(channel.sent.moved, clock.seconds), Flow(channel.received.moved, clock.seconds)
        outcome = Outcome(self._plan, channel.peer, time.time(), seconds=clock.seconds, done=True)
        user, system = clock.processor()
        outcome.there = Side(sent, received, user, system, channel.window)
        self._measured(channel.peer, outcome)
