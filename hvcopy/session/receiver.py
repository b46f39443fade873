"""The receiver's book-keeping: which names may come, which files are open (docs/protocol.md, sections 5 to 7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from hvcopy.errors import NotHvcopy
from hvcopy.session.assembly import Assembly
from hvcopy.wire import messages as m
from hvcopy.wire.frames import MIB, PACK_RECORD, End

MAX_PACKED = 4096
"""Files in one pack, docs/protocol.md section 6."""
MAX_OPEN = 1024
"""Entries a sender may have unanswered or unacknowledged, docs/protocol.md section 5."""
MAX_OPEN_BLOCKS = 1 << 21
"""Blocks of all files under way together: bounds the memory for their digests to 34 MiB."""

MAX_OPEN_XATTRS = 32 * MIB
"""Bytes of extended attributes of all files under way together, docs/protocol.md section 5."""

MAX_FAILED = 1 << 14
"""Files whose source failed of which contents may still come over other lanes, docs/protocol.md section 6.  A lane holds few
blocks, and for so many more files to be asked about and fail takes many round trips."""


class Expected(Struct):
    """One file that was asked about, answered, and is now arriving."""

    id: int
    entry: m.Entry
    assembly: Assembly
    verb: int
    ended: bool = False
    finishing: bool = False
    doubted: bool = False
    writing: int = 0
    failure: End | None = None
    unread: str = ""
    """Why what stands there could not be compared."""
    root: bytes = b""
    length: int = 0


class ReceiverBook:
    """Files under way, by id.  Not thread-safe: the driver holds its lock.

    *dirs* says of each source that this side asked for or was told of whether it is a directory.  *check_path* gives the
    reason a path is unsafe here, *refused* the reason why a source is, by its index.
    """

    def __init__(
        self,
        *,
        dirs: Sequence[bool],
        check_path: Callable[[bytes], str | None],
        refused: Mapping[int, str] | None = None,
    ) -> None:
        self._dirs = dirs
        self._refused = refused or {}
        self._check = check_path
        self._unheard = set(range(len(dirs)))
        self._highest = 0
        self._blocks = 0
        self._xattrs = 0
        self.open: dict[int, Expected] = {}
        self.failed: deque[int] = deque(maxlen=MAX_FAILED)

    def admit(self, source: int, path: bytes) -> str | None:
        """Return why (source, path) is refused by name, or None.

        Raises NotHvcopy for a source nobody asked for, and for a path below one that is a file.
        """
        if source >= len(self._dirs):
            raise NotHvcopy(f"the peer sent something of source {source}, but only {len(self._dirs)} were asked for")
        self._unheard.discard(source)
        if path and not self._dirs[source]:
            raise NotHvcopy(f"the peer sent something below source {source}, which is a file")
        if source in self._refused:
            return self._refused[source]
        return self._check(path) if path else None

    def announce(self, entry: m.Entry) -> None:
        """Check the id of a new entry: ids only grow, and few are open at once."""
        if entry.id <= self._highest or len(self.open) >= MAX_OPEN:
            raise NotHvcopy(f"the peer announced id {entry.id} out of order, or too many at once")
        self._highest = entry.id

    def expect(self, entry: m.Entry, verb: int, assembly: Assembly) -> Expected:
        """Register a file whose blocks will now arrive."""
        if self._blocks + assembly.count > MAX_OPEN_BLOCKS:
            raise NotHvcopy("the peer announced more blocks at once than the protocol allows")
        xattrs = _bytes_of_xattrs(entry)
        if self._xattrs + xattrs > MAX_OPEN_XATTRS:
            raise NotHvcopy("the peer announced more extended attributes at once than the protocol allows")
        one = Expected(entry.id, entry, assembly, verb)
        self.open[entry.id] = one
        self._blocks += assembly.count
        self._xattrs += xattrs
        return one

    def get(self, ident: int) -> Expected:
        """Return the open file *ident*; raises NotHvcopy when there is none."""
        one = self.open.get(ident)
        if one is None:
            raise NotHvcopy(f"the peer sent contents of file {ident}, which was not wanted")
        return one

    def close(self, one: Expected) -> None:
        """Forget a file that was acknowledged; of one that failed, late contents are still to be passed over."""
        if self.open.pop(one.id, None):
            if one.failure:
                self.failed.append(one.id)
            self._blocks -= one.assembly.count
            self._xattrs -= _bytes_of_xattrs(one.entry)

    def check_finished(self) -> None:
        """Raise NotHvcopy unless the sender may be finished: every source was heard of, and no file is under way."""
        if self.open:
            raise NotHvcopy("the peer said it was finished while files were under way")
        if self._unheard:
            raise NotHvcopy(f"the peer said it was finished without a word about source {min(self._unheard)}")

    def check_pack(self, groups: list[m.Group], contents: int) -> int:
        """Return how many files a pack holds; raises NotHvcopy when its records and contents do not fit together."""
        files = total = 0
        for group in groups:
            if len(group.records) != PACK_RECORD.size * len(group.names):
                raise NotHvcopy("the peer sent a pack whose records do not fit its names")
            if group.source < len(self._dirs) and not self._dirs[group.source] and group.names != [b""]:
                raise NotHvcopy(f"the peer sent names of source {group.source}, which is a file")
            files += len(group.names)
            total += sum(record[0] for record in PACK_RECORD.iter_unpack(group.records))
        if files > MAX_PACKED or total != contents:
            raise NotHvcopy(f"the peer sent a pack of {files} files whose sizes do not fit its contents")
        return files


def _bytes_of_xattrs(entry: m.Entry) -> int:
    return sum(map(len, entry.extra.xattrs.values()))
