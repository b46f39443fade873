"""Turns what the user typed into addresses, keys and options; reads host aliases from the configuration file."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from hvcopy.address import Address, UnixAddress, is_scheme, parse_address, split_remote
from hvcopy.errors import BadUsage, LocalFailure, printable
from hvcopy.units import parse_duration, parse_size

if TYPE_CHECKING:
    from hvcopy.wire.messages import Options

WINDOWS = sys.platform == "win32"
CONFIG = "hvcopy/config.toml"
A_GUEST, LISTENING, THE_HOST = (
    ("hyperv:VM:18518", "hyperv:any:18518", "hyperv:parent")
    if WINDOWS
    else ("vsock:3:18518", "vsock:any:18518", "vsock:host")
)
"""In examples: what to connect to, what to listen on, who may come."""


class Remote(Struct, frozen=True):
    """A server as the user named it: by address or by alias, with a path below its root."""

    address: Address
    path: bytes
    key_file: str


def config_path() -> str:
    """Return where the configuration file is looked for (XDG base directories; %APPDATA% on Windows)."""
    if WINDOWS:
        return os.path.join(os.environ.get("APPDATA") or os.path.expanduser(r"~\AppData\Roaming"), CONFIG)
    return os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), CONFIG)


_A_HOST = f"a host is: [hosts.web1] address = '{A_GUEST}'"
_BACKSLASHES = r"a path with backslashes stands in single quotes: key_file = 'C:\keys\web1.key'"


def aliases() -> dict[str, dict[str, Any]]:
    """Return the hosts of the configuration file; empty when there is none.

    Raises BadUsage when it is broken, LocalFailure when it cannot be read.
    """
    path = config_path()
    if not os.path.lexists(path):
        return {}
    if not os.path.isfile(path):
        raise BadUsage(f"{printable(path)}: it is no file", hint="move it away, or write a configuration file there")
    import tomllib

    text = ""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:  # editors on Windows put a byte order mark
            text = file.read()
        tables = tomllib.loads(text)
    except UnicodeDecodeError:
        raise BadUsage(f"{printable(path)}: it is not text in UTF-8", hint="save it as UTF-8") from None
    except OSError as error:
        raise LocalFailure(f"{printable(path)}: {error.strerror}", hint="make it readable for you, or move it away") from None
    except tomllib.TOMLDecodeError as error:
        raise BadUsage(f"{printable(path)}: {error}", hint=_BACKSLASHES if "\\" in text else _A_HOST) from None
    for table in tables:
        if table != "hosts":
            raise BadUsage(f"{printable(path)}: {printable(table)} means nothing", hint=_A_HOST)
    hosts = tables.get("hosts", {})
    if not isinstance(hosts, dict):
        raise BadUsage(f"{printable(path)}: hosts is not a table", hint=_A_HOST)
    for name, host in hosts.items():
        if is_scheme(name) or not name or set(":/") & set(name):
            raise BadUsage(
                f"{printable(path)}: hosts.{printable(name)}: no host can be called so",
                hint="a name is no transport, and has no colon and no slash: [hosts.web1]",
            )
        _check_host(f"{printable(path)}: hosts.{printable(name)}", host)
    return dict(hosts)


def _check_host(where: str, host: object) -> None:
    """Raise BadUsage unless every word is known and has a value: one that was passed over might be the key's."""
    if not isinstance(host, dict) or not isinstance(host.get("address"), str):
        raise BadUsage(f"{where} has no address", hint=f"address = '{A_GUEST}'")
    unknown = [name for name in host if name not in ("address", "key_file")]
    if unknown:
        raise BadUsage(f"{where}: {printable(unknown[0])} means nothing", hint="a host has an address, and may have a key_file")
    if "key_file" in host and not (isinstance(host["key_file"], str) and host["key_file"]):
        raise BadUsage(f"{where}: key_file names no file", hint="key_file = '~/.config/hvcopy/web1.key', or leave it out")


def find(text: str) -> tuple[Address, str]:
    """Return (address, key file or "") for an address or an alias.  Raises BadUsage."""
    host = aliases().get(text) if ":" not in text else None
    if host is None:
        return _address(text), ""
    try:
        address = parse_address(host["address"])
    except BadUsage as error:
        raise BadUsage(f"{printable(config_path())}: hosts.{text}: {error.message}", hint=error.hint) from None
    return address, os.path.expanduser(host.get("key_file", ""))


def _address(text: str) -> Address:
    """Return the address that *text* is; what may have been meant for a host's name is told where hosts stand."""
    name = text.partition(":")[0]
    try:
        return parse_address(text)
    except BadUsage as error:
        if not name[:1].isalpha() or "/" in name or is_scheme(name):
            raise
        there = f"; a host called {printable(name)} is not in {printable(config_path())}"
        raise BadUsage(error.message, hint=error.hint + there) from None


