"""Who may connect to a listener: the peers on its list, and a key if one was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hvcopy.channel import Channel
from hvcopy.errors import NotAllowed
from hvcopy.transfer.greeting import refuse
from hvcopy.transport.peer import allowed


@dataclass(slots=True)
class Admission:
    """Who may connect: peers on the list, or everyone if the list is None; *key* must be proven if given."""

    allow: Sequence[str] | None = None
    key: bytes | None = None

    def check(self, channel: Channel) -> None:
        """Raise NotAllowed when the peer is not on the list."""
        if self.allow is not None and not allowed(channel.identity, self.allow):
            raise NotAllowed(
                f"{channel.identity} is not on the list of allowed peers",
                hint=f"start the listening side with --allow {channel.identity}",
            )

    def let_in(self, channel: Channel) -> None:
        """The same for a peer that speaks the protocol: it is told, and the channel closed, before NotAllowed is raised."""
        try:
            self.check(channel)
        except NotAllowed as error:
            refuse(channel, error)
            raise
