"""The native core: it moves and scans bytes, and knows no frame, no name, no policy.

Units are bytes and integer milliseconds.  ``timeout_ms`` is *no-progress* time and never infinite; 0 does not wait.
Descriptors are borrowed: the core neither opens, closes nor changes the mode of a socket it is given.  On Windows a
socket must be non-blocking for what follows to hold.  Buffers are borrowed for the whole call.

Every call releases the GIL, serves signals at least every 200 ms, and stops within 200 ms of ``Meter.cancel()`` with
``OSError(ECANCELED)``.  Other failures are ``OSError`` with the system's errno, ``TimeoutError`` when nothing moved
for ``timeout_ms``, ``ValueError`` for misuse.
"""

from collections.abc import Sequence
from typing import Self, final

from _typeshed import ReadableBuffer, WriteableBuffer

FILE_RECORD: str
"""struct format of one record of read_files, see there."""
PLACE_RECORD: str
"""struct format of one record of write_files, see there."""
END_RECORD: str
"""struct format of one record of end_directories, see there."""
TOO_LARGE: int
NO_ROOM: int
CHANGED: int
NOT_REGULAR: int
REPLACE: int
SYNC: int
SET_OWNER: int
OPEN_READ: int
OPEN_WRITE: int
"""For reading as well."""
OPEN_NEW: int
"""A regular file that must not be there yet."""
OPEN_DIRECTORY: int
OPEN_ANY: int
"""Whatever it is, a link itself, only to be looked at."""
OPEN_ALONE: int
"""Nobody else may write to it meanwhile; EBUSY if somebody does.  Windows only."""
IS_FILE: int
IS_DIRECTORY: int
IS_LINK: int
IS_OTHER: int

@final
class Meter:
    """Counts bytes moved; any thread may read it or cancel it at any time."""

    def __init__(self) -> None: ...
    @property
    def moved(self) -> int: ...
    @property
    def cancelled(self) -> bool: ...
    @property
    def storing(self) -> bool:
        """Whether a ``recv_file`` that was given this meter writes to its file just now, and so hears nothing."""
    def add(self, count: int, /) -> None: ...
    def cancel(self) -> None:
        """Make every core call that was given this meter end within 200 ms with OSError(ECANCELED)."""

ASLEEP: int
IN_SYSTEM: int
AWAKE: int

def send_all(
    sock: int, parts: Sequence[ReadableBuffer], meter: Meter, timeout_ms: int, waiting: int = ASLEEP, /
) -> None:
    """Send all bytes of 1 to 8 *parts*, in order, gathered in as few calls as the system allows.

    *waiting*, here and below: ASLEEP, by poll(2).  IN_SYSTEM promises that a call on *sock* waits in the system no longer than
    100 ms, by SO_SNDTIMEO and SO_RCVTIMEO; then poll(2) is not asked.  AWAKE: who receives looks again for a millisecond or
    two before it sleeps, letting other processes run: when the call begins, and after 64 KiB at once.
    """

def send_file(sock: int, fd: int, offset: int, length: int, meter: Meter, timeout_ms: int, /) -> int:
    """Send *length* bytes of regular file *fd* from *offset* on, without a copy through this process.

    Returns the bytes sent.  Fewer than asked mean that the file ended, or that file or socket failed or cannot do it
    this way: what is left is the caller's to read and send, which also tells what failed.  A byte that is written to the
    file before the receiver has read it may arrive changed."""

def recv_exact(sock: int, into: WriteableBuffer, meter: Meter, timeout_ms: int, waiting: int = ASLEEP, /) -> int:
    """Fill *into*.  Returns the bytes received: fewer than asked only when the peer's end of stream came first."""

def recv_some(sock: int, into: WriteableBuffer, meter: Meter, timeout_ms: int, waiting: int = ASLEEP, /) -> int:
    """Receive at least one byte, whatever is there, into *into*.  Returns 0 at end of stream."""

def recv_file(
    sock: int,
    into: WriteableBuffer,
    size: int,
    fd: int,
    offset: int,
    sparse: bool,
    grain: int,
    meter: Meter,
    timeout_ms: int,
    waiting: int = ASLEEP,
    /,
) -> tuple[int, int]:
    """Receive *size* bytes into *into*, and write them to file *fd* at *offset*, as ``write_at`` does, while more is on its
    way: whenever *grain* bytes have come or nothing is there to be received.

    Returns (received, written).  Received: more than *size*, up to the room in *into*, when the call that brought the last
    of them brought more; fewer when the peer's end of stream came first.  Fewer written than *size*: the file failed, and
    the rest is the caller's to write, which also tells what failed."""

