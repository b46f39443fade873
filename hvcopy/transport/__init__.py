"""Connecting and listening, one file per family, behind two functions.

    dial(address)    -> Channel
    check_dialable(address)   before there is anything to connect
    listen(address)  -> Listener -> Channel
    Cancellation              ends a dial, and what waits on its channel, from another thread
    pinned(address, channel)  the address of a session's further connections

This package knows addresses, sockets, their buffers, who is at the other end, and why a connection fails to
come about.  It knows no frame and no file name.  A family's module is imported when first used.
"""

from __future__ import annotations

from hvcopy.transport.cancellation import Cancellation
from hvcopy.transport.connecting import check_dialable, dial, pinned
from hvcopy.transport.listening import Listener, listen

__all__ = ["Cancellation", "Listener", "check_dialable", "dial", "listen", "pinned"]
