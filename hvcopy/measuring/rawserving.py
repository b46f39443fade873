"""The listening end without a protocol: discards what each peer sends, or sends to it."""

from __future__ import annotations

import time
from collections.abc import Callable

from hvcopy.accepting import Acceptor
from hvcopy.admission import Admission
from hvcopy.channel import Channel
from hvcopy.errors import HvcopyError, NotAllowed
from hvcopy.measuring import raw
from hvcopy.measuring.clock import Clock
from hvcopy.measuring.figures import Flow, Outcome, Side
from hvcopy.measuring.plan import Plan
from hvcopy.server import MAX_CLIENTS, STOP_SECONDS
from hvcopy.transport import Listener


class RawServer:
    """A sink, or with a *plan* that receives a source.  ``run`` blocks until ``stop``; both from any thread.

    *measured* hears of each connection, *on_failed* of each that fails or is not let in, from their threads.
    """

    def __init__(
        self,
        listener: Listener,
        admission: Admission,
        *,
        plan: Plan,
        timeout: float,
        on_failed: Callable[[str, HvcopyError], None],
        measured: Callable[[str, Outcome], None],
    ) -> None:
        self._admission = admission
        self._plan = plan
        self._measured = measured
        self._acceptor = Acceptor(
            listener, self._measure, places=MAX_CLIENTS, timeout=timeout, on_failed=on_failed
        )

    def run(self) -> None:
        """Accept and measure until stopped, each connection until its peer, or the plan's time, ends it.  Raises HvcopyError."""
        self._acceptor.run()
        self._acceptor.cancel()
        self._acceptor.join(STOP_SECONDS)

    def stop(self) -> None:
        """Accept nothing more, and end what is under way; ``run`` returns within a few seconds."""
        self._acceptor.stop()

    def _measure(self, channel: Channel) -> None:
        try:
            self._admission.check(channel)
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
