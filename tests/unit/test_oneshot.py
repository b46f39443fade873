"""A sender that listens: what its own threads do when it listens no more."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from commands import eventually
from peers import Peer, connect

from hvcopy import parse_address
from hvcopy.admission import Admission
from hvcopy.oneshot import SendingListener
from hvcopy.transport import listen


def test_its_thread_ends_quietly_with_the_listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken: list[object] = []
    monkeypatch.setattr(threading, "excepthook", broken.append)
    with listen(parse_address(f"unix:{tmp_path}/s")) as listener, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(SendingListener(listener, Admission(), timeout=10).wait)
        peer = Peer(connect(str(listener.address))).shake(connector=True, role="server")
        client = waiting.result(10)
        assert any(thread.name == "accept" for thread in threading.enumerate())
    eventually(lambda: not any(thread.name == "accept" for thread in threading.enumerate()), what="the thread's end")
    client.close()
    peer.close()
    assert broken == []
