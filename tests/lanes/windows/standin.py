"""AF_HYPERV for Windows programs where there is no Hyper-V: the product's own path, down to Winsock's functions.

A service's port is the port of 127.0.0.1 behind it, so a Linux process reaches a Windows one by ``tcp:127.0.0.1:PORT``.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from lanes.windows import wine
from lanes.windows.built import BUILD
from lanes.windows.made import CC

HERE = Path(__file__).resolve().with_name("hyperv")
DLL = BUILD / "standin.dll"
WARNINGS = ["-Wall", "-Wextra", "-Werror"]


def build() -> Path:
    """The DLL, compiled again when a source of it is newer."""
    sources = [HERE / name for name in ("standin.c", "breaks.c", "holes.c", "rights.c")]
    newest = max(path.stat().st_mtime for path in [*sources, HERE / "standin.h"])
    if not DLL.is_file() or DLL.stat().st_mtime < newest:
        BUILD.mkdir(parents=True, exist_ok=True)
        command = [CC, "-shared", "-O2", "-s", *WARNINGS, "-o", str(DLL), *map(str, sources), "-lws2_32", "-ladvapi32"]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return DLL


def plant_programs(root: Path) -> None:
    """Make *root* a Windows folder whose powershell.exe and wsl.exe are sayer.c."""
    system = root / "System32"
    for program in ("WindowsPowerShell/v1.0/powershell.exe", "wsl.exe"):
        path = system / program
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [CC, "-O2", "-s", *WARNINGS, "-o", str(path), str(HERE / "sayer.c")]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def environment(package: Path, *, vms: Mapping[str, int] | None = None, peer: str = "") -> dict[str, str]:
    """What a program's environment needs, with hvcopy's *package* folder.

    *vms*: what connecting to further VMs ends in, 0 or a Winsock error; *peer*: the VM from which connections come.
    """
    return {
        "PYTHONPATH": ";".join(wine.windows_path(folder) for folder in (HERE, package)),
        "HVCOPY_HV_STANDIN": wine.windows_path(build()),
        "HVCOPY_HV_VMS": " ".join(f"{guid}={code}" for guid, code in (vms or {}).items()),
        "HVCOPY_HV_PEER": peer,
    }
