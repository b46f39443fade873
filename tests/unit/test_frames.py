"""Frame headers, their bounds, and the fixed layouts."""

from __future__ import annotations

import struct

import pytest
from xxhash import xxh3_64_intdigest

from hvcopy.errors import DigestMismatch, NotHvcopy
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.frames import Type

MIB = 1 << 20
EARLY_BOUND = 4096
BOUNDS = {
    Type.ERROR: 4096,
    Type.PING: 4096,
    Type.BYE: 4096,
    Type.DATA: 32 + 16 * MIB,
    Type.PACK: 8 * MIB,
    Type.CHUNK: 8 + MIB,
}


def test_types_have_the_numbers_of_the_page() -> None:
    assert {kind.name: int(kind) for kind in Type} == {
        "HELLO": 0x01, "PROOF": 0x02, "JOB": 0x03, "READY": 0x04, "LANE": 0x05, "ERROR": 0x06, "PING": 0x07,
        "BYE": 0x08, "ENTRIES": 0x10, "PACK": 0x11, "DATA": 0x12, "HOLE": 0x13, "KEEP": 0x14, "END": 0x15,
        "TOTALS": 0x16, "FINISH": 0x17, "ANSWERS": 0x20, "SUMS": 0x21, "ACKS": 0x22, "RESULT": 0x23, "RECHECK": 0x24,
        "LISTING": 0x30, "CHUNK": 0x40, "CHUNK_END": 0x41, "CHUNK_ACK": 0x42, "TAKEN": 0x43, "MEASURE": 0x50,
        "FLOOD": 0x51, "LULL": 0x52, "ECHO": 0x53, "FIGURES": 0x54,
    }  # fmt: skip


def parse(kind: Type, length: int, *, early: bool = False) -> tuple[Type, int, int]:
    """Parse a header that announces *length* bytes."""
    return frames.parse_header(frames.header(kind, b"", length=length), early=early)


@pytest.mark.parametrize("kind", Type)
def test_header_is_sixteen_little_endian_bytes(kind: Type) -> None:
    head = frames.header(kind, b"body", length=0x0102, flags=5, sequence=0x0304)
    assert head[:8] == bytes([2, 1, 0, 0, kind, 5, 4, 3])
    assert head[8:] == struct.pack("<Q", xxh3_64_intdigest(head[:8] + b"body"))


@pytest.mark.parametrize("kind", Type)
def test_parse_header_takes_what_header_made(kind: Type) -> None:
    assert frames.parse_header(frames.header(kind, bytes(77), flags=frames.LAST)) == (kind, frames.LAST, 77)


@pytest.mark.parametrize("number", sorted(set(range(256)) - {int(kind) for kind in Type}))
def test_parse_header_of_an_unknown_type_is_refused(number: int) -> None:
    with pytest.raises(NotHvcopy, match=f"{number:#04x}"):
        frames.parse_header(struct.pack("<IBBHQ", 0, number, 0, 0, 0))


@pytest.mark.parametrize(("sent", "number"), [(0, 0), (1, 1), (65535, 65535), (65536, 0), (200_001, 200_001 % 65536)])
def test_header_counts_the_frames_before_it(sent: int, number: int) -> None:
    frame = frames.header(Type.BYE, b"", sequence=sent)
    assert struct.unpack("<H", frame[6:8]) == (number,)
    assert frames.parse_header(frame, sequence=sent)[0] is Type.BYE


@pytest.mark.parametrize("expected", [0, 6, 8, 65535])
def test_parse_header_out_of_sequence_is_a_mismatch(expected: int) -> None:
    with pytest.raises(DigestMismatch, match="lost or repeated"):
        frames.parse_header(frames.header(Type.PING, b"", sequence=7), sequence=expected)


@pytest.mark.parametrize("kind", Type)
def test_parse_header_takes_the_largest_body_and_no_larger(kind: Type) -> None:
    bound = BOUNDS.get(kind, MIB)
    assert parse(kind, bound)[2] == bound
    with pytest.raises(NotHvcopy, match=kind.name):
        parse(kind, bound + 1)


@pytest.mark.parametrize("kind", Type)
def test_parse_header_before_the_handshake_is_over_bounds_every_body_tightly(kind: Type) -> None:
    assert parse(kind, EARLY_BOUND, early=True)[2] == EARLY_BOUND
    with pytest.raises(NotHvcopy):
        parse(kind, EARLY_BOUND + 1, early=True)


@pytest.mark.parametrize("kind", Type)
def test_seal_covers_the_header_and_what_has_no_digest_of_its_own(kind: Type) -> None:
    body = bytearray(range(64))
    covered = {Type.DATA: 32, Type.PACK: 32, Type.CHUNK: 8, Type.FLOOD: 0, Type.ECHO: 0}.get(kind, 64)
    head = frames.header(kind, body[:covered], length=64)
    frames.check_seal(head, kind, memoryview(body))
    for position in range(64):
        changed = bytearray(body)
        changed[position] ^= 1
        if position < covered:
            with pytest.raises(DigestMismatch, match=kind.name):
                frames.check_seal(head, kind, memoryview(changed))
        else:
            frames.check_seal(head, kind, memoryview(changed))
    for position in range(16):
        broken = bytearray(head)
        broken[position] ^= 1
        with pytest.raises(DigestMismatch):
            frames.check_seal(broken, kind, memoryview(body))


