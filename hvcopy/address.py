"""The grammar of addresses: reading every spelling, printing one (docs/addresses.md tells it to users).

Pure: it resolves no name and opens nothing.  Whether an address fits the system, or the role (``any`` and
port 0 are for listening), is known to hvcopy.transport.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from typing import ClassVar, NoReturn

from msgspec import Struct

from hvcopy.errors import BadUsage, printable

DEFAULT_PORT = 18518
"""The port in examples and hints; nothing assumes it."""
LONGEST_SOCKET_PATH = 107
"""Bytes: sockaddr_un has room for 108 with the final zero (unix(7))."""

CID_ANY, CID_LOCAL = 0xFFFFFFFF, 1
_CIDS = {"any": CID_ANY, "-1": CID_ANY, "host": 2, "local": CID_LOCAL}  # linux/vm_sockets.h
_CID_NAMES = {CID_ANY: "any", 2: "host", CID_LOCAL: "local"}
_LAST_VSOCK_PORT = 0xFFFFFFFE  # above it is VMADDR_PORT_ANY; port 0 lets the listening system choose
_LAST_SERVICE_PORT = 0x7FFFFFFF  # Linux guests once refused more (net/vmw_vsock/hyperv_transport.c)

_TEMPLATE = "-facb-11e6-bd58-64006a7986d3"  # HV_GUID_VSOCK_TEMPLATE, the port in its first field (hvsocket.h)
VM_NAMES = {  # hvsocket.h
    "00000000-0000-0000-0000-000000000000": "any",
    "90db8b89-0d35-4f79-8ce9-49ea0ac8b7cd": "children",
    "e0e16197-dd56-4a10-9195-5ee7a155a838": "loopback",
    "a42e7cda-d03f-480c-9cc2-a4de20abb878": "parent",
    "36bd0c5c-7276-4223-88ba-7d03b654c568": "silohost",
}
_KNOWN_VMS = frozenset({*VM_NAMES.values(), "wsl"})
HYPERV_OPTIONS = ("no-suspend", "high-vtl", "container-passthru")
"""What may follow a service after a comma; docs/hyper-v.md says what each does."""
BROADCAST_GUID = "ffffffff-ffff-ffff-ffff-ffffffffffff"
# Patterns are compiled when first used, which most addresses never do: start-up is most of a small copy.
_GUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"

_HOST_NAME = r"[^\W_]([\w.-]*\w)?\.?"
_IPV6 = r"(?a)(?=.*:.*:)[0-9A-Fa-f:.]{2,45}(%[\w.-]{1,32})?"
_BRACKETS = f"an IPv6 address stands in brackets: tcp:[::1]:{DEFAULT_PORT}"
_ESCAPE = rb"%([0-9A-Fa-f]{2})"


class VsockAddress(Struct, frozen=True):
    """``vsock:CID:PORT``: AF_VSOCK on Linux; *cid* 0xffffffff is any."""

    scheme: ClassVar[str] = "vsock"
    cid: int
    port: int

    def __str__(self) -> str:
        return f"vsock:{_CID_NAMES.get(self.cid, self.cid)}:{self.port}"


class HypervAddress(Struct, frozen=True):
    """``hyperv:VM:SERVICE``: AF_HYPERV on Windows.

    *vm* is a well-known name, a lower-case GUID, or else a VM's own name; *service* is a decimal port, a
    lower-case GUID, or else a registered friendly name.  *options* are some of HYPERV_OPTIONS, in that order.
    """

    scheme: ClassVar[str] = "hyperv"
    vm: str
    service: str
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        vm, service = _canonical_vm(self.vm), _canonical_service(self.service)
        return ",".join((f"hyperv:{_escape(vm, also='/')}:{_escape(service, also='/,')}", *self.options))


class HybridAddress(Struct, frozen=True):
    """``hybrid:PATH:PORT``: a VMM's unix socket into its guest."""

    scheme: ClassVar[str] = "hybrid"
    path: str
    port: int

    def __str__(self) -> str:
        return f"hybrid:{_escape_path(self.path)}:{self.port}"


class UnixAddress(Struct, frozen=True):
    """``unix:PATH``: bytes that are not UTF-8 stand in *path* as os.fsdecode() has them."""

    scheme: ClassVar[str] = "unix"
    path: str

    def __str__(self) -> str:
        return f"unix:{_escape_path(self.path)}"


