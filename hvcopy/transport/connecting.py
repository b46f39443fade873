"""``dial``: one connection to an address, with patience for a peer that is not up yet.

It knows when to try again; how one attempt goes is the family's business.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, assert_never

from msgspec.structs import replace

from hvcopy.address import (
    CID_ANY,
    Address,
    HybridAddress,
    HypervAddress,
    TcpAddress,
    UnixAddress,
    VsockAddress,
    want_address,
)
from hvcopy.channel import Channel
from hvcopy.errors import BadUsage, HvcopyError, Interrupted, NobodyListens, TimedOut
from hvcopy.transport import tuning
from hvcopy.transport.cancellation import Cancellation
from hvcopy.transport.failures import KEEP_TRYING, SERVERS, Server, no_unix_sockets, not_connected
from hvcopy.transport.patience import Patience

if TYPE_CHECKING:
    import socket

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
"""Seconds between attempts: short at first for a peer just starting, never a storm for one that is not."""


def dial(
    address: Address,
    *,
    wait: float = 0.0,
    timeout: float = 30.0,
    buffer: int | None = None,
    cancellation: Cancellation | None = None,
    start: Sequence[str] = SERVERS,
    keyed: bool = False,
) -> Channel:
    """Connect to *address* and return the channel; its socket is non-blocking.

    Blocks.  One attempt takes at most *timeout* seconds, which is also the channel's no-progress time.  While
    nobody listens there or nothing answers, attempts are repeated for *wait* seconds; 0 means one attempt.
    *buffer* is the socket buffer wished for, in bytes.  *cancellation* ends this, and afterwards the calls
    that wait on the channel.  *start* are the commands that answer this one, to be named where nobody listens, with
    ``{}`` for the address, *keyed* says that they are to ask for a key.
    Raises NobodyListens, TimedOut, NotAllowed, NotHvcopy, LocalFailure, BadUsage, Interrupted.
    """
    want_address(address)
    cancellation = cancellation or Cancellation()
    until = time.monotonic() + wait
    pauses = _pauses()
    while True:
        try:
            channel = as_channel(address, attempt(address, Patience(timeout, cancellation.cancelled), buffer), timeout)
            cancellation.watch(channel)
            return channel
        except (NobodyListens, TimedOut) as error:
            left = until - time.monotonic()
            if left <= 0:
                if isinstance(error, NobodyListens) and error.hint_for:
                    error.hint = error.hint_for([f"{one} --key-file FILE" for one in start] if keyed else start)
                    error.hint_for = None  # no function can be sent to another process, as an error of a pool's worker is
                raise (_gave_up(error, wait) if wait > 0 else error) from error.__cause__
        except Interrupted:
            raise Interrupted(f"{address}: connecting was interrupted") from None
        try:
            Patience(left + LONGEST_PAUSE, cancellation.cancelled).pause(min(next(pauses), left))
        except Interrupted:
            raise Interrupted(f"{address}: waiting for it was interrupted") from None


def check_dialable(address: Address) -> None:
    """Raise BadUsage for an address at which one can only listen."""
    match address:
        case VsockAddress(cid=cid) if cid == CID_ANY:
            what, hint = "'any'", "name a CID; hvcopy vms lists them"
        case TcpAddress(port=0):
            what, hint = "port 0", "name the port that the listener says"
        case _:
            return
    raise BadUsage(f"{address}: {what} is for listening, not for connecting", hint=hint)


def load(address: Address) -> None:
    """Import what connects to *address*, for whoever does that later, in threads, and perhaps with no descriptor left for it."""
    if sys.platform != "win32" or not isinstance(address, UnixAddress | HybridAddress):
        importlib.import_module(f"hvcopy.transport.{address.scheme}")


def as_channel(address: Address, connected: tuple[socket.socket, str], timeout: float) -> Channel:
    """Return the channel over what an attempt gave: the socket, and who is at its other end."""
    sock, identity = connected
    return Channel(
        sock,
        peer=str(address),
        identity=identity,
        timeout=timeout,
        window=tuning.window(sock),
        sends_files=tuning.sends_files(sock),
        bounded=tuning.bound_waits(sock),
        piece=tuning.piece(address),
        awake=tuning.stays_awake(address),
    )


def pinned(address: Address, channel: Channel) -> Address:
    """*address* for the further connections of a session that began with *channel*.

    A VM that was looked up by its name, or as WSL2's, is the one that *channel* reached: no other, whatever the name means
    by then, and it is not looked up again.
    """
    family, _, vm = channel.identity.partition(":")
    return replace(address, vm=vm) if isinstance(address, HypervAddress) and family == "hyperv" else address


def attempt(address: Address, patience: Patience, buffer: int | None) -> tuple[socket.socket, str]:
    """One attempt; returns the connected socket and the peer's identity.  Raises as ``dial``, and Interrupted."""
    check_dialable(address)
    try:
        return _connect(address, patience, buffer)
    except OSError as error:  # without descriptors nothing can be imported, nor names be looked up
        refused = ("the system refused it", "")
        raise not_connected(
            address, error, absent={}, forbidden=refused, server=Server(""), seconds=patience.seconds
        ) from error


def _connect(address: Address, patience: Patience, buffer: int | None) -> tuple[socket.socket, str]:
    match address:
        case UnixAddress():
            if sys.platform == "win32":
                raise no_unix_sockets(address)
            else:
                from hvcopy.transport import unix

                return unix.connect(address, patience, buffer)
        case VsockAddress():
            from hvcopy.transport import vsock

            return vsock.connect(address, patience, buffer)
        case HybridAddress():
            if sys.platform == "win32":
                raise no_unix_sockets(address)
            else:
                from hvcopy.transport import hybrid

                return hybrid.connect(address, patience, buffer)
        case TcpAddress():
            from hvcopy.transport import tcp

            return tcp.connect(address, patience, buffer)
        case HypervAddress():
            from hvcopy.transport import hyperv

            return hyperv.connect(address, patience, buffer)
    assert_never(address)


def _pauses() -> Iterator[float]:
    """50 ms doubling to 2 s, each shortened by up to a half at random: waiters shall not march in step."""
    pause = FIRST_PAUSE
    while True:
        yield pause * (1 - os.urandom(1)[0] / 512)
        pause = min(pause * 2, LONGEST_PAUSE)


def _gave_up(error: HvcopyError, wait: float) -> HvcopyError:
    error.message += f"; gave up after {wait:g} s of trying"
    error.hint = error.hint.replace(KEEP_TRYING, f"wait longer than --wait {wait:g}")
    error.args = (error.message,)
    return error
