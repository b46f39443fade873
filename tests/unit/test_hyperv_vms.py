"""VMs of Hyper-V and WSL, told by programs that stand where Windows has powershell.exe and wsl.exe."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import HANGS, program, says
from registries import MemoryRegistry

from hvcopy.address import HypervAddress, parse_address, port_to_service
from hvcopy.errors import BadUsage, HvcopyError, LocalFailure, NobodyListens, NotAllowed, TimedOut
from hvcopy.machines.powershell import ask_hyperv
from hvcopy.machines.programs import Missing
from hvcopy.machines.wsl import ask_wsl
from hvcopy.transport.hyperv import registry, vms
from hvcopy.transport.hyperv.lookups import of_this_machine
from hvcopy.transport.hyperv.resolve import resolve
from hvcopy.transport.hyperv.vms import find_vm, find_wsl
from hvcopy.transport.patience import Patience

A, B, C = (f"{letter * 8}-1111-2222-3333-444455556666" for letter in "abc")

P1 = port_to_service(5001)


@pytest.fixture
def windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where Windows is looked for; nothing is in it."""
    monkeypatch.setenv("SYSTEMROOT", str(tmp_path))
    return tmp_path / "System32"


@pytest.fixture
def powershell(windows: Path) -> Callable[[str], Path]:
    """Make powershell.exe a script."""
    return lambda body: program(windows / "WindowsPowerShell/v1.0/powershell.exe", body)


@pytest.fixture
def wsl(windows: Path) -> Callable[..., Path]:
    """Make wsl.exe a script that answers each of its three questions."""

    def make(*, running: str = says(""), installed: str = says("Ubuntu\n"), info: str = says(""), old: str = says("")) -> Path:
        cases = (
            f"'--list --running --quiet') {running};; '--list --quiet') {installed};;"
            f" '-d Ubuntu -- wslinfo --vm-id') {info};; '-d Old -- wslinfo --vm-id') {old};;"
        )
        return program(windows / "wsl.exe", f'case "$*" in {cases} *) exit 99;; esac')

    return make


def vm(name: object = "web", guid: object = A, state: object = "Running") -> dict[str, object]:
    return {"Name": name, "Id": guid, "State": state}


def test_each_vm_has_its_name_state_id_and_address(powershell: Callable[[str], Path]) -> None:
    rows = [vm(), vm("Büro 1", B.upper(), "Off"), vm("c", C, "FastSaved")]
    powershell(says("\ufeff" + json.dumps(rows, ensure_ascii=False) + "\r\n"))
    assert [(one.kind, one.name, one.state, one.id, str(one.address), one.note) for one in ask_hyperv()] == [
        ("hyperv", "web", "running", A, "hyperv:web:18518", ""),
        ("hyperv", "Büro 1", "off", B, "hyperv:Büro 1:18518", ""),
        ("hyperv", "c", "saved", C, "hyperv:c:18518", ""),
    ]


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("Paused", "paused"),
        ("Saved", "saved"),
        ("Starting", "starting"),
        ("Stopping", "stopping"),
        ("OffCritical", "offcritical"),
        ("FastSavedCritical", "savedcritical"),
        ("Critical", "critical"),
    ],
)
def test_states_are_words_of_ours_or_else_of_hyperv(powershell: Callable[[str], Path], said: str, state: str) -> None:
    powershell(says(json.dumps([vm(state=said)])))
    assert ask_hyperv()[0].state == state


def test_one_vm_alone_and_no_vm_at_all(powershell: Callable[[str], Path]) -> None:
    powershell(says(json.dumps(vm())))
    assert [one.name for one in ask_hyperv()] == ["web"]
    powershell(says(json.dumps({"value": [vm(), vm("b", B)], "Count": 2})))
    assert [one.name for one in ask_hyperv()] == ["web", "b"]
    powershell(says("[]"))
    assert ask_hyperv() == []


@pytest.mark.parametrize(
    "name",
    [
        A,
        A.upper(),
        f"{{{A}}}",
        "parent",
        "WSL",
        "Any",
        " web",
        "we\tb",
        "",
        "x" * 300,
        "00000000-0000-0000-0000-000000000000",
    ],
)
def test_a_name_that_an_address_reads_otherwise_is_addressed_by_id(
    powershell: Callable[[str], Path], name: str
) -> None:
    powershell(says(json.dumps([vm(name, B)])))
    assert ask_hyperv()[0].address == HypervAddress(B, "18518")


