"""What the parts of the sending side share: the session, the sources, the book, and how a failure is told."""

from __future__ import annotations

from collections import deque

from msgspec import Struct, field

from hvcopy.buffers import buffer
from hvcopy.files.confined import Handle
from hvcopy.files.outgoing import Outgoing
from hvcopy.files.source import Source
from hvcopy.session.sender import SenderBook
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.linking import Linking
from hvcopy.transfer.tally import Tally
from hvcopy.transfer.throttle import Throttle
from hvcopy.wire import messages as m


class Scratch:
    """A worker's buffer, as large as it was ever needed."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray())

    def view(self, length: int) -> memoryview:
        """Return the first *length* bytes; valid until the next call."""
        if length > len(self._buffer):
            self._buffer = buffer(length)
        return self._buffer[:length]


class Names(Struct):
    """Names of one directory that wait to be read."""

    source: int
    handle: Handle
    directory: bytes
    names: list[bytes]
    again: bool = False
    """Whether each is a hard link that is to be sent in place of another name of its file."""

    def path(self, name: bytes) -> bytes:
        """Return the path of *name* below the source."""
        return self.directory + b"/" + name if self.directory else name


class Candidate(Struct):
    """A file that is to be asked about before it is sent."""

    source: int
    path: bytes
    handle: Handle
    name: bytes
    size: int
    entry: m.Entry


class Outbox(Struct):
    """Everything that waits to be sent or acknowledged.  Queues change under ``lanes.changed``."""

    lanes: Lanes
    sources: list[Source]
    options: m.Options
    tally: Tally
    throttle: Throttle
    book: SenderBook = field(default_factory=SenderBook)
    jobs: deque[list[Names]] = field(default_factory=deque)
    candidates: deque[Candidate] = field(default_factory=deque)
    outgoing: dict[int, Outgoing] = field(default_factory=dict)
    ready: deque[Outgoing] = field(default_factory=deque)
    active: deque[Outgoing] = field(default_factory=deque)
    doubted: deque[tuple[Outgoing, int]] = field(default_factory=deque)
    linking: Linking = field(default_factory=Linking)
    working: int = 0
    walked: bool = False

    @property
    def drained(self) -> bool:
        """True when every file was found, sent and acknowledged."""
        waiting = self.jobs or self.candidates or self.ready or self.active or self.linking.orphans or self.working
        return self.walked and not waiting and self.book.idle

    @property
    def may_skip(self) -> bool:
        """True when the receiver skips what is not older."""
        return self.options.existing == "update"

    def shown(self, source: int, path: bytes) -> bytes:
        """Return how messages name (source, path)."""
        called = self.sources[source].called
        return called + b"/" + path if called and path else called or path

    def wire_path(self, source: int, path: bytes) -> bytes:
        """Return *path* as the peer names it: a source that is itself a file has the empty path."""
        return path if self.sources[source].is_dir else b""

    def fail(self, source: int, path: bytes, code: int, message: str) -> None:
        """Count a failure of this side and tell the receiver."""
        path = self.wire_path(source, path)
        with self.lanes.changed:
            self.linking.lost((source, path))
        self.tally.fail(self.shown(source, path), code, message)
        extra = m.Extra(code=code, message=message[:500])
        while len(path) > m.MAX_PATH:  # no frame may name it, so the receiver hears of the folder above that one may
            path = path.rpartition(b"/")[0]
        self.lanes.control.send(m.Entries([m.Entry(m.FAILURE, 0, source, path, extra=extra)]))

    def slow_down(self, count: int) -> None:
        """Wait as the rate limit demands before *count* bytes are sent; the peer hears that this is no stall."""
        if self.throttle.limited:
            with self.lanes.watchdog.own_work():
                self.throttle.pass_through(count, lambda: self.lanes.error is not None)

    def note(self, source: int, paths: list[bytes], message: str) -> None:
        """Report what is skipped, which is no failure, and tell the receiver."""
        paths = [self.wire_path(source, path) for path in paths]
        self.tally.add(skipped=len(paths))
        for path in paths:
            self.tally.observer.noted(self.shown(source, path), message)
        extra = m.Extra(message=message)
        self.lanes.control.send(*m.in_batches([m.Entry(m.LEFT_OUT, 0, source, path, extra=extra) for path in paths]))
