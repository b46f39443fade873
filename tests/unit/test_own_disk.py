"""Who waits for its own disk says so in heartbeats, whatever it is that takes so long, and is no stall for the peer."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from types import ModuleType

import pytest

from hvcopy import fileio
from hvcopy.channel import Channel
from hvcopy.client import open_sources
from hvcopy.errors import HvcopyError
from hvcopy.files import system
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.link import Link
from hvcopy.transfer.sending import Sending
from hvcopy.transfer.tally import Tally
from hvcopy.wire import messages as m
from hvcopy.wire.frames import Type

from .scripted import MIB, PATIENCE, Session, file

HEARTBEATS = 4
"""Of which one says it: the first may have left just before the disk was asked."""
EXTRA = m.Extra(identity=bytes(range(16)))


class SlowDisk:
    """A call that comes back only when the test lets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> None:
        really = getattr(module, name)
        self._asked, self._answers = threading.Event(), threading.Event()

        def call(*arguments: object, **keywords: object) -> object:
            self._asked.set()
            assert self._answers.wait(PATIENCE)
            return really(*arguments, **keywords)

        monkeypatch.setattr(module, name, call)

    def assert_told(self, peer: Link) -> None:
        """The other end hears of it meanwhile; then the disk answers."""
        assert self._asked.wait(PATIENCE)
        told = any(_heartbeat(peer).busy for _ in range(HEARTBEATS))
        self._answers.set()
        assert told


def _heartbeat(peer: Link) -> m.Ping:
    while (frame := peer.receive(timeout=PATIENCE)).type is not Type.PING:
        pass
    ping = m.decode(frame.type, frame.body)
    assert isinstance(ping, m.Ping)
    return ping


@pytest.mark.parametrize("kind", [m.DIRECTORY, m.DIRECTORY_END])
def test_a_receiver_that_makes_a_folder(kind: int, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk(monkeypatch, system, "make_directory")
    session.start().entries(m.Entry(kind, 1, 0, b"d/e", 0o755))
    disk.assert_told(session.peer)
    session.finish()


def test_a_receiver_that_puts_zeros_where_an_earlier_attempt_wrote(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = file(1, size=9 * MIB, extra=EXTRA)
    first = Session(session.root).start()
    first.entries(entry)
    assert first.answer().verb == m.ALL
    for number in range(9):
        first.data(1, number * MIB, bytes([number]) * MIB)
    first.close()
    record = session.root / ".f.hvcopy-blocks"
    os.truncate(record, record.stat().st_size - 24)  # the last of its blocks is not vouched for
    session.start().entries(entry)
    assert session.answer().verb == m.REST
    disk = SlowDisk(monkeypatch, fileio, "write_at")
    session.hole(1, 8 * MIB, MIB)
    disk.assert_told(session.peer)


@pytest.mark.parametrize(("size", "name"), [(10, "read_files"), (300_000, "read_at")])
def test_a_sender_that_reads(size: int, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(bytes(size))
    disk = SlowDisk(monkeypatch, fileio, name)
    near, far = (Link(Channel(sock, peer="test", timeout=PATIENCE)) for sock in socket.socketpair())
    near.early = far.early = False
    sources = open_sources([str(tmp_path / "f")], recursive=False)
    sending = Sending(Lanes(near, granted=1, token=b"", timeout=PATIENCE), sources, m.Options(), Tally())
    ended: list[HvcopyError] = []

    def run() -> None:
        try:
            sending.run()
        except HvcopyError as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    if name == "read_at":
        while far.receive(timeout=PATIENCE).type is not Type.ENTRIES:
            pass
        far.send(m.Answers([m.Answer(1, m.ALL)]))
    disk.assert_told(far)
    far.close()
    thread.join(PATIENCE)
    assert ended