@pytest.mark.parametrize("name", ["web:1", "a/b", "50%", "a,b", "parent 2", "a42e7cda-d03f", "2", "ß"])
def test_any_other_name_is_addressed_by_name_however_odd(powershell: Callable[[str], Path], name: str) -> None:
    powershell(says(json.dumps([vm(name)])))
    address = parse_address(str(ask_hyperv()[0].address))
    assert isinstance(address, HypervAddress)
    assert (address.vm, address.service) == (name, "18518")


def test_two_of_one_name_are_addressed_by_id_and_it_is_said(powershell: Callable[[str], Path]) -> None:
    powershell(says(json.dumps([vm("Web", A), vm("web", B), vm("c", C)])))
    first, second, third = ask_hyperv()
    assert [str(one.address) for one in (first, second, third)] == [
        f"hyperv:{A}:18518",
        f"hyperv:{B}:18518",
        "hyperv:c:18518",
    ]
    assert "another VM has this name" in first.note
    assert third.note == ""


def told(category: str, error: str, text: str = "Zugriff verweigert\x1b[2J") -> str:
    return says(json.dumps({"Error": error, "Category": category, "Text": text}))


@pytest.mark.parametrize(
    ("body", "kind", "words", "hint"),
    [
        (says(""), LocalFailure, "PowerShell answered nothing", "Get-VM"),
        (says(" \r\n", code=1, err="boom\x1b\nat line 1"), LocalFailure, r"answered nothing .*at line 1", "Get-VM"),
        (says("Windows PowerShell\nCopyright"), LocalFailure, "makes no sense: Windows PowerShell", "Get-VM"),
        (says("{"), LocalFailure, "makes no sense", "GUID"),
        (says("[" * 100_000), LocalFailure, "makes no sense", "GUID"),
        (says("\x1b[2J"), LocalFailure, r"makes no sense: \\x1b", "GUID"),
        (says("5"), LocalFailure, "makes no sense", "GUID"),
        (says("null"), LocalFailure, "makes no sense", "GUID"),
        (says("[5]"), LocalFailure, "a VM that makes no sense", "GUID"),
        (says('[{"Name": "x"}]'), LocalFailure, "a VM that makes no sense", "GUID"),
        (says(json.dumps([vm(guid="{junk")])), LocalFailure, "a VM that makes no sense", "GUID"),
        (says(json.dumps([vm(name=5)])), LocalFailure, "a VM that makes no sense", "GUID"),
        (says(json.dumps([vm(state=2)])), LocalFailure, "a VM that makes no sense", "GUID"),
        (
            told("PermissionDenied", "AccessDenied,Microsoft.HyperV.PowerShell.Commands.GetVM"),
            NotAllowed,
            "may not",
            "S-1-5-32-578",
        ),
        (
            told("ObjectNotFound", "CommandNotFoundException"),
            LocalFailure,
            "PowerShell module",
            "Enable-WindowsOptionalFeature",
        ),
        (told("ObjectNotFound", "CouldNotAutoLoadModule"), LocalFailure, "PowerShell module", "Install-WindowsFeature"),
        (
            told("NotSpecified", "Unspecified,X"),
            LocalFailure,
            r"did not tell its VMs: Zugriff verweigert\\x1b",
            "Get-VM",
        ),
    ],
)
def test_each_way_in_which_powershell_fails_has_its_message(
    powershell: Callable[[str], Path], body: str, kind: type[HvcopyError], words: str, hint: str
) -> None:
    powershell(body)
    with pytest.raises(kind, match=words) as caught:
        ask_hyperv()
    assert type(caught.value) is kind
    assert hint in caught.value.hint


def test_powershell_missing_or_hanging_is_told(windows: Path, powershell: Callable[[str], Path]) -> None:
    with pytest.raises(Missing, match="Windows PowerShell is not on this machine") as caught:
        ask_hyperv()
    assert "GUID in place of its name" in caught.value.hint
    powershell(HANGS)
    with pytest.raises(TimedOut, match=r"powershell\.exe did not answer within 0\.3 s"):
        ask_hyperv(0.3)


def test_the_script_reaches_powershell_as_one_argument_without_double_quotes(
    powershell: Callable[[str], Path], tmp_path: Path
) -> None:
    powershell(f'printf "%s\\n" "$#" > {tmp_path}/count; shift 4; printf %s "$*" > {tmp_path}/script; printf %s []')
    ask_hyperv()
    assert (tmp_path / "count").read_text() == "5\n"
    script = (tmp_path / "script").read_text()
    assert "Get-VM" in script
    assert not {'"', "\n"} & {*script}


# ---- names