def find_remote(text: str) -> Remote | None:
    """Return the server and path that *text* names, or None for a local path.  Raises BadUsage."""
    parts = split_remote(text, windows=WINDOWS, aliases=aliases)
    if parts is None:
        return None
    address, key_file = find(parts[0])
    if WINDOWS and "\\" in parts[1]:  # to a server that is not on Windows it would be part of a name
        slashes = f"{parts[0]}:{parts[1]}".replace("\\", "/")
        raise BadUsage(f"{printable(text)}: folders are parted by / in a remote path", hint=f"write {printable(slashes)}")
    return Remote(address, os.fsencode(parts[1]), key_file)


def find_place(text: str) -> Remote:
    """Return the server and path that *text* names; without a path, the server's root.  Raises BadUsage."""
    if ":" not in text:
        return Remote(*_with_root(find(text)))
    try:
        remote = find_remote(text)
    except BadUsage:
        name = text.partition(":")[0]
        if (WINDOWS and "\\" in text) or (not is_scheme(name) and name in aliases()):
            raise
        remote = None
    return remote or Remote(*_with_root(find(text)))


def _with_root(found: tuple[Address, str]) -> tuple[Address, bytes, str]:
    return found[0], b"", found[1]


def key_of(key_file: str, alias_key: str = "") -> bytes | None:
    """Return the key to prove, from --key-file or the alias; None when neither names one."""
    path = key_file or alias_key
    if not path:
        return None
    from hvcopy.files.keys import load_key

    return load_key(path)


def seconds(text: str) -> float:
    """Return a duration option in seconds."""
    return parse_duration(text)


def timeout_seconds(text: str, option: str = "--timeout") -> float:
    """Return --timeout, or another *option* of its kind, in seconds; it is never zero, which would mean for ever."""
    value = parse_duration(text)
    if value < 0.1:
        raise BadUsage(f"{option} {text} is too short", hint="give at least 100ms")
    return value


def size(text: str) -> int | None:
    """Return a size option in bytes, None when it was not given."""
    return parse_size(text) if text else None


def rate(text: str) -> int:
    """Return a rate option in bytes a second, 0 when it was not given."""
    return parse_size(text) if text else 0


def check_paths(*paths: str) -> None:
    """Raise BadUsage for a path that is empty: what follows would name no file, or mean a folder that nobody named."""
    if "" in paths:
        raise BadUsage("a path is empty", hint="a variable that is not set may stand for it; this folder is .")


def given(options: dict[str, object]) -> list[str]:
    """Return the names of those *options* that were given."""
    return [name for name, value in options.items() if value]


def existing(*, overwrite: bool, update: bool) -> str:
    """Return the policy for files that exist.  Raises BadUsage for both options at once."""
    if overwrite and update:
        raise BadUsage(
            "--overwrite and --update exclude each other", hint="--update keeps what is newer there; --overwrite nothing"
        )
    return "overwrite" if overwrite else "update" if update else "refuse"


def copy_options(
    *,
    recursive: bool,
    archive: bool,
    links: bool,
    overwrite: bool,
    update: bool,
    no_fsync: bool,
    dry_run: bool,
    totals: bool,
) -> Options:
    """Return the options of a job."""
    from hvcopy.wire.messages import Options

    return Options(
        existing=existing(overwrite=overwrite, update=update),
        recursive=recursive or archive,
        owner=archive,
        xattrs=archive,
        links=links or archive,
        sync=not no_fsync,
        dry=dry_run,
        totals=totals,
    )


def only_for_listeners(listening: bool, *, allow: list[str] | None, open_to_all: bool) -> None:
    """Raise BadUsage when it is to be decided who may connect where nobody can: it would look like a check of the peer."""
    if (allow or open_to_all) and not listening:
        raise BadUsage("--allow and --open say who may connect, so they go with -l", hint="add -l, or leave them out")


def wait_seconds(text: str, *, listening: bool) -> float:
    """Return --wait in seconds.  Raises BadUsage for a listener, which waits as long as it takes."""
    value = parse_duration(text)
    if value and listening:
        raise BadUsage("--wait is for who connects; a listener waits until somebody comes", hint="leave out --wait")
    return value


def admission(
    address: Address,
    *,
    allow: list[str] | None,
    open_to_all: bool,
    key_file: str = "",
    alias_key: str = "",
    raw: bool = False,
) -> Any:
    """Return who may connect to a listener.  Raises BadUsage unless the user decided it; a unix socket's mode decides it too.

    *raw*: nobody can prove a key there.
    """
    from hvcopy.admission import Admission
    from hvcopy.transport.peer import example, rules_for

    if raw and alias_key:
        raise BadUsage(
            f"the configuration file asks for a key at {address}, and a raw peer can prove none",
            hint="name it by its address, and say who may connect",
        )
    key = key_of(key_file, alias_key)
    decided = key is not None or allow or open_to_all
    if not decided and not isinstance(address, UnixAddress):
        raise BadUsage(
            f"listening on {address} without saying who may connect",
            hint=f"add {'' if raw else '--key-file FILE, '}--allow PEER (as {example(address)}),"
            " or --open to let in whoever can connect",
        )
    return Admission(allow=rules_for(address, allow) if allow else None, key=key)
