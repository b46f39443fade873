"""What is so on a Windows: values, gathered here and judged in ``hyperv``."""

from __future__ import annotations

import sys

from msgspec import Struct

from hvcopy.transport.hyperv.registry import Registry


class Windows(Struct, frozen=True):
    """What is so on one Windows.  None means that it is not told."""

    build: int
    python: str
    has_family: bool
    refusal: OSError | None
    """Why no socket of the family could be opened."""
    administrator: bool | None
    group: bool | None
    """Whether this process acts as a member of Hyper-V Administrators."""
    vmms: bool
    """The service that manages VMs is installed: Hyper-V is on."""
    vmcompute: bool
    """The service that WSL 2 and containers need is installed."""
    guest_of: str | None
    """The name of the host, empty when it is not told; None when this is no guest of Hyper-V."""
    guest_services: int | None
    """How Guest Services start: 2 to 3 on demand, 4 disabled; None when they are not there."""
    distributions: tuple[str, ...]
    """This user's distributions of WSL."""
    registry: Registry


def here() -> Windows | None:
    """Return the facts of this machine; None when it is no Windows."""
    if sys.platform == "win32":
        return _gather()
    else:
        return None


if sys.platform == "win32":
    import ctypes
    import platform
    import socket
    import winreg

    from hvcopy.elevation import HYPERV_ADMINISTRATORS
    from hvcopy.transport.hyperv.registry import open_registry

    _SERVICES = r"SYSTEM\CurrentControlSet\Services"
    _GUEST = r"SOFTWARE\Microsoft\Virtual Machine\Guest\Parameters"  # written by the Data Exchange service
    _BIOS = r"HARDWARE\DESCRIPTION\System\BIOS"
    _LXSS = r"Software\Microsoft\Windows\CurrentVersion\Lxss"
    _ADMINISTRATORS = "S-1-5-32-544"

    def _gather() -> Windows:
        start = _value(winreg.HKEY_LOCAL_MACHINE, rf"{_SERVICES}\vmicguestinterface", "Start")
        host = _value(winreg.HKEY_LOCAL_MACHINE, _GUEST, "HostName")
        return Windows(
            build=sys.getwindowsversion().build,
            python=platform.python_version(),
            has_family=hasattr(socket, "AF_HYPERV"),
            refusal=_refusal(),
            administrator=_member(_ADMINISTRATORS),
            group=_member(HYPERV_ADMINISTRATORS),
            vmms=_value(winreg.HKEY_LOCAL_MACHINE, rf"{_SERVICES}\vmms", "Start") is not None,
            vmcompute=_value(winreg.HKEY_LOCAL_MACHINE, rf"{_SERVICES}\vmcompute", "Start") is not None,
            guest_of=host if isinstance(host, str) else "" if _is_virtual() else None,
            guest_services=start if isinstance(start, int) else None,
            distributions=tuple(_distributions()),
            registry=open_registry(),
        )

    def _value(root: int, path: str, name: str) -> object:
        """One value of the registry; None when it is not there or not to be read."""
        try:
            with winreg.OpenKey(root, path, 0, winreg.KEY_READ | winreg.KEY_WOW64_64KEY) as key:
                return winreg.QueryValueEx(key, name)[0]
        except OSError:
            return None

    def _is_virtual() -> bool:
        """Whether the firmware's tables are those of Hyper-V's VMs, which say so even where Data Exchange is off."""
        made_by, product = (
            _value(winreg.HKEY_LOCAL_MACHINE, _BIOS, name) for name in ("SystemManufacturer", "SystemProductName")
        )
        return made_by == "Microsoft Corporation" and product == "Virtual Machine"

    def _distributions() -> list[str]:
        try:
            with winreg.OpenKey(winreg.HKEY_CURRENT_USER, _LXSS) as key:
                ids = [winreg.EnumKey(key, index) for index in range(winreg.QueryInfoKey(key)[0])]
        except OSError:
            return []
        names = (_value(winreg.HKEY_CURRENT_USER, rf"{_LXSS}\{one}", "DistributionName") for one in ids)
        return sorted(name for name in names if isinstance(name, str))

    def _refusal() -> OSError | None:
        if not hasattr(socket, "AF_HYPERV"):
            return None
        try:
            socket.socket(socket.AF_HYPERV, socket.SOCK_STREAM, socket.HV_PROTOCOL_RAW).close()
        except OSError as error:
            return error
        return None

    def _member(sid: str) -> bool | None:
        """Whether this process acts with the rights of a group (CheckTokenMembership); None when it cannot be told."""
        advapi, kernel = ctypes.WinDLL("advapi32"), ctypes.WinDLL("kernel32")
        pointer, answer = ctypes.c_void_p(), ctypes.c_int()
        if not advapi.ConvertStringSidToSidW(ctypes.c_wchar_p(sid), ctypes.byref(pointer)):
            return None
        try:
            if not advapi.CheckTokenMembership(None, pointer, ctypes.byref(answer)):
                return None
            return bool(answer.value)
        finally:
            kernel.LocalFree(pointer)
