"""What Windows has registered of Hyper-V's services: reading it, finding one by name, and the one key itself.

All that decides is pure, over the narrow ``Registry``; ``WindowsRegistry`` alone knows winreg.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from hvcopy.address import parse_guid, service_to_port
from hvcopy.elevation import typed, word
from hvcopy.errors import BadUsage, HvcopyError, LocalFailure, NotAllowed, printable

PATH = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\Virtualization\GuestCommunicationServices"
"""Below HKEY_LOCAL_MACHINE; one key a service, named by its GUID (Microsoft: Make your own integration services)."""
NAME = "ElementName"
MARK, OURS = "RegisteredBy", "hvcopy"
TEXT = 1  # REG_SZ

Values = dict[str, tuple[object, int]]
"""Data and type by the value's name, as winreg has them."""


class Registry(Protocol):
    """The keys below one key.  Every method raises OSError as Windows does."""

    def keys(self) -> list[str]:
        """Return the names of the keys; none when the key above them is missing."""

    def values(self, key: str) -> Values:
        """Return what one key holds."""

    def check_writable(self) -> None:
        """Raise PermissionError when this process may not change anything."""

    def create(self, key: str, texts: dict[str, str]) -> None:
        """Make a key that holds *texts*.  Raises FileExistsError, and changes nothing, when it is there."""

    def delete(self, key: str) -> None:
        """Remove a key.  Raises FileExistsError when there are keys below it."""


class Service(Struct, frozen=True):
    """One registration: *key* as it is spelled there, *guid* in lower case, None when the key's name is no GUID.

    *problem* is why nobody can use it, None when all is well.
    """

    key: str
    guid: str | None
    name: str = ""
    ours: bool = False
    problem: HvcopyError | None = None

    @property
    def port(self) -> int | None:
        """The vsock port that the GUID stands for."""
        return service_to_port(self.guid) if self.guid else None


def read_services(registry: Registry) -> list[Service]:
    """Return every registration, the broken ones too, by GUID.  Raises NotAllowed, LocalFailure."""
    try:
        keys = registry.keys()
    except PermissionError:
        raise NotAllowed("the registry key of Hyper-V's services may not be read by you") from None
    except OSError as error:
        raise LocalFailure(f"the registry key of Hyper-V's services cannot be read: {error}") from None
    found = [_read(registry, key) for key in keys]
    return sorted((one for one in found if one), key=lambda one: (one.guid or "~", one.key))


def _read(registry: Registry, key: str) -> Service | None:
    """Return what one key says; None when it is gone meanwhile."""
    try:
        guid = parse_guid(key)
    except BadUsage:
        return Service(key, None, problem=_broken(key, "is named by no GUID, so it is no service"))
    try:
        values = {name.lower(): value for name, value in registry.values(key).items()}
    except FileNotFoundError:
        return None
    except PermissionError:
        return Service(key, guid, problem=NotAllowed("you may not read this registration"))
    except OSError as error:
        return Service(key, guid, problem=LocalFailure(f"this registration cannot be read: {error}"))
    ours = values.get(MARK.lower()) == (OURS, TEXT)
    name, kind = values.get(NAME.lower(), (None, TEXT))
    again = f"hvcopy service unregister {guid}, then hvcopy service register {guid} --name NAME"
    if name is None:
        problem: HvcopyError | None = LocalFailure(f"this registration has no {NAME}", hint=again)
    elif not isinstance(name, str) or kind != TEXT:
        problem = LocalFailure(f"the {NAME} of this registration is no text (REG_SZ)", hint=again)
    else:
        return Service(key, guid, name, ours)
    return Service(key, guid, ours=ours, problem=problem)


def _broken(key: str, why: str) -> LocalFailure:
    return LocalFailure(f"the key {why}", hint=f"see to it in regedit: HKEY_LOCAL_MACHINE\\{PATH}\\{printable(key)}")


