"""How another thread ends a connection that is only coming about: while it is dialed, and while the two ends greet."""

from __future__ import annotations

from hvcopy.channel import Channel


class Cancellation:
    """``cancel`` makes whoever was given this raise Interrupted within 200 ms, now or when it begins.  For any thread."""

    def __init__(self) -> None:
        self._cancelled = False
        self._channel: Channel | None = None

    def cancel(self) -> None:
        """End what is under way."""
        self._cancelled = True
        if self._channel:
            self._channel.cancel()

    def cancelled(self) -> bool:
        """Say whether it was: what ``dial`` asks."""
        return self._cancelled

    def watch(self, channel: Channel) -> None:
        """From now on end the calls that wait on *channel*, the connection that was dialed."""
        self._channel = channel
        if self._cancelled:
            channel.cancel()
