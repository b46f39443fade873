"""Hyper-V's VMs, as Windows PowerShell tells them: name, id and state of each."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable

from hvcopy.address import HypervAddress, parse_address, parse_guid
from hvcopy.elevation import to_join_hyperv_administrators
from hvcopy.errors import BadUsage, HvcopyError, LocalFailure, NotAllowed, printable
from hvcopy.machines import machine
from hvcopy.machines.machine import Machine
from hvcopy.machines.programs import Missing, ask, never

KIND = "hyperv"
CRITICAL = "critical"
"""How the state of a VM ends whose storage is full or out of reach."""
SECONDS = 20.0
"""PowerShell takes two to three to start and load Hyper-V's module, more on a busy machine."""

# One line without double quotes, which Windows' command lines and PowerShell read each in its own way.  What fails is
# told as an object, for texts are in the user's language.  Setting the encoding fails where there is no console.
SCRIPT = (
    "$ErrorActionPreference = 'Stop';"
    " try { [Console]::OutputEncoding = New-Object Text.UTF8Encoding $false } catch { };"
    " try {"
    " $found = @(Get-VM | ForEach-Object { @{ Name = [string]$_.Name; Id = [string]$_.Id; State = [string]$_.State } });"
    " ConvertTo-Json -Compress -InputObject $found"
    " } catch {"
    " $id = [string]$_.FullyQualifiedErrorId; $category = [string]$_.CategoryInfo.Category;"
    " ConvertTo-Json -Compress -InputObject @{ Error = $id; Category = $category; Text = [string]$_ }"
    " }"
)
_STATES = {  # Microsoft.HyperV.PowerShell.VMState; of a VM whose storage is in trouble it ends in Critical
    "running": machine.RUNNING,
    "paused": machine.PAUSED,
    "saved": machine.SAVED,
    "fastsaved": machine.SAVED,
    "off": machine.OFF,
    "starting": machine.STARTING,
    "resuming": machine.STARTING,
    "stopping": machine.STOPPING,
}


def system_program(*below: str) -> str:
    """Return a program of Windows by its whole path: the search for a bare name begins in the current folder."""
    return os.path.join(os.environ.get("SYSTEMROOT") or r"C:\Windows", "System32", *below)


def ask_hyperv(seconds: float = SECONDS, cancelled: Callable[[], bool] = never) -> list[Machine]:
    """Return all VMs of Hyper-V on this Windows, in its own order.

    Raises NotAllowed, TimedOut, LocalFailure, and Interrupted once *cancelled*.
    """
    program = system_program("WindowsPowerShell", "v1.0", "powershell.exe")
    try:
        words = [program, "-NoLogo", "-NoProfile", "-NonInteractive", "-Command", SCRIPT]
        answer = ask(words, seconds, cancelled=cancelled)
    except Missing:
        raise Missing(
            "Windows PowerShell is not on this machine, so VMs cannot be looked up by name",
            hint=f"{_BY_GUID}; PowerShell belongs at {program}",
        ) from None
    text = answer.out.decode("utf-8", "replace").lstrip("\ufeff").strip()
    if not text:
        raise LocalFailure(f"PowerShell answered nothing when asked for VMs ({answer.last_words})", hint=_TRY)
    return read_answer(text)


_BY_GUID = "write the VM's GUID in place of its name"
_TRY = f"see what it says: powershell -Command Get-VM; or {_BY_GUID}"


def read_answer(text: str) -> list[Machine]:
    """Return the VMs of what the script printed.  Raises what it told, LocalFailure for what makes no sense."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and "Error" in found:
        raise _explain(str(found["Error"]), str(found.get("Category")), str(found.get("Text")))
    if isinstance(found, dict) and {*found} == {"value", "Count"}:  # how PowerShell 5 writes some arrays
        found = found["value"]
    rows = [found] if isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise LocalFailure(f"PowerShell's answer makes no sense: {printable(text[:200])}", hint=_TRY)
    return _addressed([_machine(row) for row in rows])


def _machine(row: object) -> Machine:
    try:
        assert isinstance(row, dict)
        name, guid, state = (row[key] for key in ("Name", "Id", "State"))
        assert isinstance(name, str)
        assert isinstance(state, str)
        known = _state(state)
        return Machine(KIND, name, known, id=parse_guid(str(guid)))
    except (AssertionError, KeyError, BadUsage):
        raise LocalFailure(
            f"PowerShell's answer has a VM that makes no sense: {printable(str(row)[:200])}", hint=_TRY
        ) from None


_NO_MODULE = "CommandNotFoundException"
_INSTALL = "Enable-WindowsOptionalFeature -Online -FeatureName Microsoft-Hyper-V-Management-PowerShell"
_INSTALL_SERVER = "Install-WindowsFeature Hyper-V-PowerShell"


def _explain(error: str, category: str, text: str) -> HvcopyError:
    """Return the failure of Get-VM, told by its identifiers, which no language changes."""
    if error.startswith(_NO_MODULE) or "CouldNotAutoLoadModule" in error:
        return LocalFailure(
            "Hyper-V's PowerShell module is not on this machine, so VMs cannot be looked up by name",
            hint=f"as an administrator, in PowerShell: {_INSTALL} (on a server: {_INSTALL_SERVER}); or {_BY_GUID}",
        )
    if category == "PermissionDenied" or error.startswith(("AccessDenied", "Unauthorized")):
        return NotAllowed(
            "you may not ask Hyper-V for its VMs",
            hint=f"{to_join_hyperv_administrators()}; or {_BY_GUID}",
        )
    return LocalFailure(f"Hyper-V did not tell its VMs: {printable(text[:300])}", hint=_TRY)


def _state(told: str) -> str:
    word = told.lower()
    well = word.removesuffix(CRITICAL)
    critical = word[len(well) :] if well else ""
    return _STATES[well] + critical if well in _STATES else printable(word[:40])


def _addressed(machines: list[Machine]) -> list[Machine]:
    """Give each its address: by name where that is one VM's alone and reads as a name."""
    names = [one.name.casefold() for one in machines]
    for one in machines:
        address = machine.hyperv(one.name)
        alone = names.count(one.name.casefold()) == 1
        if not alone or _reads_otherwise(one.name):
            address = machine.hyperv(one.id)
            one.note = "" if alone else "another VM has this name, so its GUID stands in the address"
        one.address = address
    return machines


def _reads_otherwise(name: str) -> bool:
    """True for a name that an address takes for something else: a GUID, ``parent``, ``wsl``, what it cannot carry.

    Well-known names are read in any case, other names are kept as they are.
    """
    loud = name.upper()
    with contextlib.suppress(BadUsage):
        read = parse_address(str(machine.hyperv(loud)))
        return not isinstance(read, HypervAddress) or read.vm != loud or is_guid(name)
    return True


def is_guid(text: str) -> bool:
    """True when *text* spells a GUID."""
    with contextlib.suppress(BadUsage):
        return bool(parse_guid(text))
    return False
