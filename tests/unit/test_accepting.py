"""What one connection fails of ends that connection: the listener goes on."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import pytest
from commands import PATIENCE
from ports import local

from hvcopy import parse_address
from hvcopy.accepting import Acceptor
from hvcopy.channel import Channel
from hvcopy.errors import HvcopyError, LocalFailure
from hvcopy.transport import dial, listen


def test_a_connection_for_which_there_is_no_memory_is_closed_and_told_of_and_the_next_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: list[object] = []
    monkeypatch.setattr(threading, "excepthook", broken.append)
    failed: SimpleQueue[HvcopyError] = SimpleQueue()
    kept: list[Channel] = []

    def converse(channel: Channel) -> None:
        kept.append(channel)  # so that nobody else closes it
        if len(kept) == 1:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        channel.send(b"served")
        channel.close()

    address = parse_address(local(tmp_path))
    with listen(address) as listener, ThreadPoolExecutor(1) as pool:
        acceptor = Acceptor(
            listener, converse, places=2, full="full", timeout=PATIENCE, on_failed=lambda _, error: failed.put(error)
        )
        running = pool.submit(acceptor.run)
        try:
            into = bytearray(6)
            assert dial(address).receive_exact(into) == 0
            told = failed.get(timeout=PATIENCE)
            assert dial(address).receive_exact(into) == 6
        finally:
            acceptor.stop()
            running.result(PATIENCE)
    assert isinstance(told, LocalFailure)
    assert told.message == os.strerror(errno.ENOMEM)
    assert into == b"served"
    assert not broken


def test_every_one_of_many_that_find_no_place_is_told_so(tmp_path: Path) -> None:
    places, done = 4, threading.Event()
    begun: SimpleQueue[Channel] = SimpleQueue()

    def converse(channel: Channel) -> None:
        begun.put(channel)
        done.wait(PATIENCE)
        channel.close()

    address = parse_address(local(tmp_path))
    with listen(address) as listener, ThreadPoolExecutor(1) as pool:
        acceptor = Acceptor(
            listener, converse, places=places, full="all are taken", timeout=PATIENCE, on_failed=lambda *_: None
        )
        running = pool.submit(acceptor.run)
        try:
            served = [dial(address) for _ in range(places)]
            for _ in served:
                begun.get(timeout=PATIENCE)
            for _ in range(3 * places):
                refused, heard, into = dial(address), b"", bytearray(1000)
                while b"all are taken" not in heard:
                    count = refused.receive_some(into)
                    assert count, heard
                    heard += into[:count]
                refused.close()
        finally:
            done.set()
            acceptor.stop()
            running.result(PATIENCE)
            for channel in served:
                channel.close()
