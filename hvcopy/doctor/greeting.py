"""The steps of the handshake: is it hvcopy, does it fit, does it let this side in, and what for."""

from __future__ import annotations

import os

from hvcopy.channel import Channel
from hvcopy.doctor.finding import OK, UNKNOWN, WARN
from hvcopy.doctor.trail import ACCESS, GREETING, JOBS, VERSION, Trail
from hvcopy.errors import HvcopyError, Interrupted, NotAllowed, NotHvcopy, printable
from hvcopy.session import handshake
from hvcopy.session.handshake import Handshake, jobs_taken
from hvcopy.transfer.greeting import SYSTEM, shake_hands
from hvcopy.transfer.link import Link
from hvcopy.transfer.session import SOFTWARE

_WHY = {
    GREETING: "somebody listens there, but does not behave as hvcopy",
    VERSION: "the peer is hvcopy, but the two do not fit together",
    ACCESS: "the peer is hvcopy, and does not let this side in",
}
_FILES = frozenset({"push", "pull", "list"})
_TAKERS = {
    "push": ("files to it", "hvcopy cp FILE ADDRESS:/"),
    "pull": ("files from it", "hvcopy cp ADDRESS:/FILE ."),
    "list": ("lists of files", "hvcopy ls ADDRESS"),
    "stream": ("streams", "hvcopy pipe ADDRESS"),
    "bench": ("benchmarks", "hvcopy bench ADDRESS"),
}
"""What each kind of job is called, and what starts one."""


def greet(trail: Trail, channel: Channel, key: bytes | None) -> None:
    """Do the handshake as a client.  Raises Interrupted; blocks."""
    link = Link(channel)
    shake = Handshake(
        connector=True,
        role="client",
        nonce=os.urandom(32),
        address=channel.peer,
        software=SOFTWARE,
        system=SYSTEM,
        key=key,
    )
    try:
        agreed = shake_hands(link, shake, connector=True)
    except Interrupted:
        raise
    except HvcopyError as error:
        _failed(trail, shake, link, error)
        return
    _fits(trail, shake)
    proven = "the same key was proven both ways" if agreed.proven else "no key is asked for"
    trail.well(ACCESS, f"this side is let in; {proven}")
    _takes(trail, jobs_taken(agreed.peer))


def _takes(trail: Trail, kinds: frozenset[str]) -> None:
    known = [job for kind, job in _TAKERS.items() if kind in kinds]
    if not known:
        trail.note(JOBS, UNKNOWN, "the peer does not say which jobs it takes")
        return
    works = ", ".join(what for what, _ in known)
    if kinds >= _FILES:
        trail.note(JOBS, OK, f"it takes {works}")
        return
    commands = ", ".join(f"`{command}`" for _, command in known)
    trail.note(JOBS, WARN, f"it takes {works}, nothing else", f"what gets through: {commands}")


def _failed(trail: Trail, shake: Handshake, link: Link, error: HvcopyError) -> None:
    """Name the step that *error* ended: what the peer has said by then decides."""
    step = _step(shake, link, error)
    if step == ACCESS and shake.peer is not None:
        _fits(trail, shake)
    elif step != GREETING:
        trail.well(GREETING, f"the peer is {printable(shake.peer.software) if shake.peer else 'hvcopy'}")
        if step == ACCESS:
            trail.note(VERSION, UNKNOWN, "the peer did not come to say its version")
    trail.fail(step, error, why=_WHY[step])


def _step(shake: Handshake, link: Link, error: HvcopyError) -> str:
    if isinstance(error, NotAllowed):
        return ACCESS
    peer = shake.peer
    if peer is None:
        return VERSION if link.told and isinstance(error, NotHvcopy) else GREETING
    fits = peer.lowest <= handshake.VERSION <= peer.highest and peer.role == "server"
    if isinstance(error, NotHvcopy):
        return GREETING if fits and not link.told else VERSION
    return ACCESS


def _fits(trail: Trail, shake: Handshake) -> None:
    assert shake.peer is not None
    trail.well(GREETING, f"the peer is {printable(shake.peer.software)}")
    trail.well(VERSION, f"both speak version {handshake.VERSION} of the protocol")
