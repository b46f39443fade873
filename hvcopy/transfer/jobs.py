"""Carrying out a job at the server's end: receive a push, send a pull, list a folder (docs/protocol.md, section 4)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from hvcopy.errors import LocalFailure, NotAllowed, NotHvcopy, UnsafeName, printable
from hvcopy.files import attributes, system
from hvcopy.files.confined import Directories, Handle
from hvcopy.files.destination import resolve
from hvcopy.files.names import check_asked
from hvcopy.files.sink import Plan
from hvcopy.files.source import not_opened, open_beneath
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.receiving import receive
from hvcopy.transfer.sending import Sending
from hvcopy.transfer.session import await_bye
from hvcopy.transfer.tally import Tally
from hvcopy.wire import messages as m

LISTING_BATCH = 256


@dataclass(slots=True)
class Served:
    """What a server offers: a root, and in which directions."""

    root: Handle
    may_read: bool = True
    may_write: bool = True
    sync: bool = True
    may_own: bool = True
    counted: bool | None = None
    """Whether the file system of the root counts the names of folders, as not all do; found out when it is None."""

    def __post_init__(self) -> None:
        """Find that out."""
        if self.counted is None:
            self.counted = self._names() > 0

    def _names(self) -> int:
        return system.fstat(self.root.fd).st_nlink

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of jobs that these directions let it do."""
        return frozenset({"push"} if self.may_write else ()) | frozenset({"pull", "list"} if self.may_read else ())

    def check(self) -> None:
        """Raise LocalFailure when the root was deleted; a folder of its name that was made since is another one."""
        if self.counted and not self._names():
            hint = "make it if it is missing, and start the server again"
            raise LocalFailure("the folder that is served was deleted", hint=hint)


Grow = Callable[[], None] | None


def run_push(lanes: Lanes, job: m.Job, served: Served, tally: Tally, *, grow: Grow = None) -> None:
    """Receive what the client pushes.  Raises HvcopyError, having told the client."""
    if not served.may_write:
        raise NotAllowed("this server is read-only", hint="start it without --read-only")
    options = job.options
    if len(job.paths) != 1 or not options.names or len(options.names) != len(options.dirs):
        raise NotHvcopy("the peer sent a push that does not say what it pushes")
    if options.existing not in m.POLICIES:
        raise NotHvcopy(f"the peer asks for the unknown policy {printable(options.existing)!r}")
    if options.owner and not served.may_own:
        raise NotAllowed(
            "keeping owners and set-id bits (-a) needs a proven key or a unix socket",
            hint="give both sides the same --key-file, or copy with -r",
        )
    places = resolve(
        served.root, job.paths[0], names=options.names, dirs=options.dirs, must_be_dir=options.must_be_dir
    )
    plan = Plan(
        served.root,
        places.prefixes,
        options.dirs,
        options.existing,
        sync=options.sync and served.sync,
        owner=options.owner,
        xattrs=options.xattrs,
        links=options.links,
        refused=places.refused,
        begun=places.begun,
    )
    receive(lanes, plan, options, tally, ready=m.Ready(lanes.token, lanes.granted, places.layout, []), grow=grow)


def run_pull(lanes: Lanes, job: m.Job, served: Served, tally: Tally, *, grow: Grow = None) -> None:
    """Send what the client asks for.  Raises HvcopyError."""
    if not served.may_read:
        raise NotAllowed("this server is write-only", hint="start it without --write-only")
    sources = []
    for index, path in enumerate(job.paths):
        must_be_dir = path.endswith(b"/")
        path = path.strip(b"/")
        reason = check_asked(path, windows=system.WINDOWS) if path else None
        if reason:
            raise UnsafeName(f"/{printable(path)}: {reason}")
        recursive = job.options.recursive
        sources.append(open_beneath(index, served.root, path, recursive=recursive, must_be_dir=must_be_dir))
    if not sources:
        raise NotHvcopy("the peer asked for nothing")
    layout = "".join("d" if source.is_dir else "f" for source in sources)
    names = [source.called for source in sources]
    lanes.control.send(m.Ready(lanes.token, lanes.granted, layout, names))
    Sending(lanes, sources, job.options, tally, grow=grow).run()


def run_list(lanes: Lanes, job: m.Job, served: Served) -> None:
    """List one folder, or one file.  Raises HvcopyError."""
    if not served.may_read:
        raise NotAllowed("this server is write-only", hint="start it without --write-only")
    asked = job.paths[0] if job.paths else b""
    path = asked.strip(b"/")
    reason = check_asked(path, windows=system.WINDOWS) if path else None
    if reason:
        raise UnsafeName(f"/{printable(path)}: {reason}")
    try:
        _send_listing(lanes, _listed(served.root, path, must_be_dir=asked.endswith(b"/")))
    except OSError as error:
        raise not_opened(f"/{printable(path)}", error) from None
    await_bye(lanes.control)


def _send_listing(lanes: Lanes, entries: Iterator[m.Listed]) -> None:
    """Send *entries* as they are found: to look at all of a folder may take longer than the client waits."""
    batch, last = list(islice(entries, LISTING_BATCH)), False
    lanes.control.send(m.Ready(lanes.token, 1, "", []))
    while not last:
        following = list(islice(entries, LISTING_BATCH))
        last = not following
        lanes.control.send(m.Listing(batch, last))
        batch = following


def _listed(root: Handle, path: bytes, *, must_be_dir: bool) -> Iterator[m.Listed]:
    directory, _, name = path.rpartition(b"/")
    handles = Directories(root)
    if name:
        found = system.stat(handles.get(directory).fd, name)
        if not stat.S_ISDIR(found.st_mode) and not must_be_dir:
            yield _line(name, found)
            return
    handle = handles.get(path)
    for name in sorted(name for name, _ in system.list_folder(handle.fd)):
        try:
            yield _line(name, system.stat(handle.fd, name))
        except FileNotFoundError:
            continue


def _line(name: bytes, found: os.stat_result) -> m.Listed:
    kinds = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l"}
    kind = kinds.get(stat.S_IFMT(found.st_mode), "o")
    return m.Listed(name, kind, found.st_size, attributes.sendable_time(found.st_mtime_ns), found.st_mode & 0o7777)
