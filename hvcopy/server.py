"""The listening end: many clients at once, each with its own thread, until it is told to stop."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import replace

from hvcopy.accepting import Acceptor
from hvcopy.address import Address, UnixAddress
from hvcopy.admission import Admission
from hvcopy.channel import Channel
from hvcopy.errors import (
    BadUsage,
    ConnectionLost,
    HvcopyError,
    Interrupted,
    LocalFailure,
    NotAllowed,
    NotHvcopy,
    printable,
)
from hvcopy.files.confined import open_directory
from hvcopy.session.handshake import Agreed
from hvcopy.transfer.jobs import Grow, Served, run_list, run_pull, run_push
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.link import Link
from hvcopy.transfer.session import Registry, Terms, clamp_lanes, expect, new_token
from hvcopy.transfer.tally import Tally
from hvcopy.transport import Listener, listen
from hvcopy.wire import messages as m
from hvcopy.wire.frames import Type

TAKERS = {"stream": "hvcopy pipe -l", "bench": "hvcopy bench --serve"}
"""What takes the kinds of jobs that are no files'."""
MAX_CLIENTS = 64
"""Connections served at once; each costs a thread and a few megabytes."""
STOP_SECONDS = 3.0


class Stopped(Interrupted):
    """This end was told to stop: for its peer a lost connection, for nobody interrupted that one."""

    exit_code = ConnectionLost.exit_code


class Events:
    """What a server tells whoever runs it; called from its threads.  The base class is silent."""

    def tally(self) -> Tally:
        """Return what counts the next session."""
        return Tally()

    def done(self, peer: str, kind: str, tally: Tally) -> None:
        """A session ended well, though entries may have failed."""

    def failed(self, peer: str, error: HvcopyError) -> None:
        """A connection or session failed."""


def carry_out(link: Link, job: m.Job, lanes: Lanes, served: Served, tally: Tally, grow: Grow = None) -> None:
    """Run one job at the server's end.  Raises HvcopyError."""
    link.deadline = 0.0
    with lanes.closing():
        served.check()
        match job.kind:
            case "push":
                run_push(lanes, job, served, tally, grow=grow)
            case "pull":
                run_pull(lanes, job, served, tally, grow=grow)
            case "list":
                run_list(lanes, job, served)
            case _:
                raise NotHvcopy("the peer wants a job of a kind that this release does not know")


