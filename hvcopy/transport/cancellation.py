"""How another thread ends a connection that is only coming about: while it is dialed, and while the two ends greet."""

from __future__ import annotations

from collections.abc import Callable

from hvcopy.channel import Channel
from hvcopy.transport.patience import never


class Cancellation:
    """``cancel`` makes whoever was given this raise Interrupted within 200 ms, now or when it begins.  For any thread.

    *asked* is a second reason not to go on dialing, looked at ten times a second by the thread that dials.
    """

    def __init__(self, asked: Callable[[], bool] = never) -> None:
        self._asked = asked
        self._cancelled = False
        self._channel: Channel | None = None

    def cancel(self) -> None:
        """End what is under way."""
        self._cancelled = True
        if self._channel:
            self._channel.cancel()

    def cancelled(self) -> bool:
        """Say whether dialing is to end."""
        return self._cancelled or self._asked()

    def watch(self, channel: Channel) -> None:
        """From now on end the calls that wait on *channel* too: the connection that was dialed, or accepted."""
        self._channel = channel
        if self._cancelled:
            channel.cancel()
