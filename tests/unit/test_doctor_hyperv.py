"""Findings about Windows, from facts: each prerequisite of a host and of a guest taken away in turn, and named."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
from commands import eventually
from programs import HANGS, is_over, program
from registries import MemoryRegistry
from roots import Root

from hvcopy.address import HypervAddress, TcpAddress, parse_address, port_to_service
from hvcopy.doctor import hyperv, needs, trail, windows
from hvcopy.doctor.examination import KEY_FILE, Examination
from hvcopy.doctor.finding import ADDRESS, Finding
from hvcopy.doctor.windows import Windows
from hvcopy.errors import Interrupted
from hvcopy.transport import Cancellation

PORT = 18518
HOST = Windows(
    build=22631,
    python="3.13.1",
    has_family=True,
    refusal=None,
    administrator=True,
    group=False,
    vmms=True,
    vmcompute=True,
    guest_of=None,
    guest_services=None,
    distributions=(),
    registry=MemoryRegistry({port_to_service(PORT): "hvcopy 18518"}),
)
GUEST = msgspec.structs.replace(HOST, vmms=False, vmcompute=False, guest_of="HOST-7", guest_services=4)


def look(facts: Windows, address: str = "", *, listening: bool = False, **changed: Any) -> dict[str, Finding]:
    parsed = parse_address(address) if address else None
    assert parsed is None or isinstance(parsed, HypervAddress)
    found = hyperv.findings(msgspec.structs.replace(facts, **changed), parsed, listening=listening)
    assert len({one.id for one in found}) == len(found)
    for one in found:
        assert (one.state == "fail") == bool(one.exit_code), one
        assert one.state not in ("fail", "warn") or one.fix, one
    return {one.id: one for one in found}


def test_a_host_and_a_guest_as_they_should_be() -> None:
    for facts in (HOST, GUEST):
        assert {one.state for one in look(facts).values()} <= {"ok", "not-applicable"}
    assert look(HOST)["hyperv.role"].what == "a host of Hyper-V"
    assert "HOST-7" in look(GUEST)["hyperv.role"].what


@pytest.mark.parametrize(
    ("changed", "ident", "state", "code", "fix"),
    [
        ({"build": 10586}, "hyperv.build", "fail", 9, "14393"),
        ({"has_family": False, "python": "3.11.9"}, "hyperv.python", "fail", 2, "py -3.13"),
        ({"refusal": OSError(10047, "not supported")}, "hyperv.socket", "fail", 9, "Enable-WindowsOptionalFeature"),
        ({"vmms": False, "vmcompute": False}, "hyperv.role", "fail", 9, "Enable-WindowsOptionalFeature"),
        ({"vmms": False}, "hyperv.role", "warn", 0, "Enable-WindowsOptionalFeature"),
        ({"administrator": False}, "hyperv.rights", "warn", 0, "Hyper-V Administrators"),
        ({"administrator": False, "group": True}, "hyperv.rights", "ok", 0, ""),
        ({"administrator": None, "group": None}, "hyperv.rights", "unknown", 0, ""),
        ({"distributions": ("Ubuntu", "Debian")}, "hyperv.wsl", "ok", 0, ""),
    ],
)
def test_taken_from_a_host(changed: dict[str, Any], ident: str, state: str, code: int, fix: str) -> None:
    one = look(HOST, **changed)[ident]
    assert (one.state, one.exit_code) == (state, code)
    assert fix in one.fix


def test_a_guest_whose_host_tells_no_name_is_one() -> None:
    assert look(GUEST, guest_of="")["hyperv.role"].what == "a guest of Hyper-V"
    assert look(GUEST, guest_of="H", vmms=True)["hyperv.role"].what == "a guest of the Hyper-V host H and a host itself"


def test_itself_is_reached_without_any_vm() -> None:
    assert look(HOST, "hyperv:loopback:5", vmms=False, vmcompute=False)["hyperv.role"].state == "not-applicable"


@pytest.mark.parametrize("address", ["vsock:host:5", "unix:/run/s", "hybrid:/run/v.sock:5"])
def test_addresses_that_windows_does_not_have_are_2(tmp_path: Path, address: str) -> None:
    visit = Examination(Root(tmp_path).machine(), windows=HOST)
    assert not visit.accept(parse_address(address))
    assert visit.failure is not None
    assert (visit.failure.id, visit.failure.exit_code, bool(visit.failure.fix)) == ("address", 2, True)
    assert Examination(Root(tmp_path).machine()).accept(parse_address(address))


def test_without_the_family_no_socket_is_tried() -> None:
    assert look(HOST, has_family=False)["hyperv.socket"].state == "unknown"


def test_a_guest_needs_no_rights_and_no_guest_services() -> None:
    found = look(GUEST, administrator=False)
    assert found["hyperv.rights"].state == "ok"
    assert found["hyperv.guest-services"].state == "ok"
    assert "Copy-VMFile" in found["hyperv.guest-services"].why
    assert look(HOST)["hyperv.guest-services"].state == "not-applicable"


@pytest.mark.parametrize(
    ("facts", "address", "listening", "state"),
    [
        (HOST, f"hyperv:children:{PORT}", True, "ok"),
        (HOST, "hyperv:children:4711", True, "fail"),
        (HOST, "hyperv:web1:4711", True, "fail"),
        (HOST, "hyperv:any:0000abcd-facb-11e6-bd58-000000000000", True, "fail"),
        (HOST, "hyperv:any:hvcopy 18518", True, "ok"),
        (HOST, "hyperv:any:nobody", True, "fail"),
        (HOST, "hyperv:loopback:4711", True, "ok"),
        (HOST, "hyperv:web1:4711", False, "ok"),
        (GUEST, "hyperv:parent:4711", True, "ok"),
        (GUEST, "hyperv:any:4711", True, "ok"),
        (msgspec.structs.replace(GUEST, vmms=True), "hyperv:any:4711", True, "fail"),
        (GUEST, "hyperv:parent:4711", False, "unknown"),
    ],
)
def test_registration_matters_to_a_host_that_listens_for_vms(
    facts: Windows, address: str, listening: bool, state: str
) -> None:
    one = look(facts, address, listening=listening)["hyperv.services"]
    assert one.state == state, one
    if state == "fail":
        assert one.exit_code == 9
        assert "hvcopy service register" in one.fix
        assert address != "hyperv:any:nobody" or one.fix.endswith(": hvcopy service register PORT --name nobody")
    if state == "unknown":
        assert "hvcopy service register 4711" in one.fix


def test_a_registration_that_is_broken_or_not_to_be_read() -> None:
    broken = MemoryRegistry({port_to_service(PORT): {}})
    one = look(HOST, f"hyperv:children:{PORT}", listening=True, registry=broken)["hyperv.services"]
    assert (one.state, "ElementName" in one.what) == ("fail", True)
    guid = port_to_service(PORT)
    again = f"hvcopy service unregister {guid}, then hvcopy service register {guid} --name NAME"
    assert one.fix == f"in an elevated prompt: {again}", "after which there is nothing left to register"
    locked = MemoryRegistry({port_to_service(PORT): "name"})
    locked.keys = _denied  # type: ignore[method-assign]
    one = look(HOST, f"hyperv:children:{PORT}", listening=True, registry=locked)["hyperv.services"]
    assert one.state == "unknown"


def _denied() -> list[str]:
    raise PermissionError(13, "Access is denied")


# ---- whether there is a way, and what an address needs


@pytest.mark.parametrize(
    ("changed", "code", "causes"),
    [
        ({}, 0, []),
        ({"has_family": False}, 2, ["hyperv.python"]),
        ({"refusal": OSError(10047, "not supported")}, 9, ["hyperv.socket"]),
        ({"vmms": False, "vmcompute": False}, 9, ["hyperv.role"]),
    ],
)
def test_a_way_to_another_machine(tmp_path: Path, changed: dict[str, Any], code: int, causes: list[str]) -> None:
    found = needs.everything(Root(tmp_path).machine(), msgspec.structs.replace(HOST, **changed))
    assert (found[-1].id, found[-1].exit_code, found[-1].causes) == ("way", code, causes)
    states = {one.id: one.state for one in found}
    assert states["unix.socket"] == states["hybrid"] == states["vsock.socket"] == "not-applicable"
    assert len(states) == len(found)


def test_listening_unregistered_does_not_pass_for_working(tmp_path: Path) -> None:
    """Windows lets it listen, and no guest gets through."""
    visit = Examination(Root(tmp_path).machine(), windows=HOST)
    visit.listen(HypervAddress("children", "4711"))
    assert visit.failure is not None
    assert {one.id for one in visit.found} >= {"hyperv.services", "listen"}
    states = {one.id: one.state for one in visit.found if visit.decisive(one)}
    assert states["hyperv.services"] == "fail"


@pytest.mark.parametrize(
    ("vm", "decides"),
    [("children", True), ("any", True), ("web1", True), ("parent", False), ("silohost", False), ("loopback", False)],
)
def test_listening_for_vms_where_there_can_be_none_does_not_pass_for_working(
    tmp_path: Path, vm: str, *, decides: bool
) -> None:
    """A container is neither host nor guest, and has a parent."""
    bare = msgspec.structs.replace(HOST, vmms=False, vmcompute=False)
    visit = Examination(Root(tmp_path).machine(), windows=bare)
    visit.listen(HypervAddress(vm, str(PORT)))
    states = {one.id: one.state for one in visit.found if visit.decisive(one)}
    assert (states.get("hyperv.role") == "fail") == decides


@pytest.mark.parametrize("works", [True, False])
def test_what_was_not_needed_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, works: bool) -> None:
    lacking = Finding("hyperv.role", "fail", "neither", "no other machine", "turn it on", 9)
    monkeypatch.setattr(needs, "needed", lambda *facts, **more: [lacking])
    visit = Examination(Root(tmp_path).machine())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        visit.listen(TcpAddress("127.0.0.1", 0 if works else taken.getsockname()[1]))
    found = {one.id: one for one in visit.found}
    assert (visit.failure is None, found["listen"].state) == (works, "ok" if works else "fail")
    role = found["hyperv.role"]
    assert (role.state, role.exit_code, "works without" in role.why) == (("warn", 0, True) if works else ("fail", 9, False))


@pytest.mark.parametrize("listening", [False, True])
@pytest.mark.parametrize(
    ("vm", "name"), [("web", "System32/WindowsPowerShell/v1.0/powershell.exe"), ("wsl", "System32/wsl.exe")]
)
@pytest.mark.parametrize("interrupted", [False, True])
def test_a_program_that_hangs_is_5_and_is_not_left_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, vm: str, name: str, listening: bool, interrupted: bool
) -> None:
    monkeypatch.setattr(socket, "AF_HYPERV", 34, raising=False)
    monkeypatch.setenv("SYSTEMROOT", str(tmp_path))
    pid = tmp_path / "pid"
    program(tmp_path / name, f"echo $$ > {tmp_path}/new; /bin/mv {tmp_path}/new {pid}; {HANGS}")
    cancellation = Cancellation()
    if interrupted:
        monkeypatch.setattr(cancellation, "cancelled", pid.exists)
    visit = Examination(
        Root(tmp_path).machine(),
        windows=msgspec.structs.replace(HOST, vmms=False, vmcompute=False),  # which is told, and not what decides
        cancellation=cancellation,
    )
    address = HypervAddress(vm, str(PORT))
    with pytest.raises(Interrupted) if interrupted else contextlib.nullcontext():
        if listening:
            visit.listen(address, timeout=60 if interrupted else 2)
        else:
            visit.connect(address, key=None, timeout=60 if interrupted else 2)
    if not interrupted:
        assert visit.failure is not None
        assert (visit.failure.id, visit.failure.exit_code) == ("lookup", 5)
        assert f"{address}: {Path(name).name} did not tell within 2 s" in visit.failure.what
        assert "GUID" in visit.failure.fix
    eventually(lambda: is_over(int(pid.read_text())), what="the program's end")


def test_every_id_has_its_line_on_the_page(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")
    machine = Root(tmp_path).machine()
    found = needs.everything(machine) + needs.everything(machine, HOST)
    steps = [
        getattr(trail, name)
        for name in ("LOOKUP", "SOCKET_FILE", "CONNECT", "MUXER", "GREETING", "VERSION", "ACCESS", "LISTEN")
    ]
    for ident in [ADDRESS, KEY_FILE, *steps, *(one.id for one in found)]:
        assert f"\n| `{ident}` |" in page, ident


def test_this_is_no_windows() -> None:
    assert windows.here() is None
