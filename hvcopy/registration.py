"""Registering services of Hyper-V: what may be added and removed, decided before anything is changed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from hvcopy.address import HypervAddress, no_service, parse_address, parse_guid, port_to_service, service_to_port
from hvcopy.errors import BadUsage, LocalFailure, NotAllowed, printable
from hvcopy.transport.hyperv.registry import MARK, NAME, OURS, Registry, Service, read_services

LARGEST_POOL = 1024
"""Ports registered at once: a slip of the finger must not fill the registry."""

_TEMPLATE = port_to_service(1)[8:]
_PORT = "[0-9]{1,20}"
_SERVICE = "[0-9]+|[0-9a-fA-F-]{36}"  # what an address takes for a port or a GUID


def read_service(text: str) -> str:
    """Return the GUID that a port or a GUID names.  Raises BadUsage for what can be no service."""
    if re.fullmatch(_PORT, text):
        return port_to_service(int(text))
    try:
        guid = parse_guid(text)
    except BadUsage as error:
        shown = printable(text[:200])
        raise BadUsage(f"'{shown}' is neither a port nor a GUID", hint=f"a port is a number; {error.hint}") from None
    wrong = no_service(guid)
    if wrong:
        raise BadUsage(f"{guid} {wrong[0]}", hint=wrong[1])
    return guid


def read_port(text: str) -> int:
    """Return the port that a service GUID stands for.  Raises BadUsage."""
    guid = _no_guid(text) if re.fullmatch(_PORT, text) else read_service(parse_guid(text))
    port = service_to_port(guid)
    if port is None:
        raise BadUsage(
            f"{guid} stands for no port: only a GUID that ends in {_TEMPLATE} does",
            hint=f"write it as it is: hyperv:VM:{guid}; a Linux guest cannot listen on it",
        )
    return port


def _no_guid(text: str) -> str:
    read_service(text)
    raise BadUsage(f"{text} is a port already", hint=f"its GUID: hvcopy service guid {text}")


def read_pool(text: str) -> list[int]:
    """Return the ports of FIRST-LAST.  Raises BadUsage."""
    found = re.fullmatch("([0-9]{1,10})-([0-9]{1,10})", text)
    if found is None:
        raise BadUsage(f"--pool {printable(text)} is no range of ports", hint="write --pool 18518-18533")
    first, last = int(found[1]), int(found[2])
    port_to_service(first)
    port_to_service(last)
    if last < first:
        raise BadUsage(f"--pool {text} ends before it begins", hint=f"write --pool {last}-{first}")
    if last - first >= LARGEST_POOL:
        raise BadUsage(f"--pool {text} has more than {LARGEST_POOL} ports", hint="name fewer; each is a registry key")
    return list(range(first, last + 1))


class Wanted(Struct, frozen=True):
    """One service to be registered."""

    guid: str
    name: str


def wanted_services(given: Sequence[str], pool: str, name: str) -> list[Wanted]:
    """Return what the command line asks to register.  Raises BadUsage."""
    guids = list(dict.fromkeys(read_service(text) for text in given))
    guids += [guid for guid in map(port_to_service, read_pool(pool)) if guid not in guids] if pool else []
    if not guids:
        raise BadUsage("no service is named", hint="hvcopy service register 18518, or --pool 18518-18533")
    many = len(guids) > 1
    found = [Wanted(guid, _name_of(guid, name, numbered=many)) for guid in guids]
    for one in found:
        check_name(one.name)
    return found


def _name_of(guid: str, name: str, *, numbered: bool) -> str:
    if name and not numbered:
        return name
    return f"{name or OURS}-{service_to_port(guid) or guid}"


def check_name(name: str) -> None:
    """Raise BadUsage unless an address can carry *name* as its service."""
    try:
        read = parse_address(str(HypervAddress("parent", name)))
    except BadUsage:
        read = None
    if not isinstance(read, HypervAddress) or read.service != name or re.fullmatch(_SERVICE, name):
        raise BadUsage(
            f"--name '{printable(name[:300])}' cannot stand in an address",
            hint="a name has 1 to 255 letters or other printed characters, no space at its ends, and is no port or GUID",
        )


def missing(registry: Registry, wanted: Sequence[Wanted]) -> list[Wanted]:
    """Return those of *wanted* that are not registered yet.  Raises LocalFailure when a GUID or a name is taken."""
    services = read_services(registry)
    by_guid = {one.guid: one for one in services if one.guid}
    by_name = {one.name.casefold(): one for one in services if one.name}
    found: list[Wanted] = []
    for one in wanted:
        there, namesake = by_guid.get(one.guid), by_name.get(one.name.casefold())
        if there and (there.problem or there.name != one.name):
            first = f"remove it first: hvcopy service unregister {one.guid}"
            if there.problem:
                what = f"is registered already, but nobody can use that: {there.problem.message}"
            else:
                what, first = f"is registered already, as '{printable(there.name)}'", f"use that one, or {first}"
            raise LocalFailure(f"{label(one.guid)} {what}; nothing was changed", hint=first)
        if namesake and not there:
            raise LocalFailure(
                f"the name '{printable(one.name)}' belongs to {namesake.guid} already; nothing was changed",
                hint="choose another: --name NAME",
            )
        if not there:
            found.append(one)
    return found


def register(registry: Registry, wanted: Sequence[Wanted]) -> list[Wanted]:
    """Register what is not registered yet, and return it.

    Raises LocalFailure before anything is changed when a GUID or a name is taken, NotAllowed without rights.
    """
    new = missing(registry, wanted)
    for done, one in enumerate(new):
        try:
            registry.create(one.guid, {NAME: one.name, MARK: OURS})
        except PermissionError:
            raise NotAllowed(f"registering a service needs an administrator{_after(done)}") from None
        except OSError as error:
            raise LocalFailure(f"{label(one.guid)} cannot be registered: {error}{_after(done)}") from None
    return new


class Unwanted(Struct, frozen=True):
    """What is to be removed: *named* whoever made it; of *pool*, or of *everything*, only hvcopy's own."""

    named: list[str]
    pool: list[str]
    everything: bool


