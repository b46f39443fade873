"""Hyper-V sockets on Windows: what the facts about it mean.  Pure, so that any Windows can be judged anywhere."""

from __future__ import annotations

from hvcopy.address import Address, HypervAddress, port_to_service
from hvcopy.doctor.finding import FAIL, OK, UNKNOWN, WARN, Finding, not_applicable
from hvcopy.doctor.windows import Windows
from hvcopy.elevation import to_join_hyperv_administrators
from hvcopy.errors import HvcopyError, printable
from hvcopy.transport.hyperv.registry import Service, read_services, to_register
from hvcopy.winsock import fault_of

FIRST_BUILD = 14393  # Windows 10 1607 (docs/transports.md)
USAGE, NOT_ALLOWED = 2, 9  # errors.BadUsage, NotAllowed
ROLE, SERVICES = "hyperv.role", "hyperv.services"
NEEDED = ("hyperv.build", "hyperv.python", "hyperv.socket")
"""Without these there is no hyperv: address."""
_TURN_ON = (
    "in an elevated PowerShell, then restart: Enable-WindowsOptionalFeature -Online -FeatureName Microsoft-Hyper-V -All"
)
_OF_ALL_VMS = "a host that listens for its VMs needs the service registered, or no guest gets through"


def findings(facts: Windows, address: HypervAddress | None = None, *, listening: bool = False) -> list[Finding]:
    """Return what is to be said about Hyper-V sockets, for *address* if there is one."""
    return [
        _build(facts),
        _python(facts),
        _socket(facts),
        _role(facts, address),
        _rights(facts),
        _services(facts, address, listening=listening),
        _guest_services(facts),
        _wsl(facts),
    ]


def decisive_to_listen(address: Address) -> tuple[str, ...]:
    """Return the ids of the findings without which nobody comes, though Windows lets it listen on *address*.

    Containers have neither role and yet a parent; of WSL the lookup knows more.
    """
    if not isinstance(address, HypervAddress) or address.vm in ("parent", "silohost", "loopback", "wsl"):
        return (SERVICES,)
    return (ROLE, SERVICES)


def _build(facts: Windows) -> Finding:
    if facts.build >= FIRST_BUILD:
        return Finding("hyperv.build", OK, f"Windows build {facts.build}")
    what = f"Windows build {facts.build} has no Hyper-V sockets"
    fix = f"update Windows: they came with build {FIRST_BUILD} (Windows 10 1607, Server 2016)"
    return Finding("hyperv.build", FAIL, what, "hyperv: addresses need them", fix, NOT_ALLOWED)


def _python(facts: Windows) -> Finding:
    if facts.has_family:
        return Finding("hyperv.python", OK, f"Python {facts.python} has AF_HYPERV")
    fix = "install hvcopy into a newer Python: py -3.13 -m pip install hvcopy"
    return Finding("hyperv.python", FAIL, f"Python {facts.python} has no AF_HYPERV", "it came with 3.12", fix, USAGE)


def _socket(facts: Windows) -> Finding:
    if not facts.has_family:
        return Finding("hyperv.socket", UNKNOWN, "not tried: Python has no AF_HYPERV")
    if facts.refusal is None:
        return Finding("hyperv.socket", OK, "Hyper-V sockets can be opened")
    fault = fault_of(facts.refusal)
    words = f"{fault.cause}, {fault.name}" if fault else facts.refusal.strerror or str(facts.refusal)
    what = f"Hyper-V sockets cannot be opened ({words})"
    return Finding("hyperv.socket", FAIL, what, "every hyperv: address needs one", _TURN_ON, NOT_ALLOWED)


