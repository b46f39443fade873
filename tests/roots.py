"""Folders that stand for a machine's /proc, /sys, /dev, /boot and /lib: machines to look at that are not this one."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from hvcopy.doctor.machine import Machine

RELEASE = "6.12.1-test"
MODULES = (
    "kernel/net/vmw_vsock/vsock.ko",
    "kernel/net/vmw_vsock/vsock_loopback.ko.xz",
    "kernel/net/vmw_vsock/vmw_vsock_virtio_transport.ko.zst",
    "kernel/net/vmw_vsock/hv_sock.ko",
    "kernel/net/vmw_vsock/vmw_vsock_vmci_transport.ko",
    "kernel/drivers/vhost/vhost_vsock.ko.gz",
)
STATUS = "Name:\tpython\nCapEff:\t{capabilities:016x}\nSeccomp:\t{seccomp}\n"
NET_BIND_SERVICE = 1 << 10  # capabilities(7)


class Root:
    """A machine without vsock, that is nobody's guest, to which things are added and from which they are taken."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self.file("proc/sys/kernel/osrelease", RELEASE)
        self.file("proc/cpuinfo", "flags\t\t: fpu sse2")
        self.status()
        self.file("proc/net/protocols", "protocol  size\nTCP 1\n")
        self.file("proc/sys/net/core/wmem_max", "212992\n")
        self.file("proc/sys/net/core/rmem_max", "212992\n")
        self.modules(*MODULES)
        self.loaded()

    def file(self, name: str, text: str = "") -> Path:
        """Write a file, with the folders above it."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def remove(self, name: str) -> None:
        """Take away a file or a folder."""
        path = self.path / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def status(self, *, capabilities: int = 0, seccomp: int = 0) -> None:
        """Write /proc/self/status."""
        self.file("proc/self/status", STATUS.format(capabilities=capabilities, seccomp=seccomp))

    def modules(self, *paths: str) -> None:
        """Write which modules are at hand to be loaded."""
        self.file(f"lib/modules/{RELEASE}/modules.dep", "".join(f"{path}: kernel/some/other.ko\n" for path in paths))

    def loaded(self, *names: str) -> None:
        """Write which modules are loaded."""
        self.file("proc/modules", "".join(f"{name} 16384 0 - Live 0x0000000000000000\n" for name in names))
        if "vsock" in names:
            self.file("proc/net/protocols", "protocol  size\nAF_VSOCK  1240\n")

    def config(self, text: str) -> None:
        """Write /proc/config.gz."""
        path = self.path / "proc/config.gz"
        path.write_bytes(gzip.compress(text.encode()))

    def virtio_device(self, *, kind: str = "0x0013", driver: bool = True) -> None:
        """Add a virtio device, as sysfs shows one."""
        self.file("sys/bus/virtio/devices/virtio0/device", f"{kind}\n")
        if driver:
            os.symlink("../../drivers/vmw_vsock_virtio_transport", self.path / "sys/bus/virtio/devices/virtio0/driver")

    def machine(self, *, refused: int = 0, cid: int | OSError = 3) -> Machine:
        """Return it to be looked at; *refused* is the errno of opening an AF_VSOCK socket, *cid* what /dev/vsock answers."""
        return Machine(self.path, opens_vsock=_refusing(refused), asks_cid=_answering(cid))


def guest(folder: Path) -> Root:
    """A guest of KVM in which everything is as it should be."""
    root = Root(folder)
    root.file("sys/class/dmi/id/sys_vendor", "QEMU\n")
    root.file("dev/vsock")
    root.virtio_device()
    root.loaded("vsock", "vmw_vsock_virtio_transport", "vsock_loopback")
    return root


def host(folder: Path) -> Root:
    """A host of KVM in which everything is as it should be."""
    root = Root(folder)
    for name in ("dev/vsock", "dev/kvm", "dev/vhost-vsock"):
        root.file(name)
    root.loaded("vsock", "vhost_vsock", "vsock_loopback")
    return root


def _refusing(code: int) -> Callable[[], None]:
    def opens() -> None:
        if code:
            raise OSError(code, os.strerror(code))

    return opens


def _answering(cid: int | OSError) -> Callable[[Path], int]:
    def asks(device: Path) -> int:
        device.stat()
        if isinstance(cid, OSError):
            raise cid
        return cid

    return asks
