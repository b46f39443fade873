"""The handshake over a real link, within one deadline (docs/protocol.md, section 3)."""

from __future__ import annotations

import os
import time
from collections.abc import Collection

from hvcopy.channel import Channel
from hvcopy.errors import HvcopyError
from hvcopy.session.handshake import Agreed, Handshake
from hvcopy.transfer.link import Link, named

HANDSHAKE_SECONDS = 10.0
"""For the whole handshake, however slowly the peer trickles."""
SYSTEM = "windows" if os.name == "nt" else "posix"
"""What HELLO calls this one."""


def greet(
    channel: Channel,
    *,
    connector: bool,
    role: str,
    address: str,
    key: bytes | None,
    software: str,
    takes: Collection[str] = (),
) -> tuple[Link, Agreed]:
    """Do the handshake; returns the link and what was agreed.  On failure tells the peer, closes, and raises."""
    link = Link(channel)
    shake = Handshake(
        connector=connector,
        role=role,
        nonce=os.urandom(32),
        address=address,
        software=software,
        system=SYSTEM,
        key=key,
        takes=takes,
    )
    return link, shake_hands(link, shake, connector=connector)


def shake_hands(link: Link, shake: Handshake, *, connector: bool) -> Agreed:
    """Do the handshake that *shake* describes.  On failure tells the peer, closes, and raises."""
    link.deadline = time.monotonic() + min(HANDSHAKE_SECONDS, link.channel.timeout)
    try:
        if connector:
            link.send_greeting(shake.opening(), sent=shake.sent)
        link.receive_magic()
        while shake.agreed is None:
            frame = link.receive()
            reply = shake.on_frame(frame.type, bytes(frame.body))
            if reply:
                link.send_greeting(reply, sent=shake.sent)
        link.early = False
        return shake.agreed
    except HvcopyError as caught:
        error = named(caught, link.channel.peer)
        if not link.told:
            link.send_preamble()
        link.refuse(error)
        raise error from caught


def refuse(channel: Channel, error: HvcopyError) -> None:
    """Tell a peer that just connected why it is not served, and close.  Waits at most a second for it to read that."""
    link = Link(channel)
    link.send_preamble()
    link.refuse(error)
