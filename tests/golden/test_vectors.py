"""The byte vectors of the protocol: what this release sends and understands, frame by frame.

A vector is a text file of hexadecimal digits, a field a line; ``#`` begins a comment.  The vectors were written from
docs/protocol.md with a MessagePack writer of their own, not with the code under test.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from hvcopy.errors import DigestMismatch, HvcopyError, NotAllowed, NotHvcopy
from hvcopy.session.handshake import FEATURES, Handshake
from hvcopy.session.receiver import ReceiverBook
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.frames import HEADER, MAGIC, Type
from hvcopy.wire.packs import fixed_part, open_pack

HERE = Path(__file__).parent
MIB = 1 << 20
ID = bytes(range(0x10, 0x20))
TOKEN = bytes(range(0xA0, 0xB0))
TIME = 1_700_000_000_123_456_789
BLOCK = b"one short block\n"
NO_DIGEST = bytes(16)
PACK_DIGEST = bytes.fromhex("003cf854da1ddedf06ff9a64aa9e9a7f")
CONTROL: dict[str, m.Message] = {
    "hello": m.Hello(
        1, 1, "client", bytes(range(32)), True, "tcp:192.0.2.7:7777", list(FEATURES), "hvcopy 0.1", "posix"
    ),
    "proof": m.Proof(bytes(range(0x40, 0x60))),
    "job": m.Job(
        "push",
        [b"in/box"],
        m.Options(
            [b"a.img", b""], [False, True], True, "overwrite", True, True, True, True, sync=False, dry=True, totals=True
        ),
        b"",
        4,
    ),
    "ready": m.Ready(TOKEN, 2, "fd", [b"disk.img", "café".encode()]),
    "lane": m.Lane(TOKEN, 1),
    "error": m.Error(9, "the peer has a different key", "copy the same key file to both sides"),
    "ping": m.Ping(300, True),
    "bye": m.Bye(),
    "entries": m.Entries(
        [
            m.Entry(m.DIRECTORY, 0, 0, b"d", 0o755),
            m.Entry(
                m.FILE, 1, 0, b"d/f", 0o640, 5_000_000_000, TIME, m.Extra(ID, True, True, 1000, 100, {b"user.a": b"\0v"})
            ),
            m.Entry(m.SYMLINK, 2, 0, b"d/l", 0, 0, -1, m.Extra(target=b"../f")),
            m.Entry(m.HARDLINK, 3, 1, b"h", 0, 0, TIME, m.Extra(to=(0, b"d/f"))),
            m.Entry(m.FAILURE, 0, 1, b"x", extra=m.Extra(code=10, message="Permission denied")),
            m.Entry(m.DIRECTORY_END, 4, 0, b"d", 0o2755, 0, TIME),
            m.Entry(m.LEFT_OUT, 0, 0, b"d/s", extra=m.Extra(message="skipped")),
        ]
    ),
    "totals": m.Totals(3, 1 << 40),
    "finish": m.Finish(3, 70_000),
    "answers": m.Answers(
        [
            m.Answer(1, m.ALL),
            m.Answer(2, m.REST),
            m.Answer(3, m.COMPARE, old_size=4096),
            m.Answer(4, m.SKIP, 0, "not older"),
            m.Answer(5, m.REFUSE, 10, "it exists already"),
            m.Answer(6, m.PATCH, old_size=1 << 33),
        ]
    ),
    "acks": m.Acks(
        [
            m.Ack(1, m.DONE, digest=ID),
            m.Ack(7, m.DONE, 0, "", PACK_DIGEST, 1, 1, 0, [(2, 11, "the name is empty")]),
            m.Ack(2, m.FAILED, 10, "No space left on device"),
            m.Ack(0, m.FAILED, 10, "d: Permission denied"),
        ]
    ),
    "result": m.Result(3, 70_000, 1, "synced"),
    "listing": m.Listing(
        [
            m.Listed("café".encode(), "f", 5, TIME, 0o644),
            m.Listed(b"raw\xff", "d", 4096, 0, 0o2755),
            m.Listed(b"l", "l", 4, -1, 0o777),
            m.Listed(b"s", "o", 0, 0, 0o600),
        ],
        True,
    ),
    "chunk_end": m.ChunkEnd(MIB + 7, ID),
    "chunk_ack": m.ChunkAck(MIB + 7, ID, "passed"),
    "taken": m.Taken(5 * MIB),
    "measure": m.Measure("flood", "down", 10_000, 65_536, 4, MIB),
    "lull": m.Lull(),
    "figures": m.Figures(5_000_000_123, 10_000_400, 0, 0, 700_000, 2_100_000, 212_992),
}
FIXED: dict[str, tuple[Type, int, bytes]] = {
    "data": (Type.DATA, 0, frames.DATA.pack(9, 3 * MIB, xxh3_128_digest(BLOCK)) + BLOCK),
    "hole": (Type.HOLE, 0, frames.HOLE.pack(9, MIB, 2 * MIB)),
    "keep": (Type.KEEP, 0, frames.KEEP.pack(9, MIB, MIB, 5 * MIB)),
    "end": (
        Type.END,
        0,
        frames.encode_end(frames.End(9, 1, 10, 5 * MIB, NO_DIGEST, "it changed while it was read — é")),
    ),
    "sums": (
        Type.SUMS,
        frames.LAST,
        frames.SUMS.pack(2, 32768) + xxh3_128_digest(BLOCK) + NO_DIGEST + xxh3_128_digest(b""),
    ),
    "recheck": (Type.RECHECK, 0, frames.RECHECK.pack(9, 5 * MIB)),
    "chunk": (Type.CHUNK, 0, frames.CHUNK.pack(MIB) + b"stream\n"),
    "flood": (Type.FLOOD, 0, b"no meaning\n"),
    "echo": (Type.ECHO, 0, b"ping....ping...."),
}
COVERED = {"data": 32, "pack": 32, "chunk": 8, "flood": 0, "echo": 0}
"""Bytes of the body under the seal, by the words of section 2, where it is not all of it."""


def vector(name: str) -> bytes:
    """Return the bytes of tests/golden/*name*.hex."""
    text = (HERE / f"{name}.hex").read_text()
    return bytes.fromhex("".join(line.partition("#")[0].strip() for line in text.splitlines()))


def framed(kind: Type, body: bytes, flags: int = 0) -> bytes:
    """Return the whole frame, the first of its connection."""
    covered = body[: frames.COVERED.get(kind, len(body))]
    return frames.header(kind, covered, length=len(body), flags=flags) + body


def split(frame: bytes) -> tuple[Type, int, bytes]:
    """Return type, flags and body of a vector that is exactly one frame."""
    kind, flags, length = frames.parse_header(frame[: HEADER.size])
    body = frame[HEADER.size :]
    assert len(body) == length
    frames.check_seal(frame[: HEADER.size], kind, memoryview(body))
    return kind, flags, body


def test_vectors_exist_for_every_frame_type() -> None:
    found = {path.stem for path in HERE.glob("*.hex")} - {"handshake-connector", "handshake-listener"}
    assert found == {kind.name.lower() for kind in Type}
    assert {*CONTROL, *FIXED, "pack"} == found


@pytest.mark.parametrize("name", CONTROL)
def test_control_message_is_sent_as_its_vector(name: str) -> None:
    assert m.encode(CONTROL[name]).hex() == vector(name).hex()


@pytest.mark.parametrize("name", CONTROL)
def test_control_vector_is_understood(name: str) -> None:
    kind, flags, body = split(vector(name))
    assert (kind.name.lower(), flags) == (name, 0)
    assert m.decode(kind, body) == CONTROL[name]


@pytest.mark.parametrize("name", CONTROL)
def test_control_vector_with_a_further_field_is_understood(name: str) -> None:
    """How fields are added (section 2): a reader ignores what it does not know at the end of the array."""
    kind, _, body = split(vector(name))
    longer = bytes([body[0] + 1]) + body[1:] + b"\xa5later"
    assert m.decode(kind, longer) == CONTROL[name]


@pytest.mark.parametrize("name", FIXED)
def test_fixed_layout_is_sent_as_its_vector(name: str) -> None:
    kind, flags, body = FIXED[name]
    assert framed(kind, body, flags).hex() == vector(name).hex()


@pytest.mark.parametrize("name", sorted(kind.name.lower() for kind in Type))
def test_seal_of_the_vector_is_that_of_the_page(name: str) -> None:
    """XXH3-64 of the eight bytes before it and of the covered part of the body, as a little-endian integer."""
    frame = vector(name)
    covered = COVERED.get(name, len(frame))
    assert frame[8:16] == xxh3_64_intdigest(frame[:8] + frame[16 : 16 + covered]).to_bytes(8, "little")


@pytest.mark.parametrize("name", sorted(kind.name.lower() for kind in Type))
def test_vector_with_any_covered_byte_changed_is_refused(name: str) -> None:
    frame = vector(name)
    covered = COVERED.get(name, len(frame))
    for position in range(16, min(len(frame), 16 + covered)):
        changed = bytearray(frame)
        changed[position] ^= 0x40
        with pytest.raises(DigestMismatch):
            frames.check_seal(bytes(changed[:16]), Type[name.upper()], memoryview(changed)[16:])


def test_data_vector_is_understood() -> None:
    _, _, body = split(vector("data"))
    ident, offset, digest = frames.DATA.unpack_from(body)
    assert (ident, offset, body[frames.DATA.size :]) == (9, 3 * MIB, BLOCK)
    assert digest == xxh3_128_digest(BLOCK)


def test_hole_vector_is_understood() -> None:
    assert frames.unpack(frames.HOLE, split(vector("hole"))[2], "HOLE") == (9, MIB, 2 * MIB)


def test_recheck_vector_is_understood() -> None:
    assert frames.unpack(frames.RECHECK, split(vector("recheck"))[2], "RECHECK") == (9, 5 * MIB)


def test_keep_vector_is_understood() -> None:
    assert frames.unpack(frames.KEEP, split(vector("keep"))[2], "KEEP") == (9, MIB, MIB, 5 * MIB)


def test_end_vector_is_understood() -> None:
    end = frames.decode_end(split(vector("end"))[2])
    assert end == frames.End(9, 1, 10, 5 * MIB, NO_DIGEST, "it changed while it was read — é")


def test_sums_vector_is_understood() -> None:
    kind, flags, body = split(vector("sums"))
    assert (kind, flags) == (Type.SUMS, frames.LAST)
    ident, first, digests = frames.decode_sums(body)
    assert (ident, first) == (2, 32768)
    assert digests == xxh3_128_digest(BLOCK) + NO_DIGEST + bytes.fromhex("99aa06d3014798d86001c324468d497f")


def test_chunk_vector_is_understood() -> None:
    _, _, body = split(vector("chunk"))
    assert frames.CHUNK.unpack_from(body) == (MIB,)
    assert body[frames.CHUNK.size :] == b"stream\n"


# ---- PACK

RECORDS = frames.PACK_RECORD.pack(5, TIME, 0o644, 1000, 100, frames.LINKED, 0), frames.PACK_RECORD.pack(
    0, -2, 0o600, 0, 0, 0, 0
)
GROUPS = [
    m.Group(0, b"d/e", [b"a", b"b"], b"".join(RECORDS)),
    m.Group(1, b"", [b""], frames.PACK_RECORD.pack(3, TIME, 0o755, 7, 8, 0, 0)),
]


def test_pack_is_sent_as_its_vector() -> None:
    manifest, contents = m.encode_groups(GROUPS), b"helloxyz"
    body = fixed_part(7, manifest, contents) + manifest + contents
    assert framed(Type.PACK, body).hex() == vector("pack").hex()


def test_pack_vector_is_understood() -> None:
    kind, flags, body = split(vector("pack"))
    assert (kind, flags) == (Type.PACK, 0)
    assert xxh3_128_digest(body[16:]) == PACK_DIGEST
    pack = open_pack(body)
    assert pack == (7, PACK_DIGEST, GROUPS, b"hello" b"" b"xyz")
    assert ReceiverBook(dirs=[True, False], check_path=lambda path: None).check_pack(pack.groups, len(pack.contents)) == 3
    assert [m.place_in_pack(pack.groups, index) for index in range(3)] == [(0, b"d/e/a"), (0, b"d/e/b"), (1, b"")]


# ---- handshake: computed here once more, by the words of section 3

KEY = bytes(range(0x80, 0xA0))


def ends(key: bytes = KEY) -> tuple[Handshake, Handshake]:
    """Return connector and listener as the vectors have them."""
    connector = Handshake(
        connector=True,
        role="client",
        nonce=bytes(range(32)),
        address="hybrid:/run/vm.sock:7777",
        software="hvcopy 0.1",
        system="posix",
        key=KEY,
    )
    listener = Handshake(
        connector=False,
        role="server",
        nonce=bytes(range(32, 64)),
        address="vsock:any:7777",
        software="hvcopy 0.1",
        system="posix",
        key=key,
    )
    return connector, listener


def frames_of(stream: bytes) -> list[tuple[Type, bytes]]:
    """Return type and body of every frame after the preamble; they are numbered from 0."""
    assert stream[:8] == b"\x89HVC\r\n\x1a\n" == MAGIC
    rest = stream[8:]
    found: list[tuple[Type, bytes]] = []
    while rest:
        kind, _, length = frames.parse_header(rest[: HEADER.size], early=True, sequence=len(found))
        frames.check_seal(rest[: HEADER.size], kind, memoryview(rest)[HEADER.size : HEADER.size + length])
        found.append((kind, rest[HEADER.size : HEADER.size + length]))
        rest = rest[HEADER.size + length :]
    return found


def test_handshake_macs_of_the_vectors_are_those_of_the_page() -> None:
    (_, hello), (_, proof) = frames_of(vector("handshake-connector"))
    (_, answer), (_, counter) = frames_of(vector("handshake-listener"))
    transcript = hashlib.sha256(hello + answer).digest()
    for label, body in ((b"hvcopy 1 connector", proof), (b"hvcopy 1 listener", counter)):
        mac = hmac.new(KEY, label + transcript, hashlib.sha256).digest()
        assert body == b"\x91\xc4\x20" + mac


def test_handshake_sends_the_vectors() -> None:
    connector, listener = ends()
    said, answered = connector.opening(), b""
    (hello,) = frames_of(said)
    answered += listener.on_frame(*hello)
    for frame in frames_of(answered):
        said += connector.on_frame(*frame)
    answered += listener.on_frame(*frames_of(said)[1])
    assert connector.on_frame(*frames_of(answered)[1]) == b""
    assert said.hex() == vector("handshake-connector").hex()
    assert answered.hex() == vector("handshake-listener").hex()
    assert connector.agreed is not None
    assert listener.agreed is not None
    assert connector.agreed.proven
    assert listener.agreed.proven


@pytest.mark.parametrize("position", range(0, 200, 7))
def test_handshake_with_one_bit_changed_proves_nothing(position: int) -> None:
    """The transcript covers every byte of both HELLOs."""
    _, listener = ends()
    (_, hello), (_, proof) = frames_of(vector("handshake-connector"))
    changed = bytearray(hello)
    changed[position % len(hello)] ^= 1
    if m.decode(Type.HELLO, hello) == _decoded(bytes(changed)):
        pytest.fail("the change changed nothing")
    with pytest.raises(HvcopyError):
        _greet(listener, bytes(changed), proof)
    assert listener.agreed is None


def _greet(listener: Handshake, hello: bytes, proof: bytes) -> None:
    listener.on_frame(Type.HELLO, hello)
    listener.on_frame(Type.PROOF, proof)


def _decoded(body: bytes) -> m.Message | None:
    try:
        return m.decode(Type.HELLO, body)
    except NotHvcopy:
        return None


def test_handshake_with_another_key_is_not_allowed() -> None:
    _, listener = ends(key=bytes(32))
    (_, hello), (_, proof) = frames_of(vector("handshake-connector"))
    listener.on_frame(Type.HELLO, hello)
    with pytest.raises(NotAllowed):
        listener.on_frame(Type.PROOF, proof)
