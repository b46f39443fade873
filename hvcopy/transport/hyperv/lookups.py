"""Whom this machine asks for the ids of VMs and services.  Each lookup asks the system when called, and never before."""

from __future__ import annotations

from collections.abc import Sequence

from hvcopy.transport.hyperv.resolve import Lookups
from hvcopy.transport.patience import Patience


def of_this_machine(patience: Patience | None = None) -> Lookups:
    """The lookups of this machine, each with all of *patience*, or with a bound of its own, to be answered."""

    def vms(name: str) -> Sequence[str]:
        from hvcopy.transport.hyperv.vms import find_vm

        return find_vm(name, patience)

    def wsl() -> str:
        from hvcopy.transport.hyperv.vms import find_wsl

        return find_wsl(patience)

    return Lookups(vms=vms, wsl=wsl, services=_services)


def _services(name: str) -> Sequence[str]:
    from hvcopy.transport.hyperv.registry import find_service

    return find_service(name)
