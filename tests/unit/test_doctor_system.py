"""Findings about the system: whose guest it is, what contains and confines it; each on a machine prepared for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from roots import NET_BIND_SERVICE, Root

from hvcopy.doctor import system
from hvcopy.doctor.finding import Finding


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def finding(root: Root, ident: str, **options: int) -> Finding:
    found = {one.id: one for one in system.findings(root.machine(), **options)}
    return found[ident]


def test_a_plain_machine_has_nothing_against_it(root: Root) -> None:
    found = system.findings(root.machine())
    assert {one.state for one in found} == {"ok", "not-applicable"}
    assert len({one.id for one in found}) == len(found)


HYPERVISORS: dict[str, tuple[dict[str, str], str]] = {
    "nobody's": ({}, "no guest"),
    "unnamed": ({"proc/cpuinfo": "flags\t: fpu hypervisor sse"}, "does not name itself"),
    "unnamed, arm": (
        {"proc/cpuinfo": "processor: 0", "sys/bus/virtio/devices/virtio0/device": "0x1"},
        "does not name itself",
    ),
    "qemu": ({"sys/class/dmi/id/sys_vendor": "QEMU"}, "a guest of QEMU/KVM"),
    "cloud hypervisor": ({"sys/class/dmi/id/sys_vendor": "Cloud Hypervisor"}, "a guest of Cloud Hypervisor"),
    "vmware": ({"sys/class/dmi/id/sys_vendor": "VMware, Inc."}, "a guest of VMware"),
    "virtualbox": ({"sys/class/dmi/id/product_name": "VirtualBox"}, "a guest of VirtualBox"),
    "hyper-v": (
        {"sys/class/dmi/id/sys_vendor": "Microsoft Corporation", "sys/class/dmi/id/product_name": "Virtual Machine"},
        "a guest of Hyper-V",
    ),
    "a laptop of Microsoft's": (
        {"sys/class/dmi/id/sys_vendor": "Microsoft Corporation", "sys/class/dmi/id/product_name": "Surface Laptop"},
        "no guest",
    ),
    "vmbus": ({"sys/bus/vmbus/devices/1/id": ""}, "a guest of Hyper-V"),
    "xen": ({"sys/hypervisor/type": "xen\n"}, "a guest of Xen"),
    "amazon": (
        {"sys/class/dmi/id/sys_vendor": "Amazon EC2", "sys/class/dmi/id/product_name": "c7i.large"},
        "Amazon EC2",
    ),
    "amazon's metal": (
        {"sys/class/dmi/id/sys_vendor": "Amazon EC2", "sys/class/dmi/id/product_name": "c7i.metal-24xl"},
        "no guest",
    ),
    "device tree": ({"proc/device-tree/hypervisor/compatible": "linux,kvm\0"}, "a guest of KVM"),
    "uml": ({"proc/cpuinfo": "vendor_id\t: User Mode Linux\nflags\t: hypervisor"}, "a guest of User-Mode Linux"),
    "wsl 2": ({"proc/sys/kernel/osrelease": "5.15.167.4-microsoft-standard-WSL2"}, "a guest of WSL 2"),
    "wsl 2, old": ({"proc/sys/kernel/osrelease": "4.19.104-microsoft-standard"}, "a guest of WSL 2"),
    "wsl 1": ({"proc/sys/kernel/osrelease": "4.4.0-22621-Microsoft"}, "a guest of WSL 1"),
    "arm, no sign": ({"proc/cpuinfo": "processor: 0"}, "nothing says"),
}


@pytest.mark.parametrize("kind", HYPERVISORS)
def test_whose_guest_it_is(root: Root, kind: str) -> None:
    files, said = HYPERVISORS[kind]
    for name, text in files.items():
        root.file(name, text)
    one = finding(root, "system.hypervisor")
    assert said in one.what
    assert one.state == ("unknown" if "nothing says" in said else "ok")


def test_wsl_1_cannot_and_wsl_2_can(root: Root) -> None:
    assert finding(root, "system.wsl").state == "not-applicable"
    root.file("proc/sys/kernel/osrelease", "4.4.0-22621-Microsoft")
    one = finding(root, "system.wsl")
    assert (one.state, one.exit_code) == ("fail", 9)
    assert "wsl --set-version" in one.fix
    root.file("proc/sys/kernel/osrelease", "5.15.167.4-microsoft-standard-WSL2")
    assert finding(root, "system.wsl").state == "ok"


@pytest.mark.parametrize(
    ("name", "text", "manager"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", "", "podman"),
        ("run/systemd/container", "systemd-nspawn\n", "systemd-nspawn"),
        ("proc/self/cgroup", "0::/kubepods/besteffort/pod1\n", "kubepods"),
        ("proc/self/cgroup", "9:name=systemd:/\n0::/\n", ""),
    ],
)
def test_a_container_is_known_by_its_manager(root: Root, name: str, text: str, manager: str) -> None:
    root.file(name, text)
    one = finding(root, "system.container")
    assert one.state == ("ok" if manager else "not-applicable")
    assert manager in one.what


def test_a_filter_of_system_calls_is_said(root: Root) -> None:
    assert finding(root, "system.seccomp").state == "not-applicable"
    root.status(seccomp=2)
    assert finding(root, "system.seccomp").state == "ok"
    assert system.confined(root.machine()) == ["system.seccomp"]


@pytest.mark.parametrize(
    ("enforce", "domain", "state"),
    [
        ("1", "system_u:system_r:container_t:s0:c1,c2", "warn"),
        ("1", "unconfined_u:unconfined_r:unconfined_t:s0", "ok"),
        ("0", "system_u:system_r:container_t:s0", "ok"),
    ],
)
def test_selinux_matters_when_it_enforces_and_confines(root: Root, enforce: str, domain: str, state: str) -> None:
    root.file("sys/fs/selinux/enforce", enforce)
    root.file("proc/self/attr/current", f"{domain}\0")
    one = finding(root, "system.selinux")
    assert one.state == state
    assert ("ausearch" in one.fix) == (state == "warn")


@pytest.mark.parametrize(
    ("profile", "state"), [("docker-default (enforce)\n", "warn"), ("unconfined\n", "ok"), ("x (complain)\n", "ok")]
)
def test_apparmor_matters_when_a_profile_is_enforced(root: Root, profile: str, state: str) -> None:
    root.file("sys/module/apparmor/parameters/enabled", "Y\n")
    root.file("proc/self/attr/apparmor/current", profile)
    assert finding(root, "system.apparmor").state == state


def test_a_low_port_needs_a_right(root: Root) -> None:
    assert finding(root, "system.ports").state == "ok"
    one = finding(root, "system.ports", low_port=80)
    assert (one.state, one.exit_code) == ("fail", 9)
    assert "80" in one.what
    root.status(capabilities=NET_BIND_SERVICE)
    assert finding(root, "system.ports", low_port=80).state == "ok"


def test_small_buffers_are_said_with_the_command(root: Root) -> None:
    root.file("proc/sys/net/core/wmem_max", "65536\n")
    one = finding(root, "system.buffers")
    assert one.state == "warn"
    assert one.fix == "sudo sysctl net.core.wmem_max=1048576"
    root.remove("proc/sys/net/core")
    assert finding(root, "system.buffers").state == "unknown"


def test_an_empty_root_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    root = Root(tmp_path)
    root.path = tmp_path / "none"
    assert {one.state for one in system.findings(root.machine())} <= {"ok", "unknown", "not-applicable"}
