"""PACK: many small files in one frame, under one digest (docs/protocol.md, section 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hvcopy.errors import DigestMismatch, NotHvcopy
from hvcopy.wire import messages as m
from hvcopy.wire.digests import DIGEST_SIZE, digest, hasher
from hvcopy.wire.frames import MAX_CONTROL_BODY, PACK

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Pack(NamedTuple):
    """A PACK whose digest is right.  Nothing is known yet of its names, nor whether the sizes fit the *contents*."""

    id: int
    digest: bytes
    groups: list[m.Group]
    contents: memoryview


def fixed_part(ident: int, manifest: ReadableBuffer, contents: ReadableBuffer) -> bytes:
    """Return what precedes *manifest* and *contents* in the frame: their digest first."""
    rest = PACK.pack(bytes(DIGEST_SIZE), ident, memoryview(manifest).nbytes, 0)[DIGEST_SIZE:]
    state = hasher()
    for part in (rest, manifest, contents):
        state.update(part)
    return state.digest() + rest


def open_pack(body: ReadableBuffer) -> Pack:
    """Take a PACK apart; its contents stay where they are.  Raises DigestMismatch, NotHvcopy."""
    view = memoryview(body)
    if len(view) < PACK.size:
        raise NotHvcopy(f"the peer sent a PACK of {len(view)} bytes")
    wanted, ident, manifest, _ = PACK.unpack_from(view)
    if digest(view[DIGEST_SIZE:]) != wanted:
        raise DigestMismatch("small files arrived damaged; none of that pack was kept", hint="run the same command again")
    if manifest > min(len(view) - PACK.size, MAX_CONTROL_BODY):
        raise NotHvcopy("the peer sent a PACK whose manifest is longer than may be")
    end = PACK.size + manifest
    return Pack(ident, wanted, m.decode_groups(view[PACK.size : end]), view[end:])
