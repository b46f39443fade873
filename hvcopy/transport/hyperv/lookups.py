"""Whom this machine asks for the ids of VMs and services.  Each lookup asks the system when called, and never before."""

from __future__ import annotations

from collections.abc import Sequence

from hvcopy.transport.hyperv.resolve import Lookups


def of_this_machine() -> Lookups:
    """The lookups of this machine."""
    return Lookups(vms=_vms, wsl=_wsl, services=_services)


def _vms(name: str) -> Sequence[str]:
    from hvcopy.transport.hyperv.vms import find_vm

    return find_vm(name)


def _wsl() -> str:
    from hvcopy.transport.hyperv.vms import find_wsl

    return find_wsl()


def _services(name: str) -> Sequence[str]:
    from hvcopy.transport.hyperv.registry import find_service

    return find_service(name)
