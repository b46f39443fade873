"""The ids of VMs by their names, asked of Hyper-V and WSL each time: new VMs come, and WSL's id changes at every start."""

from __future__ import annotations

from hvcopy.elevation import quote
from hvcopy.errors import NobodyListens, TimedOut, printable
from hvcopy.machines import machine
from hvcopy.machines.machine import Machine
from hvcopy.machines.powershell import CRITICAL, SECONDS, ask_hyperv
from hvcopy.machines.programs import more_time
from hvcopy.machines.wsl import ask_wsl_id
from hvcopy.transport.patience import Patience

_UP = (machine.RUNNING, machine.STARTING)
"""It may be there already when the connection is tried."""
_OFF, _HELD = "Start-VM", "Resume-VM"
_NEXT = {  # Microsoft.HyperV.PowerShell.VMState, in the words of hvcopy.machines
    machine.OFF: _OFF,
    machine.SAVED: _OFF,
    "hibernated": _OFF,
    machine.PAUSED: _HELD,
}
_ON_THE_WAY = {  # and what it needs once it is there, nothing when it comes up by itself
    machine.STOPPING: _OFF,
    "forceshutdown": _OFF,
    "saving": _OFF,
    "fastsaving": _OFF,
    "pausing": _HELD,
    "reset": "",
    "forcereboot": "",
    "componentservicing": "",
}


def find_vm(name: str, patience: Patience | None = None) -> list[str]:
    """Return the GUIDs of all VMs called *name*, spelled so or else in any case; none, one, or several.

    Hyper-V has *patience* to answer, or the bound of ``hvcopy vms``.
    Raises NobodyListens when the only one does not run, and what asking raises: NotAllowed, TimedOut, LocalFailure,
    Interrupted.
    """
    bound = patience or Patience(SECONDS)
    try:
        machines = ask_hyperv(bound.seconds, bound.cancelled)
    except TimedOut:
        raise TimedOut(
            f"powershell.exe did not tell within {bound.seconds:g} s which VM '{printable(name)}' is",
            hint=_in_time(patience, "write the VM's GUID in place of its name (Get-VM or hvcopy vms shows it)"),
        ) from None
    found = [one for one in machines if one.name == name]
    found = found or [one for one in machines if one.name.casefold() == name.casefold()]
    if len(found) == 1 and found[0].state.removesuffix(CRITICAL) not in _UP:
        raise _not_running(found[0])
    return [one.id for one in found]


def find_wsl(patience: Patience | None = None) -> str:
    """Return the GUID of WSL2's VM.  Raises NobodyListens when it does not run, TimedOut, LocalFailure, Interrupted."""
    bound = patience or Patience(SECONDS)
    try:
        return ask_wsl_id(bound.seconds, bound.cancelled)
    except TimedOut:
        raise TimedOut(
            f"wsl.exe did not tell within {bound.seconds:g} s which VM is WSL's",
            hint=_in_time(patience, "write its GUID in place of 'wsl' (wsl.exe -- wslinfo --vm-id prints it)"),
        ) from None


def _in_time(patience: Patience | None, otherwise: str) -> str:
    """The way without a question, and that to a later answer where the user bounds it."""
    return f"{otherwise}, or {more_time(patience.seconds)} (nc: -w)" if patience else otherwise


def _not_running(one: Machine) -> NobodyListens:
    state = one.state.removesuffix(CRITICAL)
    name = quote(one.name)
    if state in _ON_THE_WAY:
        verb = _ON_THE_WAY[state]
        then = f", then in PowerShell: {verb} {name}" if verb else ", it comes up again by itself"
        hint = f"wait for the end of that (hvcopy vms shows it){then}; --wait SECS waits until it is up"
    else:
        hint = f"in PowerShell: {_NEXT.get(state, 'Get-VM')} {name}; --wait SECS waits until it is up"
    trouble = ", and its storage is full or out of reach" if state != one.state else ""
    return NobodyListens(f"the VM '{printable(one.name)}' is {state}{trouble}", hint=hint)
