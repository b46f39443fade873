"""TCP, for loopback and bridges: names, both IP versions, no delay."""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401  getaddrinfo's: were it first wanted when descriptors lack, Python would never find it again
import errno
import ipaddress
import os
import re
import socket
from typing import Any

from hvcopy.address import TcpAddress
from hvcopy.errors import HvcopyError, NobodyListens, printable
from hvcopy.transport import tuning
from hvcopy.transport.attempt import closed_on_failure, connect_socket
from hvcopy.transport.bound import Bound, nothing
from hvcopy.transport.failures import LOW_PORT, Server, nobody_listens, not_connected, not_listening
from hvcopy.transport.patience import Patience

_ABSENT = {
    errno.ECONNREFUSED: "nobody listens on that port",
    errno.ECONNRESET: "the connection was closed at once",
    errno.ENETUNREACH: "there is no way to that network from here",
    errno.EHOSTUNREACH: "that machine cannot be reached",
    errno.ENETDOWN: "the network is down",
}
_FORBIDDEN = ("a firewall or a security policy refused it", "")
_RESERVED = (  # WSAEACCES (learn.microsoft.com: bind); Hyper-V itself has whole ranges kept for it
    "Windows keeps that port for something else, or another process has it for itself alone",
    "choose another port; those that are kept: netsh interface ipv4 show excludedportrange protocol=tcp",
)
_INTERFACES = (
    "after the % stands an interface's name or number: ip -brief link lists them"
    if os.name == "posix"
    else "after the % stands an interface's number: netsh interface ipv6 show interfaces lists them"
)


def connect(address: TcpAddress, patience: Patience, buffer: int | None) -> tuple[socket.socket, str]:
    """One attempt, over all addresses of the host's name in turn; returns the socket and ``tcp:IP``."""
    found = _lookup(address, 0)
    failure: HvcopyError | None = None
    for done, (family, kind, protocol, _name, target) in enumerate(found):
        share = patience.share(len(found) - done)
        try:
            with closed_on_failure(socket.socket(family, kind, protocol)) as sock:
                tuning.tune_tcp(sock, buffer)
                connect_socket(sock, target, share)
                return sock, identity(target)
        except OSError as error:
            failure = _explain_connect(address, error, share.seconds)
    assert failure is not None, "getaddrinfo never returns an empty list"
    raise failure


def listen(address: TcpAddress, buffer: int | None, backlog: int) -> Bound:
    """Listen on the host's first address; for port 0 the system chooses one, to be found in ``address``."""
    try:
        family, kind, protocol, _name, target = _lookup(address, socket.AI_PASSIVE)[0]
        with closed_on_failure(socket.socket(family, kind, protocol)) as sock:
            if os.name == "posix":  # elsewhere it would let two processes share a port
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # what was named, nothing more
            tuning.tune_tcp(sock, buffer)
            sock.bind(target)
            sock.listen(backlog)
            sock.setblocking(False)
    except OSError as error:
        raise not_listening(address, error, forbidden=LOW_PORT if os.name == "posix" else _RESERVED) from error

    def welcome(accepted: socket.socket, remote: Any) -> tuple[str, str]:
        tuning.tune_tcp(accepted, buffer)
        who = identity(remote)
        return who, f"{who}:{remote[1]}"

    return Bound(sock, TcpAddress(address.host, sock.getsockname()[1]), welcome, nothing)


def identity(remote: Any) -> str:
    """``tcp:IP`` of a socket address, IPv6 in brackets as in addresses."""
    host = remote[0]
    with contextlib.suppress(ValueError):
        ip = ipaddress.ip_address(host)
        if ip.version == 6:
            return f"tcp:[{ip}]"
    return f"tcp:{host}"


def _explain_connect(address: TcpAddress, error: OSError, seconds: float) -> HvcopyError:
    return not_connected(address, error, absent=_ABSENT, forbidden=_FORBIDDEN, server=_server(address), seconds=seconds)


def _server(address: TcpAddress) -> Server:
    local = address.host in ("localhost", "::1") or address.host.startswith("127.")
    return Server(str(address), "--open" if local else "--allow tcp:IP")


def _lookup(address: TcpAddress, flags: int) -> list[tuple[Any, Any, int, str, Any]]:
    """Raises OSError for what is no word on the name (EAI_SYSTEM)."""
    try:
        return socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=flags)
    except (socket.gaierror, UnicodeError) as error:
        if ":" in address.host or re.fullmatch(r"[0-9.]+", address.host):
            raise _no_ip(address) from error
        words = getattr(error, "strerror", None) or error
        message = f"{address}: the name {address.host} cannot be resolved ({words})"
        advice = "give the IP address in place of the name"
        if flags & socket.AI_PASSIVE:  # this is the listener
            raise NobodyListens(message, hint=advice) from error
        raise nobody_listens(message, Server("tcp:IP:PORT", "--allow tcp:IP"), lambda start: f"{advice}; {start}") from error


def _no_ip(address: TcpAddress) -> NobodyListens:
    """The failure for a number that no system takes."""
    number, _, interface = address.host.partition("%")
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(number)
        if interface:
            return NobodyListens(
                f"{address}: this machine has no interface {printable(interface)}",
                hint=_INTERFACES,
            )
    return NobodyListens(
        f"{address}: {address.host} is no IP address of a machine", hint="one is written 127.0.0.1, or [::1] with brackets"
    )