def read_some(fd: int, into: WriteableBuffer, meter: Meter, timeout_ms: int, blocking: bool, once: bool, /) -> int:
    """Wait for something to read from any descriptor, and read it and whatever else is there by then, up to *into*.

    Returns 0 at the end.  *blocking* says that reads of *fd* may wait (O_NONBLOCK is not set on it): it is then only read when
    the system says that something is there, once, which another reader of the same pipe can still make wait.  *once*: one
    successful read(2) and not a second one, for terminals, which tell their end only once."""

def write_all(fd: int, data: ReadableBuffer, meter: Meter, timeout_ms: int, blocking: bool, /) -> None:
    """Write all bytes to any descriptor.  *blocking* as above, of a pipe or terminal: at most 4096 bytes at once, and only when
    there is room for them.  To a file, whose writes may take long but never wait for a reader, say False."""

def is_terminal(fd: int, /) -> bool:
    """Say whether it is a terminal, or a console of Windows: one that can be asked, so no descriptor that only writes to it."""

def share_pipe(source: int, target: int, limit: int, /) -> int:
    """Let pipe *target* hold what pipe *source* holds just now, up to *limit*, without taking it out of *source* (tee(2)).

    Returns how much that is, 0 when there is nothing.  Never waits.  OSError(EINVAL) for what are not two pipes."""

def send_pipe(sock: int, pipe: int, length: int, meter: Meter, timeout_ms: int, /) -> int:
    """Send *length* bytes that *pipe* holds, without a copy through this process.

    Returns the bytes sent, fewer than asked when the pipe holds no more, or as for ``send_file``."""

FLOWING: int
DELIVERED: int
SOURCE_FAILED: int
SINK_FAILED: int

@final
class Flow:
    """One direction of a relay: what comes out of descriptor *source* goes into descriptor *sink*, of whatever kind.

    At most *room* bytes (4096 at least) wait in between, or 256 KiB while they move by reference; an idle flow holds
    nothing.  *meter* counts what the sink took.  Up to *by_reference* bytes may move without being copied (splice(2)),
    where both ends can: pipes, files, non-blocking sockets.  A file that is changed in place while its bytes are under
    way so is delivered changed.  No end is waited for by a call of its own, whatever its mode; files are, and a blocking
    socket *sink* is with *sends_wait*, which promises that a send on it waits for a moment at most (SO_SNDTIMEO): for so long
    the other direction may have to wait.  *awake*: see ``send_all``.
    """

    def __new__(
        cls,
        source: int,
        sink: int,
        meter: Meter,
        room: int,
        by_reference: int,
        sends_wait: bool = False,
        awake: bool = False,
        /,
    ) -> Self: ...
    @property
    def state(self) -> int:
        """FLOWING; DELIVERED: the source has ended and the sink has taken everything; SOURCE_FAILED, SINK_FAILED."""
    @property
    def errno(self) -> int:
        """The system's error that ended it; EPIPE also when a sink is gone for which nothing waits; 0 when none did."""
    @property
    def waiting(self) -> int:
        """Bytes taken from the source that the sink has not taken."""

def relay(flows: Sequence[Flow], timeout_ms: int, limit_ms: int, /) -> bool:
    """Move bytes along 1 or 2 flows until at least one is over; returns False when *limit_ms* were over before.

    Call it again with the flow that goes on; it has lost nothing.  What an end of one direction means for the other is
    the caller's to decide, and so is passing it on to the sink.  Both times may be negative, which means never: a
    relay in which nothing moves for *timeout_ms* raises TimeoutError."""

def read_at(fd: int, into: WriteableBuffer, offset: int, /) -> int:
    """Read from file *fd* at *offset* until *into* is full or the file ends.  Returns the bytes read."""

def write_at(fd: int, data: ReadableBuffer, offset: int, sparse: bool, /) -> int:
    """Write *data* at *offset* of file *fd*; with *sparse*, leave out aligned 4096-byte pages that are all zero.

    Returns the bytes really written.  The caller sets the file's length."""

def start_writeback(fd: int, offset: int, length: int, /) -> None:
    """Ask the system to begin writing that range to disk, without waiting.  Failure is ignored: it is a hint."""

def rename_new(dirfd: int, old: bytes, new: bytes, /) -> None:
    """Rename *old* to *new* within a directory, never over something: FileExistsError when *new* is taken.

    OSError(EINVAL or ENOSYS) where the file system cannot rename without replacing (renameat2(2)); EINVAL also for
    a name that is not one component."""

def sync_filesystem(fd: int, /) -> None:
    """Wait until everything written to the file system of *fd* is on disk (syncfs(2)).  Blocks."""

