"""Unix sockets: paths, permissions, stale socket files, and the user at the other end."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterator

from hvcopy.address import LONGEST_SOCKET_PATH, Address, UnixAddress
from hvcopy.errors import BadUsage, HvcopyError, LocalFailure
from hvcopy.transport import tuning
from hvcopy.transport.attempt import closed_on_failure
from hvcopy.transport.bound import Bound
from hvcopy.transport.failures import EXHAUSTED, Server, in_use, not_connected, not_listening
from hvcopy.transport.patience import Patience

assert sys.platform != "win32"  # CPython has no AF_UNIX there; `dial` and `listen` say so


_ABSENT = {
    errno.ENOENT: "nobody listens there: the socket file does not exist",
    errno.ECONNREFUSED: "nobody listens there: the socket file was left by a process that has ended",
    errno.ECONNRESET: "the process there closed the connection at once",
}
_FORBIDDEN = "the socket file or its folder belongs to another user"
_AS_THAT_USER = "run hvcopy as that user (sudo -u USER hvcopy ...); hvcopy doctor {} says who it is"


def connect(address: UnixAddress, patience: Patience, buffer: int | None) -> tuple[socket.socket, str]:
    """One attempt; returns the socket and the identity of the process that listens."""
    sock = connect_path(address, address.path, patience, buffer, server=Server(str(address)))
    return sock, identity(sock)


def connect_path(address: Address, path: str, patience: Patience, buffer: int | None, *, server: Server) -> socket.socket:
    """One attempt to connect to the socket file *path*, with failures told of *address*."""
    _check_length(address, path)
    try:
        with closed_on_failure(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as sock:
            tuning.tune_unix(sock, buffer)
            _connect_when_queue_has_room(sock, path, patience)
            return sock
    except OSError as error:
        if error.errno == errno.ECONNREFUSED and not _is_socket(path):
            raise LocalFailure(
                f"{address}: {path} is not a socket", hint="give the path of the socket that the peer listens on"
            ) from error
        forbidden = (_FORBIDDEN, _AS_THAT_USER.format(address))
        raise not_connected(
            address, error, absent=_ABSENT, forbidden=forbidden, server=server, seconds=patience.seconds
        ) from error


def _connect_when_queue_has_room(sock: socket.socket, path: str, patience: Patience) -> None:
    """EAGAIN from a unix socket: the listener's queue is full, and nothing tells when it no longer is."""
    sock.setblocking(False)
    while True:
        try:
            sock.connect(path)
            return
        except BlockingIOError:
            patience.pause(0.02)


def listen(address: UnixAddress, buffer: int | None, backlog: int) -> Bound:
    """Listen on a socket file of mode 0600; a stale one is replaced, anything else there is left alone."""
    return listen_path(address, address.path, buffer, backlog)


def listen_path(address: Address, path: str, buffer: int | None, backlog: int) -> Bound:
    """Listen on the socket file *path*, with failures and peers told of *address*."""
    _check_length(address, path)
    try:
        with closed_on_failure(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as sock, _folder_lock(path):
            _remove_stale(address, path)
            _bind_private(sock, path)
            release = _remover(path)
            sock.listen(backlog)
            sock.setblocking(False)
    except OSError as error:
        raise _explain_listen(address, path, error) from error

    def welcome(accepted: socket.socket, _remote: object) -> tuple[str, str]:
        tuning.tune_unix(accepted, buffer)
        pid, uid, _gid = _credentials(accepted)
        return f"unix:{uid}", f"{address} (user {uid}, process {pid})"

    return Bound(sock, address, welcome, release)


def identity(sock: socket.socket) -> str:
    """``unix:UID`` of the process at the other end of a connected socket; empty when it cannot be told."""
    try:
        return f"unix:{_credentials(sock)[1]}"
    except OSError:
        return ""


def _credentials(sock: socket.socket) -> tuple[int, int, int]:
    """pid, uid and gid of the peer when it connected or began to listen (unix(7), SO_PEERCRED)."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
    pid, uid, gid = struct.unpack("iII", data)
    return pid, uid, gid


def _bind_private(sock: socket.socket, path: str) -> None:
    """Bind with mode 0600 from the start, without touching the umask, which is the whole process's.

    Linux gives the file the mode of the socket's inode (net/unix/af_unix.c unix_bind); before listen() nobody
    can connect, so that a system that does not is no worse.
    """
    os.fchmod(sock.fileno(), 0o600)
    sock.bind(path)
    if stat.S_IMODE(os.lstat(path).st_mode) != 0o600:
        os.chmod(path, 0o600)


def _remove_stale(address: Address, path: str) -> None:
    """Remove a socket file that no process has any more; raises when something else stands there.

    Asked by a datagram socket, which a stream's owner never hears of: a connection would be its client, perhaps its only one
    (net/unix/af_unix.c, unix_find_bsd: EPROTOTYPE for a socket of another type, ECONNREFUSED for none).
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise LocalFailure(
            f"{address}: {path} is not a socket; it was left as it is", hint="choose another path for the socket"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        code = probe.connect_ex(path)
    if code == errno.ECONNREFUSED:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    elif code != errno.ENOENT:
        raise in_use(address)


@contextlib.contextmanager
def _folder_lock(path: str) -> Iterator[None]:
    """Keep two starting listeners from taking each other's new socket for a stale one.

    Best effort: in a folder that cannot be locked within a second it goes on without.
    """
    try:
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # a folder may be written and searched without being readable
        yield
        return
    try:
        ends = time.monotonic() + 1
        while time.monotonic() < ends:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                break
        yield
    finally:
        os.close(folder)


def _remover(path: str) -> Callable[[], None]:
    """Removes the file now at *path* later, if by then it is still this one."""
    made = os.lstat(path)
    absolute = os.path.abspath(path)

    def remove() -> None:
        with contextlib.suppress(OSError):
            if os.path.samestat(made, os.lstat(absolute)):
                os.unlink(absolute)

    return remove


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return True


def _check_length(address: Address, path: str) -> None:
    size = len(os.fsencode(path))
    if size > LONGEST_SOCKET_PATH:
        raise BadUsage(
            f"{address}: the path of a unix socket has at most {LONGEST_SOCKET_PATH} bytes, this one has {size}",
            hint="choose a shorter path, such as one in /run or /tmp",
        )


def _explain_listen(address: Address, path: str, error: OSError) -> HvcopyError:
    folder = os.path.dirname(path) or "."
    known = {
        errno.ENOENT: f"the folder {folder} does not exist",
        errno.ENOTDIR: f"{folder} is not a folder",
        errno.EROFS: f"the file system of {folder} is read-only",
    }
    failure = not_listening(address, error, forbidden=(f"no permission to create a file in {folder}", ""), known=known)
    if error.errno not in EXHAUSTED:
        failure.hint = failure.hint or "choose another path for the socket, such as one in /run or /tmp"
    return failure