class TcpAddress(Struct, frozen=True):
    """``tcp:HOST:PORT``: an IPv6 address stands in *host* without its brackets."""

    scheme: ClassVar[str] = "tcp"
    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp:[{self.host}]:{self.port}" if ":" in self.host else f"tcp:{self.host}:{self.port}"


Address = VsockAddress | HypervAddress | HybridAddress | UnixAddress | TcpAddress


def want_address(value: object) -> None:
    """Raise TypeError for what is no address, as a text is that parse_address was to read."""
    if not isinstance(value, Address):
        raise TypeError(f"an address is wanted, as parse_address returns, not {value!r}")


class _Spelled(Struct, frozen=True):
    """A text taken apart: its form, the fields that the form has or fewer, the address, what follows it."""

    form: str
    fields: list[str]
    address: str
    rest: str | None


def parse_address(text: str) -> Address:
    """Return the address that *text* spells.  Raises BadUsage, with the likely spelling as its hint."""
    spelled = _spell(text)
    if spelled is None:
        _refuse(text, "is not an address", f"write {_guess(text)}")
    address = _FORMS[spelled.form](text, spelled.fields)
    if spelled.rest is not None:
        _refuse(text, "has something after the address", f"the address alone is {_shown(spelled.address)}")
    return address


def is_scheme(name: str) -> bool:
    """Say whether a colon after *name* makes an address of it, so that nothing else can be called so."""
    return name.lower() in (*_FORMS, "hvsock")


def split_remote(
    text: str, *, windows: bool, aliases: Callable[[], Container[str]] = tuple
) -> tuple[str, str] | None:
    """Return (address or alias as typed, path on the server) when *text* is remote, None for a local path.

    The path is "" for the server's root.  Local are: a text without a colon, with a slash before the first
    colon or beginning with it; on *windows* also one with a drive letter or a backslash before it.
    *aliases* is asked for the names of hosts only if *text* may begin with one.
    Raises BadUsage for what is neither, and for a remote path whose address is wrong.
    """
    name, colon, path = text.partition(":")
    if not colon or not name or "/" in name:
        return None
    if windows and ("\\" in name or re.fullmatch("[A-Za-z]", name)):
        return None
    spelled = _spell(text)
    if spelled is not None:
        _FORMS[spelled.form](text, spelled.fields)
        return spelled.address, spelled.rest or ""
    if name in aliases():
        return name, path
    local = "" if windows else f"for a local file write {_shown(f'./{text}')}; "  # there no name has a colon
    _refuse(
        text,
        "names neither a transport nor a host of the configuration file before its colon",
        f"{local}for a server add hosts.{_shown(name)} to the configuration file, or write {_guess(text, path)}",
    )


def port_to_service(port: int) -> str:
    """Return the service GUID that stands for the vsock *port*, 1 to 0x7fffffff.  Raises BadUsage."""
    if not 1 <= port <= _LAST_SERVICE_PORT:
        _refuse(str(port), "is not a port of Hyper-V", f"its ports are 1 to {_LAST_SERVICE_PORT}")
    return f"{port:08x}{_TEMPLATE}"


def service_to_port(guid: str) -> int | None:
    """Return the vsock port that a service GUID stands for, None for any other GUID.  Raises BadUsage."""
    canonical = parse_guid(guid)
    port = int(canonical[:8], 16)
    return port if canonical[8:] == _TEMPLATE and 1 <= port <= _LAST_SERVICE_PORT else None


def no_service(guid: str) -> tuple[str, str] | None:
    """Return why no service can have the canonical *guid*, and what to write; None for every other, ours or not."""
    if guid in VM_NAMES or guid == BROADCAST_GUID:
        return "stands for VMs and is no service", f"a service is a port or its GUID, such as {port_to_service(DEFAULT_PORT)}"
    if guid[8:] == _TEMPLATE and service_to_port(guid) is None:
        return (
            f"is made from a template and stands for port {int(guid[:8], 16)}, which is none of Hyper-V's",
            f"its ports are 1 to {_LAST_SERVICE_PORT}; hvcopy service guid PORT prints the GUID of one",
        )
    return None


def parse_guid(text: str) -> str:
    """Return a GUID in lower case; braces and upper case are read.  Raises BadUsage."""
    guid = _find_guid(text)
    if guid is None:
        example = with_dashes(text) or port_to_service(DEFAULT_PORT)
        _refuse(text, "is not a GUID", f"a GUID has 8-4-4-4-12 hexadecimal digits: {example}")
    return guid


