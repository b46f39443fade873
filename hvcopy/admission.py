"""Who may connect to a listener: the peers on its list, and a key if one was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hvcopy.channel import Channel
from hvcopy.errors import NotAllowed
from hvcopy.files.keys import check_key
from hvcopy.transfer.greeting import refuse
from hvcopy.transport.peer import allowed, parse_rule


@dataclass(slots=True)
class Admission:
    """Who may connect: peers on the list, or everyone if the list is None; *key* must be proven if given.

    Raises BadUsage for a rule that names no peer, and for a key that is none.
    """

    allow: Sequence[str] | None = None
    key: bytes | None = None

    def __post_init__(self) -> None:
        if isinstance(self.allow, str):  # else each of its characters: "31" would be CIDs 3 and 1
            raise TypeError(f"a list of peers is wanted, not {self.allow!r}")
        for rule in self.allow or ():
            parse_rule(rule)
        check_key(self.key)

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
