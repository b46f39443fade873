"""A listening socket as a family hands it over."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from hvcopy.address import Address


class Bound(Struct, frozen=True):
    """*sock* listens, non-blocking, on *address* (with the real port).

    *welcome* tunes an accepted socket and returns its (identity, peer); *release* removes what is left.
    """

    sock: socket.socket
    address: Address
    welcome: Callable[[socket.socket, Any], tuple[str, str]]
    release: Callable[[], None]


def nothing() -> None:
    """The *release* of families that leave nothing behind."""