def with_dashes(text: str) -> str | None:
    """Return the GUID that somebody may have meant by its digits alone; None when *text* is anything else."""
    if not re.fullmatch("[0-9A-Fa-f]{32}", text):
        return None
    digits = text.lower()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _spell(text: str) -> _Spelled | None:
    """Take *text* apart by its scheme; None when it has none of ours."""
    scheme, colon, body = text.partition(":")
    form = scheme.lower()
    if not colon or not is_scheme(scheme):
        return None
    url = body.startswith("//")
    body = body[2:] if url else body
    if form == "hvsock":  # Kata's hvsock:///path:port is a VMM's socket, WinSocat's hvsock:VM:... Hyper-V's
        form = "hybrid" if body.startswith("/") else "hyperv"
    if url and form in ("unix", "hybrid") and not body.startswith("/"):
        hint = f"a path in a URL has a third slash: {scheme}:///{_shown(body)}"
        _refuse(text, "is not a URL of a socket", hint)
    fields, rest = _take(body, 1 if form in ("unix", "vsock-listen") else 2, brackets=form == "tcp")
    if url and form in ("vsock", "hyperv", "tcp") and "/" in fields[-1]:
        return _spell_url(text, form, fields, rest)
    address = text if rest is None else text[: -len(rest) - 1]
    return _Spelled(form, fields, address, rest)


def _spell_url(text: str, form: str, fields: list[str], rest: str | None) -> _Spelled:
    """A URL whose authority ends at a slash: a path follows, or after a lone slash ``:PATH``, or nothing."""
    fields[-1], _, path = fields[-1].partition("/")
    after = "/" + path + ("" if rest is None else ":" + rest)
    address = text[: -len(after)]
    if after == "/":
        return _Spelled(form, fields, text, None)
    return _Spelled(form, fields, address, after.removeprefix("/:") if not path else after)


def _take(body: str, count: int, *, brackets: bool) -> tuple[list[str], str | None]:
    """Split off up to *count* fields at colons; returns them and what follows, None when nothing does."""
    fields: list[str] = []
    rest: str | None = body
    while rest is not None and len(fields) < count:
        start = rest.find("]") + 1 if brackets and rest.startswith("[") else 0
        end = rest.find(":", start)
        fields.append(rest if end < 0 else rest[:end])
        rest = None if end < 0 else rest[end + 1 :]
    return fields, rest


def _read_vsock(text: str, fields: list[str]) -> VsockAddress:
    first = fields[0]
    if len(fields) == 1:
        _refuse(text, "lacks a CID or a port", _complete_vsock(first))
    if not first:
        _refuse(text, "has no CID", f"to listen write vsock:any:{_shown(fields[1]) or DEFAULT_PORT}")
    if fields[1].startswith("/"):
        _refuse(text, "has no port", f"write vsock:{_shown(first)}:{DEFAULT_PORT}:{_shown(fields[1])}")
    cid = _CIDS.get(first.lower())
    if cid is None:
        cid = _number(text, first, "a CID", CID_ANY, "a number, host, local or any: vsock:host:18518")
    return VsockAddress(cid, _vsock_port(text, fields[1]))


def _complete_vsock(given: str) -> str:
    if given.lower() in _CIDS and given != "-1":
        return f"add the port: vsock:{given.lower()}:{DEFAULT_PORT}"
    if not re.fullmatch("[0-9]{1,10}", given):
        return f"write vsock:CID:PORT, such as vsock:host:{DEFAULT_PORT}"
    return (
        f"port {given} on the host is vsock:host:{given}, to listen on it vsock:any:{given};"
        f" the machine with CID {given} is vsock:{given}:{DEFAULT_PORT}"
    )


def _read_vsock_listen(text: str, fields: list[str]) -> VsockAddress:
    return VsockAddress(CID_ANY, _vsock_port(text, fields[0]))


def _vsock_port(text: str, field: str) -> int:
    if field in ("-1", str(CID_ANY)):
        _refuse(text, "asks for any port by number", "port 0 lets the system choose when listening")
    return _number(text, field, "a port", _LAST_VSOCK_PORT, f"a number, such as {DEFAULT_PORT}")


