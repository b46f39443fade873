"""What is known of one VM, and of a source that could not be asked."""

from __future__ import annotations

from msgspec import Struct

from hvcopy.address import CID_ANY, DEFAULT_PORT, Address, HybridAddress, HypervAddress, VsockAddress, parse_address
from hvcopy.errors import BadUsage

RUNNING, PAUSED, SAVED, OFF, STARTING, STOPPING, STOPPED = (
    "running", "paused", "saved", "off", "starting", "stopping", "stopped",
)  # fmt: skip

FIRST_CID, LAST_CID = 3, 0xFFFFFFFE  # 0 to 2 are taken, the last is VMADDR_CID_ANY (linux/vm_sockets.h)


class Machine(Struct):
    """One VM.  *kind* is its source, *note* says why it has no *address*, or what else to know."""

    kind: str
    name: str
    state: str
    id: str = ""
    pid: int | None = None
    address: Address | None = None
    note: str = ""


def vsock(cid: int) -> Address | None:
    """Return the address of the guest with a CID, None when no guest can have it."""
    return VsockAddress(cid, DEFAULT_PORT) if FIRST_CID <= cid <= LAST_CID else None


def hyperv(vm: str) -> Address:
    """Return the address of a VM of Hyper-V, by name or GUID."""
    return HypervAddress(vm, str(DEFAULT_PORT))


def hybrid(path: str) -> Address | None:
    """Return the address of the guest behind a VMM's socket, None when no socket can be called so."""
    address = HybridAddress(path, DEFAULT_PORT)
    try:
        return address if parse_address(str(address)) == address else None
    except BadUsage:
        return None


def shown_cid(text: object) -> str:
    """Return a CID as it was given, but for the one that stands for any, whose number tells nobody anything."""
    return "any" if number(text) == CID_ANY else str(text)


def number(text: object) -> int:
    """Return the CID that *text* spells as QEMU reads it, or -1."""
    if isinstance(text, int):
        return text
    try:
        return int(str(text)[:16], 0)
    except ValueError:
        return -1
