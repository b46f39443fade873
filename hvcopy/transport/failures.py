"""What the system's errors mean to the user, when connecting and when listening.

Each family brings the table of its own "nobody listens" errors; what is common to all stands here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hvcopy.elevation import word
from hvcopy.errors import BadUsage, HvcopyError, LocalFailure, NobodyListens, NotAllowed, NotHvcopy, TimedOut

if TYPE_CHECKING:
    from hvcopy.address import Address

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
FORBIDDEN = (errno.EACCES, errno.EPERM)
SERVERS = ("hvcopy serve {} --root DIR", "hvcopy recv -l {}", "hvcopy pipe -l {}")
LOW_PORT = ("ports below 1024 need root or CAP_NET_BIND_SERVICE", "choose a port from 1024 on, such as 18518, or use sudo")
"""Why one may not be listened on, and what to do."""
KEEP_TRYING = "keep trying with --wait 30"


class Server(NamedTuple):
    """The listener that was missed: its *address*, empty if not known, the option that lets this side in, and where it runs."""

    address: str
    access: str = ""
    where: str = "there"


def no_unix_sockets(address: Address) -> BadUsage:
    """The failure for families that Windows lacks: CPython has no AF_UNIX there."""
    return BadUsage(
        f"{address}: hvcopy has no unix sockets on Windows",
        hint="between processes of one machine: tcp:127.0.0.1:PORT or hyperv:loopback:PORT",
    )


def not_connected(
    address: Address,
    error: OSError,
    *,
    absent: Mapping[int, str],
    forbidden: tuple[str, str],
    server: Server,
    seconds: float,
) -> HvcopyError:
    """The failure to raise after *error* ended an attempt to connect to *address*.

    *absent* gives the words for each errno that means "nobody listens (yet)"; *forbidden* those for
    EACCES, and the hint; *server* is what to start there, for the hint; *seconds* is what the attempt had.
    """
    code = error.errno
    words = reason(error)
    if code is not None and code in absent:
        return nobody_listens(f"{address}: {absent[code]} ({words})", server)
    if code is None or code == errno.ETIMEDOUT:
        return TimedOut(
            f"{address}: no answer within {seconds:g} s",
            hint="see whether the machine there is up and not paused; --wait SECS keeps trying",
        )
    if code in FORBIDDEN:
        return NotAllowed(f"{address}: connecting is not allowed: {forbidden[0]} ({words})", hint=forbidden[1])
    if code == errno.EPROTOTYPE:
        return NotHvcopy(f"{address}: a socket of another kind than hvcopy's listens there ({words})")
    if code in EXHAUSTED:
        return LocalFailure(f"{address}: this machine cannot open one more connection: {words}")
    return LocalFailure(f"{address}: connecting failed: {words}")


def not_listening(
    address: Address, error: OSError, *, forbidden: tuple[str, str] = LOW_PORT, known: Mapping[int, str] | None = None
) -> HvcopyError:
    """The failure to raise after listening on *address* ended in *error*; *known* words go before ours, *forbidden* are those
    for EACCES, and the hint.
    """
    words = reason(error)
    if known and error.errno is not None and error.errno in known:
        return LocalFailure(f"{address}: {known[error.errno]} ({words})")
    if error.errno in FORBIDDEN:
        return NotAllowed(f"{address}: listening is not allowed: {forbidden[0]} ({words})", hint=forbidden[1])
    if error.errno == errno.EADDRINUSE:
        return in_use(address)
    if error.errno == errno.EADDRNOTAVAIL:
        return LocalFailure(
            f"{address}: this machine has no such address ({words})", hint="to listen name one of this machine's own"
        )
    return LocalFailure(f"{address}: listening failed: {words}")


def in_use(address: Address) -> HvcopyError:
    """Another process listens on *address*."""
    return LocalFailure(
        f"{address}: another process listens there already",
        hint="end that one, or choose another port or path",
    )


def nobody_listens(message: str, server: Server, advice: Callable[[str], str] = str) -> NobodyListens:
    """The failure for a port without a listener; *advice* puts what is to start there into the hint."""

    def hint_for(commands: Sequence[str]) -> str:
        return advice(start_there(server, commands))

    return NobodyListens(message, hint=hint_for(SERVERS), server=server.address, hint_for=hint_for)


def start_there(server: Server, commands: Sequence[str] = SERVERS) -> str:
    """The hint for whoever found nobody listening; *commands* are what to start, with ``{}`` for the address."""
    address = quoted(server.address)
    some = [one.format(address) + (f" {server.access}" if _lacks_access(server, one) else "") for one in commands]
    *others, last = some
    named = ", ".join([*others, f"or {last}"]) if others else last
    return f"start it {server.where} first ({named}), or {KEEP_TRYING}"


def _lacks_access(server: Server, command: str) -> bool:
    """Say whether *command* is one of ours and lets nobody in as it stands: a key does."""
    return bool(server.access) and command.startswith("hvcopy") and "--key-file" not in command


def quoted(address: str) -> str:
    """*address* as a word of the shell in which it can be typed."""
    if address.startswith("hyperv:"):
        return word(address)
    from shlex import quote

    typed = quote(address)
    if address.startswith("tcp:"):  # brackets need quotes in a shell, and cmd knows only these
        return typed.replace("'", '"')
    return typed


def reason(error: OSError) -> str:
    """The system's words for *error*, without its number or path."""
    return error.strerror or (os.strerror(error.errno) if error.errno else str(error))