def test_a_name_is_found_as_it_is_spelled_or_else_in_any_case(powershell: Callable[[str], Path]) -> None:
    powershell(says(json.dumps([vm("Web", A), vm("web", B), vm("Straße", C)])))
    assert find_vm("web") == [B]
    assert find_vm("WEB") == [A, B]
    assert find_vm("STRASSE") == [C]
    assert find_vm("we") == []


NEXT = {  # every word of Microsoft.HyperV.PowerShell.VMState
    "": "Running Starting Resuming",
    "in PowerShell: Start-VM 'it''s'": "Off Saved FastSaved Hibernated",
    "in PowerShell: Resume-VM 'it''s'": "Paused",
    "wait .* then in PowerShell: Start-VM 'it''s'": "Stopping Saving FastSaving ForceShutdown",
    "wait .* then in PowerShell: Resume-VM 'it''s'": "Pausing",
    "wait .* comes up again by itself": "Reset ForceReboot ComponentServicing",
    "in PowerShell: Get-VM 'it''s'": "Other WhateverComesNext",
}
CRITICAL = (
    "Running Off Stopping Saved Paused Starting Reset Saving Pausing Resuming FastSaved FastSaving"  # RunningCritical...
)


@pytest.mark.parametrize(
    ("state", "hint"),
    [(state, hint) for hint, states in NEXT.items() for state in states.split()]
    + [(f"{state}Critical", hint) for hint, states in NEXT.items() for state in states.split() if state in CRITICAL.split()],
)
def test_each_state_of_a_vm_lets_it_be_reached_or_says_what_to_type(
    powershell: Callable[[str], Path], state: str, hint: str
) -> None:
    powershell(says(json.dumps([vm("it's", A, state)])))
    if not hint:
        assert find_vm("IT'S") == [A]
        return
    with pytest.raises(NobodyListens) as caught:
        find_vm("IT'S")
    word = {"FastSaved": "saved"}.get(state.removesuffix("Critical"), state.removesuffix("Critical").lower())
    assert caught.value.message.startswith(f"the VM 'it's' is {word}")
    assert ("storage" in caught.value.message) == state.endswith("Critical")
    assert re.match(hint, caught.value.hint), caught.value.hint
    assert "--wait SECS" in caught.value.hint


def test_nothing_is_remembered(powershell: Callable[[str], Path]) -> None:
    powershell(says(json.dumps([vm("web", A)])))
    assert find_vm("web") == [A]
    powershell(says(json.dumps([vm("web", B)])))
    assert find_vm("web") == [B]


# ---- WSL


def test_wsl_is_listed_with_what_runs_in_it(wsl: Callable[..., Path]) -> None:
    wsl(running=says("Ubuntu\r\nDebian-12\r\n"), info=says(A.upper() + "\n"))
    (one,) = ask_wsl()
    assert (one.kind, one.name, one.state, one.id, str(one.address)) == ("wsl", "wsl", "running", A, "hyperv:wsl:18518")
    assert one.note == "runs Ubuntu, Debian-12"
    assert find_wsl() == A


def test_of_wsl_those_are_asked_that_run_until_one_has_the_vm(wsl: Callable[..., Path]) -> None:
    """Not the default one, which asking would start."""
    for old in (says("wsl1\n"), says("", code=127)):
        wsl(running=says("Old\r\nUbuntu\r\n"), info=says(A), old=old)
        assert ask_wsl()[0].id == find_wsl() == A


def test_wsl_1_alone_has_no_vm(wsl: Callable[..., Path]) -> None:
    wsl(running=says("Old\n"), old=says("wsl1\n"))
    (one,) = ask_wsl()
    assert (one.state, one.id) == ("off", "")
    assert one.note == "WSL has no VM: what runs is of WSL 1: Old"
    with pytest.raises(NobodyListens, match="what runs is of WSL 1: Old") as caught:
        find_wsl()
    assert "wsl --set-version" in caught.value.hint


def test_wsl_that_writes_utf_16_is_read(wsl: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "names").write_bytes("\ufeffUbuntu\r\n".encode("utf-16-le"))
    wsl(running=f"/bin/cat {tmp_path}/names", info=says(f"{{{A}}}"))
    assert ask_wsl()[0].note == "runs Ubuntu"


@pytest.mark.parametrize("running", [says("There are no running distributions.\n"), says("", code=255), says("")])
def test_wsl_that_does_not_run_is_never_started(wsl: Callable[..., Path], tmp_path: Path, running: str) -> None:
    wsl(running=running, info=f"echo started > {tmp_path}/started")
    (one,) = ask_wsl()
    assert (one.state, one.id, one.note) == ("off", "", "start it: wsl.exe")
    with pytest.raises(NobodyListens, match="not running"):
        find_wsl()
    assert not (tmp_path / "started").exists()


