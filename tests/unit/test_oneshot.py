"""A sender that listens: what its own threads do when it listens no more."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from commands import PATIENCE, eventually
from peers import Peer, connect
from ports import local

from hvcopy import parse_address
from hvcopy.admission import Admission
from hvcopy.errors import HvcopyError
from hvcopy.oneshot import SendingListener
from hvcopy.streams import StreamListener
from hvcopy.transport import listen


def test_waiting_ends_when_nobody_can_be_listened_for_any_more(tmp_path: Path) -> None:
    with listen(parse_address(local(tmp_path))) as listener, ThreadPoolExecutor(1) as pool:
        for kind in (SendingListener, StreamListener):
            ear = kind(listener, Admission(), timeout=10)
            waiting = pool.submit(ear.wait)
            listener.close()
            with pytest.raises(HvcopyError, match="ended"):
                waiting.result(PATIENCE)


def test_who_came_too_late_hears_of_it_when_the_copy_is_over(tmp_path: Path) -> None:
    with listen(parse_address(local(tmp_path))) as listener, ThreadPoolExecutor(1) as pool:
        ear = SendingListener(listener, Admission(), timeout=10)
        waiting = pool.submit(ear.wait)
        with Peer(connect(str(listener.address))).shake(connector=True, role="server"):
            client = waiting.result(PATIENCE)
            with Peer(connect(str(listener.address))).shake(connector=True, role="server") as late:
                ear.close()
                assert late.error().code == 9
            client.close()


def test_its_thread_ends_quietly_with_the_listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken: list[object] = []
    monkeypatch.setattr(threading, "excepthook", broken.append)
    with listen(parse_address(local(tmp_path))) as listener, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(SendingListener(listener, Admission(), timeout=10).wait)
        peer = Peer(connect(str(listener.address))).shake(connector=True, role="server")
        client = waiting.result(10)
        assert any(thread.name == "accept" for thread in threading.enumerate())
    eventually(lambda: not any(thread.name == "accept" for thread in threading.enumerate()), what="the thread's end")
    client.close()
    peer.close()
    assert broken == []
