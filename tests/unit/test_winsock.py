"""Winsock's errors on Hyper-V sockets: every one that is known has a cause, a next step and a fate."""

from __future__ import annotations

import errno
import os
import runpy
from pathlib import Path

import msgspec
import pytest

from hvcopy.address import HypervAddress, port_to_service
from hvcopy.errors import ConnectionLost, HvcopyError, LocalFailure, NobodyListens, NotAllowed
from hvcopy.transport.hyperv import failures
from hvcopy.transport.hyperv.resolve import Lookups, resolve
from hvcopy.winsock import FAULTS, TRIED_AGAIN, fault_of

DOCS = Path(__file__).parents[2] / "docs"
VM = "12345678-9abc-def0-1234-56789abcdef0"
LOOKUPS = Lookups(vms=lambda name: [VM], wsl=lambda: VM, services=lambda name: [])

CONNECTING: dict[int, type[HvcopyError]] = {
    10061: NobodyListens,
    10060: NobodyListens,
    10013: NotAllowed,
    10050: NobodyListens,
    10051: NobodyListens,
    10053: ConnectionLost,
    10054: ConnectionLost,
    10058: ConnectionLost,
    10057: ConnectionLost,
    109: ConnectionLost,
    1225: NobodyListens,
    1201: NobodyListens,
    10049: NobodyListens,
    10047: NotAllowed,
    10024: LocalFailure,
    10055: LocalFailure,
    10048: LocalFailure,
}


class WindowsError_(OSError):
    """An OSError as Windows makes it, with ``winerror``, which other systems' OSError lacks."""

    winerror: int


def windows_error(code: int) -> OSError:
    error = WindowsError_(code if code >= 10000 else errno.EINVAL, "Windows' own words")
    error.winerror = code
    return error


def connecting(vm: str, code: int, service: str = "18518") -> HvcopyError:
    address = HypervAddress(vm, service)
    return failures.not_connected(address, resolve(address, LOOKUPS, listening=False), windows_error(code))


def listening(vm: str, code: int) -> HvcopyError:
    address = HypervAddress(vm, "18518")
    return failures.not_listening(address, resolve(address, LOOKUPS, listening=True), windows_error(code))


def test_every_error_has_a_row_and_none_is_left_over() -> None:
    assert set(CONNECTING) == set(FAULTS)


@pytest.mark.parametrize("code", CONNECTING)
@pytest.mark.parametrize("vm", ["parent", "loopback", "silohost", "wsl", "web", VM])
def test_connecting_fails_with_the_cause_and_the_next_command(vm: str, code: int) -> None:
    failure = connecting(vm, code)
    assert type(failure) is CONNECTING[code]
    assert failure.message.startswith(f"hyperv:{vm}:18518: ")
    assert FAULTS[code].cause in failure.message
    assert FAULTS[code].name in failure.message
    assert failure.hint
    assert "{" not in failure.hint


def test_what_is_tried_again_is_the_list_of_others_and_a_vm_to_come() -> None:
    assert {10061, 10060, 10050, 10051, 1225, 1201, 10049} == TRIED_AGAIN
    assert {code for code, kind in CONNECTING.items() if kind is NobodyListens} == TRIED_AGAIN


@pytest.mark.parametrize(
    ("vm", "words"),
    [
        ("parent", "hvcopy serve hyperv:children:18518"),
        ("parent", "hvcopy service register 18518"),
        ("loopback", "hvcopy serve hyperv:loopback:18518"),
        ("wsl", "hvcopy serve vsock:any:18518"),
        (VM, "hvcopy serve hyperv:parent:18518"),
        (VM, "in a Linux guest it is vsock:any:18518 --allow vsock:host"),
        (VM, "hvcopy recv -l hyperv:parent:18518 --allow hyperv:parent"),
        ("parent", "--root DIR --allow hyperv:VMID"),
        ("loopback", "--root DIR --open"),
        ("wsl", "--root DIR --allow vsock:host"),
        ("web", "hvcopy serve hyperv:parent:18518"),
    ],
)
def test_refused_names_what_to_start_at_the_other_end(vm: str, words: str) -> None:
    assert words in connecting(vm, 10061).hint
    assert "keep trying with --wait 30" in connecting(vm, 10061).hint


