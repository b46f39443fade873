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


def test_a_receiver_that_looks_what_stands_there(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk(monkeypatch, system, "stat")
    session.start().entries(file(1, size=9 * MIB, extra=EXTRA))
    disk.assert_told(session.peer)


SLOW_SOURCES: dict[str, tuple[ModuleType, str, bool]] = {
    "small files": (fileio, "read_files", False),
    "large files": (fileio, "read_at", True),
    "folders": (system, "list_folder", False),
    "links": (system, "read_link", False),
    "attributes": (system, "list_xattrs", False),
    "attributes of files": (system, "get_xattr", False),
    "how much of a file is there": (system, "stat", False),
    "holes": (system, "data_runs", True),
}


@pytest.mark.parametrize("what", SLOW_SOURCES)
def test_a_sender_that_reads(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, asked = SLOW_SOURCES[what]
    if what == "links":
        (tmp_path / "f").symlink_to("nowhere")
    else:
        (tmp_path / "f").write_bytes(b"f")
        os.truncate(tmp_path / "f", 10 if what == "small files" else 9 * MIB)
    if name == "get_xattr":
        try:
            os.setxattr(tmp_path / "f", "user.x", b"x")
        except OSError as error:
            pytest.skip(f"no extended attributes here: {error}")
    sources = open_sources([str(tmp_path)], recursive=True)
    disk = SlowDisk(monkeypatch, module, name)
    sockets = socket.socketpair()
    for sock in sockets:
        sock.setblocking(False)  # as Windows needs it
    near, far = (Link(Channel(sock, peer="test", timeout=PATIENCE)) for sock in sockets)
    near.early = far.early = False
    options = m.Options(links=True, xattrs="attributes" in what)
    sending = Sending(Lanes(near, granted=1, token=b"", timeout=PATIENCE), sources, options, Tally())
    ended: list[HvcopyError] = []

    def run() -> None:
        try:
            sending.run()
        except HvcopyError as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    if asked:
        while far.receive(timeout=PATIENCE).type is not Type.ENTRIES:
            pass
        far.send(m.Answers([m.Answer(1, m.ALL)]))
    disk.assert_told(far)
    far.close()
    thread.join(PATIENCE)
    assert ended
