"""Frame header, frame types and the fixed binary layouts (docs/protocol.md, sections 2, 5, 6, 10 and 12).

Everything that arrives is bounded here before it is read, and checked before it is used.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from xxhash import xxh3_64, xxh3_64_intdigest

from hvcopy.errors import DigestMismatch, NotHvcopy

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MAGIC = b"\x89HVC\r\n\x1a\n"
HEADER = struct.Struct("<IBBHQ")
_START = struct.Struct("<IBBH")
_SEAL = struct.Struct("<Q")
KIB, MIB = 1024, 1 << 20
_FEW = 64
"""Bytes that it takes less time to copy than to hash in two steps."""

MAX_EARLY_BODY = 4096
MAX_CONTROL_BODY = MIB
MAX_PACK_BODY = 8 * MIB
MAX_CHUNK = MIB
MIN_HOLE = 4 * KIB
"""Fewer zeros of a stream are sent as they are."""
MAX_HOLES_AHEAD = 16 * MIB
"""Bytes of holes that the peer has not taken, from which on no further one is named."""
TELL_TAKEN = 4 * MIB
"""Bytes of holes from which on the peer hears that they are taken."""


class Type(IntEnum):
    """Frame types, docs/protocol.md section 2."""

    HELLO = 0x01
    PROOF = 0x02
    JOB = 0x03
    READY = 0x04
    LANE = 0x05
    ERROR = 0x06
    PING = 0x07
    BYE = 0x08
    ENTRIES = 0x10
    PACK = 0x11
    DATA = 0x12
    HOLE = 0x13
    KEEP = 0x14
    END = 0x15
    TOTALS = 0x16
    FINISH = 0x17
    ANSWERS = 0x20
    SUMS = 0x21
    ACKS = 0x22
    RESULT = 0x23
    RECHECK = 0x24
    LISTING = 0x30
    CHUNK = 0x40
    CHUNK_END = 0x41
    CHUNK_ACK = 0x42
    TAKEN = 0x43
    MEASURE = 0x50
    FLOOD = 0x51
    LULL = 0x52
    ECHO = 0x53
    FIGURES = 0x54


DATA = struct.Struct("<QQ16s")
HOLE = struct.Struct("<QQQ")
KEEP = struct.Struct("<QQQQ")
END = struct.Struct("<QIIQ16s")
SUMS = struct.Struct("<QQ")
RECHECK = struct.Struct("<QQ")
PACK = struct.Struct("<16sQII")
PACK_RECORD = struct.Struct("<QqIIIIQ")
CHUNK = struct.Struct("<Q")

COVERED = {Type.DATA: DATA.size, Type.PACK: PACK.size, Type.CHUNK: CHUNK.size, Type.FLOOD: 0, Type.ECHO: 0}
"""Bytes of the body under the seal, where it is not all of it: the contents have digests of their own, or no meaning."""

MAX_DATA_BODY = DATA.size + 16 * MIB
MAX_MESSAGE = 1024
LAST = 1
"""Flag of SUMS: the last of this file."""
LIVE = 1
"""Flag of DATA and CHUNK: after they were hashed, the bytes went from the source to the channel without a copy."""
LINKED = 1
"""Flag of a pack's record: hard links to this file will follow."""
SMALL = 128 * KIB
"""Largest file that travels in a pack."""

_TINY = frozenset({Type.ERROR, Type.PING, Type.BYE})
_TYPES = {int(kind): kind for kind in Type}


class Frame(NamedTuple):
    """One frame as it came: its type, flags and body."""

    type: Type
    flags: int
    body: memoryview | bytes


def header(kind: Type, covered: ReadableBuffer, *, length: int = -1, flags: int = 0, sequence: int = 0) -> bytes:
    """Return the 16 bytes that stand before a body of *length* bytes, which begins with *covered* (all of it by default).

    *sequence* counts the frames that this end sent before on the connection.
    """
    view = memoryview(covered)
    start = _START.pack(view.nbytes if length < 0 else length, kind, flags, sequence & 0xFFFF)
    return start + _SEAL.pack(_seal(start, view))


