"""Whether the kernel has a module: loaded, built in, at hand to be loaded, or not at all."""

from __future__ import annotations

import gzip
import re
import zlib

from hvcopy.doctor.machine import MOST, Machine

LOADED, BUILT_IN, AT_HAND, ABSENT, UNTOLD = "loaded", "built in", "at hand", "absent", "unknown"
READY = (LOADED, BUILT_IN)

OPTIONS = {
    "vsock": "CONFIG_VSOCKETS",
    "vmw_vsock_virtio_transport": "CONFIG_VIRTIO_VSOCKETS",
    "hv_sock": "CONFIG_HYPERV_VSOCKETS",
    "vmw_vsock_vmci_transport": "CONFIG_VMWARE_VMCI_VSOCKETS",
    "vhost_vsock": "CONFIG_VHOST_VSOCK",
    "vsock_loopback": "CONFIG_VSOCKETS_LOOPBACK",
}
"""net/vmw_vsock/Kconfig, drivers/vhost/Kconfig."""


class Kernel:
    """The modules of one machine's kernel."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._loaded = {line.split(" ", 1)[0] for line in machine.read("proc/modules").splitlines()}
        self._folder = f"lib/modules/{machine.kernel}"
        self._built_in = self._names("modules.builtin")
        self._at_hand = self._names("modules.dep")
        self._config = _settings(self._config_text())

    def state(self, module: str) -> str:
        """Return one of LOADED, BUILT_IN, AT_HAND, ABSENT, UNTOLD."""
        setting = self.setting(module)
        if module in self._loaded:
            return LOADED
        if module in self._built_in or setting == "y":
            return BUILT_IN
        if self._machine.exists(f"sys/module/{module}"):
            return LOADED
        if module in self._at_hand:
            return AT_HAND
        return ABSENT if setting == "n" or self._at_hand or self._built_in else UNTOLD

    def ready(self, module: str) -> bool:
        """Say whether the module is in force now."""
        return self.state(module) in READY

    def setting(self, module: str) -> str:
        """Return ``y``, ``m`` or ``n`` as the kernel was configured; empty when that is nowhere written."""
        return self._config.get(OPTIONS[module], "n") if self._config else ""

    def get(self, module: str, *, contained: bool) -> str:
        """Return the command that makes *module* be there; *contained*: this is a container, whose kernel is its host's."""
        where = "on the machine that runs this container: " if contained else ""
        if self.state(module) == ABSENT:
            return f"{where}use a kernel with {OPTIONS[module]}=m; some distributions have it in a package of further modules"
        return f"{where}sudo modprobe {module}"

    def _names(self, file: str) -> set[str]:
        """The modules named in a list of depmod's: the part of each line before a colon is a path."""
        text = self._machine.read(f"{self._folder}/{file}") if self._machine.kernel else ""
        paths = (line.partition(":")[0] for line in text.splitlines())
        return {path.rpartition("/")[2].partition(".ko")[0].replace("-", "_") for path in paths}

    def _config_text(self) -> str:
        try:
            with gzip.open(self._machine.path("proc/config.gz")) as file:
                return file.read(MOST).decode("ascii", "replace")
        except (OSError, EOFError, zlib.error):
            places = (f"boot/config-{self._machine.kernel}", f"{self._folder}/config")
            return next(filter(None, map(self._machine.read, places)), "")


def _settings(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(CONFIG_\w+)=([ym])$", text, re.MULTILINE))
