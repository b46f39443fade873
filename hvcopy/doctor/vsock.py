"""AF_VSOCK on Linux: the family, the device that tells the CID, and the ways to host, guests and itself."""

from __future__ import annotations

import errno
import os
import stat

from hvcopy.address import CID_ANY, VsockAddress
from hvcopy.doctor import system
from hvcopy.doctor.finding import FAIL, OK, UNKNOWN, WARN, Finding, not_applicable
from hvcopy.doctor.kernel import ABSENT, AT_HAND, OPTIONS, READY, UNTOLD, Kernel
from hvcopy.doctor.machine import Machine

SOCKET = "vsock.socket"
TO_HOST, TO_GUESTS, TO_ITSELF = "vsock.to-host", "vsock.to-guests", "vsock.to-itself"
NO_WAY, NOT_ALLOWED = 4, 9  # errors.NobodyListens, NotAllowed: what a command would end with
VIRTIO_ID_VSOCK = "0x0013"  # linux/virtio_ids.h
FIRST_GUEST = 3
_HV_SOCK = (system.HYPERV, system.WSL2)
_ADD_DEVICE = (
    "on the host give this VM one. QEMU: -device vhost-vsock-pci,guest-cid=3; libvirt: virt-xml VM --add-device --vsock"
    " cid.auto=yes; Firecracker: PUT /vsock; Cloud Hypervisor: --vsock cid=3,socket=/run/v.sock"
)


def needed(address: VsockAddress | None, cid: int | None, *, to_guests: bool) -> str:
    """Return the way that *address* goes from a machine whose CID is *cid*; empty when none in particular.

    *to_guests*: there is a transport to guests; without one all but the machine itself is sought at the host
    (af_vsock.c vsock_assign_transport).
    """
    if address is None or address.cid == CID_ANY:
        return ""
    if address.cid in (1, cid):
        return TO_ITSELF
    return TO_GUESTS if address.cid >= FIRST_GUEST and to_guests else TO_HOST


def findings(machine: Machine, address: VsockAddress | None = None) -> list[Finding]:
    """Return what is to be said about AF_VSOCK, with the way that *address* goes judged as needed."""
    if system.hypervisor(machine) == system.WSL1:
        return none_of_it("WSL 1 has no vsock")
    kernel = Kernel(machine)
    found = [_kernel(machine, kernel), _modules(kernel), _socket(machine, kernel), _device(machine)]
    cid = _ask(machine)
    found.append(_cid(machine, cid))
    ways = [_to_host(machine, kernel), _to_guests(machine, kernel), _to_itself(machine, kernel)]
    host = ways[0].state == OK and not kernel.ready("vhost_vsock")
    way = needed(address, cid if isinstance(cid, int) else None, to_guests=not host)
    fixes = {
        TO_HOST: "vsock:host is for guests; from a host name the guest's CID: hvcopy vms lists them",
        TO_GUESTS: kernel.get("vhost_vsock", contained=_contained(machine)),
    }
    return found + [_as_needed(one, way, fixes.get(way, "")) if way else one for one in ways]


def none_of_it(why: str) -> list[Finding]:
    """Return the findings of a system that has no AF_VSOCK by its nature."""
    names = ("vsock.kernel", "vsock.modules", SOCKET, "vsock.device", "vsock.cid", TO_HOST, TO_GUESTS, TO_ITSELF)
    return [not_applicable(name, why) for name in names]


def _as_needed(one: Finding, way: str, fix: str) -> Finding:
    """Return *one* judged by whether the address goes that *way*, with *fix* for a way that would not be missed otherwise."""
    if one.id != way:
        return not_applicable(one.id, "the address does not go that way")
    if one.state in (OK, FAIL):
        return one
    return Finding(one.id, FAIL, one.what, one.why, one.fix or fix, NO_WAY)


def _contained(machine: Machine) -> bool:
    return bool(system.container(machine))