def _read_hyperv(text: str, fields: list[str]) -> HypervAddress:
    if len(fields) == 1:
        given = _shown(fields[0])
        vm, service = given or "VM", given or DEFAULT_PORT
        hint = f"write hyperv:{vm}:{DEFAULT_PORT} for a VM, hyperv:parent:{service} for a service of the host"
        _refuse(text, "lacks a VM or a service", hint)
    vm, service = fields
    example = f"a name or a GUID: hyperv:parent:{DEFAULT_PORT}"
    if service.startswith("/"):
        _refuse(text, "has no service", f"write hyperv:{_shown(vm)}:{DEFAULT_PORT}:{_shown(service)}")
    vm = _name(text, vm, "VM", f"parent, loopback, children, any, wsl, silohost, {example}")
    if _find_guid(vm) == BROADCAST_GUID:
        _refuse(
            text,
            "names the broadcast GUID, which Windows reserves",
            f"to listen to every VM write hyperv:any:{_shown(service)}",
        )
    service, *options = service.split(",")
    for option in options:
        if option not in HYPERV_OPTIONS:
            known = ", ".join(HYPERV_OPTIONS)
            hint = f"options are {known}; a comma in a service's name is written %2C"
            _refuse(text, f"has the unknown option '{_shown(option)}' after its service", hint)
    service = _name(text, service, "service", f"a port, {example}")
    port = re.fullmatch("(?:vsock-)?(-?[0-9]+)", service, re.IGNORECASE)  # vsock-2761 is WinSocat's
    if port is not None and (dashed := with_dashes(service)) is not None:
        why = "has 32 digits where a service belongs, too many for a port"
        _refuse(text, why, f"was it to be a GUID? That is written {dashed}")
    if port is not None:
        _number(text, port[1], "a service port", _LAST_SERVICE_PORT, "a number from 1", first=1)
    elif (guid := _find_guid(service)) is not None and (wrong := no_service(guid)) is not None:
        _refuse(text, f"names the service {guid}, which {wrong[0]}", wrong[1])
    chosen = tuple(option for option in HYPERV_OPTIONS if option in options)
    return HypervAddress(_canonical_vm(vm), _canonical_service(port[1] if port else service), chosen)


def _canonical_vm(vm: str) -> str:
    guid = _find_guid(vm)
    if guid is not None:
        return VM_NAMES.get(guid, guid)
    return vm.lower() if vm.lower() in _KNOWN_VMS else vm


def _canonical_service(service: str) -> str:
    if service.isascii() and service.isdigit():
        return str(int(service))
    guid = _find_guid(service)
    if guid is None:
        return service
    return str(service_to_port(guid) or guid)


def _read_hybrid(text: str, fields: list[str]) -> HybridAddress:
    path = _path(text, fields[0], f"hybrid:/path/v.sock:{DEFAULT_PORT}")
    if len(fields) == 1 or fields[1].startswith("/"):
        _refuse(
            text,
            "has no port after the path",
            f"write hybrid:{_escape_path(path)}:{DEFAULT_PORT}; a colon in the path is written %3A",
        )
    hint = "a number; a colon in the path is written %3A"
    port = _number(text, fields[1], "a port", _LAST_VSOCK_PORT, hint, first=1)
    return HybridAddress(path, port)


def _read_unix(text: str, fields: list[str]) -> UnixAddress:
    return UnixAddress(_path(text, fields[0], "unix:/run/hvcopy.sock"))


def _read_tcp(text: str, fields: list[str]) -> TcpAddress:
    host, port = fields if len(fields) == 2 else (fields[0], None)
    if port is None:
        only_port = re.fullmatch("[0-9]{1,5}", host)
        host, port = ("127.0.0.1", host) if only_port else (host or "127.0.0.1", str(DEFAULT_PORT))
        _refuse(text, "lacks a host or a port", f"write tcp:{_shown(host)}:{port}")
    if "::" in text.partition(":")[2] and not (host and port):
        _refuse(text, "has an IPv6 address without brackets", _BRACKETS)
    if host in ("", "*"):
        port = _shown(port) or str(DEFAULT_PORT)
        _refuse(
            text,
            "names no host, and hvcopy never takes all interfaces for granted",
            f"write tcp:127.0.0.1:{port}; every interface, if you mean it, is tcp:0.0.0.0:{port}",
        )
    if not port or port.startswith("/"):
        tail = f":{_shown(port)}" if port else ""
        _refuse(text, "has no port", f"write tcp:{_shown(host)}:{DEFAULT_PORT}{tail}")
    return TcpAddress(_read_host(text, host), _number(text, port, "a port", 65535, f"a number; {_BRACKETS}"))


def _read_host(text: str, host: str) -> str:
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if len(bare) > 255 or not re.fullmatch(_IPV6 if bracketed else _HOST_NAME, bare):
        _refuse(text, "has no valid host", f"a host is a name or an IP address; {_BRACKETS}")
    return bare


