"""Copy files and streams between a hypervisor host and its guests: verified, fast, without a network.

The public names are loaded when they are first used, so that importing this costs nothing; docs/python.md tells of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hvcopy.address import Address, parse_address
    from hvcopy.admission import Admission
    from hvcopy.client import Client, connect, open_sources
    from hvcopy.errors import (
        BadUsage,
        ConnectionLost,
        DigestMismatch,
        HvcopyError,
        Interrupted,
        LocalFailure,
        NobodyListens,
        NotAllowed,
        NotHvcopy,
        ReaderGone,
        TimedOut,
        UnsafeName,
    )
    from hvcopy.files.keys import load_key, new_key
    from hvcopy.server import Events, Server, serve
    from hvcopy.streams import Stream, StreamListener, open_stream
    from hvcopy.transfer.tally import Observer, Tally
    from hvcopy.transport import Cancellation, Listener, listen
    from hvcopy.wire.messages import Listed, Options

__version__ = "0.1.0"
__all__ = [
    "Address",
    "Admission",
    "BadUsage",
    "Cancellation",
    "Client",
    "ConnectionLost",
    "DigestMismatch",
    "Events",
    "HvcopyError",
    "Interrupted",
    "Listed",
    "Listener",
    "LocalFailure",
    "NobodyListens",
    "NotAllowed",
    "NotHvcopy",
    "Observer",
    "Options",
    "ReaderGone",
    "Server",
    "Stream",
    "StreamListener",
    "Tally",
    "TimedOut",
    "UnsafeName",
    "__version__",
    "connect",
    "listen",
    "load_key",
    "new_key",
    "open_sources",
    "open_stream",
    "parse_address",
    "serve",
]

_HOMES = {
    "Address": "address",
    "Admission": "admission",
    "Cancellation": "transport",
    "Client": "client",
    "Events": "server",
    "Listed": "wire.messages",
    "Listener": "transport",
    "Observer": "transfer.tally",
    "Options": "wire.messages",
    "Server": "server",
    "Stream": "streams",
    "StreamListener": "streams",
    "Tally": "transfer.tally",
    "connect": "client",
    "listen": "transport",
    "load_key": "files.keys",
    "new_key": "files.keys",
    "open_sources": "client",
    "open_stream": "streams",
    "parse_address": "address",
    "serve": "server",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'hvcopy' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"hvcopy.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
