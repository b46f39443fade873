"""Connections of one listener, each in a thread of its own, so that none waits for another: at most so many at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hvcopy import threads
from hvcopy.channel import POLL_SECONDS, Channel
from hvcopy.errors import HvcopyError, LocalFailure, NotAllowed, unforeseen
from hvcopy.transfer.greeting import refuse
from hvcopy.transport import Listener


class Acceptor:
    """Gives each connection to *converse*, in its own thread; beyond *places* of them it is refused, with *full* as the reason,
    and beyond as many of those it is closed, as it is at once when there is no reason to give: to a peer without a protocol.

    *converse* blocks, and may raise HvcopyError, of which *on_failed* hears with the peer's name.  *timeout* becomes the
    channels'.  ``run`` blocks until ``stop``; both from any thread.
    """

    def __init__(
        self,
        listener: Listener,
        converse: Callable[[Channel], None],
        *,
        places: int,
        full: str = "",
        timeout: float,
        on_failed: Callable[[str, HvcopyError], None],
    ) -> None:
        self._listener = listener
        self._converse = converse
        self._places = places
        self._full = full
        self._timeout = timeout
        self._on_failed = on_failed
        self._stopping = threading.Event()
        self._free = threading.BoundedSemaphore(places)
        self._refusing = threading.BoundedSemaphore(places)
        self._lock = threading.Lock()
        self._channels: set[Channel] = set()
        self._failure: HvcopyError | None = None

    @property
    def stopping(self) -> bool:
        """True once nothing more is accepted."""
        return self._stopping.is_set()

    def run(self) -> None:
        """Accept until stopped.  Raises HvcopyError when the listener fails, or is closed before that."""
        while not self.stopping:
            channel = self._listener.accept(POLL_SECONDS)
            if channel is None:
                continue
            channel.timeout = self._timeout
            if self._free.acquire(blocking=False):
                with self._lock:
                    self._channels.add(channel)
                self._start(channel, self._run, self._free)
            elif self._full and self._refusing.acquire(blocking=False):
                self._start(channel, self._refuse, self._refusing)
            else:
                channel.close()

    def start(self) -> None:
        """Accept in a thread of its own: ``check`` raises what ends it before ``stop``.  Raises LocalFailure without a thread."""
        threads.start(self._accept, "accept")

    def check(self) -> None:
        """Raise what ended ``start``, once ``stopping``."""
        if self._failure:
            raise self._failure

    def pause(self, seconds: float) -> bool:
        """Wait so long, or until nothing more is accepted; says whether that is so."""
        return self._stopping.wait(seconds)

    def stop(self) -> None:
        """Accept nothing more; what is under way goes on."""
        self._stopping.set()

    def cancel(self) -> None:
        """End every blocked call on a channel that *converse* still has."""
        with self._lock:
            channels = list(self._channels)
        for channel in channels:
            channel.cancel()

    def join(self, seconds: float) -> None:
        """Wait until no thread is left, as long as one of them ends every *seconds*."""
        for _ in range(self._places):
            if not self._free.acquire(timeout=seconds):
                return

    def _accept(self) -> None:
        try:
            self.run()
        except HvcopyError as error:
            self._failure = error
        finally:
            self.stop()

    def _start(self, channel: Channel, target: Callable[[Channel], None], place: threading.Semaphore) -> None:
        try:
            threads.start(target, channel.peer, channel)
        except LocalFailure:
            with self._lock:
                self._channels.discard(channel)
            place.release()
            channel.close()
            self._on_failed(channel.peer, LocalFailure("the system has no memory for another connection"))

    def _refuse(self, channel: Channel) -> None:
        try:
            refuse(channel, NotAllowed(self._full, hint="try again later"))
        finally:
            self._refusing.release()

    def _run(self, channel: Channel) -> None:
        try:
            self._converse(channel)
        except HvcopyError as error:
            self._on_failed(channel.peer, error)
        except OSError as error:  # no memory for what a connection needs
            channel.close()
            self._on_failed(channel.peer, unforeseen(error))
        finally:
            with self._lock:
                self._channels.discard(channel)
            self._free.release()
