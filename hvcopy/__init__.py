"""Copy files and streams between a hypervisor host and its guests: verified, fast, without a network.

The public names are loaded when they are first used, so that importing this costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hvcopy.address import Address, parse_address
    from hvcopy.admission import Admission
    from hvcopy.client import Client, connect
    from hvcopy.errors import HvcopyError
    from hvcopy.server import Server, serve
    from hvcopy.streams import Stream, open_stream

__version__ = "0.1.0"
__all__ = [
    "Address",
    "Admission",
    "Client",
    "HvcopyError",
    "Server",
    "Stream",
    "__version__",
    "connect",
    "open_stream",
    "parse_address",
    "serve",
]

_HOMES = {
    "Address": "address",
    "Client": "client",
    "HvcopyError": "errors",
    "Admission": "admission",
    "Server": "server",
    "serve": "server",
    "Stream": "streams",
    "open_stream": "streams",
    "connect": "client",
    "parse_address": "address",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hvcopy' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"hvcopy.{_HOMES[name]}"), name)
