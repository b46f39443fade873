"""A registry in memory with the interface of hvcopy.transport.hyperv.registry, and the failures that Windows has."""

from __future__ import annotations

from hvcopy.transport.hyperv.registry import NAME, TEXT, Values


class MemoryRegistry:
    """Keys by name, compared without regard to case as Windows does; *locked* ones may not be read."""

    def __init__(self, keys: dict[str, Values | str] | None = None, *, writable: bool = True) -> None:
        self.content: dict[str, Values] = {}
        self.locked: set[str] = set()
        self.parents: set[str] = set()
        self.writable = writable
        self.room = 1 << 20
        for key, values in (keys or {}).items():
            self.content[key] = {NAME: (values, TEXT)} if isinstance(values, str) else values

    def keys(self) -> list[str]:
        return list(self.content)

    def values(self, key: str) -> Values:
        if key in self.locked:
            raise PermissionError(13, "Access is denied")
        return self.content[self._find(key)]

    def check_writable(self) -> None:
        if not self.writable:
            raise PermissionError(13, "Access is denied")

    def create(self, key: str, texts: dict[str, str]) -> None:
        self.check_writable()
        if key.lower() in map(str.lower, self.content):
            raise FileExistsError(17, "exists")
        if len(self.content) >= self.room:
            raise OSError(112, "There is not enough space")
        self.content[key] = {name: (text, TEXT) for name, text in texts.items()}

    def delete(self, key: str) -> None:
        self.check_writable()
        if key in self.parents:
            raise FileExistsError(17, "keys below it")
        del self.content[self._find(key)]

    def _find(self, key: str) -> str:
        found = [one for one in self.content if one.lower() == key.lower()]
        if not found:
            raise FileNotFoundError(2, "The system cannot find the file specified")
        return found[0]
