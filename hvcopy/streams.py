"""One stream each way over one connection, verified: the connecting and the listening end, as a library.

For a program:

    with hvcopy.open_stream(address) as stream:
        stream.write(b"question\\n")
        stream.end()
        answer = stream.read()
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from hvcopy.channel import Channel
from hvcopy.errors import BadUsage, HvcopyError, Interrupted, NotAllowed, NotHvcopy, ReaderGone, TimedOut, printable
from hvcopy.pipeio import Outlet, open_inlet
from hvcopy.session.handshake import Agreed
from hvcopy.transfer.greeting import refuse
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.link import Link
from hvcopy.transfer.session import Terms, expect
from hvcopy.transfer.streaming import Sink, Streaming
from hvcopy.transfer.tally import StreamTally
from hvcopy.transport import dial
from hvcopy.wire import messages as m
from hvcopy.wire.frames import Type

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from hvcopy.address import Address
    from hvcopy.pipeio import Inlet
    from hvcopy.server import Admission
    from hvcopy.transport import Listener

KIND = "stream"
POLL_SECONDS = 0.2
MAX_WAITING = 16
"""Peers that may be greeted, or wait for their turn, at once; each costs a thread or a connection."""
PIECE = 1 << 20


class Stream:
    """One proven connection, good for one stream each way: by ``carry``, or else by ``write``, ``end`` and ``read``.

    One thread may write while another reads.  Leaving its ``with`` block ends this side's stream and waits until both are
    confirmed; it raises HvcopyError unless they are, and ReaderGone when the peer had sent more than was read.  One that was
    never used is only closed, which the peer takes for a break: ``end`` makes it an empty stream.
    """

    def __init__(self, link: Link, timeout: float, *, client: bool) -> None:
        self._link = link
        self._client = client
        self._lanes = Lanes(link, granted=1, token=b"", timeout=timeout)
        self._pipes: _Pipes | None = None
        self._over = False
        self._beginning = threading.Lock()

    @property
    def peer(self) -> str:
        """How messages name the other end."""
        return self._link.channel.peer

    @property
    def window(self) -> int:
        """The connection's effective buffer in bytes, as the system reports it; 0 when unknown."""
        return self._link.channel.window

    def carry(self, inlet: Inlet | None, sink: Sink, tally: StreamTally | None = None, *, bwlimit: int = 0) -> None:
        """Send *inlet* to its end (None: nothing), write what the peer sends into *sink*, and close both and the connection.

        Returns when both directions are confirmed.  *bwlimit* is bytes a second, 0 for no limit.  Raises HvcopyError; blocks.
        """
        try:
            tally = tally or StreamTally()
            Streaming(self._lanes, inlet, sink, tally, client=self._client, bwlimit=bwlimit).run()
        finally:
            self._lanes.close()
            sink.close()
            if inlet:
                inlet.close()

    def interrupt(self, error: BaseException) -> None:
        """End what is under way in another thread; it raises *error*."""
        self._lanes.fail(error)

    def close(self) -> None:
        """Close the connection, whatever was confirmed; harmless when done already."""
        self._over = True
        if self._pipes:
            self.interrupt(Interrupted("the program that used the stream closed it"))
            with contextlib.suppress(HvcopyError):
                self._pipes.finish()
        self._lanes.close()

    # ---- for programs

    def write(self, data: ReadableBuffer) -> None:
        """Send *data*.  Blocks while the peer takes no more.  Raises HvcopyError when the session has failed."""
        self._begun().write(memoryview(data).cast("B"))

    def end(self) -> None:
        """Say that nothing more will be written."""
        self._begun().end()

    def read(self, size: int = -1) -> bytes:
        """Return at least one and at most *size* bytes, or with -1 all until the peer's end; b"" at its verified end.

        Blocks.  Raises HvcopyError when the stream broke or is not what the peer sent.
        """
        pipes = self._begun()
        if size >= 0:
            return pipes.read(size)
        return b"".join(iter(lambda: pipes.read(PIECE), b""))

    def _begun(self) -> _Pipes:
        with self._beginning:  # one thread may write while another reads
            if self._pipes is None:
                self._pipes = _Pipes(self)
            return self._pipes

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pipes = self._pipes
        if self._over or pipes is None:
            self.close()
            return
        if error is not None:
            self.interrupt(Interrupted("the program that used the stream gave up"))
            with contextlib.suppress(HvcopyError):
                pipes.finish()
            return
        if not pipes.ended_at_end():
            self.interrupt(ReaderGone("the program that used the stream did not read it to its end"))
        pipes.finish()


class _Pipes:
    """``carry`` in a thread of its own, with a pipe on each side of it for a program to write to and read from."""

    def __init__(self, stream: Stream) -> None:
        source, self._writes = os.pipe()
        self._reads, sink = os.pipe()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(stream, source, sink), name="stream", daemon=True)
        self._thread.start()

    def _run(self, stream: Stream, source: int, sink: int) -> None:
        try:
            stream.carry(open_inlet(source, "the program"), Outlet(sink, "the program"))
        except BaseException as error:
            self._error = error
        finally:  # by this, and not before, a program that is writing or reading hears of the error
            os.close(source)
            os.close(sink)

    def write(self, view: memoryview) -> None:
        if self._writes < 0:
            raise BadUsage("this stream has been ended")
        while view:
            try:
                view = view[os.write(self._writes, view) :]
            except BrokenPipeError:
                self._thread.join()
                raise self._error or BrokenPipeError from None

    def end(self) -> None:
        if self._writes >= 0:
            os.close(self._writes)
            self._writes = -1

    def read(self, size: int) -> bytes:
        if self._reads < 0:
            raise BadUsage("this stream is closed")
        got = os.read(self._reads, size)
        if not got and size and self._error:
            raise self._error
        return got

    def ended_at_end(self) -> bool:
        """End this side's stream and wait for the peer's end; False when it sent more than was read."""
        self.end()
        return os.read(self._reads, 1) == b""

    def finish(self) -> None:
        self.end()
        self._thread.join()
        if self._reads >= 0:
            os.close(self._reads)
            self._reads = -1
        if self._error:
            raise self._error


