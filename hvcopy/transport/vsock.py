"""AF_VSOCK on Linux: CIDs, the transports behind them, and what is missing when one does not answer.

Importing this file opens nothing; sockets are made inside the functions only.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from hvcopy.address import CID_ANY, VsockAddress
from hvcopy.channel import AF_VSOCK
from hvcopy.errors import BadUsage, HvcopyError, NotAllowed
from hvcopy.transport import tuning
from hvcopy.transport.attempt import closed_on_failure, connect_socket
from hvcopy.transport.bound import Bound, nothing
from hvcopy.transport.failures import EXHAUSTED, Server, nobody_listens, not_connected, not_listening, reason
from hvcopy.transport.patience import Patience

CID_LOCAL, CID_HOST = 1, 2  # linux/vm_sockets.h
PORT_ANY = 0xFFFFFFFF

LONGEST_ATTEMPT = 5.0
"""Seconds.  Some transports never say "nobody listens" (docs/transports.md), so silence this long means it
too; the kernel's own 2 s is short for a guest under load."""

_ABSENT = {
    errno.ECONNRESET: "nobody listens on that port, or its queue of connections is full",
    errno.ECONNREFUSED: "nobody listens on that port",
    errno.ETIMEDOUT: "no answer: nobody listens on that port, or the machine there is down or paused",
    errno.EHOSTUNREACH: "that machine cannot be reached",
}
_NO_TRANSPORT = {
    CID_LOCAL: "this kernel cannot reach itself: vsock_loopback is missing",
    CID_HOST: "this machine has no vsock device that leads to a host",
}
_NO_GUEST = "no running VM has that CID, or this kernel has no transport to guests"
_SEEN_AS = {CID_LOCAL: "local", CID_HOST: "CID"}  # this side, by a listener there; a guest sees its host
_MODULES = {CID_LOCAL: "vsock_loopback", CID_HOST: "vmw_vsock_virtio_transport"}  # Hyper-V loads its own


def connect(address: VsockAddress, patience: Patience, buffer: int | None) -> tuple[socket.socket, str]:
    """One attempt; returns the socket and ``vsock:CID``."""
    seconds = min(patience.seconds, LONGEST_ATTEMPT)
    try:
        with closed_on_failure(_open(address)) as sock:
            tuning.tune_vsock(sock, buffer)
            tuning.limit_vsock_connect(sock, seconds)
            connect_socket(sock, (address.cid, address.port), Patience(seconds, patience.cancelled))
            return sock, f"vsock:{address.cid}"
    except OSError as error:
        raise _explain_connect(address, error, seconds) from error


def listen(address: VsockAddress, buffer: int | None, backlog: int) -> Bound:
    """Listen on a local CID or on all; for port 0 the system chooses one.  vsock knows no SO_REUSEADDR."""
    try:
        with closed_on_failure(_open(address)) as sock:
            tuning.tune_vsock(sock, buffer)
            tuning.tune_hv_sock_listener(sock)
            sock.bind((address.cid, address.port or PORT_ANY))
            sock.listen(backlog)
            sock.setblocking(False)
            port = sock.getsockname()[1]
    except OSError as error:
        raise _explain_listen(address, error) from error
    return Bound(sock, VsockAddress(address.cid, port), _welcome, nothing)


def _welcome(_accepted: socket.socket, remote: Any) -> tuple[str, str]:
    cid, port = remote
    who = "any" if cid == CID_ANY else cid  # what hv_sock has for an own CID: no rule means it
    return f"vsock:{who}", str(VsockAddress(cid, port))


def _open(address: VsockAddress) -> socket.socket:
    if os.name == "nt":
        raise BadUsage(
            f"{address}: AF_VSOCK is Linux's", hint=f"on Windows the same port of a VM is hyperv:VM:{address.port}"
        )
    try:
        return socket.socket(AF_VSOCK, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise
        raise NotAllowed(
            f"{address}: this system has no AF_VSOCK ({reason(error)})",
            hint="load the kernel module: sudo modprobe vsock; a container may have to be allowed to use it (hvcopy doctor)",
        ) from error


def _explain_connect(address: VsockAddress, error: OSError, seconds: float) -> HvcopyError:
    server = Server(
        str(address) if address.cid == CID_LOCAL else f"vsock:any:{address.port}",
        f"--allow vsock:{_SEEN_AS.get(address.cid, 'host')}",
    )
    if error.errno is None:  # our patience ended before the kernel's
        error = OSError(errno.ETIMEDOUT, "no answer")
    forbidden = ("a security policy refused it", "")
    if error.errno in (errno.ENODEV, errno.ENETUNREACH):
        module = _MODULES.get(address.cid, "vhost_vsock")
        return nobody_listens(
            f"{address}: {_NO_TRANSPORT.get(address.cid, _NO_GUEST)} ({reason(error)})",
            server,
            lambda start: f"see that the kernel module is loaded: sudo modprobe {module}; {start}",
        )
    return not_connected(address, error, absent=_ABSENT, forbidden=forbidden, server=server, seconds=seconds)


def _explain_listen(address: VsockAddress, error: OSError) -> HvcopyError:
    other = f"vsock:any:{address.port}"
    known = {errno.EADDRNOTAVAIL: f"this machine does not have CID {address.cid}; {other} listens on all it has"}
    return not_listening(address, error, known=known)
