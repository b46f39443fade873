from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
from hvcopy.errors import BadUsage
@dataclass(frozen=True, slots=True)
class VsockAddress:
    cid: int
    port: int
    scheme: ClassVar[str] = "vsock"
    def __str__(self) -> str: return f"vsock:{ {2:'host',1:'local',0xffffffff:'any'}.get(self.cid,self.cid)}:{self.port}"
@dataclass(frozen=True, slots=True)
class HypervAddress:
    vm: str
    service: str
    scheme: ClassVar[str] = "hyperv"
@dataclass(frozen=True, slots=True)
class HybridAddress:
    path: str
    port: int
    scheme: ClassVar[str] = "hybrid"
    def __str__(self) -> str: return f"hybrid:{self.path}:{self.port}"
@dataclass(frozen=True, slots=True)
class UnixAddress:
    path: str
    scheme: ClassVar[str] = "unix"
    def __str__(self) -> str: return f"unix:{self.path}"
@dataclass(frozen=True, slots=True)
class TcpAddress:
    host: str
    port: int
    scheme: ClassVar[str] = "tcp"
    def __str__(self) -> str: return f"tcp:{self.host}:{self.port}"
Address = VsockAddress | HypervAddress | HybridAddress | UnixAddress | TcpAddress
def parse_address(text: str) -> Address:
    s, *r = text.split(":")
    if s == "unix": return UnixAddress(r[0])
    if s == "tcp": return TcpAddress(r[0], int(r[1]))
    if s == "hybrid": return HybridAddress(r[0], int(r[1]))
    if s == "vsock": return VsockAddress({"host":2,"local":1,"any":0xffffffff}.get(r[0]) or int(r[0]), int(r[1]))
    raise BadUsage(text)
def split_remote(text: str, *, windows: bool, aliases=()):
    n = {"unix":2,"tcp":3,"hybrid":3,"vsock":3}.get(text.split(":")[0])
    if n is None: return None
    p = text.split(":")
    return ":".join(p[:n]), ":".join(p[n:])
