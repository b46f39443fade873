"""From an address to the two GUIDs of a Hyper-V socket.

What has to be asked of the system, the ids of VMs by name and services by friendly name, comes in as ``Lookups``;
all else is decided here.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

from msgspec import Struct

from hvcopy.address import HypervAddress, no_service, port_to_service, service_to_port, with_dashes
from hvcopy.errors import BadUsage, HvcopyError, LocalFailure, NotAllowed, TimedOut, printable
from hvcopy.transport.hyperv import machines


class Lookups(Struct, frozen=True):
    """Whom to ask.  Each is asked anew every time: the ids of WSL2 and of new VMs change."""

    vms: Callable[[str], Sequence[str]]
    """The ids of all VMs of that name."""
    wsl: Callable[[], str]
    """The id of WSL2's VM.  Raises HvcopyError when it does not run."""
    services: Callable[[str], Sequence[str]]
    """The GUIDs of all services registered under that friendly name."""


class Target(Struct, frozen=True):
    """*vm* and *service* as the system takes them; *port* where the service stands for one."""

    vm: uuid.UUID
    service: uuid.UUID
    port: int | None

    @property
    def pair(self) -> tuple[str, str]:
        """The address that CPython wants: two texts without braces, for it refuses uuid.UUID."""
        return str(self.vm), str(self.service)


def resolve(address: HypervAddress, lookups: Lookups, *, listening: bool) -> Target:
    """Find what *address* means.  Raises BadUsage for what cannot be meant, and what *lookups* raise, *address* named in it."""
    try:
        vm = _vm(address, lookups, listening=listening)
        service = _service(address, lookups)
    except HvcopyError as error:
        if not error.message.startswith(f"{address}: "):
            error.message = f"{address}: {error.message}"
            error.args = (error.message,)
        raise
    return Target(vm, service, service_to_port(str(service)))


def _vm(address: HypervAddress, lookups: Lookups, *, listening: bool) -> uuid.UUID:
    name = machines.as_guid(address.vm)
    text = machines.canonical(name) if name else address.vm
    if name == machines.BROADCAST:
        raise BadUsage(
            f"{address}: the broadcast GUID is reserved by Windows and reaches nobody",
            hint=f"name one VM, or listen to all with hyperv:any:{address.service}",
        )
    if text in machines.FOR_LISTENING and not listening:
        raise BadUsage(
            f"{address}: '{text}' is for listening, not for connecting",
            hint=f"name a VM: hyperv:NAME:{address.service} (hvcopy vms lists them); the host is hyperv:parent:{address.service}",
        )
    if name is not None:
        return name
    if text in machines.BY_NAME:
        return machines.BY_NAME[text]
    if text == "wsl":
        return uuid.UUID(lookups.wsl())
    try:
        found = lookups.vms(text)
    except (LocalFailure, NotAllowed, TimedOut) as error:
        if meant := _guid_meant(text):
            error.hint = f"{meant}; else {error.hint}"
        raise
    return _the_only(address, "VM", text, found, "hvcopy vms")


def _service(address: HypervAddress, lookups: Lookups) -> uuid.UUID:
    text = address.service
    if text.isascii() and text.isdigit():
        return uuid.UUID(port_to_service(int(text)))
    guid = machines.as_guid(text) or _the_only(address, "service", text, lookups.services(text), "hvcopy service list")
    if wrong := no_service(str(guid)):
        raise BadUsage(f"{address}: it names the service {guid}, which {wrong[0]}", hint=wrong[1])
    return guid


def _the_only(address: HypervAddress, what: str, name: str, found: Sequence[str], command: str) -> uuid.UUID:
    """The one GUID in *found*; two things of one name are never guessed at."""
    guids = sorted({uuid.UUID(one) for one in found})
    if len(guids) == 1:
        return guids[0]
    shown = printable(name)
    if guids:
        ids = " or ".join(str(guid) for guid in guids[:4]) + (" or another" if len(guids) > 4 else "")
        raise BadUsage(f"{address}: there are {len(guids)} {what}s of the name '{shown}'", hint=f"give its id: {ids}")
    if meant := _guid_meant(name):
        hint = f"{meant}; {command} lists what there is"
    elif what == "VM":
        hint = f"{command} lists the VMs; an administrator or a member of \"Hyper-V Administrators\" sees all"
    else:
        hint = f"{command} lists the services; a port needs no name: hyperv:{printable(address.vm)}:18518"
    raise BadUsage(f"{address}: no {what} here has the name '{shown}'", hint=hint)


def _guid_meant(name: str) -> str:
    """What to say of a *name* by which somebody may have meant a GUID; empty for others."""
    if dashed := with_dashes(name):
        return f"was it to be a GUID? That is written {dashed}"
    return "was it to be a GUID? One has 8-4-4-4-12 hexadecimal digits" if machines.looks_like_guid(name) else ""
