"""A receiver at work, before a sender that says what the test likes."""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path

import pytest

from hvcopy.channel import Channel
from hvcopy.errors import HvcopyError, Interrupted
from hvcopy.files.confined import open_directory
from hvcopy.files.sink import REFUSE, Plan
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.link import Link
from hvcopy.transfer.receiving import receive
from hvcopy.transfer.tally import Tally
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.digests import digest
from hvcopy.wire.frames import Frame, Type

MIB = 1 << 20
TIME = 1_700_000_000_000_000_000
"""Of the files that are announced."""
PATIENCE = 20.0


class Session:
    """A receiver at work in a thread, and the sender's end of its connection in the test's hands."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tally = Tally()
        self.error: BaseException | None = None
        near, far = socket.socketpair()
        self._lanes = Lanes(_link(near), granted=4, token=b"", timeout=PATIENCE)
        self.peer = _link(far)
        self._thread: threading.Thread | None = None

    def start(
        self, *, existing: str = REFUSE, dirs: list[bool] | None = None, sync: bool = False, **options: bool
    ) -> Session:
        """Begin to receive one directory, unless *dirs* say otherwise, under *options* of the job."""
        dirs = dirs or [True]
        chosen = m.Options(existing=existing, sync=sync, **options)
        plan = Plan(
            open_directory(os.fsencode(self.root)),
            [b"" if is_dir else b"one" for is_dir in dirs],
            dirs,
            existing,
            sync=sync,
            owner=chosen.owner,
            xattrs=chosen.xattrs,
            links=chosen.links,
        )

        def run() -> None:
            try:
                receive(self._lanes, plan, chosen, self.tally)
            except BaseException as error:
                self.error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        return self

    def frame(self, kind: Type, body: bytes, fixed: int | None = None) -> None:
        """Send one frame; the first *fixed* bytes of its body are what the seal covers, by default all."""
        self.peer.send_frame(kind, *([body] if fixed is None else [body[:fixed], body[fixed:]]))

    def entries(self, *entries: m.Entry) -> None:
        """Announce."""
        self.peer.send(m.Entries(list(entries)))

    def data(self, ident: int, offset: int, block: bytes, value: bytes = b"", *, live: bool = False) -> None:
        """Send a block."""
        fixed = frames.DATA.pack(ident, offset, value or digest(block))
        self.peer.send_frame(Type.DATA, fixed, block, flags=frames.LIVE if live else 0)

    def hole(self, ident: int, offset: int, length: int) -> None:
        """Send a hole."""
        self.frame(Type.HOLE, frames.HOLE.pack(ident, offset, length))

    def end(self, ident: int, *blocks: bytes, state: int = 0, code: int = 0, message: str = "") -> None:
        """End a file made of *blocks*."""
        root = digest(b"".join(map(digest, blocks)))
        body = frames.encode_end(frames.End(ident, state, code, sum(map(len, blocks)), root, message))
        self.frame(Type.END, body)

    def pack(self, groups: list[m.Group], contents: bytes, *, damage: bool = False) -> None:
        """Send a pack."""
        manifest = m.encode_groups(groups)
        rest = struct.pack("<QII", 7, len(manifest), 0) + manifest + contents
        value = digest(rest + b"x" if damage else rest)
        self.frame(Type.PACK, value + rest, frames.PACK.size)

    def hear(self) -> m.Message:
        """Return the next message that is no heartbeat."""
        while True:
            frame: Frame = self.peer.receive(timeout=PATIENCE)
            if frame.type is not Type.PING:
                return m.decode(frame.type, frame.body)

    def answer(self) -> m.Answer:
        """Return the one answer that comes next."""
        message = self.hear()
        assert isinstance(message, m.Answers)
        (answer,) = message.answers
        return answer

    def ack(self) -> m.Ack:
        """Return the one acknowledgement that comes next."""
        message = self.hear()
        assert isinstance(message, m.Acks)
        (ack,) = message.acks
        return ack

    def finish(self) -> m.Result:
        """Say that all is said, and end well."""
        self.peer.send(m.Finish(0, 0))
        message = self.hear()
        assert isinstance(message, m.Result)
        self.peer.send(m.Bye())
        self.join()
        assert self.error is None
        return message

    def refusal(self) -> BaseException:
        """Return why the receiver gave up; the peer must have been told the same."""
        with pytest.raises(HvcopyError) as told:
            self._hear_out()
        self.peer.close()  # what it said was heard: it need not linger
        self.join()
        assert self.error is not None
        assert type(told.value) is type(self.error)
        return self.error

    def _hear_out(self) -> None:
        while True:
            self.hear()

    def join(self) -> None:
        """Wait until the receiver is over."""
        assert self._thread is not None
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def interrupt(self) -> None:
        """End the receiver from another thread."""
        self._lanes.fail(Interrupted("interrupted"))

    def close(self) -> None:
        """Hang up, whatever the state."""
        self.peer.close()
        if self._thread is not None:
            self.join()

    @property
    def tree(self) -> list[str]:
        """Everything below the root."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))


def _link(sock: socket.socket) -> Link:
    link = Link(Channel(sock, peer="test", timeout=PATIENCE))
    link.early = False
    return link


def file(ident: int, path: bytes = b"f", size: int = MIB + 5, extra: m.Extra = m.NO_EXTRA, mode: int = 0o644) -> m.Entry:
    """Return the announcement of a file."""
    return m.Entry(m.FILE, ident, 0, path, mode, size, TIME, extra)


BLOCKS = (b"a" * MIB, b"b" * 5)


def send_whole(session: Session, ident: int = 1) -> m.Ack:
    """Send BLOCKS as file *ident*, which was announced; returns its acknowledgement."""
    assert session.answer() == m.Answer(ident, m.ALL)
    session.data(ident, 0, BLOCKS[0])
    session.data(ident, MIB, BLOCKS[1])
    session.end(ident, *BLOCKS)
    return session.ack()