@pytest.mark.parametrize("kind", [Type.DATA, Type.PACK, Type.CHUNK])
def test_seal_of_a_body_shorter_than_what_it_covers_is_checked_all_the_same(kind: Type) -> None:
    head = frames.header(kind, b"abc")
    frames.check_seal(head, kind, memoryview(b"abc"))
    with pytest.raises(DigestMismatch):
        frames.check_seal(head, kind, memoryview(b"abd"))


def test_body_limit_ready_holds_the_names_of_all_sources() -> None:
    """A pull may have 1024 sources (section 4), and READY has a name and a letter for each."""
    ready = m.encode(m.Ready(bytes(16), 16, "f" * 1024, [b"%0255d" % number for number in range(1024)]))
    assert frames.parse_header(ready[: frames.HEADER.size])[0] is Type.READY


@pytest.mark.parametrize("layout", [frames.HOLE, frames.KEEP])
@pytest.mark.parametrize("difference", [-1, 1])
def test_unpack_of_another_length_is_refused(layout: struct.Struct, difference: int) -> None:
    with pytest.raises(NotHvcopy, match="HOLE"):
        frames.unpack(layout, bytes(layout.size + difference), "HOLE")


def test_unpack_returns_the_fields() -> None:
    assert frames.unpack(frames.HOLE, memoryview(struct.pack("<QQQ", 1, 2, 2**64 - 1)), "HOLE") == (1, 2, 2**64 - 1)


@pytest.mark.parametrize("state", [0, 1, 2, 3])
def test_end_comes_back_as_it_was_sent(state: int) -> None:
    end = frames.End(2**63, state, 2**32 - 1, 2**44, bytes(range(16)), "gone: \u00e4")
    assert frames.decode_end(memoryview(frames.encode_end(end))) == end


@pytest.mark.parametrize("state", [4, 2**32 - 1])
def test_decode_end_of_an_unknown_state_is_refused(state: int) -> None:
    with pytest.raises(NotHvcopy, match="unknown state"):
        frames.decode_end(frames.END.pack(1, state, 0, 0, bytes(16)))


@pytest.mark.parametrize("length", [0, frames.END.size - 1, frames.END.size + 1025])
def test_decode_end_of_a_length_out_of_bounds_is_refused(length: int) -> None:
    with pytest.raises(NotHvcopy):
        frames.decode_end(bytes(length))


def test_decode_end_with_a_message_that_is_no_text_is_shown_somehow() -> None:
    body = frames.END.pack(1, 1, 10, 0, bytes(16)) + b"\xff\xfe"
    assert frames.decode_end(body).message == "\ufffd\ufffd"


def test_encode_end_cuts_a_long_message_to_what_decode_end_takes() -> None:
    body = frames.encode_end(frames.End(1, 1, 10, 0, bytes(16), "x" * 5000))
    assert frames.decode_end(body).message == "x" * 1024


def test_encode_end_cuts_between_characters() -> None:
    """Section 6: the message is UTF-8; a strict reader must be able to decode it."""
    body = frames.encode_end(frames.End(1, 1, 10, 0, bytes(16), "xx" + "\u20ac" * 1000))
    assert body[frames.END.size :].decode("utf-8") == "xx" + "\u20ac" * 340


def test_encode_end_with_a_lone_surrogate_does_not_fail() -> None:
    body = frames.encode_end(frames.End(1, 1, 10, 0, bytes(16), "\udcff"))
    assert frames.decode_end(body).message == "?"


def test_decode_sums_returns_the_digests_joined() -> None:
    body = frames.SUMS.pack(3, 7) + bytes(range(32))
    assert frames.decode_sums(memoryview(body)) == (3, 7, bytes(range(32)))


def test_decode_sums_may_be_empty() -> None:
    assert frames.decode_sums(frames.SUMS.pack(3, 0)) == (3, 0, b"")


@pytest.mark.parametrize("length", [0, 15, 17, 31, 47])
def test_decode_sums_of_half_digests_is_refused(length: int) -> None:
    with pytest.raises(NotHvcopy):
        frames.decode_sums(bytes(length))


def test_fixed_layouts_have_the_sizes_of_the_page() -> None:
    sizes = {
        name: getattr(frames, name).size
        for name in ("HEADER", "DATA", "HOLE", "KEEP", "END", "SUMS", "PACK", "PACK_RECORD", "CHUNK")
    }
    assert sizes == {
        "HEADER": 16, "DATA": 32, "HOLE": 24, "KEEP": 32, "END": 40, "SUMS": 16, "PACK": 32, "PACK_RECORD": 40,
        "CHUNK": 8,
    }  # fmt: skip