class Reception(ABC):
    """Lets in whom *admission* lets in, and hands over jobs of *kinds*.  ``run`` blocks until ``stop``; both from any thread.

    *allowed* are those of *kinds* of which peers are told; all of them when it is None.
    """

    def __init__(
        self,
        listener: Listener,
        admission: Admission,
        *,
        kinds: frozenset[str],
        allowed: frozenset[str] | None = None,
        timeout: float = 30.0,
        events: Events | None = None,
        once: bool = False,
    ) -> None:
        self.listener = listener
        self.admission = admission
        self.kinds = kinds
        self.timeout = timeout
        self.events = events or Events()
        self.once = once
        self._acceptor = Acceptor(
            listener,
            self._converse,
            places=MAX_CLIENTS,
            full=f"the server already serves {MAX_CLIENTS} connections",
            timeout=timeout,
            on_failed=self.events.failed,
        )
        self._registry = Registry()
        self._lock = threading.Lock()
        self._taken = self._ran = False
        self._outcome: HvcopyError | None = None
        takes = kinds if allowed is None else kinds & allowed
        self._terms = Terms("server", str(self.listener.address), self.admission.key, self.timeout, takes)

    def run(self) -> None:
        """Accept and serve until stopped; with *once*, until the only job is over, whose failure is raised.

        To be called once.  Raises HvcopyError when the listener fails or is closed, which ends what is under way as well.
        """
        if self._ran:
            raise BadUsage("this server has run already", hint="listen anew, and make another")
        self._ran = True
        try:
            self._acceptor.run()
        finally:
            self._end_sessions()
        if self._outcome:
            raise self._outcome

    def stop(self) -> None:
        """Accept nothing more, and end what is under way; ``run`` returns within a few seconds."""
        self._acceptor.stop()

    def _end_sessions(self) -> None:
        for lanes in self._registry.all():
            lanes.fail(Stopped("the server was stopped"))
        self._acceptor.cancel()
        self._acceptor.join(STOP_SECONDS)

    def _converse(self, channel: Channel) -> None:
        """Serve one connection, and close it."""
        self.admission.let_in(channel)
        link, agreed = self._terms.meet(channel, connector=False)
        try:
            order = expect(link, Type.JOB, Type.LANE)
        except HvcopyError as error:
            link.refuse(error)
            raise
        if isinstance(order, m.Lane):
            self._registry.join(link, order)
        elif isinstance(order, m.Job):
            self._job(link, agreed, order)

    def _job(self, link: Link, agreed: Agreed, job: m.Job) -> None:
        try:
            self._take(job)
        except HvcopyError as error:
            link.refuse(error)
            raise
        lanes = Lanes(link, granted=clamp_lanes(job.lanes), token=new_token(), timeout=self.timeout)
        tally = self.events.tally()
        self._registry.enter(lanes)
        try:
            tally.window = link.channel.window
            self.carry_out(link, agreed, job, lanes, tally)
            self.events.done(link.channel.peer, job.kind, tally)
        except HvcopyError as error:
            if self.once:
                self._outcome = error
            raise
        finally:
            self._registry.leave(lanes)
            if self.once:
                self.stop()

    def _take(self, job: m.Job) -> None:
        """Raise BadUsage for a job of another kind, and with *once* NotAllowed for any but the first of the others."""
        if job.kind not in self.kinds:
            raise BadUsage(
                f"the other side only takes {' and '.join(sorted(self.kinds))}, not {job.kind!r:.20}",
                hint=f"start `{TAKERS.get(job.kind, 'hvcopy serve')}` there",
            )
        with self._lock:
            if self._taken:
                raise NotAllowed(
                    "another copy is under way there, the only one that the other side takes",
                    hint="when it is over, start `hvcopy recv -l` there once more; `hvcopy serve` takes many at once",
                )
            self._taken = self.once

    @abstractmethod
    def carry_out(self, link: Link, agreed: Agreed, job: m.Job, lanes: Lanes, tally: Tally) -> None:
        """Do *job*, answer it with READY or ERROR, and close *lanes*.  Raises HvcopyError; blocks."""


class Server(Reception):
    """Serves the files of *served*."""

    def __init__(
        self,
        listener: Listener,
        served: Served,
        admission: Admission,
        *,
        timeout: float = 30.0,
        events: Events | None = None,
        once: bool = False,
        kinds: frozenset[str] = frozenset({"push", "pull", "list"}),
    ) -> None:
        super().__init__(
            listener, admission, kinds=kinds, allowed=served.kinds, timeout=timeout, events=events, once=once
        )
        self.served = served

    def carry_out(self, link: Link, agreed: Agreed, job: m.Job, lanes: Lanes, tally: Tally) -> None:
        """Copy or list files."""
        may_own = agreed.proven or isinstance(self.listener.address, UnixAddress)
        carry_out(link, job, lanes, replace(self.served, may_own=may_own), tally)


def serve(
    address: Address,
    root: str,
    *,
    admission: Admission,
    read_only: bool = False,
    write_only: bool = False,
    sync: bool = True,
    timeout: float = 30.0,
    buffer: int | None = None,
    events: Events | None = None,
) -> Server:
    """Listen on *address* and return a server of the folder *root*; its ``run`` serves, its ``listener`` is to be closed.

    *timeout* is seconds without any progress after which a session ends, *buffer* bytes of socket buffer, None what suits;
    without *sync* nobody waits for the disk.  Does not block.  Raises BadUsage for what makes no sense, LocalFailure when the
    folder cannot be opened, NotAllowed or LocalFailure when the address cannot be listened on.
    """
    if read_only and write_only:
        raise BadUsage("read_only and write_only exclude each other", hint="leave out both to serve both ways")
    try:
        handle = open_directory(root)
    except OSError as error:
        raise LocalFailure(f"{printable(root)}: {error.strerror}", hint="name a folder that exists") from None
    served = Served(handle, may_read=not write_only, may_write=not read_only, sync=sync)
    listener = listen(address, buffer=buffer, timeout=timeout)
    try:
        return Server(listener, served, admission, timeout=timeout, events=events)
    except BaseException:
        listener.close()
        raise
