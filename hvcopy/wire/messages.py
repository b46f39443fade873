"""Control messages: one MessagePack array each, checked against a schema (docs/protocol.md, sections 3 to 12)."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from hvcopy.errors import NotHvcopy
from hvcopy.wire.frames import MAX_MESSAGE, MIB, Type, header

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Small = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Time = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Text = Annotated[str, Meta(max_length=MAX_MESSAGE)]
Word = Annotated[str, Meta(max_length=32)]
MAX_PATH = 4096
"""Bytes of a path below a root, or of a target."""
Path = Annotated[bytes, Meta(max_length=MAX_PATH)]
Digest = Annotated[bytes, Meta(min_length=16, max_length=16)]
Token = Annotated[bytes, Meta(max_length=16)]


MAX_LISTED = 4096
"""Elements of any array of entries, answers, acknowledgements, names or groups."""


class Message(Struct, array_like=True, frozen=True):
    """Base of all control messages."""


class Hello(Message, frozen=True):
    """Section 3: who speaks, in which versions."""

    lowest: Small
    highest: Small
    role: Word
    nonce: Annotated[bytes, Meta(min_length=32, max_length=32)]
    keyed: bool
    address: Text
    features: Annotated[list[Word], Meta(max_length=32)]
    software: Word
    system: Word


class Proof(Message, frozen=True):
    """Section 3: HMAC over the transcript."""

    mac: Annotated[bytes, Meta(min_length=32, max_length=32)]


POLICIES = ("refuse", "overwrite", "update")
"""What may become of a file that exists: docs/copying.md."""


class Options(Struct, frozen=True, omit_defaults=True):
    """Section 4: a map, so that options can be added; unknown keys are ignored.

    What each does for a program is in docs/python.md; *names*, *dirs* and *must_be_dir* are the client's own.
    """

    names: Annotated[list[Path], Meta(max_length=1024)] = []
    dirs: Annotated[list[bool], Meta(max_length=1024)] = []
    must_be_dir: bool = False
    existing: Word = "refuse"
    recursive: bool = False
    owner: bool = False
    xattrs: bool = False
    links: bool = False
    sync: bool = True
    dry: bool = False
    totals: bool = False


class Job(Message, frozen=True):
    """Section 4: what the client wants."""

    kind: Word
    paths: Annotated[list[Path], Meta(max_length=1024)]
    options: Options
    token: Token
    lanes: Small


class Ready(Message, frozen=True):
    """Section 4 and 8: the job, or the lane, is accepted."""

    token: Token
    lanes: Small
    layout: Text
    names: Annotated[list[Path], Meta(max_length=1024)]


class Lane(Message, frozen=True):
    """Section 8: this connection belongs to the session of *token*."""

    token: Token
    index: Small


class Error(Message, frozen=True):
    """Section 9: this end has given up."""

    code: Small
    message: Text
    hint: Text


class Ping(Message, frozen=True):
    """Section 9: alive."""

    progress: Count
    busy: bool


class Bye(Message, frozen=True):
    """Section 7: the last word."""


class Extra(Struct, frozen=True, omit_defaults=True):
    """Section 5: what only some entries have."""

    identity: Annotated[bytes, Meta(max_length=16)] = b""
    sparse: bool = False
    linked: bool = False
    uid: Small | None = None
    gid: Small | None = None
    xattrs: Annotated[dict[bytes, bytes], Meta(max_length=256)] = {}
    target: Path = b""
    to: tuple[Small, Path] | None = None
    code: Small = 0
    message: Text = ""


NO_EXTRA = Extra()
DIRECTORY, FILE, SYMLINK, HARDLINK, FAILURE, DIRECTORY_END, LEFT_OUT = 1, 2, 3, 4, 5, 6, 7


class Entry(Message, frozen=True):
    """Section 5: one directory, asked file, link, failure, or what is left out."""

    kind: Small
    id: Count
    source: Small
    path: Path
    mode: Small = 0
    size: Count = 0
    mtime: Time = 0
    extra: Extra = NO_EXTRA


class Entries(Message, frozen=True):
    """Section 5."""

    entries: Annotated[list[Entry], Meta(max_length=MAX_LISTED)]


BATCH_BYTES = 512 * 1024
"""Weight at which a frame of entries is full: half the bound, since the weight is an estimate."""


def in_batches(entries: Iterable[Entry]) -> Iterator[Entries]:
    """Yield *entries* in frames that stay within the protocol's bounds."""
    batch: list[Entry] = []
    weight = 0
    for entry in entries:
        extra = entry.extra
        own = 128 + len(entry.path) + len(extra.target) + len(extra.message)
        own += len(extra.to[1]) if extra.to else 0
        if extra.xattrs:
            own += sum(len(name) + len(value) + 16 for name, value in extra.xattrs.items())
        if batch and (weight + own > BATCH_BYTES or len(batch) >= MAX_LISTED):
            yield Entries(batch)
            batch, weight = [], 0
        batch.append(entry)
        weight += own
    if batch:
        yield Entries(batch)


class Totals(Message, frozen=True):
    """Section 5: what to expect, for display."""

    files: Count
    bytes: Count


ALL, REST, COMPARE, SKIP, REFUSE, PATCH = 0, 1, 2, 3, 4, 5


class Answer(Message, frozen=True):
    """Section 5: what the receiver wants of one asked file."""

    id: Count
    verb: Small
    code: Small = 0
    message: Text = ""
    old_size: Count = 0


class Answers(Message, frozen=True):
    """Section 5."""

    answers: Annotated[list[Answer], Meta(max_length=MAX_LISTED)]


DONE, SAME, SKIPPED, FAILED = 0, 1, 2, 3


