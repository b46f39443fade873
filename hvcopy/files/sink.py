"""The receiving side of a tree: where entries go, what happens to what stands there already.

One Sink serves one thread; all sinks of a session share a Plan.  Every path is checked by ``names`` before it comes here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hvcopy import fileio
from hvcopy.errors import LocalFailure
from hvcopy.files import attributes, place, system
from hvcopy.files.batch import PLACE, Batch, alike, descriptors, holds, stands
from hvcopy.files.begun import Begun
from hvcopy.files.confined import Directories, Handle, check_component, enter
from hvcopy.files.names import check_names, collision_key
from hvcopy.wire.frames import LINKED, PACK_RECORD
from hvcopy.wire.messages import DONE, POLICIES, SAME, SKIPPED, Entry, Group

REFUSE, OVERWRITE, UPDATE = POLICIES
_TWINS = "of two names that differ only in case rename one"
EXISTS = f"it exists already ({_TWINS + '; else ' if system.FOLDS_CASE else ''}say --overwrite or --update to replace it)"
SENT_TWICE = "the same name was sent twice" + (f" ({_TWINS})" if system.FOLDS_CASE else "")
A_DIRECTORY = "a directory stands there"
SPECIAL = "a device, FIFO or socket stands there, which is never replaced"
_END = struct.Struct(fileio.END_RECORD)
_ERRNO = struct.Struct("<i")
FOLDERS = 64
"""Folders that are open at once while the directories in them get their attributes."""
FATAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""What stops a whole copy: the next entry would fail just so."""
NOTHING_NEW = FATAL | {errno.EACCES, errno.EPERM}
"""What a folder or disk says that takes no new file: the core makes one before it finds that the name is taken."""


@dataclass(slots=True)
class Plan:
    """What all threads of one receiving session share: where each source goes, and by which rules."""

    root: Handle
    prefixes: list[bytes]
    dirs: list[bool]
    existing: str = REFUSE
    sync: bool = True
    owner: bool = False
    xattrs: bool = False
    links: bool = False
    refused: dict[int, str] = field(default_factory=dict)
    begun: Begun | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    written: set[int] = field(default_factory=set)
    linkable: set[tuple[int, bytes]] = field(default_factory=set)
    disks: dict[int, Handle] = field(default_factory=dict)
    """A directory of each file system that was written to: others may be mounted below the root."""

    def __post_init__(self) -> None:
        """Begin with the root's own."""
        self.disks[system.fstat(self.root.fd).st_dev] = self.root

    @property
    def replace(self) -> bool:
        """True when an existing file may be replaced."""
        return self.existing != REFUSE

    def path(self, source: int, path: bytes) -> bytes:
        """Return where (source, path) goes, relative to the root; empty for the root itself."""
        prefix = self.prefixes[source]
        return prefix + b"/" + path if prefix and path else prefix or path

    def first_time(self, path: bytes) -> bool:
        """Say whether nothing of this session went to *path* yet; asked only where a second one would replace the first."""
        key = hash(collision_key(path, folds_case=system.FOLDS_CASE))
        with self.lock:
            if key in self.written:
                return False
            self.written.add(key)
            return True


@dataclass(slots=True)
class Packed:
    """What became of one pack: counts, and (index, exit code, message) of each failure."""

    files: int = 0
    same: int = 0
    skipped: int = 0
    failures: list[tuple[int, int, str]] = field(default_factory=list)


class PackStopped(OSError):
    """A failure of FATAL, at the file of a pack that has this *index*."""

    def __init__(self, status: int, index: int) -> None:
        super().__init__(status, fileio.describe(status))
        self.index = index


