"""A PACK taken apart: what is bounded before anything of it is looked at."""

from __future__ import annotations

import pytest
from peers import pack_body

from hvcopy.errors import DigestMismatch, NotHvcopy
from hvcopy.wire import messages as m
from hvcopy.wire.frames import MAX_CONTROL_BODY, PACK, PACK_RECORD
from hvcopy.wire.packs import open_pack

GROUPS = [m.Group(0, b"d", [b"a", b"b"], PACK_RECORD.pack(1, 0, 0o644, 0, 0, 0, 0) * 2)]


def test_open_pack_gives_what_was_packed() -> None:
    pack = open_pack(pack_body(7, m.encode_groups(GROUPS), b"xy"))
    assert (pack.id, pack.groups, bytes(pack.contents)) == (7, GROUPS, b"xy")


@pytest.mark.parametrize("at", [0, 16, 24, PACK.size, -1])
def test_open_pack_that_was_damaged_is_a_mismatch(at: int) -> None:
    body = bytearray(pack_body(7, m.encode_groups(GROUPS), b"xy"))
    body[at] ^= 1
    with pytest.raises(DigestMismatch):
        open_pack(body)


@pytest.mark.parametrize("length", [0, 16, PACK.size - 1])
def test_open_pack_that_is_too_short_is_refused(length: int) -> None:
    with pytest.raises(NotHvcopy, match="PACK"):
        open_pack(pack_body(7, m.encode_groups(GROUPS), b"xy")[:length])


def test_open_pack_whose_manifest_ends_beyond_it_is_refused() -> None:
    manifest = m.encode_groups([])
    with pytest.raises(NotHvcopy, match="longer than may be"):
        open_pack(pack_body(7, manifest, b"", manifest_length=len(manifest) + 1))


def test_open_pack_with_a_manifest_above_the_bound_of_a_message_is_refused() -> None:
    groups = [m.Group(0, b"d" * 255, [b"n" * 255] * 4096, bytes(4096 * PACK_RECORD.size))]
    manifest = m.encode_groups(groups)
    assert len(manifest) > MAX_CONTROL_BODY
    with pytest.raises(NotHvcopy, match="longer than may be"):
        open_pack(pack_body(7, manifest, b""))