class Ack(Message, frozen=True):
    """Section 7: what became of one file, link or pack; *failures* are (index, code, message)."""

    id: Count
    state: Small
    code: Small = 0
    message: Text = ""
    digest: Annotated[bytes, Meta(max_length=16)] = b""
    files: Count = 0
    same: Count = 0
    skipped: Count = 0
    failures: Annotated[list[tuple[Small, Small, Text]], Meta(max_length=MAX_LISTED)] = []


class Acks(Message, frozen=True):
    """Section 7."""

    acks: Annotated[list[Ack], Meta(max_length=MAX_LISTED)]


class Finish(Message, frozen=True):
    """Section 7: everything was acknowledged."""

    files: Count
    bytes: Count


class Result(Message, frozen=True):
    """Section 7: the receiver's last word."""

    files: Count
    bytes: Count
    failed: Count
    durability: Word


class Listed(Message, frozen=True):
    """Section 4: one line of a listing."""

    name: Path
    kind: Word
    size: Count
    mtime: Time
    mode: Small


class Listing(Message, frozen=True):
    """Section 4."""

    entries: Annotated[list[Listed], Meta(max_length=MAX_LISTED)]
    last: bool


class Group(Message, frozen=True):
    """Section 6: small files of one directory within a pack."""

    source: Small
    directory: Path
    names: Annotated[list[Annotated[bytes, Meta(max_length=255)]], Meta(max_length=MAX_LISTED)]
    records: bytes


_Groups = Annotated[list[Group], Meta(max_length=MAX_LISTED)]


PASSED, CACHED, SYNCED = "passed", "cached", "synced"
"""How durable it is: handed on to a reader there, in a file, on disk."""


class ChunkEnd(Message, frozen=True):
    """Section 10: everything of this direction was sent."""

    length: Count
    digest: Digest


class ChunkAck(Message, frozen=True):
    """Section 10: everything of that direction is where it goes."""

    length: Count
    digest: Digest
    durability: Word


class Taken(Message, frozen=True):
    """Section 10: so many bytes of holes, in all, are where they go."""

    bytes: Count


MAX_MEASURED_MILLIS = 3_600_000
MAX_MEASURED_LENGTH = MIB
"""Bounds of one measurement, section 12."""


class Measure(Message, frozen=True):
    """Section 12: what is to be measured; as the answer, with the server's window as its buffer."""

    what: Word
    way: Word
    millis: Annotated[int, Meta(ge=1, le=MAX_MEASURED_MILLIS)]
    length: Annotated[int, Meta(ge=1, le=MAX_MEASURED_LENGTH)]
    lanes: Annotated[int, Meta(ge=1, le=16)]
    buffer: Annotated[int, Meta(ge=0, le=2**31 - 1)]


class Lull(Message, frozen=True):
    """Section 12: nothing more is sent on this lane."""


class Figures(Message, frozen=True):
    """Section 12: what the server has measured; bytes and microseconds."""

    sent: Count
    sending: Count
    received: Count
    receiving: Count
    user: Count
    system: Count
    window: Count


SCHEMA: dict[Type, type[Message]] = {
    Type.HELLO: Hello,
    Type.PROOF: Proof,
    Type.JOB: Job,
    Type.READY: Ready,
    Type.LANE: Lane,
    Type.ERROR: Error,
    Type.PING: Ping,
    Type.BYE: Bye,
    Type.ENTRIES: Entries,
    Type.TOTALS: Totals,
    Type.FINISH: Finish,
    Type.ANSWERS: Answers,
    Type.ACKS: Acks,
    Type.RESULT: Result,
    Type.LISTING: Listing,
    Type.CHUNK_END: ChunkEnd,
    Type.CHUNK_ACK: ChunkAck,
    Type.TAKEN: Taken,
    Type.MEASURE: Measure,
    Type.LULL: Lull,
    Type.FIGURES: Figures,
}
_TYPE_OF = {message: kind for kind, message in SCHEMA.items()}
_encoder = msgspec.msgpack.Encoder()
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}
_making = threading.Lock()
"""msgspec 0.22 crashes when a decoder is made of a structure that another thread has half looked into."""

M = TypeVar("M")


def encode(message: Message, sequence: int = 0) -> bytes:
    """Return the whole frame of *message*, sent after *sequence* others: header and body."""
    body = _encoder.encode(message)
    return header(_TYPE_OF[type(message)], body, sequence=sequence) + body


def decode(kind: Type, body: bytes | memoryview) -> Message:
    """Return the message in *body*; raises NotHvcopy when it does not fit its schema."""
    message: Message = _checked(SCHEMA[kind], body, kind.name)
    return message


def encode_groups(groups: list[Group]) -> bytes:
    """Return the manifest of a pack."""
    return _encoder.encode(groups)


def decode_groups(body: bytes | memoryview) -> list[Group]:
    """Return the groups of a pack's manifest; raises NotHvcopy when they do not fit the schema."""
    groups: list[Group] = _checked(_Groups, body, "PACK")
    return groups


def place_in_pack(groups: list[Group], index: int) -> tuple[int, bytes]:
    """Return (source, path) of file *index* of a pack; raises NotHvcopy when it has no such file."""
    for group in groups:
        if index < len(group.names):
            name = group.names[index]
            return group.source, group.directory + b"/" + name if group.directory else name
        index -= len(group.names)
    raise NotHvcopy("the peer reports a file that was not in the pack")


def _checked(schema: Any, body: bytes | memoryview, name: str) -> Any:
    decoder = _decoders.get(schema)
    if decoder is None:
        with _making:
            decoder = _decoders[schema] = _decoders.get(schema) or msgspec.msgpack.Decoder(schema)
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotHvcopy(f"the peer sent a {name} that breaks the protocol ({error})") from None
