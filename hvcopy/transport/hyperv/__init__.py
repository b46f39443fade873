"""AF_HYPERV: Hyper-V sockets as Windows has them.

``machines``, ``resolve`` and ``failures`` decide and open nothing; ``sockets`` alone opens.
"""

from __future__ import annotations

import socket
import sys

from hvcopy.address import HypervAddress
from hvcopy.errors import BadUsage
from hvcopy.transport.bound import Bound
from hvcopy.transport.patience import Patience


def connect(address: HypervAddress, patience: Patience, buffer: int | None) -> tuple[socket.socket, str]:
    """One attempt, with the VM and the service looked up anew; returns the socket and ``hyperv:VM``.

    Raises BadUsage where Python has no AF_HYPERV.
    """
    check_here(address)
    from hvcopy.transport.hyperv import sockets
    from hvcopy.transport.hyperv.lookups import of_this_machine

    return sockets.connect(address, of_this_machine(patience), patience, buffer)


def listen(address: HypervAddress, buffer: int | None, backlog: int) -> Bound:
    """Listen for one VM or for many.  Raises BadUsage where Python has no AF_HYPERV."""
    check_here(address)
    from hvcopy.transport.hyperv import sockets
    from hvcopy.transport.hyperv.lookups import of_this_machine

    return sockets.listen(address, of_this_machine(), buffer, backlog)


def check_here(address: HypervAddress) -> None:
    """Raise BadUsage where Python has no AF_HYPERV."""
    if hasattr(socket, "AF_HYPERV"):
        return
    needs = f"{address}: hyperv: needs Windows with Python 3.12 or newer"
    if sys.platform == "win32":
        found = f"{sys.version_info.major}.{sys.version_info.minor}"
        hint = "install hvcopy into a newer Python: py -3.13 -m pip install hvcopy"
        raise BadUsage(f"{needs}; this is Python {found}", hint=hint)
    raise BadUsage(needs, hint="a Linux guest of Hyper-V connects to vsock:host:PORT and listens on vsock:any:PORT")
