"""Hyper-V sockets: one connect, one listener, and the options that each socket gets.

The constants stand here as numbers, for only Windows' Python has them.  Importing this file opens nothing.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from typing import Any

from hvcopy import threads
from hvcopy.address import HypervAddress
from hvcopy.channel import AF_HYPERV
from hvcopy.errors import BadUsage
from hvcopy.transport import tuning
from hvcopy.transport.attempt import closed_on_failure
from hvcopy.transport.bound import Bound, nothing
from hvcopy.transport.failures import reason
from hvcopy.transport.hyperv import failures, machines
from hvcopy.transport.hyperv.resolve import Lookups, resolve
from hvcopy.transport.patience import SLICE, Patience

HV_PROTOCOL_RAW = 1  # hvsocket.h, as all that follow; also the level of its options. accept() gives sockets of protocol 0
HVSOCKET_CONNECT_TIMEOUT = 0x01
HVSOCKET_CONTAINER_PASSTHRU = 0x02
HVSOCKET_CONNECTED_SUSPEND = 0x04
HVSOCKET_HIGH_VTL = 0x08
HVSOCKET_CONNECT_TIMEOUT_MAX = 300_000  # milliseconds

LONGEST_ATTEMPT = 5.0
"""Seconds.  A Linux guest where nobody listens never answers, so silence this long means it, as on vsock."""
GRACE = 1.0
"""Seconds more than Windows has, so that its own word comes first; old builds may connect for ever (mirage/ocaml-hvsock)."""

_ASKED_FOR = {"container-passthru": HVSOCKET_CONTAINER_PASSTHRU, "high-vtl": HVSOCKET_HIGH_VTL}


def connect(
    address: HypervAddress, lookups: Lookups, patience: Patience, buffer: int | None
) -> tuple[socket.socket, str]:
    """One attempt; returns the socket and ``hyperv:VM``."""
    target = resolve(address, lookups, listening=False)
    seconds = min(patience.seconds, LONGEST_ATTEMPT)
    sock = _open(address)
    try:
        with closed_on_failure(sock):
            _set_options(sock, address, address.options)
            _wish(sock, HVSOCKET_CONNECT_TIMEOUT, min(HVSOCKET_CONNECT_TIMEOUT_MAX, max(1, int(seconds * 1000))))
            tuning.tune_hyperv(sock, buffer)
            connect_aside(sock, target.pair, Patience(seconds + GRACE, patience.cancelled))
            return sock, machines.identity(target.vm)
    except OSError as error:
        raise failures.not_connected(address, target, error) from error


def listen(address: HypervAddress, lookups: Lookups, buffer: int | None, backlog: int) -> Bound:
    """Listen for the VM, or the VMs, that *address* names; the id of a name is that of now."""
    if "high-vtl" in address.options:
        raise BadUsage(f"{address}: high-vtl is for connecting to a guest, not for listening", hint="leave it out here")
    target = resolve(address, lookups, listening=True)
    sock = _open(address)
    try:
        with closed_on_failure(sock):
            _set_options(sock, address, address.options)
            sock.bind(target.pair)
            sock.listen(backlog)
            sock.setblocking(False)
    except OSError as error:
        raise failures.not_listening(address, target, error) from error

    def welcome(accepted: socket.socket, remote: Any) -> tuple[str, str]:
        _set_options(accepted, address, [option for option in address.options if option == "no-suspend"])
        tuning.tune_hyperv(accepted, buffer)
        return machines.identity(remote[0]), machines.peer(*remote)

    return Bound(sock, address, welcome, nothing)


def connect_aside(sock: socket.socket, target: Any, patience: Patience) -> None:
    """Connect *sock* in a thread of its own, and leave it non-blocking.

    A blocking connect is what is known to work on AF_HYPERV, and the only one that no signal or deadline can end:
    so whoever gives up leaves the thread alone with the socket, which is closed and so ends it.
    Raises OSError with the system's code, or what *patience* raises.
    """
    over = threading.Event()
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            sock.connect(target)
            ended.append(None)
        except BaseException as error:
            ended.append(error)
        finally:
            over.set()

    sock.setblocking(True)
    threads.start(run, "connect")
    while not over.wait(min(SLICE, patience.left())):
        patience.pause(0)  # looks at *cancelled*
        if patience.left() <= 0:
            raise TimeoutError
    if ended[0] is not None:
        raise ended[0]
    sock.setblocking(False)


def _open(address: HypervAddress) -> socket.socket:
    try:
        return socket.socket(AF_HYPERV, socket.SOCK_STREAM, HV_PROTOCOL_RAW)
    except OSError as error:
        raise failures.no_sockets(address, error) from error


def _set_options(sock: socket.socket, address: HypervAddress, options: Sequence[str]) -> None:
    """What every socket gets, and what *options* ask for, which this Windows has to know."""
    _wish(sock, HVSOCKET_CONNECTED_SUSPEND, int("no-suspend" not in options))
    for name, number in _ASKED_FOR.items():
        if name in options:
            try:
                sock.setsockopt(HV_PROTOCOL_RAW, number, 1)
            except OSError as error:
                raise BadUsage(
                    f"{address}: this Windows does not take the option {name} ({reason(error)})",
                    hint=f"leave ,{name} out of the address",
                ) from error


def _wish(sock: socket.socket, option: int, value: int) -> None:
    """Set an option that older builds lack (docs/transports.md)."""
    with contextlib.suppress(OSError):
        sock.setsockopt(HV_PROTOCOL_RAW, option, value)