def parse_header(data: ReadableBuffer, *, early: bool = False, sequence: int = 0) -> tuple[Type, int, int]:
    """Return (type, flags, length of the body); *early* means that the handshake is not over.

    Raises NotHvcopy for an unknown type or a body above its bound, DigestMismatch when it is not the frame that
    follows *sequence* others.
    """
    length, number, flags, found = _START.unpack_from(data)
    kind = _TYPES.get(number)
    if kind is None:
        raise NotHvcopy(f"the peer sent a frame of unknown type {number:#04x}")
    if found != sequence & 0xFFFF:
        if early:  # more likely a stranger than damage
            raise NotHvcopy("the peer began like hvcopy, but went on otherwise")
        raise DigestMismatch(
            "frames were lost or repeated on the way; nothing of them was kept", hint="run the same command again"
        )
    if length > body_limit(kind, early=early):
        raise NotHvcopy(f"the peer announced a {kind.name} of {length} bytes, above the bound")
    return kind, flags, length


def check_seal(head: bytes | bytearray | memoryview, kind: Type, body: memoryview) -> None:
    """Raise DigestMismatch unless header and covered part of the body are what the peer sealed."""
    covered = body[: COVERED.get(kind, len(body))]
    if _SEAL.unpack_from(head, _START.size)[0] != _seal(head[: _START.size], covered):
        raise DigestMismatch(f"a {kind.name} was damaged on the way and not obeyed", hint="run the same command again")


def _seal(start: ReadableBuffer, covered: memoryview) -> int:
    if covered.nbytes <= _FEW:
        return xxh3_64_intdigest(b"".join((start, covered)))
    state = xxh3_64(start)
    state.update(covered)
    return state.intdigest()


def body_limit(kind: Type, *, early: bool = False) -> int:
    """Return the largest body of a frame of type *kind*, in bytes."""
    if early or kind in _TINY:
        return MAX_EARLY_BODY
    if kind is Type.DATA:
        return MAX_DATA_BODY
    if kind is Type.PACK:
        return MAX_PACK_BODY
    if kind is Type.CHUNK:
        return CHUNK.size + MAX_CHUNK
    return MAX_CONTROL_BODY


def unpack(layout: struct.Struct, body: bytes | memoryview, name: str) -> tuple[int, ...]:
    """Return the fields of a body that is exactly *layout*; raises NotHvcopy when its length differs."""
    if len(body) != layout.size:
        raise NotHvcopy(f"the peer sent a {name} of {len(body)} bytes instead of {layout.size}")
    return layout.unpack(body)


class End(NamedTuple):
    """The end of one file: state 0 whole, 1 the source failed, 2 same, 3 differs."""

    id: int
    state: int
    code: int
    length: int
    root: bytes
    message: str = ""


def encode_end(end: End) -> bytes:
    """Return the body of END."""
    message = end.message.encode("utf-8", "replace")[:MAX_MESSAGE].decode("utf-8", "ignore").encode()
    return END.pack(end.id, end.state, end.code, end.length, end.root) + message


def decode_end(body: bytes | memoryview) -> End:
    """Return the fields of END; raises NotHvcopy when it is too short, too long or of an unknown state."""
    if not END.size <= len(body) <= END.size + MAX_MESSAGE:
        raise NotHvcopy(f"the peer sent an END of {len(body)} bytes")
    ident, state, code, length, root = END.unpack_from(body)
    if state > 3:
        raise NotHvcopy(f"the peer sent an END of unknown state {state}")
    return End(ident, state, code, length, root, bytes(body[END.size :]).decode("utf-8", "replace"))


def decode_sums(body: bytes | memoryview) -> tuple[int, int, bytes]:
    """Return (id, first block, digests joined); raises NotHvcopy when the length is not whole digests."""
    if len(body) < SUMS.size or (len(body) - SUMS.size) % 16:
        raise NotHvcopy(f"the peer sent SUMS of {len(body)} bytes")
    ident, first = SUMS.unpack_from(body)
    return ident, first, bytes(body[SUMS.size :])
