"""Findings about AF_VSOCK: each prerequisite taken away in turn from a prepared machine, and named."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from roots import RELEASE, Root, guest, host

from hvcopy.address import CID_ANY, VsockAddress, parse_address
from hvcopy.doctor import needs, vsock
from hvcopy.doctor.finding import Finding
from hvcopy.doctor.kernel import Kernel


def look(
    root: Root, *, refused: int = 0, cid: int | OSError = 3, address: VsockAddress | None = None
) -> dict[str, Finding]:
    return {one.id: one for one in vsock.findings(root.machine(refused=refused, cid=cid), address)}


def states(found: dict[str, Finding]) -> dict[str, str]:
    return {name.removeprefix("vsock."): one.state for name, one in found.items()}


GOOD = {"kernel": "ok", "modules": "ok", "socket": "ok", "device": "ok", "cid": "ok"}


def test_a_guest_as_it_should_be(tmp_path: Path) -> None:
    found = look(guest(tmp_path))
    assert states(found) == {**GOOD, "to-host": "ok", "to-guests": "not-applicable", "to-itself": "ok"}
    assert "vsock:3:PORT" in found["vsock.cid"].why
    assert "vsock:host:PORT" in found["vsock.to-host"].what


def test_a_host_as_it_should_be(tmp_path: Path) -> None:
    found = look(host(tmp_path), cid=2)
    assert states(found) == {**GOOD, "to-host": "not-applicable", "to-guests": "ok", "to-itself": "ok"}
    assert "this machine is a host" in found["vsock.cid"].what


def _no_module_loaded(root: Root) -> None:
    root.loaded()
    root.file("proc/net/protocols", "protocol  size\n")


def _no_module_at_hand(root: Root) -> None:
    _no_module_loaded(root)
    root.modules("kernel/fs/ext4.ko")


def _not_configured(root: Root) -> None:
    _no_module_at_hand(root)
    root.config("# CONFIG_VSOCKETS is not set\nCONFIG_NET=y\n")


def _no_driver(root: Root) -> None:
    root.remove("sys/bus/virtio/devices/virtio0/driver")
    root.loaded("vsock")


def _no_device(root: Root) -> None:
    root.remove("sys/bus/virtio/devices/virtio0")


def _other_device(root: Root) -> None:
    root.file("sys/bus/virtio/devices/virtio0/device", "0x0001\n")


def _hyper_v(root: Root) -> None:
    _no_device(root)
    root.remove("sys/class/dmi")
    root.file("sys/bus/vmbus/devices/1/id")


def _vmware(root: Root) -> None:
    _no_device(root)
    root.file("sys/class/dmi/id/sys_vendor", "VMware, Inc.")


def _virtualbox(root: Root) -> None:
    _no_device(root)
    root.file("sys/class/dmi/id/sys_vendor", "innotek GmbH")


TAKEN_FROM_A_GUEST: dict[str, tuple[Callable[[Root], None], str, str, str]] = {
    "module vsock": (_no_module_loaded, "vsock.kernel", "ok", "loaded when it is first used"),
    "module vsock, for good": (_no_module_at_hand, "vsock.kernel", "fail", "no module vsock"),
    "CONFIG_VSOCKETS": (_not_configured, "vsock.kernel", "fail", "CONFIG_VSOCKETS is not set"),
    "the driver": (_no_driver, "vsock.to-host", "fail", "no driver for it"),
    "the device": (_no_device, "vsock.to-host", "fail", "this VM has no vsock device"),
    "the device, others there": (_other_device, "vsock.to-host", "fail", "this VM has no vsock device"),
    "hv_sock": (_hyper_v, "vsock.to-host", "fail", "hv_sock is not loaded (at hand)"),
    "vmci": (_vmware, "vsock.to-host", "fail", "vmw_vsock_vmci_transport is not loaded (at hand)"),
    "a hypervisor with vsock": (_virtualbox, "vsock.to-host", "fail", "VirtualBox has no vsock"),
    "/dev/vsock": (lambda root: root.remove("dev/vsock"), "vsock.device", "warn", "/dev/vsock is not there"),
    "loopback": (lambda root: root.modules(), "vsock.to-itself", "ok", "loaded"),
}


@pytest.mark.parametrize("what", TAKEN_FROM_A_GUEST)
def test_taken_from_a_guest(tmp_path: Path, what: str) -> None:
    take, ident, state, said = TAKEN_FROM_A_GUEST[what]
    root = guest(tmp_path)
    take(root)
    one = look(root)[ident]
    assert (one.state, said in one.what) == (state, True), one
    assert bool(one.fix) == (state != "ok")
    assert bool(one.exit_code) == (state == "fail")


@pytest.mark.parametrize(
    ("module", "device"),
    [("hv_sock", "sys/bus/vmbus/devices/1/id"), ("vmw_vsock_vmci_transport", "sys/class/dmi/id/board_vendor")],
)
def test_other_hypervisors_have_other_transports(tmp_path: Path, module: str, device: str) -> None:
    root = Root(tmp_path)
    root.file(device, "VMware, Inc.")
    root.loaded("vsock", module)
    assert look(root)["vsock.to-host"].state == "ok"
    root.loaded("vsock")
    one = look(root)["vsock.to-host"]
    assert (one.state, one.fix) == ("fail", f"sudo modprobe {module}")


@pytest.mark.parametrize(
    ("take", "option"), [(_hyper_v, "CONFIG_HYPERV_VSOCKETS"), (_vmware, "CONFIG_VMWARE_VMCI_VSOCKETS")]
)
def test_what_the_kernel_of_a_guest_was_built_without_is_named(
    tmp_path: Path, take: Callable[[Root], None], option: str
) -> None:
    root = guest(tmp_path)
    take(root)
    root.modules("kernel/net/vmw_vsock/vsock.ko")
    root.config(f"CONFIG_VSOCKETS=m\n# {option} is not set\n")
    one = look(root)["vsock.to-host"]
    assert (one.state, "absent" in one.what, f"a kernel with {option}=m" in one.fix) == ("fail", True, True), one


def test_wsl_1_has_none_of_it(tmp_path: Path) -> None:
    root = guest(tmp_path)
    root.file("proc/sys/kernel/osrelease", "4.4.0-22621-Microsoft")
    assert set(states(look(root)).values()) == {"not-applicable"}


@pytest.mark.parametrize(
    ("change", "state", "said"),
    [
        (
            lambda root: (root.loaded("vsock"), root.remove("dev/vhost-vsock")),
            "warn",
            "no guest with a vsock device runs",
        ),
        (
            lambda root: (root.loaded("vsock"), root.remove("dev/vhost-vsock"), root.modules("vsock.ko")),
            "fail",
            "not there (absent)",
        ),
        (lambda root: root.remove("dev/vhost-vsock"), "warn", "/dev/vhost-vsock, which QEMU opens, is not"),
    ],
    ids=["not loaded", "no such module", "no device"],
)
def test_taken_from_a_host(tmp_path: Path, change: Callable[[Root], object], state: str, said: str) -> None:
    root = host(tmp_path)
    change(root)
    one = look(root, cid=2)["vsock.to-guests"]
    assert (one.state, said in one.what) == (state, True), one
    assert one.fix


def test_a_container_gets_its_fixes_on_its_host(tmp_path: Path) -> None:
    root = guest(tmp_path)
    root.file("run/.containerenv")
    _no_driver(root)
    root.remove("dev/vsock")
    found = look(root)
    assert (
        found["vsock.to-host"].fix
        == "on the machine that runs this container: sudo modprobe vmw_vsock_virtio_transport"
    )
    assert "--device /dev/vsock" in found["vsock.device"].fix


@pytest.mark.parametrize("code", [errno.EPERM, errno.EAFNOSUPPORT, errno.EINVAL])
def test_a_container_that_refuses_sockets_is_named(tmp_path: Path, code: int) -> None:
    root = guest(tmp_path)
    root.file("run/.containerenv")
    root.status(seccomp=2)
    one = look(root, refused=code)["vsock.socket"]
    assert (one.state, one.exit_code, one.causes) == ("fail", 9, ["system.seccomp"])
    assert "seccomp filter refuses them" in one.why
    assert "podman run --security-opt seccomp=unconfined" in one.fix


def test_a_pod_is_told_its_own_words(tmp_path: Path) -> None:
    root = guest(tmp_path)
    root.file("proc/self/cgroup", "0::/kubepods/besteffort/pod1")
    root.status(seccomp=2)
    assert "seccompProfile" in look(root, refused=errno.EPERM)["vsock.socket"].fix


def test_a_service_that_may_not_is_told_its_option(tmp_path: Path) -> None:
    root = guest(tmp_path)
    root.status(seccomp=2)
    assert "RestrictAddressFamilies=" in look(root, refused=errno.EAFNOSUPPORT)["vsock.socket"].fix


def test_a_policy_that_refuses_sockets_is_named(tmp_path: Path) -> None:
    root = guest(tmp_path)
    root.file("sys/fs/selinux/enforce", "1")
    root.file("proc/self/attr/current", "system_u:system_r:container_t:s0")
    one = look(root, refused=errno.EACCES)["vsock.socket"]
    assert (one.causes, "ausearch" in one.fix) == (["system.selinux"], True)


def test_without_the_module_the_socket_fails_for_that(tmp_path: Path) -> None:
    root = guest(tmp_path)
    _no_module_at_hand(root)
    one = look(root, refused=errno.EAFNOSUPPORT)["vsock.socket"]
    assert (one.causes, "CONFIG_VSOCKETS=m" in one.fix) == (["vsock.kernel"], True)


@pytest.mark.parametrize(
    ("cid", "said"),
    [
        (1, "reaches itself only"),
        (2, "is a host"),
        (3, "CID 3"),
        (CID_ANY, "no CID of their own"),
        (PermissionError(13, "Permission denied"), "not told"),
    ],
)
def test_the_cid_in_words_and_never_the_wildcard(tmp_path: Path, cid: int | OSError, said: str) -> None:
    one = look(guest(tmp_path), cid=cid)["vsock.cid"]
    assert said in one.what
    assert str(CID_ANY) not in str(one)
    assert one.state == ("unknown" if isinstance(cid, OSError) else "ok")


WAYS = {"host": "vsock.to-host", "guest": "vsock.to-guests", "local": "vsock.to-itself", "own": "vsock.to-itself"}


@pytest.mark.parametrize(("to", "cid"), [("host", 2), ("guest", 5), ("local", 1), ("own", 3)])
def test_an_address_needs_one_way_and_no_other(tmp_path: Path, to: str, cid: int) -> None:
    root = Root(tmp_path)
    root.file("dev/vsock")
    root.loaded("vsock")
    root.modules("vsock.ko")
    found = look(root, address=VsockAddress(cid, 18518))
    ways = {name: one.state for name, one in found.items() if name.startswith("vsock.to-")}
    assert ways == {name: "fail" if name == WAYS[to] else "not-applicable" for name in ways}
    assert found[WAYS[to]].exit_code == 4
    assert found[WAYS[to]].fix


def test_a_guest_seeks_other_guests_at_its_host(tmp_path: Path) -> None:
    found = look(guest(tmp_path), address=VsockAddress(5, 18518))
    assert states(found)["to-host"] == "ok"
    assert states(found)["to-guests"] == "not-applicable"


def test_listening_on_any_needs_no_certain_way(tmp_path: Path) -> None:
    found = look(guest(tmp_path), address=VsockAddress(CID_ANY, 18518))
    assert found["vsock.to-host"].state == "ok"


@pytest.mark.parametrize(
    ("place", "text"),
    [(f"boot/config-{RELEASE}", "CONFIG_VHOST_VSOCK=y\n"), (f"lib/modules/{RELEASE}/config", "CONFIG_VHOST_VSOCK=y\n")],
)
def test_the_kernels_configuration_is_found_where_distributions_put_it(tmp_path: Path, place: str, text: str) -> None:
    root = Root(tmp_path)
    root.modules()
    root.file(place, text)
    kernel = Kernel(root.machine())
    assert (kernel.state("vhost_vsock"), kernel.state("hv_sock")) == ("built in", "absent")


def test_nothing_is_known_of_a_kernel_that_tells_nothing(tmp_path: Path) -> None:
    root = Root(tmp_path)
    root.remove("lib")
    root.path.joinpath("proc/config.gz").write_bytes(b"no gzip")
    assert Kernel(root.machine()).state("vsock") == "unknown"
    assert look(root)["vsock.kernel"].state == "unknown"


def test_every_module_is_told_with_its_state(tmp_path: Path) -> None:
    root = host(tmp_path)
    root.modules("vsock_loopback.ko", "hv_sock.ko")
    assert look(root, cid=2)["vsock.modules"].what == (
        "vsock loaded, vmw_vsock_virtio_transport absent, hv_sock at hand, vmw_vsock_vmci_transport absent,"
        " vhost_vsock loaded, vsock_loopback loaded"
    )
    root.remove("lib")
    root.loaded()
    assert look(root, cid=2)["vsock.modules"].state == "unknown"


def test_a_module_is_also_seen_in_sys(tmp_path: Path) -> None:
    root = Root(tmp_path)
    root.file("sys/module/vsock/refcnt", "0")
    assert Kernel(root.machine()).state("vsock") == "loaded"


@pytest.mark.parametrize("address", ["unix:/run/s", "tcp:127.0.0.1:5"])
def test_wsl_1_is_nothing_to_addresses_without_vsock(tmp_path: Path, address: str) -> None:
    root = Root(tmp_path)
    root.file("proc/sys/kernel/osrelease", "4.4.0-22621-Microsoft")
    found = needs.needed(root.machine(), parse_address(address), listening=False)
    assert {one.state for one in found} <= {"ok", "not-applicable"}
    vsock_too = needs.needed(root.machine(), VsockAddress(3, 5), listening=False)
    assert {one.id for one in vsock_too if one.state == "fail"} == {"system.wsl"}


# ---- whether there is a way to another machine


def way(root: Root, **options: int) -> Finding:
    return needs.everything(root.machine(**options))[-1]


def test_a_guest_and_a_host_have_a_way(tmp_path: Path) -> None:
    for make, name in ((guest, "vsock:host:PORT"), (host, "vsock:CID:PORT")):
        one = way(make(tmp_path / make.__name__))
        assert (one.id, one.state, one.exit_code) == ("way", "ok", 0)
        assert name in one.what


def test_no_way_is_4_with_the_first_thing_to_do(tmp_path: Path) -> None:
    root = guest(tmp_path)
    _no_driver(root)
    one = way(root)
    assert (one.state, one.exit_code, one.causes) == ("fail", 4, ["vsock.to-host"])
    assert one.fix == "sudo modprobe vmw_vsock_virtio_transport"


def test_refused_sockets_are_9(tmp_path: Path) -> None:
    one = way(guest(tmp_path), refused=errno.EPERM)
    assert (one.exit_code, one.causes) == (9, ["vsock.socket"])


def test_every_finding_has_one_id_and_a_fix_where_something_fails(tmp_path: Path) -> None:
    for make in (guest, host, Root):
        found = needs.everything(make(tmp_path / make.__name__).machine(refused=errno.EPERM))
        assert len({one.id for one in found}) == len(found)
        for one in found:
            assert (one.state == "fail") == bool(one.exit_code), one
            assert one.state != "fail" or one.fix, one
