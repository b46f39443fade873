"""What this machine has, all of it or what one address needs; and whether any other machine can be reached."""

from __future__ import annotations

from collections.abc import Sequence

from hvcopy.address import Address, HybridAddress, HypervAddress, TcpAddress, UnixAddress, VsockAddress
from hvcopy.doctor import local, system, vsock
from hvcopy.doctor.finding import FAIL, OK, Finding, not_applicable
from hvcopy.doctor.machine import Machine

LOW_PORTS = 1024
WAYS = (vsock.TO_HOST, vsock.TO_GUESTS)
_SOCKETS = ("vsock.socket",)


def everything(machine: Machine) -> list[Finding]:
    """Return all findings, and as the last one whether there is a way to another machine."""
    found = [*system.findings(machine), *vsock.findings(machine)]
    found += [local.unix(), local.tcp(), local.hybrid(), not_applicable("hyperv", NO_HYPERV)]
    return [*found, way(found)]


def needed(machine: Machine, address: Address, *, listening: bool) -> list[Finding]:
    """Return what *address* needs of this machine."""
    port = address.port if isinstance(address, VsockAddress | TcpAddress) else 0
    found = system.findings(machine, low_port=port if listening and 0 < port < LOW_PORTS else 0)
    match address:
        case VsockAddress():
            found += vsock.findings(machine, address)
        case UnixAddress() | HybridAddress():
            found.append(local.unix())
        case TcpAddress():
            found.append(local.tcp())
        case HypervAddress():
            found.append(not_applicable("hyperv", NO_HYPERV))
    return found


NO_HYPERV = "AF_HYPERV is Windows's; a Linux guest of Hyper-V uses vsock: addresses"


def way(found: Sequence[Finding]) -> Finding:
    """Return whether one of the ways to other machines works."""
    states = {one.id: one for one in found}
    refused = next((states[one] for one in _SOCKETS if states[one].state == FAIL), None)
    open_ways = [states[one].what for one in WAYS if states[one].state == OK]
    if open_ways and not refused:
        return Finding("way", OK, "; ".join(open_ways))
    what = "no other machine is known to be reached over vsock from here"
    why = "unix:, tcp: and a VMM's hybrid: socket may still do"
    causes = [refused.id] if refused else [one for one in WAYS if states[one].state == FAIL]
    fix = next((states[one].fix for one in causes if states[one].fix), "")
    return Finding("way", FAIL, what, why, fix, refused.exit_code if refused else vsock.NO_WAY, causes)
