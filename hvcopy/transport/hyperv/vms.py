"""The ids of VMs by their names, asked of Hyper-V and WSL each time: new VMs come, and WSL's id changes at every start."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hvcopy.elevation import quote
from hvcopy.errors import NobodyListens, printable
from hvcopy.machines import machine
from hvcopy.machines.machine import Machine
from hvcopy.machines.powershell import ask_hyperv
from hvcopy.machines.wsl import ask_wsl_id

_UP = (machine.RUNNING, machine.STARTING)
_VERBS = {machine.PAUSED: "Resume-VM"}


def find_vm(name: str, ask: Callable[[], Sequence[Machine]] = ask_hyperv) -> list[str]:
    """Return the GUIDs of all VMs called *name*, spelled so or else in any case; none, one, or several.

    Raises NobodyListens when the only one does not run, and what asking raises: NotAllowed, TimedOut, LocalFailure.
    """
    machines = ask()
    found = [one for one in machines if one.name == name]
    found = found or [one for one in machines if one.name.casefold() == name.casefold()]
    if len(found) == 1 and found[0].state not in _UP:
        raise _not_running(found[0])
    return [one.id for one in found]


def find_wsl() -> str:
    """Return the GUID of WSL2's VM.  Raises NobodyListens when it does not run, TimedOut, LocalFailure."""
    return ask_wsl_id()


def _not_running(one: Machine) -> NobodyListens:
    verb = _VERBS.get(one.state, "Start-VM")
    return NobodyListens(
        f"the VM '{printable(one.name)}' is {one.state}",
        hint=f"in PowerShell: {verb} {quote(one.name)}; --wait SECS waits until it is up",
    )
