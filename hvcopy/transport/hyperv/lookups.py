"""Whom this machine asks for the ids of VMs and services.  Each lookup asks the system when called, and never before."""

from __future__ import annotations

from collections.abc import Sequence

from hvcopy.errors import BadUsage, printable
from hvcopy.transport.hyperv.resolve import Lookups


def of_this_machine() -> Lookups:
    """The lookups of this machine."""
    return Lookups(vms=_vms, wsl=_wsl, services=_services)


def _vms(name: str) -> Sequence[str]:
    raise BadUsage(
        f"the VM '{printable(name)}' cannot be looked up by its name in this version",
        hint="give its id: powershell (Get-VM -Name NAME).Id",
    )


def _wsl() -> str:
    raise BadUsage("the VM of WSL2 cannot be looked up in this version", hint="give its id: wsl.exe -- wslinfo --vm-id")


def _services(name: str) -> Sequence[str]:
    from hvcopy.transport.hyperv import registry

    return [registry.find_service(registry.open_registry(), name)]
