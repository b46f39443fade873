"""Connecting to an address or listening there, one step after the other, none after one that failed.

It uses the dialing and the handshake of every other command; only that it stops after them.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence

from hvcopy.address import Address, HybridAddress, HypervAddress, TcpAddress, UnixAddress
from hvcopy.channel import Channel
from hvcopy.doctor import lookup, socket_file
from hvcopy.doctor.finding import ADDRESS, WARN, Finding
from hvcopy.doctor.greeting import greet
from hvcopy.doctor.trail import ACCESS, CONNECT, GREETING, JOBS, LISTEN, LOOKUP, MUXER, SOCKET_FILE, VERSION, Trail
from hvcopy.errors import BadUsage, HvcopyError, Interrupted, NobodyListens, NotHvcopy, printable
from hvcopy.transport import Cancellation, listen
from hvcopy.transport.connecting import as_channel, attempt
from hvcopy.transport.patience import Patience

_SPOKEN = (GREETING, VERSION, ACCESS, JOBS)
_MUXER_WHY = {
    NobodyListens.exit_code: "the VMM is there; what is missing is in its guest",
    NotHvcopy.exit_code: "what listens there is no VMM's vsock device",
}


class Steps:
    """The steps for one address, once.  ``found`` is what they gave; *machine* is what was found of this machine before."""

    def __init__(
        self,
        address: Address,
        machine: Sequence[Finding],
        *,
        key: bytes | None = None,
        timeout: float = 5.0,
        cancellation: Cancellation,
    ) -> None:
        self._address = address
        self._trail = Trail(address, machine)
        self._key = key
        self._timeout = timeout
        self._cancellation = cancellation

    @property
    def found(self) -> list[Finding]:
        """What was found until now."""
        return self._trail.found

    def connect(self) -> None:
        """Connect, greet, and leave.  Blocks; raises Interrupted only."""
        channel = self._reach()
        if channel:
            self._cancellation.watch(channel)
            try:
                greet(self._trail, channel, self._key)
            finally:
                channel.close()
        self._trail.leave_out(self._planned())

    def listen(self) -> None:
        """Listen for an instant.  Raises Interrupted only."""
        if self._looked_up(listening=True):
            self._listen()
        self._trail.leave_out([LISTEN])

    def _listen(self) -> None:
        address = self._address
        if isinstance(address, HybridAddress) and not os.path.lexists(address.path):
            why = "a guest's connections come once its VMM runs with that path"
            self._trail.note(SOCKET_FILE, WARN, f"there is no VMM's socket at {printable(address.path)} yet", why)
        try:
            with listen(address) as listener:
                self._trail.well(LISTEN, f"listening works on {listener.address}")
        except Interrupted:
            raise
        except HvcopyError as error:
            self._trail.fail(ADDRESS if isinstance(error, BadUsage) else LISTEN, error)

    def _planned(self) -> list[str]:
        match self._address:
            case TcpAddress() | HypervAddress():
                return [LOOKUP, CONNECT, *_SPOKEN]
            case UnixAddress():
                return [SOCKET_FILE, CONNECT, *_SPOKEN]
            case HybridAddress():
                return [SOCKET_FILE, CONNECT, MUXER, *_SPOKEN]
        return [CONNECT, *_SPOKEN]

    def _looked_up(self, *, listening: bool = False) -> bool:
        match self._address:
            case TcpAddress():
                return lookup.host(self._trail, self._address, self._patience())
            case HypervAddress():
                return lookup.vm(self._trail, self._address, self._patience(), listening=listening)
            case UnixAddress() | HybridAddress():
                return listening or socket_file.fits(self._trail, self._address)
        return True

    def _reach(self) -> Channel | None:
        """A connection to the peer, through a VMM if need be; None when a step failed."""
        if not self._looked_up():
            return None
        address, patience = self._address, self._patience()
        try:
            if sys.platform != "win32" and isinstance(address, HybridAddress):
                from hvcopy.transport import hybrid  # here and below, as Windows lacks what it imports

                sock = hybrid.reach(address, patience, None)
            else:
                channel = as_channel(address, attempt(address, patience, None), self._timeout)
        except Interrupted:
            raise
        except HvcopyError as error:
            self._trail.fail(ADDRESS if isinstance(error, BadUsage) else CONNECT, error)
            return None
        if sys.platform != "win32" and isinstance(address, HybridAddress):
            self._trail.well(CONNECT, f"{printable(address.path)} takes connections")
            return self._ask(address, sock, patience)
        window = f", window {channel.window} bytes" if channel.window else ""
        self._trail.well(CONNECT, f"somebody listens on {address}{window}")
        return channel

    def _ask(self, address: HybridAddress, sock: socket.socket, patience: Patience) -> Channel | None:
        if sys.platform == "win32":
            return None
        else:
            from hvcopy.transport import hybrid

            try:
                channel = as_channel(address, hybrid.ask(address, sock, patience), self._timeout)
            except Interrupted:
                raise
            except HvcopyError as error:
                self._trail.fail(MUXER, error, why=_MUXER_WHY.get(error.exit_code, ""))
                return None
            self._trail.well(MUXER, f"the VMM has connected it to port {address.port} of its guest")
            return channel

    def _patience(self) -> Patience:
        return Patience(self._timeout, self._cancellation.cancelled)
