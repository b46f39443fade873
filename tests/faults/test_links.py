"""A system that has no memory to send just now: the peer is told so, and takes nothing for something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[[str, str], dict[str, Any]]

PRELUDE = """
from hvcopy.channel import Channel
from hvcopy.errors import HvcopyError
from hvcopy.session.handshake import Handshake
from hvcopy.transfer.greeting import greet
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.link import Link
from hvcopy.wire import messages as m
from hvcopy.wire.frames import Type

def told(call):
    "The class and the message of the failure that *call* ends in."
    try:
        call()
    except HvcopyError as error:
        return [type(error).__name__, error.message]

ends = socket.socketpair()
near, far = (Channel(sock, peer="x", timeout=20) for sock in ends)
"""

SESSION = (
    PRELUDE
    + """
link, peer = Link(near), Link(far)
lanes = Lanes(link, granted=1, token=b"", timeout=20)

def work():
    with lanes.closing():
        link.send(m.Ready(b"", 1, "", []))
        {send}

far.end_sending()  # else it would be waited for
here = told(work)
kind = peer.receive().type.name
say(here=here, heard=[kind, told(peer.receive)])
"""
)
HERE = ["LocalFailure", "x: Cannot allocate memory"]
FRAMES = {
    "message": "link.send(m.Totals(1, 2))",
    "frame": "link.send_frame(Type.SUMS, b'body')",
    "part": "link.send_parted(Type.ECHO, 4, [b'body'])",
}


@pytest.mark.parametrize("send", FRAMES.values(), ids=FRAMES)
def test_a_peer_to_which_nothing_of_a_frame_could_be_sent_is_told_why(run_faulty: Run, send: str) -> None:
    facts = run_faulty("send: ok ENOMEM ok*", SESSION.format(send=send))
    assert facts == {"here": HERE, "heard": ["READY", ["LocalFailure", "x says: x: Cannot allocate memory"]]}


@pytest.mark.parametrize("send", FRAMES.values(), ids=FRAMES)
def test_after_a_part_of_a_frame_nothing_else_is_sent(run_faulty: Run, send: str) -> None:
    facts = run_faulty("send: ok short:17 ENOMEM ok*", SESSION.format(send=send))
    assert facts == {"here": HERE, "heard": ["READY", ["ConnectionLost", "x: the connection ended before the transfer did"]]}


@pytest.mark.parametrize("connector", [True, False], ids=["connector", "listener"])
def test_a_peer_that_could_not_be_greeted_is_told_why_as_hvcopy_says_it(run_faulty: Run, connector: bool) -> None:
    facts = run_faulty(
        "send: ENOMEM ok*",
        PRELUDE
        + f"""
hello = Handshake(connector=True, role="client", nonce=bytes(32), address="", software="", system="posix", key=None)
ends[1].sendall(hello.opening())
far.end_sending()
here = told(lambda: greet(near, connector={connector}, role="server", address="", key=None, software=""))
peer = Link(far)
peer.receive_magic()
say(here=here, heard=told(peer.receive))
""",
    )
    assert facts == {"here": HERE, "heard": ["LocalFailure", "x says: x: Cannot allocate memory"]}
