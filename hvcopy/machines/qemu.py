"""QEMU's VMs, by their processes' command lines: what they are called, and the CID of their vhost-vsock device."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from hvcopy.machines import machine
from hvcopy.machines.machine import Machine
from hvcopy.machines.processes import Process, fields

KIND = "qemu"
_PROGRAM = r"qemu-system-\w+|qemu-kvm|qemu|kvm"
_DEVICE = r"vhost-vsock(-(pci|device|ccw))?(-(non-)?transitional)?"
_HYBRID = r"vhost-user-vsock(-(pci|device|ccw))?(-(non-)?transitional)?"
NO_DEVICE = "it has no vsock device: start it with -device vhost-vsock-pci,guest-cid=3, or another number that is free"
_ELSEWHERE = "its vsock device is another process's, vhost-device-vsock"


def find(processes: Iterable[Process]) -> list[Machine]:
    """Return the VM of each process that is QEMU."""
    return [_machine(process) for process in processes if re.fullmatch(_PROGRAM, process.program)]


def _machine(process: Process) -> Machine:
    name, guid, cid, note = f"qemu-{process.pid}", "", -1, NO_DEVICE
    for word, value in zip(process.words, process.words[1:], strict=False):
        if word in ("-name", "--name"):
            given = fields(value)
            name = given.get("guest") or next((key for key, text in given.items() if not text), "") or name
        elif word in ("-uuid", "--uuid"):
            guid = value.lower()
        elif word in ("-device", "--device"):
            device = _device(value)
            driver = device.get("driver", "")
            if re.fullmatch(_DEVICE, driver):
                cid = machine.number(device.get("guest-cid", ""))
                told = machine.shown_cid(device.get("guest-cid", ""))
                note = "" if machine.vsock(cid) else f"no guest can have its CID '{told}'"
            elif re.fullmatch(_HYBRID, driver) and cid < 0:
                note = _ELSEWHERE
    state = machine.STOPPED if process.stopped else machine.RUNNING
    return Machine(KIND, name, state, id=guid, pid=process.pid, address=machine.vsock(cid), note=note)


def _device(value: str) -> dict[str, str]:
    """Return the properties of a device, in either way of writing them: ``DRIVER,NAME=VALUE`` or JSON, as libvirt does."""
    if value.startswith("{"):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return {}
        return {str(key): str(text) for key, text in found.items()}
    first, _, rest = value.partition(",")
    return {"driver": first.removeprefix("driver="), **fields(rest)}