def _role(facts: Windows, address: HypervAddress | None) -> Finding:
    if address is not None and address.vm == "loopback":
        return not_applicable(ROLE, "the address is this machine itself")
    if facts.guest_of is not None:
        of = f"a guest of the Hyper-V host {printable(facts.guest_of)}" if facts.guest_of else "a guest of Hyper-V"
        return Finding(ROLE, OK, of + " and a host itself" * facts.vmms, "the host is hyperv:parent:PORT")
    if facts.vmms:
        return Finding(ROLE, OK, "a host of Hyper-V", "a VM is hyperv:NAME:PORT")
    if facts.vmcompute:
        what = "only what WSL 2 and containers need is on, no VMs of Hyper-V"
        return Finding(ROLE, WARN, what, "hyperv:wsl:PORT is the machine to reach", _TURN_ON)
    why = "there is no other machine to reach by hyperv: addresses"
    return Finding(ROLE, FAIL, "neither a host nor a guest of Hyper-V", why, _TURN_ON, NOT_ALLOWED)


def _rights(facts: Windows) -> Finding:
    if facts.administrator:
        return Finding("hyperv.rights", OK, "this process has an administrator's rights")
    if facts.group:
        return Finding("hyperv.rights", OK, "this user is one of Hyper-V Administrators")
    if facts.guest_of is not None and not facts.vmms:
        return Finding("hyperv.rights", OK, "a guest needs no special rights")
    if facts.administrator is None or facts.group is None:
        return Finding("hyperv.rights", UNKNOWN, "whether this user has rights to VMs is not told")
    why = "Windows lets only those reach VMs, but everybody his own WSL 2"
    fix = f"use an elevated prompt, or {to_join_hyperv_administrators()}"
    return Finding("hyperv.rights", WARN, "neither an administrator nor one of Hyper-V Administrators", why, fix)


def _services(facts: Windows, address: HypervAddress | None, *, listening: bool) -> Finding:
    if address is not None and not listening and address.vm in ("parent", "silohost"):
        fix = f"on the host, in an elevated prompt: {to_register(address.service)}"
        return Finding(
            SERVICES, UNKNOWN, "whether the host has registered the service is not seen from here", _OF_ALL_VMS, fix
        )
    in_guest = facts.guest_of is not None and not facts.vmms
    if address is not None and (not listening or in_guest or address.vm in ("parent", "silohost", "loopback")):
        return Finding(SERVICES, OK, "no registration is needed: only a host that listens for VMs needs one")
    try:
        registered = read_services(facts.registry)
    except HvcopyError as error:
        return Finding(SERVICES, UNKNOWN, error.message, _OF_ALL_VMS, error.hint)
    if address is None:
        return Finding(SERVICES, OK, f"services registered: {len(registered)}", "", "")
    found = [one for one in registered if _means(address.service, one)]
    sound = next((one for one in found if one.problem is None), None)
    if sound:
        return Finding(SERVICES, OK, f"the service is registered as '{printable(sound.name)}'")
    fix = f"in an elevated prompt: {to_register(address.service)}"
    if found and found[0].problem:
        problem = found[0].problem
        again = f"in an elevated prompt: {problem.hint or 'hvcopy service list'}"
        return Finding(SERVICES, FAIL, problem.message, _OF_ALL_VMS, again, NOT_ALLOWED)
    what = f"service {printable(address.service)} is not registered on this host"
    return Finding(SERVICES, FAIL, what, _OF_ALL_VMS, fix, NOT_ALLOWED)


def _means(service: str, one: Service) -> bool:
    if service.isascii() and service.isdigit():
        return one.guid == port_to_service(int(service))
    return service.casefold() in (one.guid, one.name.casefold())


def _guest_services(facts: Windows) -> Finding:
    if facts.guest_of is None:
        return not_applicable("hyperv.guest-services", "they are a guest's")
    state = {None: "not there", 4: "disabled"}.get(facts.guest_services, "there")
    return Finding(
        "hyperv.guest-services", OK, f"Guest Services: {state}", "only Copy-VMFile needs them, hvcopy does not"
    )


def _wsl(facts: Windows) -> Finding:
    if not facts.distributions:
        return not_applicable("hyperv.wsl", "this user has no distribution of WSL")
    names = printable(", ".join(facts.distributions[:8]))
    why = "WSL 2 is hyperv:wsl:PORT while it runs; its VM id is another after each start"
    return Finding("hyperv.wsl", OK, f"WSL: {names}", why)
