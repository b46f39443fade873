"""Buffer sizes of sockets: what is asked for, and what the system really gives.

A wish that is refused is no failure: the transfer works, and ``window`` reports the truth.
Numbers and sources: docs/transports.md.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys

from hvcopy.address import Address, HybridAddress
from hvcopy.channel import AF_VSOCK
from hvcopy.transport.options import plain

SO_VM_SOCKETS_BUFFER_SIZE = 0  # linux/vm_sockets.h; the values are u64
SO_VM_SOCKETS_BUFFER_MAX_SIZE = 2
SO_VM_SOCKETS_CONNECT_TIMEOUT = 6  # _OLD: struct timeval of two C longs

PIECE = 1 << 20  # bytes
VMM_PIECE = 256 << 10  # bytes: what a VMM's socket holds (net.core.wmem_default) and what it takes of its guest meanwhile
UNIX_BUFFER = 1 << 20  # bytes; more than this gains nothing (docs/transports.md#buffers)
VSOCK_BUFFER = 4 << 20  # bytes; the credit is the smaller of both ends' (docs/transports.md#buffers)
RECEIVE_WAIT = 100_000  # microseconds: as long as one wait of the core, which serves Ctrl-C and cancelling in between
SEND_WAIT = 20_000  # microseconds: a relay serves its other direction in between
HV_SOCK_RING = 131072  # bytes; the kernel doubles it to hv_sock's largest ring (hyperv_transport.c)


def tune_unix(sock: socket.socket, buffer: int | None) -> None:
    """SO_SNDBUF is what counts on a unix socket (unix(7)); it is not inherited from the listener."""
    _system_buffers(sock, buffer or UNIX_BUFFER)


def tune_tcp(sock: socket.socket, buffer: int | None) -> None:
    """No Nagle delay; buffers are left to the kernel's own tuning unless *buffer* asks (tcp(7))."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if buffer:
        _system_buffers(sock, buffer)


def tune_hyperv(sock: socket.socket, buffer: int | None) -> None:
    """What SO_SNDBUF and SO_RCVBUF do on AF_HYPERV nobody has told: left alone unless *buffer* asks."""
    if buffer:
        _system_buffers(sock, buffer)


def tune_vsock(sock: socket.socket, buffer: int | None) -> None:
    """Before connect and listen only: hence an accepted socket inherits it.  MAX first, it clamps SIZE."""
    size = struct.pack("=Q", buffer or VSOCK_BUFFER)
    with contextlib.suppress(OSError), plain(sock) as raw:
        raw.setsockopt(AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, size)
        raw.setsockopt(AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, size)


def tune_hv_sock_listener(sock: socket.socket) -> None:
    """hv_sock takes its ring size from the listener's buffers alone; other transports ignore these."""
    _system_buffers(sock, HV_SOCK_RING)


def bound_waits(sock: socket.socket) -> bool:
    """Let calls on *sock* wait for so long at most, should it be made blocking, and say whether that is so.

    For AF_VSOCK only: there poll(2) says "writable" at each piece of credit, however small (docs/transports.md).
    """
    if sock.family != AF_VSOCK:
        return False
    with contextlib.suppress(OSError), plain(sock) as raw:
        for name, wait in ((socket.SO_SNDTIMEO, SEND_WAIT), (socket.SO_RCVTIMEO, RECEIVE_WAIT)):
            raw.setsockopt(socket.SOL_SOCKET, name, struct.pack("@ll", 0, wait))
        return True
    return False


def resize(sock: socket.socket, buffer: int) -> None:
    """Change the buffers of a connected socket; hv_sock's ring keeps its size (hyperv_transport.c)."""
    if sock.family == AF_VSOCK:
        tune_vsock(sock, buffer)  # virtio tells the peer its new credit (virtio_transport_notify_buffer_size)
    else:
        _system_buffers(sock, buffer)


def limit_vsock_connect(sock: socket.socket, seconds: float) -> None:
    """The kernel gives up a vsock connect, non-blocking ones too, after 2 s unless told otherwise."""
    micros = max(1, int(seconds * 1_000_000))  # 0 would mean 2 s
    timeval = struct.pack("@ll", *divmod(micros, 1_000_000))
    with contextlib.suppress(OSError), plain(sock) as raw:
        raw.setsockopt(AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, timeval)


def window(sock: socket.socket) -> int:
    """Bytes that may be under way in *sock*, as the system reports it; 0 when it does not say."""
    try:
        if sock.family == AF_VSOCK:
            with plain(sock) as raw:
                return int(struct.unpack("=Q", raw.getsockopt(AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, 8))[0])
        return min(sock.getsockopt(socket.SOL_SOCKET, name) for name in (socket.SO_SNDBUF, socket.SO_RCVBUF))
    except (OSError, struct.error):
        return 0


def piece(address: Address) -> int:
    """Bytes to deal with at once while more is on its way: all of a block, unless what is between holds less than one."""
    return VMM_PIECE if isinstance(address, HybridAddress) else PIECE


def stays_awake(address: Address) -> bool:
    """Say whether who receives there is better off looking again for a moment than sleeping at once.

    Behind a VMM each piece goes from the guest's kernel to the VMM to this process, by a wake-up each, and what is under way
    is less than a block: a receiver that sleeps holds up all three (docs/performance.md).
    """
    return isinstance(address, HybridAddress)


def sends_files(sock: socket.socket) -> bool:
    """Say whether sendfile(2) to *sock* saves a copy: unix and TCP sockets take pages by reference.

    AF_VSOCK does not; there it would only cut large messages into small ones (docs/transports.md).
    """
    return sys.platform == "linux" and sock.family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)


def _system_buffers(sock: socket.socket, size: int) -> None:
    with plain(sock) as raw:
        for name in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, name, min(size, 0x3FFFFFFF))