def _kernel(machine: Machine, kernel: Kernel) -> Finding:
    state = kernel.state("vsock")
    if (
        "AF_VSOCK" in {line.split(" ", 1)[0] for line in machine.read("proc/net/protocols").splitlines()}
        or state in READY
    ):
        return Finding("vsock.kernel", OK, f"the kernel has AF_VSOCK ({state})")
    why = "without it there are no vsock: addresses here"
    fix = kernel.get("vsock", contained=_contained(machine))
    if state == AT_HAND:
        return Finding("vsock.kernel", OK, "the kernel has AF_VSOCK as a module, loaded when it is first used")
    if state == ABSENT:
        cause = "CONFIG_VSOCKETS is not set" if kernel.setting("vsock") == "n" else "it has no module vsock"
        return Finding("vsock.kernel", FAIL, f"this kernel has no AF_VSOCK: {cause}", why, fix, NOT_ALLOWED)
    return Finding("vsock.kernel", UNKNOWN, "nothing here says whether the kernel has AF_VSOCK", why, fix)


def _modules(kernel: Kernel) -> Finding:
    states = {module: kernel.state(module) for module in OPTIONS}
    told = ", ".join(f"{module} {state}" for module, state in states.items() if state != UNTOLD)
    return Finding("vsock.modules", OK if told else UNKNOWN, told or "nothing tells which modules there are")


def _socket(machine: Machine, kernel: Kernel) -> Finding:
    try:
        machine.opens_vsock()
    except OSError as error:
        return _no_socket(machine, kernel, error)
    return Finding(SOCKET, OK, "AF_VSOCK sockets can be opened")


def _no_socket(machine: Machine, kernel: Kernel, error: OSError) -> Finding:
    words = error.strerror or str(error)
    what, why = f"AF_VSOCK sockets cannot be opened ({words})", "every vsock: address needs one"
    manager, causes = system.container(machine), system.confined(machine)
    filtered = "system.seccomp" in causes
    if error.errno == errno.EAFNOSUPPORT and not kernel.ready("vsock"):
        causes, fix = ["vsock.kernel"], kernel.get("vsock", contained=bool(manager))
    elif filtered and manager:
        why = f"{why}; the container's seccomp filter refuses them"
        fix = (
            f"allow socket(40, ...) in the container's seccomp profile; to see that it is this: {_unfiltered(manager)}"
        )
    elif filtered:
        fix = "allow AF_VSOCK in the filter; for a systemd service: RestrictAddressFamilies=AF_VSOCK AF_UNIX AF_INET AF_INET6"
    else:
        fix = "see what forbids it: sudo ausearch -m avc -ts recent, sudo journalctl -k --grep apparmor"
    return Finding(SOCKET, FAIL, what, why, fix, NOT_ALLOWED, causes)


def _unfiltered(manager: str) -> str:
    """How to start a container without any filter."""
    if manager == "kubepods":
        return "securityContext: {seccompProfile: {type: Unconfined}} in the pod's spec"
    return f"{manager if manager in ('docker', 'podman') else 'docker'} run --security-opt seccomp=unconfined ..."


def _device(machine: Machine) -> Finding:
    path = machine.path("dev/vsock")
    why = "only the local CID is asked of it, connections do not need it"
    try:
        mode = path.stat().st_mode
    except OSError:
        if _contained(machine):
            fix = "start the container with --device /dev/vsock"
            return Finding("vsock.device", WARN, "/dev/vsock is not in this container", why, fix)
        return Finding("vsock.device", WARN, "/dev/vsock is not there", why, "sudo modprobe vsock")
    permission = oct(stat.S_IMODE(mode))[2:].rjust(4, "0")
    if os.access(path, os.R_OK):
        return Finding("vsock.device", OK, f"/dev/vsock is there, mode {permission}")
    return Finding(
        "vsock.device", UNKNOWN, f"/dev/vsock is not yours to open, mode {permission}", why, "sudo hvcopy doctor"
    )


def _ask(machine: Machine) -> int | OSError:
    try:
        return machine.asks_cid(machine.path("dev/vsock"))
    except OSError as error:
        return error


def _cid(machine: Machine, cid: int | OSError) -> Finding:
    if isinstance(cid, OSError):
        return Finding("vsock.cid", UNKNOWN, f"this machine's CID is not told ({cid.strerror or cid})", "", "")
    if cid == CID_ANY:  # hyperv_transport.c hvs_get_local_cid; systemd#43364
        why = "Windows reaches this guest by its VM: hyperv:VM:PORT"
        return Finding("vsock.cid", OK, "Hyper-V gives its guests no CID of their own", why)
    if cid == 1:
        return Finding("vsock.cid", OK, "CID 1: this machine reaches itself only", "vsock:local:PORT is this machine")
    if cid == 2:
        return Finding("vsock.cid", OK, "CID 2: this machine is a host", "its guests reach it as vsock:host:PORT")
    return Finding("vsock.cid", OK, f"CID {cid}", f"the host reaches this machine as vsock:{cid}:PORT")


