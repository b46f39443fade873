"""An I/O error in place of an end: some Linux kernels report the end of a Hyper-V connection so (hv_sock, docs/transports.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[[str, str], dict[str, Any]]

LAST_WORD = """
from hvcopy.channel import Channel
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.link import Link
from hvcopy.transfer.session import await_bye
from hvcopy.transfer.streaming import Streaming
from hvcopy.transfer.tally import StreamTally

def stream(link):
    lanes = Lanes(link, granted=1, token=b"", timeout=20)
    streaming = Streaming(lanes, None, None, StreamTally(), client=False)
    lanes.finished = True
    lanes.spawn(streaming._receive, "incoming")
    streaming._await_bye()
    lanes.check()

near, far = socket.socketpair()
link = Link(Channel(near, peer="x"))
wait = {wait}
say(got=outcome(wait))
"""


@pytest.mark.parametrize(
    "wait",
    [
        "lambda: await_bye(link)",
        "lambda: stream(link)",
        "lambda: link.linger()",
    ],
    ids=["copy", "stream", "refusal"],
)
def test_after_a_verified_end_it_is_an_end(run_faulty: Run, wait: str) -> None:
    assert run_faulty("recv: EIO*", LAST_WORD.format(wait=wait)) == {"got": None}


BEFORE = """
from hvcopy.channel import Channel
from hvcopy.errors import ConnectionLost
from hvcopy.transfer.link import Link
near, far = socket.socketpair()
try:
    Link(Channel(near, peer="x")).receive()
except ConnectionLost as error:
    say(got=error.message)
"""


def test_before_a_verified_end_it_is_a_broken_connection(run_faulty: Run) -> None:
    assert run_faulty("recv: EIO*", BEFORE)["got"].startswith("x: the connection broke: ")