@pytest.mark.parametrize(
    ("vm", "server"),
    [
        ("parent", "hyperv:children:18518"),
        ("loopback", "hyperv:loopback:18518"),
        ("wsl", "vsock:any:18518"),
        (VM, "hyperv:parent:18518"),
    ],
)
def test_who_has_a_hint_of_its_own_knows_where_to_listen(vm: str, server: str) -> None:
    for code, known in ((10061, server), (10060, server), (10050, "")):
        failure = connecting(vm, code)
        assert isinstance(failure, NobodyListens)
        assert failure.server == known


def test_service_that_is_no_port_is_not_offered_to_linux() -> None:
    hint = connecting(VM, 10061, service="11111111-2222-3333-4444-555555555555").hint
    assert "vsock:" not in hint


@pytest.mark.parametrize("code", [10061, 10013])
def test_service_of_a_name_is_registered_as_what_it_stands_for(code: int) -> None:
    address = HypervAddress("parent", "my service")
    for port in (18518, None):
        guid = port_to_service(port) if port else VM
        named = msgspec.structs.replace(LOOKUPS, services=lambda name, guid=guid: [guid])
        failure = failures.not_connected(address, resolve(address, named, listening=False), windows_error(code))
        assert f'hvcopy service register {port or VM} --name "my service"' in failure.hint
    if code == 10061:
        assert 'hvcopy serve "hyperv:children:my service" --root DIR' in failure.hint


@pytest.mark.parametrize(
    ("vm", "words"),
    [
        ("parent", "hvcopy service register 18518"),
        ("wsl", "the user who started it"),
        (VM, "Hyper-V Administrators"),
    ],
)
def test_forbidden_names_who_can_allow_it(vm: str, words: str) -> None:
    assert words in connecting(vm, 10013).hint


def test_silence_without_a_code_is_told_as_the_systems_own_timeout() -> None:
    address = HypervAddress(VM, "18518")
    failure = failures.not_connected(address, resolve(address, LOOKUPS, listening=False), TimeoutError())
    assert type(failure) is NobodyListens
    assert "no answer" in failure.message


@pytest.mark.parametrize(
    ("vm", "code", "kind", "words"),
    [
        ("children", 10013, NotAllowed, "Hyper-V Administrators"),
        ("wsl", 10013, NotAllowed, "the user who started it"),
        ("children", 10048, LocalFailure, "choose another port"),
        ("parent", 10049, LocalFailure, "hyperv:children:18518"),
        (VM, 10049, LocalFailure, "hvcopy vms"),
        ("any", 10047, NotAllowed, "VirtualMachinePlatform"),
        ("any", 10055, LocalFailure, "--buffer"),
    ],
)
def test_listening_fails_with_the_next_command(vm: str, code: int, kind: type[HvcopyError], words: str) -> None:
    failure = listening(vm, code)
    assert type(failure) is kind
    assert words in failure.hint


def test_error_that_nobody_knows_keeps_the_systems_words() -> None:
    for failure in (connecting(VM, 10099), listening("any", 10099)):
        assert type(failure) is LocalFailure
        assert "Windows' own words" in failure.message


def test_numbers_of_other_systems_are_not_taken_for_winsocks() -> None:
    for code in (109, 10, errno.ECONNREFUSED):
        assert fault_of(OSError(code, os.strerror(code))) is None
    assert fault_of(OSError("without a number")) is None


def test_table_in_the_docs_is_generated() -> None:
    text = (DOCS / "hyper-v.md").read_text(encoding="utf-8")
    assert runpy.run_path(str(DOCS / "generate_winsock.py"))["page"](text) == text


def test_causes_fit_a_table_and_a_line() -> None:
    for fault in FAULTS.values():
        for text in (fault.cause, fault.advice):
            assert text.isprintable()
            assert "|" not in text
