"""The client of a server: push, pull and list over one connection, as a library.

What only one direction needs is imported when that direction is used: start-up is most of a small copy.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

import msgspec

from hvcopy.address import Address
from hvcopy.channel import Channel
from hvcopy.errors import BadUsage, HvcopyError, NotHvcopy, TimedOut, printable
from hvcopy.files.source import USE_FOLDER, Source, open_local
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.link import Link
from hvcopy.transfer.session import Registry, Terms, clamp_lanes, expect, grower
from hvcopy.transfer.tally import Tally
from hvcopy.transport import Cancellation, dial, pinned
from hvcopy.wire import messages as m
from hvcopy.wire.frames import MAX_CONTROL_BODY, Type

MAX_SOURCES = 1024
"""Sources of one job, docs/protocol.md section 4; with names of 255 bytes they fit its frame."""
DEFAULT_LANES = 2
"""Connections of a copy that is large enough: small files are written by two threads then (bench/results)."""


def open_sources(paths: Sequence[str], *, recursive: bool) -> list[Source]:
    """Open what the user named, before anything is sent; folders only if *recursive*.  Raises LocalFailure or BadUsage.

    Each is a descriptor, until the last reference to the source is gone.
    """
    if isinstance(paths, str | bytes):  # else each of its characters
        raise TypeError(f"a list of paths is wanted, not {paths!r}")
    _refuse_too_many(len(paths))
    return [open_local(index, path, recursive=recursive) for index, path in enumerate(paths)]


def _refuse_too_many(sources: int) -> None:
    if sources > MAX_SOURCES:
        raise BadUsage(f"more than {MAX_SOURCES} sources at once", hint=USE_FOLDER)


def plain_path(path: bytes) -> bytes:
    """Return a remote path as it goes on the wire: without a leading slash, doubled slashes, and ``.`` parts."""
    return b"/".join(part for part in path.split(b"/") if part not in (b"", b"."))


def _want_paths(paths: object) -> None:
    if not isinstance(paths, list) or not all(isinstance(path, bytes) for path in paths):
        raise TypeError(f"paths on the server are bytes, as os.fsencode returns, several of them a list, not {paths!r:.200}")


def _on_the_wire(path: bytes) -> bytes:
    """Return a remote path that is asked for; before a slash, or a slash and a dot, only a directory will do."""
    plain = plain_path(path)
    return plain + b"/" if plain and path.endswith((b"/", b"/.")) else plain


def means_contents(path: bytes) -> bool:
    """Say whether a remote source means what is in a directory rather than the directory: ``dir/.``, or the root."""
    return path.rstrip(b"/").rpartition(b"/")[2] in (b"", b".")


class Client:
    """One proven connection to a server, good for one job.  Use ``connect`` to get one."""

    def __init__(
        self,
        link: Link,
        terms: Terms,
        *,
        lanes: int = DEFAULT_LANES,
        token: bytes = b"",
        dial_again: Callable[[Cancellation], Channel] | None = None,
        registry: Registry | None = None,
    ) -> None:
        self._link = link
        self._terms = terms
        self._token = token
        self._dial_again = dial_again
        self._registry = registry
        self._wanted = clamp_lanes(lanes)
        self._lanes: Lanes | None = None
        self._closed = False

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def window(self) -> int:
        """The connection's effective buffer in bytes, as the system reports it; 0 when unknown."""
        return self._link.channel.window

    def push(
        self, sources: list[Source], destination: bytes, options: m.Options, tally: Tally, *, bwlimit: int = 0
    ) -> None:
        """Send *sources* to *destination* below the server's root, counting in *tally*; b"" is the root.

        Returns when the server has confirmed everything that did not fail, which *tally* has counted: its ``failed`` is to be
        looked at.  *bwlimit* is bytes a second, 0 for no limit.  Raises HvcopyError; blocks.
        """
        from hvcopy.transfer.sending import Sending

        _want_paths([destination])
        if not all(isinstance(source, Source) for source in sources):
            raise TypeError("sources are what open_sources returns")
        if not sources:
            raise BadUsage("there is nothing to copy: no source is named")
        lanes = self._order(
            "push",
            [plain_path(destination)],
            msgspec.structs.replace(
                options,
                names=[source.called for source in sources],
                dirs=[source.is_dir for source in sources],
                must_be_dir=destination.endswith((b"/", b"/.")),
            ),
        )
        with lanes.closing():
            self._ready(lanes)
            Sending(lanes, sources, options, tally, bwlimit=bwlimit, grow=self._grow(lanes)).run()

    def pull(self, paths: list[bytes], destination: str, options: m.Options, tally: Tally) -> None:
        """Receive *paths* of the server into the local *destination*, counting in *tally*; otherwise as ``push``."""
        from hvcopy.files.destination import resolve_local
        from hvcopy.files.sink import Plan
        from hvcopy.transfer.receiving import receive

        _want_paths(paths)
        if not paths:
            raise BadUsage("there is nothing to copy: no source is named")
        wanted = [plain_path(path) for path in paths]
        names = [
            b"" if means_contents(path) else os.path.basename(plain) for path, plain in zip(paths, wanted, strict=True)
        ]
        lanes = self._order("pull", [_on_the_wire(path) for path in paths], options)

        def origin(source: int, path: bytes) -> bytes:
            return b"/".join((os.fsencode(f"{self._terms.address}:"), *filter(None, (wanted[source], path))))

        with lanes.closing():
            ready = self._ready(lanes)
            if len(ready.layout) != len(paths) or set(ready.layout) - {"d", "f"}:
                raise NotHvcopy("the server answered for another number of sources than were asked for")
            dirs = [kind == "d" for kind in ready.layout]
            if any(dirs) and not options.recursive:
                raise NotHvcopy("the server wants to send a directory, which was not asked for")
            root, places = resolve_local(destination, names=names, dirs=dirs)
            plan = Plan(
                root,
                places.prefixes,
                dirs,
                options.existing,
                sync=options.sync,
                owner=options.owner,
                xattrs=options.xattrs,
                links=options.links,
                refused=places.refused,
                begun=places.begun,
            )
            receive(lanes, plan, options, tally, origin=origin, grow=self._grow(lanes))

    def entries(self, path: bytes) -> Iterator[m.Listed]:
        """Yield what stands at *path* below the server's root, sorted by name; b"" is the root.

        The server is asked when the first entry is.  Raises HvcopyError; blocks.
        """
        _want_paths([path])
        lanes = self._order("list", [_on_the_wire(path)], m.Options())
        try:
            self._ready(lanes)
            while True:
                listing = expect(lanes.control, Type.LISTING)
                assert isinstance(listing, m.Listing)
                yield from listing.entries
                if listing.last:
                    lanes.control.send_bye()
                    return
        except HvcopyError as error:
            lanes.fail(error)
            raise

    def interrupt(self, error: BaseException) -> None:
        """End the job that another thread runs: there *error* is raised, within a second, and the server is told of it."""
        if self._lanes:
            self._lanes.fail(error)
        else:
            self._link.channel.cancel()

    def close(self) -> None:
        """Close every connection; harmless when done already."""
        self._closed = True
        if self._lanes:
            if self._registry:
                self._registry.leave(self._lanes)
            self._lanes.close()
        self._link.close()

    def _order(self, kind: str, paths: list[bytes], options: m.Options) -> Lanes:
        if self._lanes or self._closed:
            why = "is closed" if self._closed else "has done, or does, its one job"
            raise BadUsage(f"this client {why}", hint="connect once for each job")
        if options.existing not in m.POLICIES:
            *others, last = m.POLICIES
            what = f"existing={options.existing!r:.40} says nothing of files that exist"
            raise BadUsage(what, hint=f"{', '.join(others)} or {last}")
        _refuse_too_many(max(len(paths), len(options.names)))
        if too_long := [path for path in paths if len(path) > m.MAX_PATH]:
            raise BadUsage(
                f"the path {printable(too_long[0][:40])}... is longer than {m.MAX_PATH} bytes",
                hint="no server takes a longer one",
            )
        job = m.Job(kind, paths, options, self._token, self._wanted)
        if len(m.encode(job)) > MAX_CONTROL_BODY:
            raise BadUsage("the paths are too long for so many at once", hint=USE_FOLDER)
        self._link.send(job)
        self._lanes = Lanes(self._link, granted=1, token=self._token, timeout=self._terms.timeout)
        return self._lanes

    def _ready(self, lanes: Lanes) -> m.Ready:
        """Wait for READY, for which the server may have to look at its disk: longer than for the handshake."""
        self._link.deadline = time.monotonic() + self._terms.timeout
        try:
            ready = expect(self._link, Type.READY)
        except TimedOut:
            if self._link.told:  # it was the server that gave up
                raise
            raise TimedOut(
                f"{self._link.channel.peer}: the server has not begun within {self._terms.timeout:g} s",
                hint="if its disk is slow, wait longer with a larger --timeout",
            ) from None
        assert isinstance(ready, m.Ready)
        self._link.deadline = 0.0
        lanes.granted = min(clamp_lanes(ready.lanes), self._wanted)
        lanes.token = self._token or ready.token
        if self._registry:
            self._registry.enter(lanes)
        return ready

    def _grow(self, lanes: Lanes) -> Callable[[], None] | None:
        return grower(lanes, self._terms, self._dial_again) if self._dial_again and lanes.granted > 1 else None


def connect(
    address: Address,
    *,
    key: bytes | None = None,
    wait: float = 0.0,
    timeout: float = 30.0,
    buffer: int | None = None,
    lanes: int = DEFAULT_LANES,
    cancellation: Cancellation | None = None,
    start: Sequence[str] = ("hvcopy serve {} --root DIR",),
) -> Client:
    """Connect to a server at *address* and prove the key both ways.

    Raises HvcopyError; blocks up to *wait* + *timeout* seconds, or until *cancellation*.  *start* as for ``dial``.
    """
    terms = Terms("client", str(address), key, timeout)
    channel = dial(
        address,
        wait=wait,
        timeout=timeout,
        buffer=buffer,
        cancellation=cancellation,
        start=start,
        keyed=key is not None,
    )
    link, _ = terms.meet(channel, connector=True)
    again = pinned(address, channel)

    def dial_again(lane: Cancellation) -> Channel:
        return dial(again, timeout=timeout, buffer=buffer, cancellation=lane)

    return Client(link, terms, lanes=lanes, dial_again=dial_again)