def all_zeros(data: ReadableBuffer, /) -> bool:
    """Say whether *data* has no byte but zeros; of nothing, yes."""

def read_files(
    dirfds: ReadableBuffer, names: Sequence[bytes], into: WriteableBuffer, limit: int, /
) -> tuple[bytes, int]:
    """Read many small regular files, name *i* relative to directory handle *i* of the int32 array *dirfds*.

    Returns (records, used): one FILE_RECORD a name, and how much of *into* the contents take.  ``FILE_RECORD`` is
    ``"<iIIIQqqqQQQ"``: status, mode, uid, gid, nlink, size, mtime_ns, ctime_ns, ino, dev, offset in *into*.
    After the fifth file that found no room it stops, for each is opened to be measured: names beyond have no record.
    Status: 0 whole; an errno > 0; TOO_LARGE (larger than *limit*; not read, the other fields are valid); NO_ROOM (the
    rest of *into* is too small; not read); CHANGED (size or mtime moved while it was read, twice);
    NOT_REGULAR (a symbolic link, which is never followed, and a socket too, then with all other fields 0).
    A name that is not one component gives EINVAL, a negative handle EBADF."""

def write_files(
    dirfds: ReadableBuffer,
    names: Sequence[bytes],
    places: ReadableBuffer,
    data: ReadableBuffer,
    temp_prefix: bytes,
    flags: int,
    /,
) -> bytes:
    """Create many small files, each whole under its name or not at all; returns one int32 errno (0: done) a name.

    *places* holds one PLACE_RECORD ``"<QQqIIII"`` a name: offset and length in *data*, mtime_ns, mode, uid, gid, 0.
    Without REPLACE a name that exists gives EEXIST and stays untouched; with it, it is replaced atomically
    (a directory gives EISDIR; a symbolic link is itself replaced).  With SYNC all contents are on disk before any name appears.
    Contents go to an anonymous file (O_TMPFILE) or, where there are none, to a temporary name that starts with
    *temp_prefix*; after a failure none is left."""

def end_directories(dirfds: ReadableBuffer, names: Sequence[bytes], records: ReadableBuffer, /) -> int:
    """Set mode and time of directories, in order, each made if it is missing; returns how many were done.

    *records* holds one END_RECORD ``"<qI"`` a name: mtime_ns, and a mode of which the nine permission bits count; set-id and
    sticky bits stay.  An empty name is the directory *dirfd* itself.  It ends before the first that is no component, that
    fails, or that is of another file system than its folder (of which only the attributes are as they were)."""

def open_folder(path: bytes, /) -> int:
    """Open a directory by its path, in UTF-8 on Windows, links followed.  Returns a descriptor."""

def open_at(dirfd: int, name: bytes, how: int, /) -> int:
    """Open *name*, one component, in directory *dirfd*, never through a link.  Returns a descriptor.

    *how* is a sum of the OPEN constants.  A name that is no component is EINVAL, a link ELOOP; with OPEN_DIRECTORY it
    may be ``.`` for a second handle.
    """

def make_directory_at(dirfd: int, name: bytes, /) -> None:
    """Make directory *name* in directory *dirfd*, for this user alone where modes say so."""

def remove_at(dirfd: int, name: bytes, /) -> None:
    """Remove *name*, which is no directory, from directory *dirfd*."""

def replace_at(dirfd: int, old: bytes, new: bytes, /) -> None:
    """Rename within a directory, over whatever has the name *new* but a directory (EISDIR)."""

def link_at(old_dirfd: int, old: bytes, new_dirfd: int, new: bytes, /) -> None:
    """Give the file *old* of one directory the name *new* in another as well; never over something."""

def list_directory(fd: int, /) -> list[tuple[bytes, int]]:
    """Return (name, IS_FILE, IS_DIRECTORY or IS_LINK) of each entry.  Windows only: OSError(ENOSYS) elsewhere."""

def set_attributes(fd: int, mode: int, mtime_ns: int, /) -> None:
    """Set the mode, as far as the system has one, and then the time of last writing of what is open."""

def set_size(fd: int, size: int, sparse: bool, /) -> None:
    """Cut the file off or make it longer, by a hole if it is to be *sparse* and the file system has holes."""

def next_piece(fd: int, offset: int, size: int, /) -> tuple[int, int]:
    """Return (start, end) of the first piece from *offset* on that is no hole; (size, size) if there is none."""

def is_link(fd: int, /) -> bool:
    """Say whether what is open is a symbolic link, or a junction, itself."""

def describe(err: int, /) -> str:
    """Return what the errno of a file call means, in words."""
