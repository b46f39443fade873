"""From ``hyperv:`` addresses to GUIDs: well-known VMs, names, services, and everything that cannot be meant."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Sequence

import pytest

from hvcopy.address import HypervAddress, parse_address, port_to_service
from hvcopy.channel import Channel
from hvcopy.errors import BadUsage, LocalFailure, NobodyListens
from hvcopy.transport import pinned
from hvcopy.transport.hyperv import machines
from hvcopy.transport.hyperv.resolve import Lookups, Target, resolve

ONE = "0aaaaaaa-0000-0000-0000-000000000001"
TWO = "0bbbbbbb-0000-0000-0000-000000000002"
WSL = "0ccccccc-0000-0000-0000-000000000003"
SERVICE = "11111111-2222-3333-4444-555555555555"
NO_PORT = "00000000-facb-11e6-bd58-64006a7986d3"
PARENT = "a42e7cda-d03f-480c-9cc2-a4de20abb878"


def _wsl() -> str:
    return WSL.upper()


LOOKUPS = Lookups(
    vms=lambda name: {"web": [ONE.upper()], "twin": [ONE, TWO], "same": [ONE, ONE.upper()]}.get(name, []),
    wsl=_wsl,
    services=lambda name: {"files": [SERVICE], "twin": [SERVICE, TWO], "all": [PARENT], "none": [NO_PORT]}.get(name, []),
)


def found(text: str, *, listening: bool = False) -> Target:
    address = parse_address(text)
    assert isinstance(address, HypervAddress)
    return resolve(address, LOOKUPS, listening=listening)


@pytest.mark.parametrize("listening", [False, True])
@pytest.mark.parametrize(
    ("vm", "guid"),
    [
        ("parent", PARENT),
        (PARENT.upper(), PARENT),
        ("loopback", "e0e16197-dd56-4a10-9195-5ee7a155a838"),
        ("silohost", "36bd0c5c-7276-4223-88ba-7d03b654c568"),
        ("wsl", WSL),
        ("web", ONE),
        ("same", ONE),
        (ONE, ONE),
        ("{" + ONE.upper() + "}", ONE),
    ],
)
def test_vm_is_found(vm: str, guid: str, listening: bool) -> None:
    target = found(f"hyperv:{vm}:18518", listening=listening)
    assert target == Target(uuid.UUID(guid), uuid.UUID(port_to_service(18518)), 18518)
    assert target.pair == (guid, "00004856-facb-11e6-bd58-64006a7986d3")


@pytest.mark.parametrize(
    ("vm", "guid"),
    [
        ("any", "00000000-0000-0000-0000-000000000000"),
        ("00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000000"),
        ("children", "90db8b89-0d35-4f79-8ce9-49ea0ac8b7cd"),
        ("90DB8B89-0d35-4f79-8ce9-49ea0ac8b7cd", "90db8b89-0d35-4f79-8ce9-49ea0ac8b7cd"),
    ],
)
def test_many_vms_can_be_listened_to_but_not_connected_to(vm: str, guid: str) -> None:
    assert found(f"hyperv:{vm}:5", listening=True).vm == uuid.UUID(guid)
    with pytest.raises(BadUsage, match="for listening, not for connecting") as caught:
        found(f"hyperv:{vm}:5")
    assert "hvcopy vms" in caught.value.hint


@pytest.mark.parametrize("listening", [False, True])
@pytest.mark.parametrize("vm", ["f" * 8 + "-ffff-ffff-ffff-" + "f" * 12, "F" * 8 + "-ffff-FFFF-ffff-" + "f" * 12])
def test_broadcast_is_refused_with_the_reason(vm: str, listening: bool) -> None:
    with pytest.raises(BadUsage, match="reserved by Windows"):
        resolve(HypervAddress(vm, "5"), LOOKUPS, listening=listening)


@pytest.mark.parametrize(
    ("service", "guid", "port"),
    [
        ("18518", "00004856-facb-11e6-bd58-64006a7986d3", 18518),
        ("2147483647", "7fffffff-facb-11e6-bd58-64006a7986d3", 2147483647),
        ("00004856-FACB-11e6-bd58-64006a7986d3", "00004856-facb-11e6-bd58-64006a7986d3", 18518),
        (SERVICE, SERVICE, None),
        ("files", SERVICE, None),
    ],
)
def test_service_is_found(service: str, guid: str, port: int | None) -> None:
    target = found(f"hyperv:parent:{service}")
    assert (target.service, target.port) == (uuid.UUID(guid), port)


@pytest.mark.parametrize(
    ("address", "message", "hint"),
    [
        (HypervAddress("twin", "5"), "there are 2 VMs of the name 'twin'", f"{ONE} or {TWO}"),
        (HypervAddress("parent", "twin"), "there are 2 services of the name 'twin'", SERVICE),
        (HypervAddress("nope", "5"), "no VM here has the name 'nope'", "hvcopy vms"),
        (HypervAddress("Web", "5"), "no VM here has the name 'Web'", "hvcopy vms"),
        (HypervAddress("0aaaaaaa-0000-0000-0000-00000000001", "5"), "no VM here", "8-4-4-4-12"),
        (HypervAddress("0aaaaaaa-0000", "5"), "no VM here", "8-4-4-4-12"),
        (HypervAddress(ONE.replace("-", "").upper(), "5"), "no VM here", f"That is written {ONE}; hvcopy vms"),
        (HypervAddress("parent", TWO.replace("-", "")), "no service here", f"That is written {TWO}; hvcopy service list"),
        (HypervAddress("parent", "nope"), "no service here has the name 'nope'", "hvcopy service list"),
        (HypervAddress("parent", "all"), f"names the service {PARENT}, which stands for VMs", "a service is a port"),
        (HypervAddress("parent", "none"), f"names the service {NO_PORT}, which is made from", "hvcopy service guid PORT"),
        (HypervAddress("parent", "1111-2222-"), "no service here", "8-4-4-4-12"),
        (HypervAddress("a\x1b[31m", "5"), r"'a\x1b[31m'", "hvcopy vms"),
    ],
)
def test_what_is_unknown_or_ambiguous_is_refused_and_never_guessed(
    address: HypervAddress, message: str, hint: str
) -> None:
    with pytest.raises(BadUsage) as caught:
        resolve(address, LOOKUPS, listening=False)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (ONE[:-1], "One has 8-4-4-4-12 hexadecimal digits; else "),
        (ONE.replace("-", ""), f"That is written {ONE}; else "),
        ("web", ""),
    ],
)
def test_who_meant_a_guid_is_told_how_one_is_written_though_nobody_tells_the_vms(name: str, said: str) -> None:
    def untold(name: str) -> Sequence[str]:
        raise LocalFailure("PowerShell answered nothing", hint="see what it says")

    lookups = Lookups(vms=untold, wsl=_wsl, services=lambda name: [])
    with pytest.raises(LocalFailure) as caught:
        resolve(HypervAddress(name, "5"), lookups, listening=False)
    assert caught.value.hint == (f"was it to be a GUID? {said}" if said else "") + "see what it says"


def test_many_twins_are_not_all_printed() -> None:
    many = [str(uuid.UUID(int=number)) for number in range(100, 200)]
    lookups = Lookups(vms=lambda name: many, wsl=_wsl, services=lambda name: [])
    with pytest.raises(BadUsage, match="there are 100 VMs") as caught:
        resolve(HypervAddress("x", "5"), lookups, listening=False)
    assert caught.value.hint.endswith("or another")


def test_nobody_is_asked_for_what_is_well_known() -> None:
    def never(name: str = "") -> Sequence[str]:
        raise AssertionError(name)

    lookups = Lookups(vms=never, wsl=lambda: str(never()), services=never)
    for vm in ("parent", "loopback", "silohost", ONE):
        for service in ("5", SERVICE):
            resolve(HypervAddress(vm, service), lookups, listening=False)


def test_wsl_that_does_not_run_says_so_and_is_asked_again() -> None:
    answers: list[Callable[[], str]] = []

    def wsl() -> str:
        return answers.pop(0)()

    def down() -> str:
        raise NobodyListens("WSL2 does not run")

    answers += [down, _wsl]
    lookups = Lookups(vms=lambda name: [], wsl=wsl, services=lambda name: [])
    with pytest.raises(NobodyListens):
        resolve(HypervAddress("wsl", "5"), lookups, listening=False)
    assert resolve(HypervAddress("wsl", "5"), lookups, listening=False).vm == uuid.UUID(WSL)


@pytest.mark.parametrize(
    ("address", "identity", "then"),
    [
        ("hyperv:My VM:5,high-vtl", f"hyperv:{ONE}", f"hyperv:{ONE}:5,high-vtl"),
        ("hyperv:wsl:files", f"hyperv:{WSL}", f"hyperv:{WSL}:files"),
        ("hyperv:parent:5", "hyperv:parent", "hyperv:parent:5"),
        ("hyperv:web:5", "", "hyperv:web:5"),
        ("vsock:host:5", "vsock:2", "vsock:host:5"),
        ("tcp:localhost:5", "tcp:[::1]", "tcp:localhost:5"),
    ],
)
def test_further_connections_go_to_the_machine_of_the_first(address: str, identity: str, then: str) -> None:
    near, far = socket.socketpair()
    with near, far:
        channel = Channel(near, peer="x", identity=identity)
        assert str(pinned(parse_address(address), channel)) == then


@pytest.mark.parametrize(
    ("guid", "name"),
    [
        (PARENT, "parent"),
        (PARENT.upper(), "parent"),
        (uuid.UUID(PARENT), "parent"),
        (ONE.upper(), ONE),
        ("00000000-0000-0000-0000-000000000000", "any"),
    ],
)
def test_ids_are_compared_as_uuids_and_printed_one_way(guid: str | uuid.UUID, name: str) -> None:
    assert machines.canonical(guid) == name
    assert machines.identity(guid) == f"hyperv:{name}"


def test_peer_is_named_as_an_address() -> None:
    service = "0000abcd-facb-11e6-bd58-64006a7986d3"
    assert machines.peer(PARENT.upper(), service.upper()) == "hyperv:parent:43981"
    assert machines.peer(ONE.upper(), SERVICE.upper()) == f"hyperv:{ONE}:{SERVICE}"
