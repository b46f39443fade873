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
import sys
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from hvcopy import threads
from hvcopy.accepting import Acceptor
from hvcopy.channel import POLL_SECONDS, Channel
from hvcopy.errors import (
    BadUsage,
    ConnectionLost,
    HvcopyError,
    Interrupted,
    NotAllowed,
    NotHvcopy,
    ReaderGone,
    TimedOut,
    printable,
    unforeseen,
)
from hvcopy.pipeio import Outlet, open_inlet
from hvcopy.session.handshake import Agreed
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.link import ERROR_WAIT, LAST_WORDS, Link
from hvcopy.transfer.session import Terms, expect
from hvcopy.transfer.streaming import Sink, Streaming
from hvcopy.transfer.tally import StreamTally
from hvcopy.transport import Cancellation, dial
from hvcopy.wire import messages as m
from hvcopy.wire.frames import Type

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from hvcopy.address import Address
    from hvcopy.admission import Admission
    from hvcopy.pipeio import Inlet
    from hvcopy.transport import Listener

KIND = "stream"
MAX_WAITING = 16
"""Peers that may be greeted, or wait for their turn, at once; each costs a thread or a connection."""
PIECE = 1 << 20


class Stream:
    """One proven connection, good for one stream each way: by ``carry``, or else by ``write``, ``end`` and ``read``.

    One thread may write while another reads.  Leaving its ``with`` block ends this side's stream and waits until both are
    confirmed; it raises HvcopyError unless they are, and ReaderGone when the peer had sent more than was read.  One that was
    never used is only closed, which the peer takes for a break: ``end`` makes it an empty stream.  One that nobody refers to any
    more fails on both sides, with a ResourceWarning.
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
        _carry(self._lanes, inlet, sink, tally or StreamTally(), client=self._client, bwlimit=bwlimit)

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
            if self._over:
                raise BadUsage("this stream is closed")
            if self._pipes is None:
                self._pipes = _Pipes(partial(_carry, self._lanes, tally=StreamTally(), client=self._client))
            return self._pipes

    def __del__(self) -> None:
        if self._pipes and not self._pipes.finished:
            warnings.warn(f"unclosed stream: {self.peer}", ResourceWarning, source=self, stacklevel=2)
            self.interrupt(Interrupted("the program that used the stream let go of it"))

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


def _carry(
    lanes: Lanes, inlet: Inlet | None, sink: Sink, tally: StreamTally, *, client: bool, bwlimit: int = 0
) -> None:
    try:
        Streaming(lanes, inlet, sink, tally, client=client, bwlimit=bwlimit).run()
    finally:
        lanes.close()
        sink.close()
        if inlet:
            inlet.close()


class _Pipes:
    """*carry* in a thread of its own, with a pipe on each side of it for a program to write to and read from.

    It does not know its stream, which would else never be garbage.
    """

    def __init__(self, carry: Callable[[Inlet, Outlet], None]) -> None:
        self._outlet: Outlet | None = None
        self._writes = self._reads = -1
        self._error: BaseException | None = None
        self._carried = False
        self._writing, self._reading = threading.Lock(), threading.Lock()
        ends: list[int] = []
        try:
            ends += os.pipe()
            ends += os.pipe()
            source, writes, reads, sink = ends
            self._outlet = Outlet(writes, "the stream")
            self._thread = threads.start(self._run, "stream", carry, source, sink)
        except (OSError, HvcopyError) as error:
            for end in ends:
                os.close(end)
            raise (unforeseen(error) if isinstance(error, OSError) else error) from None
        self._writes, self._reads = writes, reads

    def __del__(self) -> None:
        self._close()

    @property
    def finished(self) -> bool:
        """Whether nothing is open any more."""
        return self._reads < 0

    def _run(self, carry: Callable[[Inlet, Outlet], None], source: int, sink: int) -> None:
        try:
            carry(open_inlet(source, "the program"), Outlet(sink, "the program"))
        except BaseException as error:
            self._error = error
        finally:  # by this, and not before, a program that is writing or reading hears of the error
            if outlet := self._outlet:
                outlet.cancel()
            if sys.platform == "win32":  # a write waits there until its reader is gone
                os.close(source)
            with self._writing:  # elsewhere nobody shall write to a pipe without a reader: SIGPIPE may be deadly
                self._carried = True
            if sys.platform != "win32":
                os.close(source)
            os.close(sink)

    def write(self, view: memoryview) -> None:
        with self._writing:
            if not self._outlet:
                raise BadUsage("this stream has been ended")
            with contextlib.suppress(Interrupted, ReaderGone):
                if not self._carried:
                    self._outlet.write(view)
                    return
        self._thread.join()
        raise self._error or BrokenPipeError

    def end(self) -> None:
        with self._writing:
            self._end()

    def read(self, size: int) -> bytes:
        with self._reading:
            if self._reads < 0:
                raise BadUsage("this stream is closed")
            got = os.read(self._reads, size)
        if not got and size and self._error:
            raise self._error
        return got

    def ended_at_end(self) -> bool:
        """End this side's stream and wait for the peer's end; False when it sent more than was read."""
        self.end()
        with self._reading:
            return self._reads < 0 or os.read(self._reads, 1) == b""

    def finish(self) -> None:
        self.end()
        self._thread.join()
        with self._reading:
            self._close()
        if self._error:
            raise self._error

    def _end(self) -> None:
        if self._outlet:
            self._outlet.close()
            self._outlet = None
        if self._writes >= 0:
            os.close(self._writes)
            self._writes = -1

    def _close(self) -> None:
        self._end()
        if self._reads >= 0:
            os.close(self._reads)
            self._reads = -1


def open_stream(
    address: Address,
    *,
    key: bytes | None = None,
    wait: float = 0.0,
    timeout: float = 30.0,
    buffer: int | None = None,
    cancellation: Cancellation | None = None,
) -> Stream:
    """Connect to whoever listens for a stream (``hvcopy pipe -l``), and prove *key* both ways.

    Raises HvcopyError; blocks up to *wait* + *timeout* seconds, or until *cancellation*.  *buffer* is bytes of socket buffer,
    None what suits.
    """
    terms = Terms("client", str(address), key, timeout)
    channel = dial(
        address,
        wait=wait,
        timeout=timeout,
        buffer=buffer,
        cancellation=cancellation,
        start=("hvcopy pipe -l {}",),
        keyed=key is not None,
    )
    link, agreed = terms.meet(channel, connector=True)
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
        if link.told:  # it was the peer that gave up
            raise
        raise TimedOut(
            f"{link.channel.peer}: the peer talks to another one, whose end did not come within {timeout:g} s",
            hint="nothing was sent; try again later, or wait longer with a larger --timeout",
        ) from None


def _check(agreed: Agreed) -> None:
    if KIND not in agreed.features:
        raise NotHvcopy("the peer knows no streams", hint="install the same release of hvcopy on both sides")


class StreamListener:
    """Greets peers on *listener* and hands them out one at a time, to ``wait``; others wait for their turn.

    *on_refused* hears of those that are not let in, want something else, or leave before their turn; called from threads.
    """

    def __init__(
        self,
        listener: Listener,
        admission: Admission,
        *,
        timeout: float = 30.0,
        on_refused: Callable[[str, HvcopyError], None] = lambda peer, error: None,
    ) -> None:
        self._admission = admission
        self._terms = Terms("server", str(listener.address), admission.key, timeout, frozenset({KIND}))
        self._on_refused = on_refused
        self._waiting: list[Link] = []
        self._changed = threading.Condition()
        self._taken = False
        self._acceptor = Acceptor(
            listener,
            self._greet,
            places=MAX_WAITING,
            full=f"{MAX_WAITING} others wait there already",
            timeout=timeout,
            on_failed=on_refused,
        )
        self._acceptor.start()

    def wait(self) -> Stream:
        """Return the next peer's stream.  Blocks until ``close`` is called from another thread: then raises Interrupted.

        Raises LocalFailure when nobody can be listened for any more.
        """
        while link := self._next():
            link.deadline = 0.0
            try:
                link.send(m.Ready(b"", 1, "", []))
            except HvcopyError as error:  # it would not wait so long
                self._on_refused(link.channel.peer, error)
                link.close()
                continue
            self._taken = True
            return Stream(link, self._terms.timeout, client=False)
        self._acceptor.check()
        raise Interrupted("interrupted")

    def close(self) -> None:
        """Greet nobody more, and send away who waits.  The listener stays open."""
        self._acceptor.stop()
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting, 2 * ERROR_WAIT)

    def _next(self) -> Link | None:
        with self._changed:
            while not self._acceptor.stopping:
                link = next((one for one in self._waiting if not one.channel.readable()), None)
                if link:
                    self._waiting.remove(link)
                    self._changed.notify_all()
                    return link
                self._changed.wait(POLL_SECONDS)  # Windows hears Ctrl-C only between two waits
        return None

    def _greet(self, channel: Channel) -> None:
        self._admission.let_in(channel)
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
        if self._stand_by(link):
            return
        if self._acceptor.stopping:
            self._turn_away(link)
        else:
            self._part(link)

    def _stand_by(self, link: Link) -> bool:
        """Wait until it is the turn of *link*; False when the peer said something before that, or nobody has a turn any more."""
        with self._changed:
            self._waiting.append(link)
            self._changed.notify_all()
            while link in self._waiting:
                if self._acceptor.stopping:
                    return False
                if link.channel.readable():
                    self._waiting.remove(link)
                    return False
                self._changed.wait(POLL_SECONDS)
        return True

    def _turn_away(self, link: Link) -> None:
        if self._taken:
            link.send_error(NotAllowed("this side talks to another peer already", hint="it listens for more with -k"))
        else:
            link.send_error(Interrupted("the other side was interrupted"))
        with self._changed:
            if link in self._waiting:
                self._waiting.remove(link)
            self._changed.notify_all()
        link.linger()
        link.close()

    def _part(self, link: Link) -> None:
        """Raise what the peer says before its turn: at most why it gives up."""
        link.deadline = time.monotonic() + LAST_WORDS
        try:
            expect(link)
        except ConnectionLost:
            link.close()
            raise ConnectionLost(f"{link.channel.peer}: it left before its turn") from None
        except HvcopyError as error:
            link.refuse(error)
            raise
