"""The handshake over a real link, within one deadline (docs/protocol.md, section 3), and the keys it proves."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Collection
from select import select

from hvcopy.channel import Channel
from hvcopy.errors import BadUsage, HvcopyError, LocalFailure, NotAllowed, make_room, printable
from hvcopy.files.destination import refuse_unsafe
from hvcopy.session.handshake import Agreed, Handshake
from hvcopy.transfer.link import Link, named

HANDSHAKE_SECONDS = 10.0
"""For the whole handshake, however slowly the peer trickles."""
SYSTEM = "windows" if os.name == "nt" else "posix"
"""What HELLO calls this one."""
KEY_SIZE = 32
LONGEST_KEY = 256
"""Bytes that are read of a key file, whose text is shorter."""
_KEY_PREFIX = "hvcopy-key-1 "


def greet(
    channel: Channel,
    *,
    connector: bool,
    role: str,
    address: str,
    key: bytes | None,
    software: str,
    takes: Collection[str] = (),
) -> tuple[Link, Agreed]:
    """Do the handshake; returns the link and what was agreed.  On failure tells the peer, closes, and raises."""
    link = Link(channel)
    shake = Handshake(
        connector=connector,
        role=role,
        nonce=os.urandom(32),
        address=address,
        software=software,
        system=SYSTEM,
        key=key,
        takes=takes,
    )
    return link, shake_hands(link, shake, connector=connector)


def shake_hands(link: Link, shake: Handshake, *, connector: bool) -> Agreed:
    """Do the handshake that *shake* describes.  On failure tells the peer, closes, and raises."""
    link.deadline = time.monotonic() + min(HANDSHAKE_SECONDS, link.channel.timeout)
    try:
        if connector:
            link.send_greeting(shake.opening(), sent=shake.sent)
        link.receive_magic()
        while shake.agreed is None:
            frame = link.receive()
            reply = shake.on_frame(frame.type, bytes(frame.body))
            if reply:
                link.send_greeting(reply, sent=shake.sent)
        link.early = False
        return shake.agreed
    except HvcopyError as caught:
        error = named(caught, link.channel.peer)
        if not link.told:
            link.send_preamble()
        link.refuse(error)
        raise error from caught


def check_key(key: object) -> None:
    """Raise TypeError or BadUsage for what is no key, unless it is None."""
    if not isinstance(key, bytes | None):
        raise TypeError("a key is bytes, as load_key returns")
    if key is not None and len(key) != KEY_SIZE:
        raise BadUsage(f"a key has {KEY_SIZE} bytes, not {len(key)}", hint="make a file of one with `hvcopy key FILE`")


def refuse(channel: Channel, error: HvcopyError) -> None:
    """Tell a peer that just connected why it is not served, and close.  Waits at most a second for it to read that."""
    link = Link(channel)
    link.send_preamble()
    link.refuse(error)


def new_key(path: str) -> None:
    """Write a new key to *path*, mode 0600.  Raises LocalFailure, UnsafeName; never replaces a file."""
    refuse_unsafe(path)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "w") as file:
                file.write(_KEY_PREFIX + os.urandom(KEY_SIZE).hex() + "\n")
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(path)  # what there was no room for is no key
            raise
    except FileExistsError:
        raise LocalFailure(f"{printable(path)} exists already and was left alone", hint="choose another name") from None
    except OSError as error:
        hint = make_room(error.errno) or "choose another place for it"
        raise LocalFailure(f"{printable(path)}: {error.strerror}", hint=hint) from None


def load_key(path: str) -> bytes:
    """Return the 32 bytes of a key file.  Raises NotAllowed when others may read it, LocalFailure when it is none."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            mode = os.fstat(fd).st_mode
            text = _read(fd, mode).decode("ascii", "replace")
        finally:
            os.close(fd)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        hint = "make one for both sides: hvcopy key FILE" if missing else "check whose it is: only its owner may read it"
        raise LocalFailure(f"key file {printable(path)}: {error.strerror}", hint=hint) from None
    except ValueError:  # a NUL
        raise LocalFailure(f"key file {printable(path)}: no file can have that name") from None
    if os.name == "posix" and text and stat.S_IMODE(mode) & 0o077:
        from shlex import quote

        raise NotAllowed(f"key file {printable(path)} can be read by others", hint=f"chmod 600 {quote(printable(path))}")
    try:
        key = bytes.fromhex(text.removeprefix(_KEY_PREFIX).strip())
    except ValueError:
        key = b""
    if len(key) != KEY_SIZE or not text.startswith(_KEY_PREFIX):
        raise LocalFailure(f"{printable(path)} is no hvcopy key file", hint="make one: hvcopy key FILE")
    return key


def _read(fd: int, mode: int) -> bytes:
    """Return the beginning of a file, or of what a program writes, as ``<(PROGRAM)``; of a FIFO without one, nothing."""
    if stat.S_ISREG(mode):
        return os.read(fd, LONGEST_KEY)
    if not stat.S_ISFIFO(mode):
        return b""
    try:
        return os.read(fd, LONGEST_KEY)
    except BlockingIOError:
        select([fd], [], [], HANDSHAKE_SECONDS)
        return os.read(fd, LONGEST_KEY)