def find_service(name: str, registry: Registry | None = None) -> list[str]:
    """Return the GUIDs of all services registered as *name*, spelled so or else in any case; none, one, or several.

    Raises NotAllowed, LocalFailure, BadUsage where there is no registry.
    """
    services = [one for one in read_services(registry or open_registry()) if one.guid and one.name]
    found = [one for one in services if one.name == name]
    found = found or [one for one in services if one.name.casefold() == name.casefold()]
    return [one.guid for one in found if one.guid]


def to_register(service: str, guid: str = "PORT") -> str:
    """Return the command that registers *service*, as an address has it; when that is a name, it becomes the name of *guid*."""
    if re.fullmatch(r"[0-9]+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", service):
        return f"hvcopy service register {service}"
    return f"hvcopy service register {guid} --name {word(service)}"


def open_registry(command: Sequence[str] = ("service", "list")) -> Registry:
    """Return the registry of this machine.  Raises BadUsage where there is none; *command* is what to type on Windows."""
    if sys.platform == "win32":
        return WindowsRegistry()
    else:
        shell, words = typed(command)
        where = f" in {shell}" if shell else ""
        raise BadUsage(
            "services of Hyper-V are registered on the Windows host, and this is no Windows",
            hint=f"type there{where}: hvcopy {words}; none is needed when the guest listens and the host connects",
        )


if sys.platform == "win32":
    import winreg

    class WindowsRegistry:
        """The keys below *path*, in the view of 64-bit programs, which is Hyper-V's, whatever Python this is."""

        def __init__(self, root: int = winreg.HKEY_LOCAL_MACHINE, path: str = PATH) -> None:
            self._root, self._path = root, path

        def _open(self, key: str = "", access: int = winreg.KEY_READ) -> winreg.HKEYType:
            path = f"{self._path}\\{key}" if key else self._path
            return winreg.OpenKey(self._root, path, 0, access | winreg.KEY_WOW64_64KEY)

        def keys(self) -> list[str]:
            """Return the names of the keys; none when the key above them is missing."""
            try:
                with self._open() as above:
                    return [winreg.EnumKey(above, index) for index in range(winreg.QueryInfoKey(above)[0])]
            except FileNotFoundError:
                return []

        def values(self, key: str) -> Values:
            """Return what one key holds."""
            with self._open(key) as opened:
                count = winreg.QueryInfoKey(opened)[1]
                found = [winreg.EnumValue(opened, index) for index in range(count)]
            return {name: (data, kind) for name, data, kind in found}

        def check_writable(self) -> None:
            """Raise PermissionError when this process may not change anything."""
            path = self._path
            while path:
                try:
                    winreg.OpenKey(self._root, path, 0, winreg.KEY_WRITE | winreg.KEY_WOW64_64KEY).Close()
                    return
                except FileNotFoundError:  # Hyper-V was never set up; what is above decides
                    path = path.rpartition("\\")[0]

        def create(self, key: str, texts: dict[str, str]) -> None:
            """Make a key that holds *texts*.  Raises FileExistsError, and changes nothing, when it is there."""
            access = winreg.KEY_READ | winreg.KEY_WRITE | winreg.KEY_WOW64_64KEY
            with winreg.CreateKeyEx(self._root, f"{self._path}\\{key}", 0, access) as made:
                if any(winreg.QueryInfoKey(made)[:2]):  # winreg does not tell made from opened
                    raise FileExistsError(f"the key {key} exists")
                for name, text in texts.items():
                    winreg.SetValueEx(made, name, 0, winreg.REG_SZ, text)

        def delete(self, key: str) -> None:
            """Remove a key.  Raises FileExistsError when there are keys below it."""
            with self._open(key) as opened:
                if winreg.QueryInfoKey(opened)[0]:
                    raise FileExistsError(f"there are keys below {key}")
            with self._open("", winreg.KEY_WRITE) as above:
                winreg.DeleteKeyEx(above, key, winreg.KEY_WOW64_64KEY)
