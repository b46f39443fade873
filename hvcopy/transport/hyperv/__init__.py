"""AF_HYPERV: Hyper-V sockets as Windows has them."""

from __future__ import annotations

import socket
from typing import NoReturn

from hvcopy.address import HypervAddress
from hvcopy.errors import BadUsage
from hvcopy.transport.bound import Bound
from hvcopy.transport.patience import Patience


def connect(address: HypervAddress, patience: Patience, buffer: int | None) -> tuple[socket.socket, str]:
    """Always raises BadUsage: this version has no Windows side."""
    _unavailable(address)


def listen(address: HypervAddress, buffer: int | None, backlog: int) -> Bound:
    """Always raises BadUsage: this version has no Windows side."""
    _unavailable(address)


def _unavailable(address: HypervAddress) -> NoReturn:
    raise BadUsage(
        f"{address}: hyperv: needs Windows with Python 3.12 or newer",
        hint="a Linux guest of Hyper-V connects to vsock:host:PORT and listens on vsock:any:PORT",
    )
