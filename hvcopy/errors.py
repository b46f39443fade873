"""Every failure hvcopy foresees, with its exit code.

This file knows no socket and no path: it only carries what happened, to whom, and what to do next.

    HvcopyError
    ├── BadUsage          2
    ├── SomeFailed        3
    ├── NobodyListens     4
    ├── TimedOut          5
    ├── ConnectionLost    6
    ├── NotHvcopy         7
    ├── DigestMismatch    8
    ├── NotAllowed        9
    ├── LocalFailure      10
    ├── UnsafeName        11
    ├── Interrupted       130
    └── ReaderGone        141
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence


class HvcopyError(Exception):
    """A failure with a message for the user and the next step to take.

    *message* says what happened, to which file and peer; *hint* says what is safe and what to type next
    (may be empty).  ``exit_code`` is the process's status when nothing handles the error.
    """

    exit_code = 1
    meaning = "internal error: please report it"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadUsage(HvcopyError):
    """The command line, an address or an option makes no sense as given."""

    exit_code = 2
    meaning = "usage: the command line, an address or a file it names makes no sense as given"


class SomeFailed(HvcopyError):
    """Some entries failed, each was listed; all others are complete and confirmed."""

    exit_code = 3
    meaning = "some entries failed (each is listed); every other entry is complete and confirmed"


class NobodyListens(HvcopyError):
    """The transport answered that nobody listens there, or refused.

    *server* is the address to listen on at the other end, empty when it is not known; *hint_for* then makes the hint that
    names other commands to start there, with ``{}`` for that address.
    """

    exit_code = 4
    meaning = "nobody listens there, or the connection was refused"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        server: str = "",
        hint_for: Callable[[Sequence[str]], str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.server = server
        self.hint_for = hint_for


class TimedOut(HvcopyError):
    """Connecting or the handshake took too long, or a living peer made no progress for --timeout."""

    exit_code = 5
    meaning = "timeout: no connection or handshake in time, or a living peer made no progress for --timeout"


class ConnectionLost(HvcopyError):
    """The connection broke, or nothing at all was heard from the peer for --timeout."""

    exit_code = 6
    meaning = "connection lost, or the peer fell silent for --timeout; the command in the message goes on"


class NotHvcopy(HvcopyError):
    """The peer does not speak hvcopy's protocol, or no version of it that this side knows."""

    exit_code = 7
    meaning = "the peer is not hvcopy, breaks the protocol, or has no version in common"


class DigestMismatch(HvcopyError):
    """Bytes arrived other than they were sent.  Nothing of them stands under its final name."""

    exit_code = 8
    meaning = "digest mismatch: bytes were damaged on the way; nothing of them was kept"


class NotAllowed(HvcopyError):
    """Key, allow-list, mode of the server, or a permission on the transport forbids it."""

    exit_code = 9
    meaning = "not allowed: key, allow-list, server mode, registration or permission on the transport"


class LocalFailure(HvcopyError):
    """Reading or writing on a disk failed: full, forbidden, vanished, wrong kind."""

    exit_code = 10
    meaning = "local input or output: disk full, permission, missing or wrong kind of file"


class UnsafeName(HvcopyError):
    """A name that is unsafe or collides on the receiver was refused."""

    exit_code = 11
    meaning = "every failed entry was refused for an unsafe or colliding name"


class Interrupted(HvcopyError):
    """Ctrl-C or SIGTERM, here or at the peer."""

    exit_code = 130
    meaning = "interrupted"


class ReaderGone(HvcopyError):
    """What a stream is written to takes no more, here or at the peer: 128 + SIGPIPE, as a shell shows it."""

    exit_code = 141
    meaning = "the reader of a stream closed before its end, here or at the peer (what a shell shows for SIGPIPE)"


BY_EXIT_CODE: dict[int, type[HvcopyError]] = {
    kind.exit_code: kind
    for kind in (
        BadUsage,
        SomeFailed,
        NobodyListens,
        TimedOut,
        ConnectionLost,
        NotHvcopy,
        DigestMismatch,
        NotAllowed,
        LocalFailure,
        UnsafeName,
        Interrupted,
        ReaderGone,
    )
}
"""The one table of exit codes; ``docs/exit-codes.md`` is generated from it."""


def closed_output() -> LocalFailure:
    """Return the failure of a command that has something for a standard output which was closed from the beginning."""
    return LocalFailure("standard output is closed", hint=f"to throw away what comes: >{os.devnull}")


def make_room(code: int | None) -> str:
    """Return the hint for a write that ended with the errno *code*: empty unless there was no room."""
    return "make room there and run the same command again" if code in (errno.ENOSPC, errno.EDQUOT) else ""


def said_of(peer: str, message: str) -> str:
    """Return *message* behind the name of the *peer* that it is about, unless it begins with it."""
    return message if message.startswith(peer) else f"{peer}: {message}"


def unforeseen(error: OSError) -> LocalFailure:
    """Return the failure of work that left an error of the system to whoever called it."""
    where = f"{printable(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
    return LocalFailure(f"{where}{error.strerror or error}", hint=make_room(error.errno))


def printable(text: bytes | str) -> str:
    """Return *text* safe to print: one line, no control or escape character, undecodable bytes as ``\\xNN``.

    Everything that came from a peer passes here before it reaches a terminal (CVE-2019-6109).
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return "".join(
        c if c.isprintable() else f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else ascii(c)[1:-1]
        for c in text
    )
