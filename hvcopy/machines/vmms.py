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
from hvcopy.machines.processes import Process, fields, is_root, option, path_from_here

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
_NO_DEVICE = "it has no vsock device"
_UNTOLD = "neither its API nor its configuration tells you of a socket"
_MORE = ": sudo hvcopy vms may be told more"
_HIDDEN = "where its socket is may be known to its own user and root only: sudo hvcopy vms"
_NOWHERE = "its folder, or its root, is not to be seen any more"


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
    config = _ask(process, api, "/vm/config", seconds) if told else _config(process)
    device = config.get("vsock") if config else None
    path = device.get("uds_path") if isinstance(device, dict) else None
    lacking = _untold() if config is None else f"{_NO_DEVICE}: its configuration needs a vsock with a uds_path"
    return _machine(FIRECRACKER, name, process, path, told, lacking)


def _cloud_hypervisor(process: Process, seconds: float) -> Machine:
    given = option(process.words, "--api-socket")
    api = fields(given).get("path") or ("" if given.startswith("fd=") else given)
    told = _ask(process, api, "/api/v1/vm.info", seconds)
    config = told.get("config") if told else None
    device = config.get("vsock") if isinstance(config, dict) else fields(option(process.words, "--vsock"))
    path = device.get("socket") if isinstance(device, dict) else None
    # With an API the VM may have been described there, and not on the command line.
    lacking = _untold() if given and told is None else f"{_NO_DEVICE}: start it with --vsock cid=3,socket=PATH"
    return _machine(CLOUD_HYPERVISOR, f"cloud-hypervisor-{process.pid}", process, path, told, lacking)


def _vhost_device(process: Process) -> list[Machine]:
    """One process may serve several guests: --vm guest-cid=3,uds-path=PATH,socket=... for each."""
    given = [fields(value) for word, value in zip(process.words, process.words[1:], strict=False) if word == "--vm"]
    given += [fields(word[5:]) for word in process.words if word.startswith("--vm=")]
    if not given:
        alone = {name: option(process.words, f"--{name}") for name in ("guest-cid", "uds-path", "forward-cid")}
        given = [alone] if alone["uds-path"] or alone["forward-cid"] else []
    if not given and (config := option(process.words, "--config")):
        lacking = f"its guests, and the uds_path of each, stand in {config[:200]}, which hvcopy does not read"
        return [_machine(VHOST_DEVICE, f"{VHOST_DEVICE}-{process.pid}", process, None, None, lacking)]
    return [
        _machine(
            VHOST_DEVICE,
            f"cid-{machine.shown_cid(one.get('guest-cid') or 3)}",  # its own default
            process,
            one.get("uds-path"),
            None,
            f"{_NO_DEVICE} with a socket: it forwards to AF_VSOCK",
        )
        for one in given
    ]


def _machine(
    kind: str, name: str, process: Process, path: object, told: dict[str, Any] | None, lacking: str
) -> Machine:
    """Return the VM behind the socket *path*; without one, *lacking* says why.  *told* is what its API says of it."""
    state = told.get("state") if told else None
    known = _STATES.get(str(state).lower(), printable(str(state)[:40].lower())) if state else machine.RUNNING
    found = Machine(kind, name, machine.STOPPED if process.stopped else known, pid=process.pid)
    if not isinstance(path, str) or not path:
        found.note = lacking
        return found
    here = path_from_here(process, path)
    found.address = machine.hybrid(here) if here else None
    if not found.address:
        found.note = f"no socket can be called {here[:200]}: give it a shorter path" if here else _hidden()
    return found


def _untold() -> str:
    return _UNTOLD if is_root() else _UNTOLD + _MORE


def _hidden() -> str:
    return _NOWHERE if is_root() else _HIDDEN


def _ask(process: Process, api: str, resource: str, seconds: float) -> dict[str, Any] | None:
    path = path_from_here(process, api) if api and not process.stopped else None
    return unixhttp.get(path, process.pid, resource, seconds) if path else None


def _config(process: Process) -> dict[str, Any] | None:
    """Return Firecracker's configuration file, None when there is none that can be read.

    What is no plain file is not even opened, for devices notice that.
    """
    given = option(process.words, "--config-file")
    path = path_from_here(process, given) if given else None
    flags = getattr(os, "O_PATH", 0) | getattr(os, "O_CLOEXEC", 0)  # neither is on Windows, where nothing comes here
    with contextlib.suppress(OSError):
        handle = os.open(path or "", flags)
        try:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                with open(f"/proc/self/fd/{handle}", "rb") as file:
                    return _object(file.read(LARGEST_FILE))
        finally:
            os.close(handle)
    return None


def _object(raw: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(raw)
        return found if isinstance(found, dict) else {}
    return {}
