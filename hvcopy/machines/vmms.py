"""The VMs of Firecracker, Cloud Hypervisor and vhost-device-vsock: each has a unix socket that leads into its guest."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterable
from typing import Any

from hvcopy.errors import printable
from hvcopy.machines import machine, unixhttp
from hvcopy.machines.machine import Machine
from hvcopy.machines.processes import Process, fields, option, path_from_here

FIRECRACKER, CLOUD_HYPERVISOR, VHOST_DEVICE = "firecracker", "cloud-hypervisor", "vhost-device-vsock"
LARGEST_FILE = 1 << 20
_STATES = {
    "running": machine.RUNNING,
    "paused": machine.PAUSED,
    "not started": machine.OFF,  # Firecracker's InstanceInfo
    "created": machine.OFF,  # Cloud Hypervisor's VmState
    "shutdown": machine.OFF,
    "breakpoint": machine.PAUSED,
}
_HIDDEN = "where its socket is may be known to its own user and root only: sudo hvcopy vms"


def find(processes: Iterable[Process], seconds: float) -> list[Machine]:
    """Return the VMs of all processes that are one of these; each API has *seconds* to answer."""
    found: list[Machine] = []
    for process in processes:
        if re.fullmatch(r"firecracker(-v[\d.]+.*)?", process.program):
            found.append(_firecracker(process, seconds))
        elif re.fullmatch(r"cloud-hypervisor(-static|-v[\d.]+.*)?", process.program):
            found.append(_cloud_hypervisor(process, seconds))
        elif process.program == VHOST_DEVICE:
            found += _vhost_device(process)
    return found


def _firecracker(process: Process, seconds: float) -> Machine:
    name = option(process.words, "--id") or f"firecracker-{process.pid}"
    api = "" if "--no-api" in process.words else option(process.words, "--api-sock") or "/run/firecracker.socket"
    told = _ask(process, api, "/", seconds)
    device = _ask(process, api, "/vm/config", seconds).get("vsock") if told else None
    if not told:
        device = _config(process, option(process.words, "--config-file")).get("vsock")
    path = device.get("uds_path") if isinstance(device, dict) else None
    return _machine(
        FIRECRACKER, name, process, path, told.get("state"), lacking="its configuration needs a vsock with a uds_path"
    )


def _cloud_hypervisor(process: Process, seconds: float) -> Machine:
    given = option(process.words, "--api-socket")
    api = fields(given).get("path") or ("" if given.startswith("fd=") else given)
    told = _ask(process, api, "/api/v1/vm.info", seconds)
    config = told.get("config")
    device = config.get("vsock") if isinstance(config, dict) else fields(option(process.words, "--vsock"))
    path = device.get("socket") if isinstance(device, dict) else None
    name = f"cloud-hypervisor-{process.pid}"
    return _machine(
        CLOUD_HYPERVISOR, name, process, path, told.get("state"), lacking="start it with --vsock cid=3,socket=PATH"
    )


def _vhost_device(process: Process) -> list[Machine]:
    """One process may serve several guests: --vm guest-cid=3,uds-path=PATH,socket=... for each."""
    given = [fields(value) for word, value in zip(process.words, process.words[1:], strict=False) if word == "--vm"]
    given += [fields(word[5:]) for word in process.words if word.startswith("--vm=")]
    if not given:
        alone = {name: option(process.words, f"--{name}") for name in ("guest-cid", "uds-path")}
        given = [alone] if alone["uds-path"] else []
    return [
        _machine(
            VHOST_DEVICE,
            f"cid-{one.get('guest-cid') or 3}",  # its own default
            process,
            one.get("uds-path"),
            None,
            lacking="it forwards to AF_VSOCK, and has no socket of its own",
        )
        for one in given
    ]


def _machine(kind: str, name: str, process: Process, path: object, state: object, *, lacking: str) -> Machine:
    known = _STATES.get(str(state).lower(), printable(str(state)[:40].lower())) if state else machine.RUNNING
    found = Machine(kind, name, machine.STOPPED if process.stopped else known, pid=process.pid)
    if not isinstance(path, str) or not path:
        found.note = f"it has no vsock device: {lacking}"
        return found
    here = path_from_here(process, path)
    found.address = machine.hybrid(here) if here else None
    if not found.address:
        found.note = f"no socket can be called {here[:200]}: give it a shorter path" if here else _HIDDEN
    return found


def _ask(process: Process, api: str, resource: str, seconds: float) -> dict[str, Any]:
    path = path_from_here(process, api) if api and not process.stopped else None
    return unixhttp.get(path, process.pid, resource, seconds) or {} if path else {}


def _config(process: Process, given: str) -> dict[str, Any]:
    """Return Firecracker's configuration file; what is no plain file is not even opened, for devices notice that."""
    path = path_from_here(process, given) if given else None
    flags = getattr(os, "O_PATH", 0) | getattr(os, "O_CLOEXEC", 0)  # neither is on Windows, where nothing comes here
    with contextlib.suppress(OSError, ValueError, RecursionError):
        handle = os.open(path or "", flags)
        try:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                with open(f"/proc/self/fd/{handle}", "rb") as file:
                    found = json.loads(file.read(LARGEST_FILE))
                return found if isinstance(found, dict) else {}
        finally:
            os.close(handle)
    return {}
