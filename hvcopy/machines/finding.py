"""All sources of this system, one after the other; one that fails takes nothing from the others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from hvcopy.errors import HvcopyError
from hvcopy.machines.machine import Machine

API_SECONDS = 2.0
"""A VMM answers from memory."""

Source = tuple[str, Callable[[], list[Machine]]]


def sources(seconds: float) -> list[Source]:
    """Return this system's sources by their names; each program has *seconds* to answer."""
    if sys.platform == "win32":
        from hvcopy.machines import powershell, wsl

        return [("Hyper-V", lambda: powershell.ask_hyperv(seconds)), ("WSL", lambda: wsl.ask_wsl(seconds))]
    else:
        from hvcopy.machines import libvirt, qemu, vmms
        from hvcopy.machines.processes import all_processes

        api = min(seconds, API_SECONDS)
        return [
            ("libvirt", lambda: libvirt.find(seconds)),
            ("QEMU", lambda: qemu.find(all_processes())),
            ("VMMs with a socket", lambda: vmms.find(all_processes(), api)),
        ]


def find_all(asked: Iterable[Source]) -> tuple[list[Machine], list[tuple[str, HvcopyError]]]:
    """Return the VMs of all sources, each once, and the sources that failed."""
    found: list[Machine] = []
    failed: list[tuple[str, HvcopyError]] = []
    for name, ask in asked:
        try:
            found += [one for one in ask() if not _is_known(one, found)]
        except HvcopyError as error:
            failed.append((name, error))
    return found, failed


def _is_known(one: Machine, found: list[Machine]) -> bool:
    """True for the process of a VM that its manager has told of already, by its id or its CID."""
    return one.kind == "qemu" and any(
        other.kind == "libvirt"
        and ((one.id and one.id == other.id) or (one.address and one.address == other.address and other.state != "off"))
        for other in found
    )
