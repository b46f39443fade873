"""One copy without a server: ``send`` on one side, ``recv`` on the other, and either may be the one that listens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from hvcopy.admission import Admission
from hvcopy.channel import Channel
from hvcopy.client import DEFAULT_LANES, Client
from hvcopy.errors import HvcopyError, Interrupted, NotHvcopy
from hvcopy.server import POLL_SECONDS, carry_out
from hvcopy.transfer.greeting import refuse
from hvcopy.transfer.jobs import Served
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.link import Link
from hvcopy.transfer.session import Registry, Terms, clamp_lanes, expect, grower, new_token
from hvcopy.transfer.tally import Tally
from hvcopy.transport import Listener
from hvcopy.wire import messages as m
from hvcopy.wire.frames import Type


class SendingListener:
    """Listens for one receiver and is then its client; further connections become lanes of that session."""

    def __init__(
        self,
        listener: Listener,
        admission: Admission,
        *,
        timeout: float,
        lanes: int = DEFAULT_LANES,
        on_refused: Callable[[str, HvcopyError], None] = lambda peer, error: None,
    ) -> None:
        self._listener = listener
        self._admission = admission
        self._terms = Terms("client", str(listener.address), admission.key, timeout)
        self._wanted = lanes
        self._on_refused = on_refused
        self._registry = Registry()
        self._stop = threading.Event()

    def wait(self) -> Client:
        """Wait until a receiver connects and is let in; returns the client of it.

        Blocks until ``close`` is called from another thread, which makes it raise Interrupted.
        """
        while (link := self._accept()) is None:
            if self._stop.is_set():
                raise Interrupted("interrupted")
        client = Client(link, self._terms, lanes=self._wanted, token=new_token(), registry=self._registry)
        threading.Thread(target=self._take_lanes, name="lanes", daemon=True).start()
        return client

    def close(self) -> None:
        """Accept nothing more."""
        self._stop.set()

    def _accept(self) -> Link | None:
        channel = self._listener.accept(POLL_SECONDS)
        if channel is None:
            return None
        channel.timeout = self._terms.timeout
        try:
            try:
                self._admission.check(channel)
            except HvcopyError as error:
                refuse(channel, error)
                raise
            return self._terms.meet(channel, connector=False)[0]
        except HvcopyError as error:
            self._on_refused(channel.peer, error)
            return None

    def _take_lanes(self) -> None:
        while not self._stop.is_set():
            try:
                link = self._accept()
            except HvcopyError:  # it listens no more: the copy is over, or goes on with the lanes that it has
                return
            if link is None:
                continue
            try:
                lane = expect(link, Type.LANE)
                assert isinstance(lane, m.Lane)
                self._registry.join(link, lane)
            except HvcopyError as error:
                link.refuse(error)


def receive_once(
    dial: Callable[[], Channel],
    *,
    address: str,
    key: bytes | None,
    timeout: float,
    served: Served,
    tally: Tally,
    on_start: Callable[[Callable[[BaseException], None]], None] = lambda interrupt: None,
) -> None:
    """Connect to a listening sender and receive what it pushes.  Raises HvcopyError; blocks.

    *on_start* is given the function that ends the session from another thread.
    """
    terms = Terms("server", address, key, timeout)
    link, agreed = terms.meet(dial(), connector=True)
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
