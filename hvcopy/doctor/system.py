"""The system itself: what it is, whose guest it is, and what may forbid a socket."""

from __future__ import annotations

import platform
import re

from hvcopy.doctor.finding import FAIL, OK, UNKNOWN, WARN, Finding, not_applicable
from hvcopy.doctor.machine import Machine
from hvcopy.errors import NotAllowed
from hvcopy.transport.failures import LOW_PORT

HYPERV, WSL1, WSL2, VMWARE, XEN, VIRTUALBOX, UML = (
    "Hyper-V",
    "WSL 1",
    "WSL 2",
    "VMware",
    "Xen",
    "VirtualBox",
    "User-Mode Linux",
)
UNNAMED = "a guest of a hypervisor that does not name itself, as Firecracker does not"
_DMI = (  # what the firmware's tables say of the maker, and who that is
    ("QEMU", "QEMU/KVM"),
    ("KVM", "KVM"),
    ("Cloud Hypervisor", "Cloud Hypervisor"),
    ("Google Compute Engine", "KVM"),
    ("Amazon EC2", "Amazon EC2"),
    ("OpenStack", "KVM"),
    ("VMware", VMWARE),
    ("VirtualBox", VIRTUALBOX),
    ("innotek", VIRTUALBOX),
    ("Xen", XEN),
    ("Apple Virtualization", "Apple's Virtualization framework"),
    ("Parallels", "Parallels"),
    ("BHYVE", "bhyve"),
)
_DMI_FIELDS = ("product_name", "sys_vendor", "board_vendor", "bios_vendor", "chassis_vendor")
SMALL_BUFFER = 131072
"""Bytes: hv_sock's largest ring wants as much (docs/transports.md), and a unix socket with less is slower."""


def findings(machine: Machine, *, low_port: int = 0) -> list[Finding]:
    """Return the findings about *machine*; *low_port* is a port below 1024 that is to be listened on."""
    return [
        _platform(machine),
        _hypervisor(machine),
        _wsl(machine),
        _container(machine),
        _seccomp(machine),
        _selinux(machine),
        _apparmor(machine),
        _ports(machine, low_port),
        _buffers(machine),
    ]


def describe(name: str, release: str) -> Finding:
    """Return the finding about a platform, of which the system is called *name*."""
    what = f"{name} {release} on {platform.machine()}, Python {platform.python_version()}"
    if name in ("Linux", "Windows"):
        return Finding("system.platform", OK, what)
    why = "of this system hvcopy knows no sockets to other machines"
    return Finding("system.platform", WARN, what, why, "use unix: and tcp: addresses here")


def hypervisor(machine: Machine) -> str | None:
    """Return whose guest *machine* is: a name, empty for nobody's, None when nothing says so or the contrary."""
    release, cpu = machine.kernel.lower(), machine.read("proc/cpuinfo")
    if "microsoft" in release:
        return WSL2 if "wsl2" in release or not release.startswith(("3.", "4.4.")) else WSL1
    if "User Mode Linux" in cpu:
        return UML
    if machine.read("sys/hypervisor/type") == "xen":
        return XEN
    if machine.entries("sys/bus/vmbus/devices"):
        return HYPERV
    made_by = " ".join(machine.read(f"sys/class/dmi/id/{field}") for field in _DMI_FIELDS)
    if "Microsoft Corporation" in made_by and "Virtual Machine" in made_by:
        return HYPERV
    for mark, name in _DMI:
        if mark.lower() in made_by.lower():
            metal = mark == "Amazon EC2" and ".metal" in made_by
            return "" if metal else name
    tree = machine.read("proc/device-tree/hypervisor/compatible")
    if tree:
        return XEN if "xen" in tree else "KVM"
    if re.search(r"^flags\s*:.*\bhypervisor\b", cpu, re.MULTILINE):
        return UNNAMED
    if machine.entries("sys/bus/virtio/devices"):
        return UNNAMED
    return "" if re.search(r"^flags\s*:", cpu, re.MULTILINE) else None  # only x86 has the flag


def container(machine: Machine) -> str:
    """Return what runs this container; empty when this is none."""
    if machine.exists("run/.containerenv"):
        return "podman"
    if machine.exists(".dockerenv"):
        return "docker"
    named = machine.read("run/systemd/container") or machine.read("run/host/container-manager")
    if named:
        return named.split()[0][:40]
    found = re.search(r"docker|podman|libpod|kubepods|lxc|containerd|garden", machine.read("proc/self/cgroup"))
    return found[0] if found else ""