_FORMS: dict[str, Callable[[str, list[str]], Address]] = {
    "vsock": _read_vsock,
    "hyperv": _read_hyperv,
    "hybrid": _read_hybrid,
    "unix": _read_unix,
    "tcp": _read_tcp,
    "vsock-connect": _read_vsock,
    "vsock-listen": _read_vsock_listen,
}


def _number(text: str, field: str, what: str, last: int, hint: str, *, first: int = 0) -> int:
    """The decimal number *field* of *text*, which int() would read too generously."""
    if not re.fullmatch("[0-9]+", field):
        _refuse(text, f"has '{_shown(field)}' where {what} belongs", f"{what} is {hint}")
    if len(field) > 20 or not first <= int(field) <= last:
        _refuse(text, f"has {what} outside {first} to {last}", f"{what} is {hint}")
    return int(field)


def _path(text: str, field: str, example: str) -> str:
    path = _unescape(text, field)
    if not path:
        _refuse(text, "has no path", f"write {example}")
    size = len(path.encode("utf-8", "surrogateescape"))
    if size > LONGEST_SOCKET_PATH:
        _refuse(
            text,
            f"has a path of {size} bytes, and a socket's path has at most {LONGEST_SOCKET_PATH}",
            "choose a shorter one, such as in /run or /tmp, or a relative one",
        )
    return path


def _name(text: str, field: str, what: str, hint: str) -> str:
    """The VM or service *field*, which may be a name in any script but no control characters."""
    name = _unescape(text, field)
    if not name or not name.isprintable() or name != name.strip() or len(name) > 255 or "/" in field:
        _refuse(text, f"names no {what}", f"the {what} is {hint}")
    if name.startswith("{") and _find_guid(name) is None:
        _refuse(text, f"has a {what} in braces that is not a GUID", f"the {what} is {hint}")
    return name


def _find_guid(text: str) -> str | None:
    bare = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    found = re.fullmatch(_GUID, bare.lower())
    return found[0] if found else None


def _escape_path(path: str) -> str:
    """A second slash at the start is escaped, for after the scheme it would read as a URL."""
    return "/%2F" + _escape(path[2:]) if path.startswith("//") else _escape(path)


def _escape(text: str, *, also: str = "") -> str:
    """Percent-encode what the grammar uses, what does not print, and bytes that are not UTF-8."""
    return "".join(c if c.isprintable() and c not in ":%" + also else _escape_character(c) for c in text)


def _escape_character(c: str) -> str:
    code = bytes([ord(c) - 0xDC00]) if "\udc80" <= c <= "\udcff" else c.encode("utf-8", "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in code)


def _unescape(text: str, field: str) -> str:
    if re.search("%(?![0-9A-Fa-f]{2})", field):
        _refuse(text, "has a % that begins no escape", "write a percent sign as %25, a colon as %3A")
    try:
        raw = field.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        _refuse(text, "has half a character (a lone surrogate)", "give the socket a plain name")
    raw = re.sub(_ESCAPE, lambda found: bytes.fromhex(found[1].decode()), raw)
    if b"\0" in raw:
        _refuse(text, "has a zero byte, which no path contains", "abstract sockets are not supported")
    return raw.decode("utf-8", "surrogateescape")


def _guess(text: str, path: str = "") -> str:
    """What the user may have meant by an address without a scheme."""
    if text.startswith(("/", "./")):
        return f"unix:{_shown(text)} for a unix socket"
    if re.match("[0-9]{1,10}:[0-9]{1,10}(?![^:])", text):
        return f"vsock:{_shown(text)}"
    if _find_guid(text.partition(":")[0]):
        return f"hyperv:{_shown(text)}"
    if re.match(r"(localhost|[0-9]+(\.[0-9]+){3}|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}(?![^:])", text):
        return f"tcp:{_shown(text)}"
    tail = f":{_shown(path)}" if path else ""
    return (
        f"vsock:CID:PORT{tail}, hyperv:VM:SERVICE{tail}, hybrid:/path:PORT{tail}, unix:/path{tail}"
        f" or tcp:HOST:PORT{tail}"
    )


def _shown(text: str) -> str:
    return printable(text if len(text) <= 200 else text[:200] + "...")


def _refuse(text: str, why: str, hint: str) -> NoReturn:
    raise BadUsage(f"'{_shown(text)}' {why}", hint=hint)