class Sink:
    """Creates files, directories and links below the plan's root."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._directories = Directories(plan.root, disks=plan.disks if plan.sync else None)
        self._prefix = place.temporary_name() + b"-"
        self._noted = plan.begun is None

    def parent(self, source: int, path: bytes, *, create: bool = True) -> tuple[Handle, bytes]:
        """Return the handle of the directory that (source, path) goes into, and its name there.  Raises OSError."""
        directory, _, name = self._plan.path(source, path).rpartition(b"/")
        if not name:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        check_component(name)
        return self._made(directory) if create else self._directories.get(directory), name

    def _made(self, path: bytes) -> Handle:
        """Return the handle of a directory, made if it is missing; before the first of all, what begins is noted."""
        begun = self._plan.begun
        if begun and not self._noted:
            begun.leave(self._directories.get(begun.folder))
            self._noted = True
        return self._directories.get(path, create=True)

    def end(self) -> None:
        """Everything has come and was written, and nothing failed.  Raises OSError."""
        begun = self._plan.begun
        if begun:
            begun.remove(self._directories.get(begun.folder))

    def make_directory(self, entry: Entry) -> None:
        """Make a directory, or find that it is there.  Raises OSError."""
        path = self._plan.path(entry.source, entry.path)
        if path:
            directory, _, name = path.rpartition(b"/")
            enter(self._made(directory), name, create=True)

    def end_directory(self, entry: Entry) -> None:
        """Set mode and times of a directory that nothing more goes into; an empty one is made now.  Raises OSError."""
        handle = self._made(self._plan.path(entry.source, entry.path))
        extra = entry.extra
        try:
            attributes.apply(
                handle.fd, mode=entry.mode, mtime_ns=entry.mtime, uid=extra.uid, gid=extra.gid, xattrs=extra.xattrs
            )
        except OSError:
            wants_more = extra.uid is not None or extra.gid is not None or extra.xattrs
            if wants_more or not attributes.stand(handle.fd, mode=entry.mode, mtime_ns=entry.mtime):
                raise

    def end_directories(self, entries: Sequence[Entry]) -> int:
        """The same for the first of *entries* by one call of the core; returns how many: the next one needs ``end_directory``.

        Their order counts: whoever makes a directory changes the time of the one that it is in.
        """
        handles: list[Handle] = []
        names: list[bytes] = []
        records = bytearray()
        folder, above, opened = b"", self._plan.root, 0
        for entry in entries:
            path, extra = self._plan.path(entry.source, entry.path), entry.extra
            if not path or extra.uid is not None or extra.gid is not None or extra.xattrs:
                break
            itself = self._directories.known(path)
            if itself is None:
                directory, _, name = path.rpartition(b"/")
                if directory != folder or not opened:
                    opened += 1
                    if opened > FOLDERS:
                        break
                    try:
                        folder, above = directory, self._made(directory)
                    except OSError:
                        break
            handles.append(itself or above)
            names.append(b"" if itself else name)
            records += _END.pack(entry.mtime, entry.mode & attributes.PLAIN_MODE)
        return fileio.end_directories(descriptors(handles), names, records)

    def make_symlink(self, entry: Entry) -> int:
        """Recreate a symbolic link; returns SAME when it stands there already, SKIPPED for what is not older.  Raises OSError."""
        directory, name = self.parent(entry.source, entry.path)
        with contextlib.suppress(OSError):
            if system.read_link(directory.fd, name) == entry.extra.target:
                return SAME
        if self._leaves(directory, name, entry):
            return SKIPPED
        temporary = place.temporary_name()
        system.symlink(entry.extra.target, directory.fd, temporary)
        if entry.extra.uid is not None and entry.extra.gid is not None:
            try:
                with attributes.keeping(f"its owner {entry.extra.uid}:{entry.extra.gid}"):
                    system.chown_link(directory.fd, temporary, entry.extra.uid, entry.extra.gid)
            except OSError:
                system.remove(directory.fd, temporary)
                raise
        with contextlib.suppress(OSError):
            system.set_link_time(directory.fd, temporary, entry.mtime)
        self._name(directory, temporary, name, entry)
        return DONE

    def make_hardlink(self, entry: Entry) -> int:
        """Link to a file that was delivered in this session.  Raises OSError.

        Returns SAME when that link, or a file with the same contents that is to stay, stands there; else as ``make_symlink``.
        """
        to = entry.extra.to
        if to is None or to not in self._plan.linkable:
            raise LocalFailure("the file it is a hard link to was not delivered in this copy")
        old_directory, old = self.parent(*to, create=False)
        directory, name = self.parent(entry.source, entry.path)
        wanted = system.stat(old_directory.fd, old)
        with contextlib.suppress(OSError):
            found = system.stat(directory.fd, name)
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return SAME
        if self._leaves(directory, name, entry):
            return SKIPPED
        if not self._plan.replace and _are_same((directory, name), (old_directory, old)):
            return SAME
        temporary = place.temporary_name()
        system.link(old_directory.fd, old, directory.fd, temporary)
        self._name(directory, temporary, name, entry)
        return DONE

    def _leaves(self, directory: Handle, name: bytes, entry: Entry) -> bool:
        """Whether what stands there stays, for it is not older.  Raises OSError."""
        return self._plan.existing == UPDATE and attributes.is_not_older(place.found(directory, name), entry.mtime)

    def _name(self, directory: Handle, temporary: bytes, name: bytes, entry: Entry) -> None:
        replace = self._plan.replace and self._plan.first_time(self._plan.path(entry.source, entry.path))
        try:
            if not replace:
                place.rename_new(directory, temporary, name)
            elif (found := place.found(directory, name)) and stays(found) == SPECIAL:
                raise LocalFailure(SPECIAL)
            else:
                place.replace_name(directory, temporary, name)
        except (OSError, LocalFailure):
            with contextlib.suppress(OSError):
                system.remove(directory.fd, temporary)
            raise

    def standing(self, source: int, path: bytes) -> os.stat_result | None:
        """Return the status of what stands at (source, path), not following a link; None when nothing does.  Raises OSError."""
        try:
            directory, name = self.parent(source, path, create=False)
            return system.stat(directory.fd, name)
        except FileNotFoundError:
            return None

    def open_standing(self, source: int, path: bytes) -> int:
        """Open the regular file that stands at (source, path) for reading, not following a link.  Raises OSError."""
        directory, name = self.parent(source, path, create=False)
        return system.open_file(directory.fd, name)

    def write_pack(
        self, groups: list[Group], contents: memoryview, admit: Callable[[int, bytes], str | None]
    ) -> Packed:
        """Create the files of a pack; *admit* gives the reason why a directory is refused by its name.

        Raises PackStopped for what stops the whole copy.
        """
        todo = Batch(contents)
        result = Packed()
        index = 0
        for group in groups:
            records = list(PACK_RECORD.iter_unpack(group.records))
            reason = admit(group.source, group.directory)
            if reason is None:
                self._add_group(todo, group, records, index, result)
            else:
                todo.take(sum(record[0] for record in records))
                result.failures += [(index + i, 11, reason) for i in range(len(records))]
            index += len(records)
        self._write_batch(todo, result)
        return result

    def _add_group(
        self, todo: Batch, group: Group, records: list[tuple[int, ...]], start: int, result: Packed
    ) -> None:
        where, names = self._plan.path(group.source, group.directory), group.names
        if not self._plan.dirs[group.source]:  # the source itself, placed under the name decided here
            where, _, name = where.rpartition(b"/")
            names, refused = [name], {}
        else:
            refused = check_names(names, windows=system.WINDOWS)
        try:
            handle = self._made(where)
        except OSError as error:
            _check_fatal(error.errno or 0, start)
            todo.take(sum(record[0] for record in records))
            result.failures += [(start + i, 10, not_written(error.strerror or str(error))) for i in range(len(names))]
            return
        if refused or self._plan.replace:
            self._add_carefully(todo, group, where, handle, names, records, start, refused, result)
        else:
            todo.add_all(handle, names, records, start, self._mode_bits)
        self._note_links(todo, group, records, start)

    @property
    def _mode_bits(self) -> int:
        return attributes.FULL_MODE if self._plan.owner else attributes.PLAIN_MODE

    def _add_carefully(
        self,
        todo: Batch,
        group: Group,
        where: bytes,
        handle: Handle,
        names: Sequence[bytes],
        records: list[tuple[int, ...]],
        start: int,
        refused: dict[int, str],
        result: Packed,
    ) -> None:
        """Add the files one by one, leaving out those that are refused by name, not older, or sent twice."""
        plan = self._plan
        # on Windows, whose folders hold no devices, a look costs as much as an open
        looks = plan.existing == UPDATE or (plan.replace and not system.WINDOWS)
        for position, (name, record) in enumerate(zip(names, records, strict=True)):
            index, found = start + position, None
            try:
                found = place.found(handle, name) if looks and position not in refused else None
            except OSError as error:  # it may be what must stay
                result.failures.append((index, 10, not_written(error.strerror or str(error))))
                todo.take(record[0])
                continue
            if position in refused:
                result.failures.append((index, 11, refused[position]))
            elif found and stays(found) == SPECIAL:
                result.failures.append((index, 10, SPECIAL))
            elif found and plan.existing == UPDATE and attributes.is_not_older(found, record[1]):
                result.skipped += 1
            elif plan.replace and not plan.first_time(where + b"/" + name if where else name):
                result.failures.append((index, 11, SENT_TWICE))
            else:
                todo.add_all(handle, [name], [record], index, self._mode_bits)
                continue
            todo.take(record[0])

    def _note_links(self, todo: Batch, group: Group, records: list[tuple[int, ...]], start: int) -> None:
        for position, record in enumerate(records):
            if record[5] & LINKED:
                todo.linked[start + position] = _sent_as(group, position)

    def _write_batch(self, todo: Batch, result: Packed) -> None:
        plan = self._plan
        flags = (
            (fileio.REPLACE if plan.replace else 0)
            | (fileio.SYNC if plan.sync else 0)
            | (fileio.SET_OWNER if plan.owner else 0)
        )
        statuses = fileio.write_files(todo.dirfds(), todo.names, todo.places, todo.contents, self._prefix, flags)
        if not any(statuses):
            result.files += len(todo.names)
            with plan.lock:
                plan.linkable.update(todo.linked[index] for index in todo.indexes if index in todo.linked)
            return
        taken = [number for number, (status,) in enumerate(_ERRNO.iter_unpack(statuses)) if status == errno.EEXIST]
        same_there = alike(todo, taken)
        for number, (status,) in enumerate(_ERRNO.iter_unpack(statuses)):
            if status in NOTHING_NEW and not plan.replace and stands(todo, number):
                status = errno.EEXIST
            try:
                same = number in same_there or (status == errno.EEXIST and holds(todo, number))
                message = "" if same or not status else _why_not(todo, number, status, owner=plan.owner)
            except OSError as error:
                same, message = False, not_compared(error)
            if message:
                _check_fatal(status, todo.indexes[number])
                result.failures.append((todo.indexes[number], 10, message))
                continue
            result.same += int(same)
            result.files += int(not same)
            linked = todo.linked.get(todo.indexes[number])
            if linked:
                with plan.lock:
                    plan.linkable.add(linked)

    def forget(self) -> None:
        """Close the directories that are kept open."""
        self._directories.forget()


def _why_not(todo: Batch, number: int, status: int, *, owner: bool) -> str:
    """Return why a file was not created, in words that say what helps; *owner* says that it was to have its owner."""
    if status == errno.EEXIST:
        found = place.found(todo.handles[number], todo.names[number])
        return (found and stays(found)) or EXISTS
    if owner and status in (errno.EPERM, errno.ENOSYS):  # of all that is done with a new file only chown(2) ends so
        *_, uid, gid, _ = PLACE.unpack_from(todo.places, number * PLACE.size)
        return attributes.not_kept(f"its owner {uid}:{gid}", fileio.describe(status))
    return A_DIRECTORY if status == errno.EISDIR else not_written(fileio.describe(status))


def not_written(why: str) -> str:
    """Return what is said of a file that the receiver could not write: without it one would look at the source."""
    return f"writing failed: {why}"


def not_compared(error: OSError) -> str:
    """Return what is said of a file that stays, for nobody could say whether it is the same."""
    return f"{EXISTS}; comparing the two failed: {error.strerror or error}"


def _sent_as(group: Group, position: int) -> tuple[int, bytes]:
    """The source and path by which the peer names a file of a pack."""
    name = group.names[position]
    return group.source, group.directory + b"/" + name if group.directory else name


def looks_the_same(found: os.stat_result, size: int, mtime_ns: int) -> bool:
    """Whether what stands there is a file that has these contents, as far as size and time tell."""
    return stat.S_ISREG(found.st_mode) and found.st_size == size and attributes.may_have_got(found, mtime_ns)


def stays(found: os.stat_result) -> str | None:
    """Why what stands there is not replaced, even when asked; None for a file or a symbolic link."""
    if stat.S_ISDIR(found.st_mode):
        return A_DIRECTORY
    return None if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode) else SPECIAL


def _are_same(one: tuple[Handle, bytes], other: tuple[Handle, bytes]) -> bool:
    """Compare two files byte by byte; False for what is no file, or cannot be read."""
    with contextlib.suppress(OSError):
        fd = system.open_file(other[0].fd, other[1])
        try:
            return place.holds(*one, fd)
        finally:
            os.close(fd)
    return False


def _check_fatal(status: int, index: int) -> None:
    if status in FATAL:
        raise PackStopped(status, index)
