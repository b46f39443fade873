"""Which transports can end one direction and keep the other, and whether a peer that ended one has closed wholly."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import select
import socket
import sys

from hvcopy.address import Address, HybridAddress
from hvcopy.channel import Channel

_TABLES = {socket.AF_INET: "/proc/net/tcp", socket.AF_INET6: "/proc/net/tcp6"}
_BROKEN = (errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ENOTCONN, errno.ETIMEDOUT)
"""Of a receive.  hv_sock knows no MSG_PEEK (EOPNOTSUPP), which says nothing about the peer."""


def half_closes(address: Address) -> bool:
    """False where the end of one direction is made the end of both: behind a VMM's unix socket.

    Firecracker and vhost-device-vsock do that, Cloud Hypervisor did until v53 (docs/transports.md), and nothing
    tells which of them listens there.
    """
    return not isinstance(address, HybridAddress)


def closed_here(sock: socket.socket) -> bool:
    """True when a TCP peer on this machine's loopback, whose end was read, has no process any more that could hear.

    TCP itself says the same for an end and for a close.  The system's table has no inode for a socket that is closed
    and not yet forgotten (proc(5), /proc/net/tcp).  False where nothing can be known.
    """
    if sock.family not in _TABLES:
        return False
    with contextlib.suppress(OSError, ValueError):
        peer, own = sock.getpeername()[:2], sock.getsockname()[:2]
        if not ipaddress.ip_address(peer[0]).is_loopback:
            return False
        ends = [_as_in_table(sock.family, *end) for end in (peer, own)]
        with open(_TABLES[sock.family]) as table:
            for line in table:
                fields = line.split()
                if fields[1:3] == ends:
                    return fields[9] == "0"
    return False


def closed_wholly(channel: Channel) -> bool:
    """True when the peer, whose end was read, can be told nothing more; False where that cannot be known."""
    return _hung_up(channel.sock) or closed_here(channel.sock) or not channel.takes_more()


def has_left(channel: Channel) -> bool:
    """True when the peer has closed wholly, or broken off, and nothing of what it sent is left to read.

    False where that cannot be known.  For a non-blocking socket; receives nothing.
    """
    try:
        return not channel.sock.recv(1, socket.MSG_PEEK) and closed_wholly(channel)
    except OSError as error:
        return error.errno in _BROKEN


def _hung_up(sock: socket.socket) -> bool:
    """True for a unix socket whose peer has closed, and a TCP connection that was reset, of which poll(2) says POLLHUP
    (net/unix/af_unix.c unix_poll, net/ipv4/tcp.c tcp_poll); and when this end has ended its direction, too."""
    if sys.platform == "win32" or sock.family not in (socket.AF_UNIX, *_TABLES):
        return False
    else:
        poller = select.poll()
        with contextlib.suppress(ValueError):
            poller.register(sock.fileno(), 0)
            return any(event & select.POLLHUP for _, event in poller.poll(0))
        return False


def _as_in_table(family: int, host: str, port: int) -> str:
    packed = socket.inet_pton(family, host)
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{port:04X}"