def _to_host(machine: Machine, kernel: Kernel) -> Finding:
    of = system.hypervisor(machine)
    contained = _contained(machine)
    why = "a guest needs it to reach its host (vsock:host:PORT) and to be reached"
    for device in machine.entries("sys/bus/virtio/devices"):
        if machine.read(f"sys/bus/virtio/devices/{device.name}/device") != VIRTIO_ID_VSOCK:
            continue
        if machine.exists(f"sys/bus/virtio/devices/{device.name}/driver"):
            return Finding(TO_HOST, OK, "a virtio-vsock device leads to the host: vsock:host:PORT")
        what = "there is a virtio-vsock device, and no driver for it: vmw_vsock_virtio_transport is not loaded"
        fix = kernel.get("vmw_vsock_virtio_transport", contained=contained)
        return Finding(TO_HOST, FAIL, what, why, fix, NO_WAY)
    if of in _HV_SOCK or machine.entries("sys/bus/vmbus/devices"):
        return _by_module(TO_HOST, "hv_sock", why, kernel, contained=contained)
    if of == system.VMWARE:
        return _by_module(TO_HOST, "vmw_vsock_vmci_transport", why, kernel, contained=contained)
    if not of:
        what = "this machine is nobody's guest" if of == "" else "nothing says that this machine is a guest"
        return not_applicable(TO_HOST, what)
    if of in (system.XEN, system.VIRTUALBOX):
        return Finding(TO_HOST, FAIL, f"{of} has no vsock", why, "use tcp:HOST:PORT over the VM's network", NO_WAY)
    return Finding(TO_HOST, FAIL, "this VM has no vsock device", why, _ADD_DEVICE, NO_WAY)


def _by_module(ident: str, module: str, why: str, kernel: Kernel, *, contained: bool) -> Finding:
    state = kernel.state(module)
    if state in READY:
        return Finding(ident, OK, f"{module} leads to the host ({state}): vsock:host:PORT")
    return Finding(
        ident, FAIL, f"{module} is not loaded ({state})", why, kernel.get(module, contained=contained), NO_WAY
    )


def _to_guests(machine: Machine, kernel: Kernel) -> Finding:
    state = kernel.state("vhost_vsock")
    why = "a host needs it to reach guests of KVM/QEMU and crosvm (vsock:CID:PORT) and to be reached by them"
    if state in READY and machine.exists("dev/vhost-vsock"):
        return Finding(TO_GUESTS, OK, "vhost_vsock leads to guests that have a vsock device: vsock:CID:PORT")
    fix = kernel.get("vhost_vsock", contained=_contained(machine))
    if state in READY:
        what = "vhost_vsock is there, but /dev/vhost-vsock, which QEMU opens, is not"
        return Finding(TO_GUESTS, WARN, what, why, "start the container with --device /dev/vhost-vsock")
    if system.hypervisor(machine) and not machine.exists("dev/vhost-vsock"):
        return not_applicable(TO_GUESTS, "this machine is a guest, and runs none with vsock itself")
    if state == AT_HAND:
        return Finding(TO_GUESTS, WARN, "vhost_vsock is not loaded, so no guest with a vsock device runs", why, fix)
    if not machine.exists("dev/kvm") and state != ABSENT:
        return Finding(TO_GUESTS, UNKNOWN, "nothing here says whether the kernel has vhost_vsock", why, fix)
    return Finding(TO_GUESTS, FAIL, f"vhost_vsock is not there ({state})", why, fix, NO_WAY)


def _to_itself(machine: Machine, kernel: Kernel) -> Finding:
    state = kernel.state("vsock_loopback")
    if state in (*READY, AT_HAND):
        return Finding(TO_ITSELF, OK, f"vsock_loopback is {state}: vsock:local:PORT")
    why = "this machine cannot reach itself as vsock:local:PORT; other machines are not concerned"
    fix = kernel.get("vsock_loopback", contained=_contained(machine))
    return Finding(TO_ITSELF, WARN, f"vsock_loopback is not there ({state})", why, fix)