def confined(machine: Machine) -> list[str]:
    """Return the ids of findings that may explain why a system call was refused."""
    return [one.id for one in (_seccomp(machine), _selinux(machine), _apparmor(machine)) if _restricts(one)]


def _restricts(one: Finding) -> bool:
    return one.state == WARN or (one.id == "system.seccomp" and one.state == OK)


def _platform(machine: Machine) -> Finding:
    name = platform.system()
    return describe(name, (machine.kernel if name == "Linux" else platform.release()) or "of unknown version")


def _hypervisor(machine: Machine) -> Finding:
    name = hypervisor(machine)
    if name is None:
        return Finding("system.hypervisor", UNKNOWN, "nothing says whether this machine is a guest")
    if not name:
        return Finding("system.hypervisor", OK, "no guest: no hypervisor is seen from here")
    return Finding("system.hypervisor", OK, name if name == UNNAMED else f"a guest of {name}")


def _wsl(machine: Machine) -> Finding:
    name = hypervisor(machine)
    if name == WSL1:
        why = "WSL 1 is no virtual machine and has no vsock"
        fix = "in PowerShell: wsl --set-version DISTRIBUTION 2"
        return Finding("system.wsl", FAIL, "WSL 1", why, fix, exit_code=9)
    if name == WSL2:
        why = "Windows reaches it as hyperv:wsl:PORT; its VM id is another after each start"
        return Finding("system.wsl", OK, "WSL 2", why)
    return not_applicable("system.wsl", "not in WSL")


def _container(machine: Machine) -> Finding:
    name = container(machine)
    if not name:
        return not_applicable("system.container", "not in a container")
    why = "modules, devices and what the container may do are decided on the machine that runs it"
    return Finding("system.container", OK, f"in a container ({name})", why)


def _seccomp(machine: Machine) -> Finding:
    mode = machine.status("Seccomp")
    if mode not in ("1", "2"):
        return not_applicable("system.seccomp", "system calls are not filtered")
    why = "container managers' filters refuse AF_VSOCK; vsock.socket says whether this one does"
    return Finding("system.seccomp", OK, "a seccomp filter is in force for this process", why)


def _selinux(machine: Machine) -> Finding:
    enforcing = machine.read("sys/fs/selinux/enforce")
    if not enforcing:
        return not_applicable("system.selinux", "no SELinux")
    domain = machine.read("proc/self/attr/current")
    if enforcing != "1" or "unconfined" in domain:
        return Finding("system.selinux", OK, "SELinux does not restrict this process")
    why = "a policy may refuse sockets to this process, or to its peer"
    fix = "sudo ausearch -m avc -ts recent shows what was refused"
    return Finding("system.selinux", WARN, f"SELinux is enforcing, and confines this process ({domain})", why, fix)


def _apparmor(machine: Machine) -> Finding:
    if not machine.read("sys/module/apparmor/parameters/enabled").startswith("Y"):
        return not_applicable("system.apparmor", "no AppArmor")
    profile = machine.read("proc/self/attr/apparmor/current") or machine.read("proc/self/attr/current")
    if not profile.endswith("(enforce)"):
        return Finding("system.apparmor", OK, "AppArmor does not restrict this process")
    why = "the profile may refuse sockets or files"
    fix = "sudo journalctl -k --grep apparmor shows what was refused"
    return Finding("system.apparmor", WARN, f"AppArmor enforces the profile {profile}", why, fix)


def _ports(machine: Machine, low_port: int) -> Finding:
    if machine.may_bind_low:
        return Finding("system.ports", OK, "every port may be listened on")
    if low_port:
        what = f"port {low_port} may not be listened on by this user"
        return Finding("system.ports", FAIL, what, *LOW_PORT, exit_code=NotAllowed.exit_code)
    return Finding("system.ports", OK, "ports from 1024 on may be listened on; those below need CAP_NET_BIND_SERVICE")


def _buffers(machine: Machine) -> Finding:
    sizes = {name: machine.read(f"proc/sys/net/core/{name}") for name in ("wmem_max", "rmem_max")}
    known = {name: int(size) for name, size in sizes.items() if size.isdecimal()}
    if not known:  # a network namespace of its own has no such files
        return Finding("system.buffers", UNKNOWN, "the limits of socket buffers are not told here")
    said = ", ".join(f"{name} {size}" for name, size in known.items())
    small = [name for name, size in known.items() if size < SMALL_BUFFER]
    if not small:
        return Finding("system.buffers", OK, f"socket buffers: {said}")
    fix = "sudo sysctl " + " ".join(f"net.core.{name}=1048576" for name in small)
    return Finding("system.buffers", WARN, f"socket buffers are limited to little: {said}", "copies are slower", fix)
