"""Hybrid vsock: the unix socket of a VMM (Firecracker, Cloud Hypervisor, vhost-device-vsock) into its guest.

To the guest: connect to PATH, say ``CONNECT PORT``, read ``OK ...``.  From the guest: listen on PATH_PORT.
"""

from __future__ import annotations

import errno
import re
import socket
import sys

from hvcopy.address import HybridAddress
from hvcopy.errors import HvcopyError, NotHvcopy, TimedOut
from hvcopy.transport import unix
from hvcopy.transport.attempt import closed_on_failure
from hvcopy.transport.bound import Bound
from hvcopy.transport.failures import Server, nobody_listens, reason
from hvcopy.transport.patience import Patience

assert sys.platform != "win32"

_REPLY = re.compile(rb"OK \S{1,64}\r?\n")
_LONGEST_REPLY = 3 + 64 + 2


def connect(address: HybridAddress, patience: Patience, buffer: int | None) -> tuple[socket.socket, str]:
    """One attempt, with the muxer's OK; returns the socket and the identity of the VMM's process."""
    return ask(address, reach(address, patience, buffer), patience)


def reach(address: HybridAddress, patience: Patience, buffer: int | None) -> socket.socket:
    """Connect to the VMM's socket; no guest is concerned yet."""
    return unix.connect_path(address, address.path, patience, buffer, server=_server(address))


def ask(address: HybridAddress, sock: socket.socket, patience: Patience) -> tuple[socket.socket, str]:
    """Have the VMM connect *sock* to the guest's port; closes it when that fails."""
    try:
        with closed_on_failure(sock):
            # In one piece, for Firecracker and vhost-device-vsock drop a partial line; and nothing after it
            # before the OK, for vhost-device-vsock loses that.
            sock.send(b"CONNECT %d\n" % address.port)
            _check_reply(address, _read_line(sock, patience))
            return sock, unix.identity(sock)
    except TimeoutError as error:
        raise TimedOut(
            f"{address}: the VMM did not answer CONNECT within {patience.seconds:g} s",
            hint="see whether the VM is paused; --wait SECS keeps trying",
        ) from error
    except OSError as error:
        raise _nobody(address, reason(error)) from error


def listen(address: HybridAddress, buffer: int | None, backlog: int) -> Bound:
    """Listen where the VMM looks when its guest connects to the host's port."""
    return unix.listen_path(address, f"{address.path}_{address.port}", buffer, backlog)


def _read_line(sock: socket.socket, patience: Patience) -> bytes:
    """The reply up to its newline and not one byte more: the guest's first bytes may follow at once.

    Returns early what is over-long or cannot become an OK; raises OSError when the stream ends before.
    """
    line = b""
    while True:
        patience.readable(sock)
        try:
            seen = sock.recv(_LONGEST_REPLY - len(line), socket.MSG_PEEK)
        except BlockingIOError:
            continue
        end = seen.find(b"\n") + 1
        if not seen:
            raise ConnectionResetError(errno.ECONNRESET, "the VMM closed the connection before its OK")
        line += sock.recv(end or len(seen))
        if end or len(line) >= _LONGEST_REPLY or line[:3] != b"OK "[: len(line)]:
            return line


def _check_reply(address: HybridAddress, line: bytes) -> None:
    """The text after OK is the host's port in one VMM and the guest's in another: it is not looked at."""
    if not _REPLY.fullmatch(line):
        raise NotHvcopy(
            f"{address}: not a hybrid vsock muxer: the answer to CONNECT was not OK",
            hint="give the path of the VMM's vsock socket (Firecracker: uds_path); a plain one is unix:PATH",
        )


def _nobody(address: HybridAddress, words: str) -> HvcopyError:
    return nobody_listens(
        f"{address}: nobody listens on port {address.port} in the guest, or it is not up yet ({words})",
        _server(address),
    )


def _server(address: HybridAddress) -> Server:
    return Server(f"vsock:any:{address.port}", "--allow vsock:host", "in the guest")
