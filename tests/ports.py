"""Where commands have no unix sockets: each unix address of a test stands for a port of the loopback.

What a unix socket's mode grants, ``--open`` grants there: commands that listen get it, unless they are told whom to let in.
This user stands for 127.0.0.1 then, any other one for an address that nobody comes from.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

STANDS_FOR = os.environ.get("HVCOPY_TEST_COMMAND", "") != ""
WINE_RUNS_ON_LINUX = 32768
"""Where the ports begin that are given to others there; those of Windows are above."""
_USER = re.compile(r"unix:\d+")
_UNIX = re.compile(r"unix:(/[^:]*)")
_ACCESS = {"--open", "--allow", "--key-file"}
_LISTENING = {"-l", "--listen"}
_MAY_LISTEN = {"send", "recv", "pipe", "nc"}

_ports: dict[str, int] = {}


def local(folder: Path, name: str = "s") -> str:
    """An address of this machine where nobody listens: a unix socket in *folder*, or a port where there are none."""
    return f"tcp:127.0.0.1:{free_port()}" if sys.platform == "win32" else f"unix:{folder}/{name}"


def real(address: str) -> str:
    """The address behind *address*, or behind what follows it: ``unix:/s:/path`` is ``tcp:127.0.0.1:PORT:/path``."""
    found = _UNIX.match(address) if STANDS_FOR else None
    return f"tcp:127.0.0.1:{_port(found[1])}{address[found.end() :]}" if found else address


def words(arguments: Sequence[str]) -> list[str]:
    """The words of a command, its addresses exchanged."""
    exchanged = [_user(word) if _USER.fullmatch(word) and STANDS_FOR else real(word) for word in arguments]
    moved = [new for new, old in zip(exchanged, arguments, strict=True) if new != old]
    if not moved or _ACCESS & set(arguments):
        return exchanged
    verb = arguments[0]
    listens = verb == "serve" or (verb == "bench" and "--serve" in arguments)
    listens |= verb in _MAY_LISTEN and bool(_LISTENING & set(arguments))
    if verb == "forward":
        listens = next(word for word in exchanged[1:] if re.match("[a-z]+:", word)) == moved[0]
    if not listens:
        return exchanged
    occupy(next(word for word in arguments if word.startswith("unix:/")))
    return [*exchanged, "--open"]


def occupy(address: str) -> None:
    """Put a file where a listener's socket would be, for tests that look into its folder."""
    with contextlib.suppress(OSError):
        Path(address.removeprefix("unix:")).touch(exist_ok=False)


def is_free(address: str) -> bool:
    """Whether a listener has left nothing behind: no socket's file, or nobody at the port."""
    if not STANDS_FOR:
        return not Path(address.removeprefix("unix:")).exists()
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", _port(address.removeprefix("unix:")))) != 0


def named(text: str) -> str:
    """What a command said, with the addresses that the test knows."""
    for path, port in _ports.items():
        text = re.sub(rf"tcp:127\.0\.0\.1:{port}\b", f"unix:{path}", text)
    return text


def _user(rule: str) -> str:
    return "127.0.0.1" if rule == f"unix:{os.getuid()}" else "127.0.0.2"


def _port(path: str) -> int:
    if path not in _ports:
        _ports[path] = free_port()
    return _ports[path]


def free_port() -> int:
    """A port that is free, and is none of those that the system gives to others by itself: it stands for its socket alone."""
    range_of_others = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(range_of_others.read_text().split()[0]) if sys.platform != "win32" else WINE_RUNS_ON_LINUX
    while True:
        port = random.randrange(1024, max(first, 2048))
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
