"""One copy without a server: ``send`` on one side, ``recv`` on the other, and either may be the one that listens."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from hvcopy.accepting import Acceptor
from hvcopy.admission import Admission
from hvcopy.channel import POLL_SECONDS, Channel
from hvcopy.client import DEFAULT_LANES, Client
from hvcopy.errors import HvcopyError, Interrupted, NotAllowed, NotHvcopy
from hvcopy.server import carry_out
from hvcopy.transfer.jobs import Served
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.link import ERROR_WAIT, Link
from hvcopy.transfer.session import Registry, Terms, clamp_lanes, expect, grower, new_token
from hvcopy.transfer.tally import Tally
from hvcopy.transport import Cancellation, Listener
from hvcopy.wire import messages as m
from hvcopy.wire.frames import Type

MAX_GREETED = 16
"""Connections greeted at once: a silent one has its place for the 10 s of a handshake."""
LANE_SECONDS = 2.0
"""For a connection to say that it is a lane, which one does with the last bytes of its handshake."""
LOOK_SECONDS = 0.02


class SendingListener:
    """Listens for one receiver and is then its client; further connections become lanes of that session.

    *on_refused* hears of who is not let in or comes too late, from threads.
    """

    def __init__(
        self,
        listener: Listener,
        admission: Admission,
        *,
        timeout: float,
        lanes: int = DEFAULT_LANES,
        on_refused: Callable[[str, HvcopyError], None] = lambda peer, error: None,
    ) -> None:
        self._admission = admission
        self._terms = Terms("client", str(listener.address), admission.key, timeout)
        self._wanted = lanes
        self._registry = Registry()
        self._lock = threading.Lock()
        self._receivers: queue.SimpleQueue[Link] = queue.SimpleQueue()
        self._taken = False
        self._acceptor = Acceptor(
            listener,
            self._greet,
            places=MAX_GREETED,
            full=f"{MAX_GREETED} connections are being greeted there already",
            timeout=timeout,
            on_failed=on_refused,
        )

    def wait(self) -> Client:
        """Wait until a receiver connects and is let in; returns the client of it.

        Blocks until ``close`` is called from another thread, which makes it raise Interrupted.  Raises LocalFailure when
        nobody can be listened for any more.
        """
        self._acceptor.start()
        while not self._acceptor.stopping:
            with contextlib.suppress(queue.Empty):
                link = self._receivers.get(timeout=POLL_SECONDS)
                return Client(link, self._terms, lanes=self._wanted, token=new_token(), registry=self._registry)
        self._acceptor.check()
        raise Interrupted("interrupted")

    def close(self) -> None:
        """Accept nothing more, and let who came too late hear of it."""
        self._acceptor.stop()
        self._acceptor.join(2 * ERROR_WAIT)

    def _greet(self, channel: Channel) -> None:
        self._admission.let_in(channel)
        link, _ = self._terms.meet(channel, connector=False)
        with self._lock:
            first, self._taken = not self._taken, True
        if first:
            self._receivers.put(link)
        else:
            self._take_lane(link)

    def _take_lane(self, link: Link) -> None:
        link.deadline = min(link.deadline, time.monotonic() + LANE_SECONDS)
        try:
            while not link.channel.readable():  # a receiver waits for a job, and says nothing before
                if self._acceptor.pause(LOOK_SECONDS) or time.monotonic() > link.deadline:
                    raise NotAllowed(
                        "another receiver is served there, the only one that `hvcopy send -l` takes",
                        hint="when it is over, start it there once more; `hvcopy serve` takes many at once",
                    )
            lane = expect(link, Type.LANE)
            assert isinstance(lane, m.Lane)
            self._registry.join(link, lane)
        except HvcopyError as error:
            link.refuse(error)
            raise


def receive_once(
    dial: Callable[[Cancellation], Channel],
    *,
    address: str,
    key: bytes | None,
    timeout: float,
    served: Served,
    tally: Tally,
    cancellation: Cancellation,
    on_start: Callable[[Callable[[BaseException], None]], None] = lambda interrupt: None,
) -> None:
    """Connect to a listening sender and receive what it pushes.  Raises HvcopyError; blocks.

    *cancellation* ends it from another thread before the session has begun; *on_start* is given the function that ends that.
    """
    terms = Terms("server", address, key, timeout, frozenset({"push"}))
    link, agreed = terms.meet(dial(cancellation), connector=True)
    tally.window = link.channel.window
    try:
        job = expect(link, Type.JOB)
        assert isinstance(job, m.Job)
        if job.kind != "push":
            raise NotHvcopy("the other side is not `hvcopy send`")
    except HvcopyError as error:
        link.refuse(error)
        raise
    lanes = Lanes(link, granted=clamp_lanes(job.lanes), token=job.token, timeout=timeout)
    on_start(lanes.fail)
    served = replace(served, may_own=agreed.proven or address.startswith("unix:"))
    carry_out(link, job, lanes, served, tally, grower(lanes, terms, dial))