def open_stream(
    address: Address,
    *,
    key: bytes | None = None,
    wait: float = 0.0,
    timeout: float = 30.0,
    buffer: int | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Stream:
    """Connect to whoever listens for a stream (``hvcopy pipe -l``), and prove *key* both ways.

    Raises HvcopyError; blocks up to *wait* + *timeout* seconds, of which *cancelled* can end those before there is a
    connection.  *buffer* is bytes of socket buffer, None what suits.
    """
    channel = dial(
        address, wait=wait, timeout=timeout, buffer=buffer, cancelled=cancelled, start=("hvcopy pipe -l {}",)
    )
    try:
        link, agreed = Terms("client", str(address), key, timeout).meet(channel, connector=True)
    except HvcopyError:
        channel.close()
        raise
    try:
        _check(agreed)
        link.send(m.Job(KIND, [], m.Options(), b"", 1))
        _await_turn(link, timeout)
    except HvcopyError as error:
        link.refuse(error)
        raise
    link.deadline = 0.0
    return Stream(link, timeout, client=True)


def _await_turn(link: Link, timeout: float) -> None:
    """Wait for READY, which a listener that serves one after the other says when it is this one's turn."""
    link.deadline = time.monotonic() + timeout
    try:
        expect(link, Type.READY)
    except TimedOut:
        raise TimedOut(
            f"{link.channel.peer}: the peer talks to another one, whose end did not come within {timeout:g} s",
            hint="nothing was sent; try again later, or wait longer with a larger --timeout",
        ) from None


def _check(agreed: Agreed) -> None:
    if KIND not in agreed.features:
        raise NotHvcopy("the peer knows no streams", hint="install the same release of hvcopy on both sides")


class StreamListener:
    """Greets peers on *listener* and hands them out one at a time, to ``wait``; others wait for their turn.

    *on_refused* hears of those that are not let in or want something else; called from threads.
    """

    def __init__(
        self,
        listener: Listener,
        admission: Admission,
        *,
        timeout: float,
        on_refused: Callable[[str, HvcopyError], None] = lambda peer, error: None,
    ) -> None:
        self._listener = listener
        self._admission = admission
        self._terms = Terms("server", str(listener.address), admission.key, timeout)
        self._on_refused = on_refused
        self._ready: queue.SimpleQueue[Link] = queue.SimpleQueue()
        self._slots = threading.BoundedSemaphore(MAX_WAITING)
        self._stop = threading.Event()
        self._taken = False
        threading.Thread(target=self._accept, name="accept", daemon=True).start()

    def wait(self) -> Stream:
        """Return the next peer's stream.  Blocks until ``close`` is called from another thread: then raises Interrupted."""
        while not self._stop.is_set():
            try:
                link = self._ready.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            self._slots.release()
            link.deadline = 0.0
            try:
                link.send(m.Ready(b"", 1, "", []))
            except HvcopyError as error:  # it would not wait so long
                self._on_refused(link.channel.peer, error)
                link.close()
                continue
            self._taken = True
            return Stream(link, self._terms.timeout, client=False)
        raise Interrupted("interrupted")

    def close(self) -> None:
        """Greet nobody more, and send away who waits.  The listener stays open."""
        self._stop.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._turn_away(self._ready.get_nowait())

    def _accept(self) -> None:
        with contextlib.suppress(HvcopyError):  # the listener was closed
            while not self._stop.is_set():
                channel = self._listener.accept(POLL_SECONDS)
                if channel is None:
                    continue
                channel.timeout = self._terms.timeout
                if self._slots.acquire(blocking=False):
                    threading.Thread(target=self._greet, args=(channel,), name=channel.peer, daemon=True).start()
                else:
                    refuse(channel, NotAllowed(f"{MAX_WAITING} others wait there already", hint="try again later"))

    def _greet(self, channel: Channel) -> None:
        try:
            link = self._meet(channel)
        except HvcopyError as error:
            self._slots.release()
            self._on_refused(channel.peer, error)
            return
        self._ready.put(link)
        if self._stop.is_set():
            self.close()

    def _meet(self, channel: Channel) -> Link:
        try:
            self._admission.check(channel)
        except HvcopyError as error:
            refuse(channel, error)
            raise
        link, agreed = self._terms.meet(channel, connector=False)
        try:
            job = expect(link, Type.JOB)
            assert isinstance(job, m.Job)
            if job.kind != KIND:
                wanted = printable(job.kind)
                raise BadUsage(
                    f"this side is `hvcopy pipe` and takes a stream only, not {wanted!r}",
                    hint="for files start `hvcopy recv -l` or `hvcopy serve` there",
                )
            _check(agreed)
        except HvcopyError as error:
            link.refuse(error)
            raise
        return link

    def _turn_away(self, link: Link) -> None:
        self._slots.release()
        if self._taken:
            link.refuse(NotAllowed("this side talks to another peer already", hint="it listens for more with -k"))
        else:
            link.refuse(Interrupted("the other side was interrupted"))
