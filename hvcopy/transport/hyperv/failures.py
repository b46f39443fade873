"""Hyper-V's failures to the user: which error, the cause in words, the command to type next.

The causes stand in hvcopy.winsock; here they meet the address and who has to do something about it.
"""

from __future__ import annotations

from hvcopy.address import HypervAddress
from hvcopy.elevation import to_join_hyperv_administrators
from hvcopy.errors import ConnectionLost, HvcopyError, LocalFailure, NobodyListens, NotAllowed
from hvcopy.transport.failures import Server, in_use, nobody_listens, reason, start_there
from hvcopy.transport.hyperv.registry import to_register
from hvcopy.transport.hyperv.resolve import Target
from hvcopy.winsock import FAULTS, Fate, Fault, fault_of

_SILENCE = FAULTS[10060]


def not_connected(address: HypervAddress, target: Target, error: OSError) -> HvcopyError:
    """The failure to raise after connecting ended in *error*, which without a code was our own patience."""
    fault = _SILENCE if error.errno is None else fault_of(error)
    if fault is None:
        return LocalFailure(f"{address}: connecting failed: {reason(error)}")
    message = f"{address}: {fault.cause} ({fault.name})"
    if fault.fate is Fate.ABSENT and "{start}" in fault.advice:
        return nobody_listens(message, _server(address, target), lambda start: _advice(address, target, fault, start))
    return _told(fault, message, _advice(address, target, fault))


def not_listening(address: HypervAddress, target: Target, error: OSError) -> HvcopyError:
    """The failure to raise after listening ended in *error*."""
    fault = fault_of(error)
    if fault is None:
        return LocalFailure(f"{address}: listening failed: {reason(error)}")
    if fault.fate is Fate.TAKEN:
        return in_use(address)
    if fault.fate is Fate.FORBIDDEN:
        return NotAllowed(
            f"{address}: Windows does not let this user listen there ({fault.name})",
            hint=_WSL_OWNER if address.vm == "wsl" else _group(),
        )
    if fault.fate is Fate.ABSENT:
        return LocalFailure(
            f"{address}: listening failed: {_NO_PARENT if address.vm == 'parent' else fault.cause} ({fault.name})",
            hint=f"a host listens on hyperv:children:{address.service}, or for one VM on its id; hvcopy vms lists them",
        )
    return _told(fault, f"{address}: {fault.cause} ({fault.name})", _advice(address, target, fault))


def no_sockets(address: HypervAddress, error: OSError) -> HvcopyError:
    """The failure to raise when not even a socket can be had."""
    fault = fault_of(error)
    if fault is None:
        return NotAllowed(f"{address}: a Hyper-V socket cannot be opened: {reason(error)}", hint="hvcopy doctor says why")
    return _told(fault, f"{address}: {fault.cause} ({fault.name})", fault.advice)


_WSL_OWNER = "WSL2 belongs to the user who started it: use that user's prompt, elevated or not"
_NO_PARENT = "only a guest has a parent to listen to"


def _told(fault: Fault, message: str, hint: str) -> HvcopyError:
    match fault.fate:
        case Fate.ABSENT:
            return NobodyListens(message, hint=hint)
        case Fate.FORBIDDEN | Fate.UNSUPPORTED:
            return NotAllowed(message, hint=hint)
        case Fate.LOST:
            return ConnectionLost(message, hint=hint)
        case Fate.TAKEN | Fate.EXHAUSTED:
            return LocalFailure(message, hint=hint)


def _advice(address: HypervAddress, target: Target, fault: Fault, start: str = "") -> str:
    """*fault*'s advice with the commands for this address in it, *start* being what to start at the other end."""
    there = start or start_there(_server(address, target))
    return fault.advice.format(start=_start(address, target, there), allow=_allow(address, target))


def _start(address: HypervAddress, target: Target, there: str) -> str:
    """*there*, and what else the other end needs for it."""
    if address.vm in ("parent", "silohost"):
        return f"{there}; the host needs once, in an elevated prompt: {_to_register(address, target)}"
    if address.vm in ("loopback", "wsl") or not target.port:
        return there
    return f"{there}; in a Linux guest it is vsock:any:{target.port} --allow vsock:host"


def _server(address: HypervAddress, target: Target) -> Server:
    """What to start at the other end, which sees this one by another name."""
    if address.vm == "wsl" and target.port:
        return Server(f"vsock:any:{target.port}", "--allow vsock:host")
    vm, access = _OTHER_END.get(address.vm, ("parent", "--allow hyperv:parent"))
    return Server(str(HypervAddress(vm, address.service)), access)


_OTHER_END = {
    "loopback": ("loopback", "--open"),
    "parent": ("children", "--allow hyperv:VMID"),
    "silohost": ("children", "--open"),
}


def _allow(address: HypervAddress, target: Target) -> str:
    if address.vm == "wsl":
        return _WSL_OWNER
    if address.vm in ("parent", "silohost"):
        return f"register the service on the host, in an elevated prompt: {_to_register(address, target)}"
    return _group()


def _to_register(address: HypervAddress, target: Target) -> str:
    return to_register(address.service, str(target.port or target.service))


def _group() -> str:
    return f"run it in an elevated prompt, or {to_join_hyperv_administrators()}"