def test_without_wsl_there_is_none(wsl: Callable[..., Path], windows: Path) -> None:
    assert ask_wsl() == []
    with pytest.raises(Missing) as caught:
        find_wsl()
    assert "wsl --install" in caught.value.hint
    wsl(running=says("", code=1), installed=says("Windows Subsystem for Linux is not installed.\n", code=50))
    assert ask_wsl() == []


@pytest.mark.parametrize(
    ("info", "words", "hint"),
    [
        (says("", code=127, err="wslinfo: command not found"), "older than 2.0", "wsl --update"),
        (says(""), "older than 2.0", "wsl --update"),
        (says("\x1b[2Jnothing"), r"makes no sense: \\x1b", "wsl -- wslinfo --vm-id"),
        (says(A[:-1]), "makes no sense", "wsl -- wslinfo --vm-id"),
    ],
)
def test_wsl_that_does_not_tell_its_id(wsl: Callable[..., Path], info: str, words: str, hint: str) -> None:
    wsl(running=says("Ubuntu\n"), info=info)
    with pytest.raises(LocalFailure, match=words) as caught:
        find_wsl()
    assert hint in caught.value.hint


def test_wsl_that_hangs_is_told(wsl: Callable[..., Path]) -> None:
    wsl(running=HANGS)
    with pytest.raises(TimedOut, match=r"wsl\.exe did not answer"):
        ask_wsl(0.3)


# ---- in addresses


def test_an_address_asks_this_machine_for_the_names_in_it(
    powershell: Callable[[str], Path], wsl: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "open_registry", lambda: MemoryRegistry({P1: "backup"}))
    powershell(says(json.dumps([vm("web", A), vm("Twin", B), vm("twin", C), vm("db", C, "Saved")])))
    wsl(running=says("Ubuntu\n"), info=says(B))

    def meant(machine: str, service: str = "5001") -> tuple[str, str]:
        return resolve(HypervAddress(machine, service), of_this_machine(), listening=False).pair

    assert meant("WEB", "Backup") == (A, P1)
    assert meant("wsl") == (B, P1)
    for machine, kind, words in [
        ("nobody", BadUsage, "no VM here has the name 'nobody'"),
        ("aaaaaaaa-1111-2222-3333", BadUsage, "no VM here"),
        ("TWIN", BadUsage, "2 VMs"),
        ("db", NobodyListens, "is saved"),
    ]:
        with pytest.raises(kind, match=words) as caught:
            meant(machine)
        assert caught.value.hint
    with pytest.raises(BadUsage, match="no service here has the name 'gone'"):
        meant("web", "gone")


@pytest.mark.parametrize(
    ("machine", "program_name", "otherwise"), [("web", "powershell.exe", "the VM's GUID"), ("wsl", "wsl.exe", "wslinfo")]
)
@pytest.mark.parametrize("bounded", [True, False])
def test_a_question_without_an_answer_names_the_address_and_what_helps(
    powershell: Callable[[str], Path],
    wsl: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    *,
    machine: str,
    program_name: str,
    otherwise: str,
    bounded: bool,
) -> None:
    """--timeout is the bound where it reaches the lookup, and only there it is advised."""
    powershell(HANGS)
    wsl(running=HANGS)
    monkeypatch.setattr(vms, "SECONDS", 0.2)
    lookups = of_this_machine(Patience(0.3) if bounded else None)
    with pytest.raises(TimedOut) as caught:
        resolve(HypervAddress(machine, "5"), lookups, listening=not bounded)
    assert caught.value.message.startswith(f"hyperv:{machine}:5: {program_name} did not tell within 0.")
    assert ("within 0.3 s" in caught.value.message) == bounded
    assert otherwise in caught.value.hint
    assert ("--timeout 60" in caught.value.hint) == bounded
    assert str(caught.value) == caught.value.message


def test_both_questions_to_wsl_are_within_one_bound(wsl: Callable[..., Path]) -> None:
    wsl(running=says("Ubuntu\n"), info=HANGS)
    with pytest.raises(TimedOut, match=r"within 0\.4 s"):
        find_wsl(Patience(0.4))


def test_other_failures_of_a_lookup_name_the_address_too(powershell: Callable[[str], Path]) -> None:
    powershell(says(""))
    with pytest.raises(LocalFailure, match=r"^hyperv:web:5: PowerShell answered nothing"):
        resolve(HypervAddress("web", "5"), of_this_machine(), listening=False)