def unwanted_services(given: Sequence[str], pool: str, *, everything: bool) -> Unwanted:
    """Return what the command line asks to remove.  Raises BadUsage."""
    if not (given or pool or everything):
        raise BadUsage("no service is named", hint="hvcopy service unregister 18518, or --all for those of hvcopy")
    try:
        named = list(dict.fromkeys(read_service(text) for text in given))
    except BadUsage as error:
        error.hint = f"hvcopy service list shows what is registered; {error.hint}"
        raise
    return Unwanted(named, [port_to_service(port) for port in read_pool(pool)] if pool else [], everything)


def removable(registry: Registry, unwanted: Unwanted) -> list[Service]:
    """Return the registrations to remove.  Raises LocalFailure when one that is named is not there."""
    services = read_services(registry)
    there = {one.guid for one in services}
    for guid in unwanted.named:
        if guid not in there:
            raise LocalFailure(
                f"{label(guid)} is not registered; nothing was changed", hint="hvcopy service list shows what is"
            )
    own = {one.guid for one in services if one.ours and (unwanted.everything or one.guid in unwanted.pool)}
    return [one for one in services if one.guid in unwanted.named or one.guid in own]


def unregister(registry: Registry, services: Sequence[Service]) -> None:
    """Remove *services*.  Raises NotAllowed, LocalFailure."""
    for done, one in enumerate(services):
        try:
            registry.delete(one.key)
        except FileNotFoundError:
            pass  # somebody else removed it, which is what was asked for
        except FileExistsError:
            raise LocalFailure(
                f"{one.key} has keys below it, which hvcopy does not know{_after(done)}", hint="remove it in regedit"
            ) from None
        except PermissionError:
            raise NotAllowed(f"removing a registration needs an administrator{_after(done)}") from None
        except OSError as error:
            raise LocalFailure(f"{one.key} cannot be removed: {error}{_after(done)}") from None


def label(guid: str) -> str:
    """Return how a service is called in messages."""
    port = service_to_port(guid)
    return f"port {port} ({guid})" if port else guid


def _after(done: int) -> str:
    return f"; {done} before it were changed, and the same command goes on" if done else "; nothing was changed"
