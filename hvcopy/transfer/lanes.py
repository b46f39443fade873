"""The connections of one session, and the one failure that ends them all."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from hvcopy import threads
from hvcopy.errors import ConnectionLost, HvcopyError, Interrupted, unforeseen
from hvcopy.transfer.link import ERROR_WAIT, LAST_WORDS, Link, named
from hvcopy.transfer.tally import Tally
from hvcopy.transfer.watchdog import Watchdog
from hvcopy.transport import Cancellation
from hvcopy.wire.frames import MIB

GROW_AFTER = 32 * MIB
"""Bytes moved before further lanes are opened: each costs a handshake, which a small copy never earns back."""
GROW_AFTER_PACKS = 8
"""Packs moved before further lanes are opened."""
MAX_LANES = 16
"""Connections of one session, docs/protocol.md section 1."""


class Lanes:
    """Lane 0 and those that join it.  The first failure wins, is told to the peer, and ends every blocked call."""

    def __init__(self, first: Link, *, granted: int, token: bytes, timeout: float) -> None:
        self.links = [first]
        self.granted = granted
        self.token = token
        self.error: BaseException | None = None
        self.finished = False
        self._closed = False
        self.changed = threading.Condition()
        self._said = threading.Event()
        self.watchdog = Watchdog(self.links, timeout=timeout, fail=self.fail)
        self._threads: list[threading.Thread] = []
        self._tally: Tally | None = None
        self.on_join: Callable[[Link], None] | None = None
        self.opening = Cancellation()
        """Of a further lane that is only coming about."""

    @property
    def control(self) -> Link:
        """Lane 0."""
        return self.links[0]

    def begin(self, tally: Tally, *, sends: bool = False) -> None:
        """Start the watchdog and the clock of *tally*: from here on bytes move, *sends* says whether from here."""
        tally.started = time.monotonic()
        self._tally = tally
        self.control.watched = True
        self.watchdog.start(every_lane=sends)

    def join(self, link: Link) -> bool:
        """Add a further lane; False when there are enough or the session is over."""
        with self.changed:
            if self.error or self.finished or len(self.links) >= self.granted or self.on_join is None:
                return False
            self.links.append(link)
            link.watched = True
            if self._tally:
                self._tally.lanes = len(self.links)
        return True

    def fail(self, error: BaseException) -> None:
        """End the session: remember the first error, tell the peer, cancel what is blocked.  For any thread."""
        if isinstance(error, OSError):
            error = unforeseen(error)
        elif isinstance(error, HvcopyError):
            error = named(error, self.control.channel.peer)
        with self.changed:
            first = self.error is None and not self.finished
            if first:
                self.error = error
            self.changed.notify_all()
        if first and not self._told:
            if isinstance(error, HvcopyError) and not isinstance(error, ConnectionLost):
                self.control.send_error(error)
            elif isinstance(error, KeyboardInterrupt):
                self.control.send_error(Interrupted("the other side was interrupted"))
            elif not isinstance(error, HvcopyError):
                self.control.send_error(HvcopyError("internal error on the other side: please report it"))
        if first:
            self._said.set()
        self._cancel()

    def _cancel(self) -> None:
        """End every blocked call, but not the one by which another thread just tells the peer what failed."""
        if self.error is not None:
            self._said.wait(2 * ERROR_WAIT)
        self.opening.cancel()
        for link in list(self.links):
            link.channel.cancel()

    @property
    def _told(self) -> bool:
        """Whether the peer has said why it gave up: it wants no answer, and nothing is waited for."""
        return any(link.told for link in list(self.links))

    def fail_sending(self, error: BaseException) -> None:
        """The same, from a thread that only sends: a peer that gave up has said why on lane 0, so that goes first."""
        if isinstance(error, ConnectionLost):
            with self.changed:
                self.changed.wait_for(lambda: self.error or self.finished, LAST_WORDS)
        self.fail(error)

    def check(self) -> None:
        """Raise the session's failure, if there is one; also that another thread has closed it, and forgot that failure."""
        if self.error is not None:
            raise self.error
        if self._closed:
            raise Interrupted("the session was closed")

    @contextlib.contextmanager
    def closing(self) -> Iterator[None]:
        """Close on leaving.  What is raised in between fails the session, whose first failure is raised in its place."""
        try:
            yield
        except BaseException as error:
            self.fail(error)
            raise self.error or error from None
        finally:
            self.close()

    def spawn(self, target: Callable[[], None], name: str, *, sends: bool = False) -> None:
        """Run *target* in a thread of this session; whatever it raises fails the session."""

        def run() -> None:
            try:
                target()
            except BaseException as error:
                (self.fail_sending if sends else self.fail)(error)

        with self.changed:
            self._threads.append(threads.start(run, name))

    def close(self) -> None:
        """End the session's threads, then close every connection; harmless when it is closed already.

        Threads end first: a descriptor closed under a blocked call could be another file by the time that call goes on.
        What leads back to here goes last, the failure with every frame it passed through among it: a cycle would keep the
        session's folders open until somebody looks for cycles, which for a server may be long.
        """
        with self.changed:
            self.finished = True
            self.changed.notify_all()
        self.watchdog.stop()
        said_why = isinstance(self.error, HvcopyError) and not isinstance(self.error, (ConnectionLost, Interrupted))
        if said_why and not self._told:
            self.control.linger()
        self._cancel()
        for link in list(self.links):
            link.channel.shutdown()
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join()
        for link in list(self.links):
            link.close()
        with self.changed:
            self._closed = True
            self.on_join = self.error = None
            self.changed.notify_all()
