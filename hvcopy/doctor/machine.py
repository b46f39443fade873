"""What a Linux system says of itself in files, and the two questions that only a system call answers."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

CAP_NET_BIND_SERVICE = 10  # capabilities(7)
GET_LOCAL_CID = 0x7B9  # IOCTL_VM_SOCKETS_GET_LOCAL_CID, linux/vm_sockets.h
MOST = 1 << 20
"""Bytes of a file that are looked at."""


class Machine:
    """The system whose /proc, /sys, /dev, /boot and /lib stand below *root*.

    *opens_vsock* makes an AF_VSOCK socket and closes it; *asks_cid* asks the device at a path for the local CID.  Both
    raise OSError.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        opens_vsock: Callable[[], None] | None = None,
        asks_cid: Callable[[Path], int] | None = None,
    ) -> None:
        self.root = root
        self.opens_vsock = opens_vsock or open_vsock
        self.asks_cid = asks_cid or ask_cid
        self.kernel = self.read("proc/sys/kernel/osrelease")

    def path(self, name: str) -> Path:
        """Return where *name* stands."""
        return self.root / name

    def read(self, name: str) -> str:
        """Return a file's text without surrounding space; empty when it is not there or not to be read."""
        try:
            with self.path(name).open("rb") as file:
                return file.read(MOST).decode("utf-8", "replace").strip().strip("\0")
        except OSError:
            return ""

    def exists(self, name: str) -> bool:
        """Say whether something stands at *name*."""
        return os.path.lexists(self.path(name))

    def entries(self, name: str) -> list[Path]:
        """Return what stands in a folder, sorted; nothing when there is none."""
        try:
            return sorted(self.path(name).iterdir())
        except OSError:
            return []

    def status(self, field: str) -> str:
        """Return one field of this process's /proc/self/status."""
        for line in self.read("proc/self/status").splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return value.strip()
        return ""

    @property
    def may_bind_low(self) -> bool:
        """True when this process has CAP_NET_BIND_SERVICE."""
        try:
            return bool(int(self.status("CapEff"), 16) >> CAP_NET_BIND_SERVICE & 1)
        except ValueError:
            return False


def open_vsock() -> None:
    """Make an AF_VSOCK socket and close it.  Raises OSError."""
    family = getattr(socket, "AF_VSOCK", None)
    if family is None:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    socket.socket(family, socket.SOCK_STREAM).close()


def ask_cid(device: Path) -> int:
    """Return the local CID that */dev/vsock* tells.  Raises OSError."""
    if sys.platform == "win32":
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
    else:
        import fcntl

        with device.open("rb", buffering=0) as file:
            answer = fcntl.ioctl(file, GET_LOCAL_CID, bytes(4))
        return int(struct.unpack("=I", answer)[0])
