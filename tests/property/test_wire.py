"""Whatever arrives, decoding ends in a message or in NotHvcopy; whatever is sent comes back as it was."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcopy.errors import DigestMismatch, NotHvcopy
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.frames import HEADER, Type

CONTROL = sorted(m.SCHEMA)

# ---- arbitrary values of every message, within its bounds

COUNT = st.integers(0, 2**63 - 1)
SMALL = st.integers(0, 2**32 - 1)
TIME = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
WORD = st.text(st.characters(exclude_categories=["Cs"]), max_size=32)
PATH = st.binary(max_size=40)
NAME = st.binary(max_size=40)


def exactly(count: int) -> st.SearchStrategy[bytes]:
    """Return *count* arbitrary bytes."""
    return st.binary(min_size=count, max_size=count)


EXTRA = st.builds(
    m.Extra,
    identity=st.binary(max_size=16),
    sparse=st.booleans(),
    linked=st.booleans(),
    uid=st.none() | SMALL,
    gid=st.none() | SMALL,
    xattrs=st.dictionaries(st.binary(max_size=9), st.binary(max_size=9), max_size=4),
    target=PATH,
    to=st.none() | st.tuples(SMALL, PATH),
    code=SMALL,
    message=TEXT,
)
ENTRY = st.builds(m.Entry, SMALL, COUNT, SMALL, PATH, SMALL, COUNT, TIME, EXTRA)
ANSWER = st.builds(m.Answer, COUNT, SMALL, SMALL, TEXT, COUNT)
ACK = st.builds(
    m.Ack, COUNT, SMALL, SMALL, TEXT, st.binary(max_size=16), COUNT, COUNT, COUNT,
    st.lists(st.tuples(SMALL, SMALL, TEXT), max_size=4),
)  # fmt: skip
OPTIONS = st.builds(
    m.Options,
    names=st.lists(PATH, max_size=4),
    dirs=st.lists(st.booleans(), max_size=4),
    must_be_dir=st.booleans(),
    existing=WORD,
    recursive=st.booleans(),
    owner=st.booleans(),
    xattrs=st.booleans(),
    links=st.booleans(),
    sync=st.booleans(),
    dry=st.booleans(),
    totals=st.booleans(),
)
MESSAGES: dict[Type, st.SearchStrategy[Any]] = {
    Type.HELLO: st.builds(
        m.Hello, SMALL, SMALL, WORD, exactly(32), st.booleans(), TEXT, st.lists(WORD, max_size=4), WORD, WORD
    ),
    Type.PROOF: st.builds(m.Proof, exactly(32)),
    Type.JOB: st.builds(m.Job, WORD, st.lists(PATH, max_size=4), OPTIONS, st.binary(max_size=16), SMALL),
    Type.READY: st.builds(m.Ready, st.binary(max_size=16), SMALL, TEXT, st.lists(PATH, max_size=4)),
    Type.LANE: st.builds(m.Lane, st.binary(max_size=16), SMALL),
    Type.ERROR: st.builds(m.Error, SMALL, TEXT, TEXT),
    Type.PING: st.builds(m.Ping, COUNT, st.booleans()),
    Type.BYE: st.builds(m.Bye),
    Type.ENTRIES: st.builds(m.Entries, st.lists(ENTRY, max_size=4)),
    Type.TOTALS: st.builds(m.Totals, COUNT, COUNT),
    Type.FINISH: st.builds(m.Finish, COUNT, COUNT),
    Type.ANSWERS: st.builds(m.Answers, st.lists(ANSWER, max_size=4)),
    Type.ACKS: st.builds(m.Acks, st.lists(ACK, max_size=4)),
    Type.RESULT: st.builds(m.Result, COUNT, COUNT, COUNT, WORD),
    Type.LISTING: st.builds(
        m.Listing, st.lists(st.builds(m.Listed, PATH, WORD, COUNT, TIME, SMALL), max_size=4), st.booleans()
    ),
    Type.CHUNK_END: st.builds(m.ChunkEnd, COUNT, exactly(16)),
    Type.CHUNK_ACK: st.builds(m.ChunkAck, COUNT, exactly(16), WORD),
    Type.TAKEN: st.builds(m.Taken, COUNT),
    Type.MEASURE: st.builds(
        m.Measure, WORD, WORD, st.integers(1, 3_600_000), st.integers(1, 2**20), st.integers(1, 16), st.integers(0, 2**31 - 1)
    ),
    Type.LULL: st.builds(m.Lull),
    Type.FIGURES: st.builds(m.Figures, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT),
}
GROUP = st.builds(m.Group, SMALL, PATH, st.lists(NAME, max_size=4), st.binary(max_size=90))

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(max_size=33) | TEXT,
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(TEXT | st.binary(max_size=4), inner, max_size=4),
    max_leaves=30,
)
"""What MessagePack can say, fitting or not."""


def test_every_message_has_a_strategy() -> None:
    assert set(MESSAGES) == set(m.SCHEMA)


@pytest.mark.parametrize("kind", CONTROL)
@given(data=st.data())
def test_a_message_comes_back_as_it_was_sent(kind: Type, data: st.DataObject) -> None:
    message = data.draw(MESSAGES[kind])
    sequence = data.draw(st.integers(0, 2**20))
    frame = m.encode(message, sequence)
    found, flags, length = frames.parse_header(frame[: HEADER.size], sequence=sequence)
    assert (found, flags, length) == (kind, 0, len(frame) - HEADER.size)
    body = memoryview(frame)[HEADER.size :]
    frames.check_seal(frame[: HEADER.size], kind, body)
    assert m.decode(kind, body) == message


@given(body=st.binary(max_size=200) | ANYTHING.map(msgspec.msgpack.encode))
def test_decode_of_anything_is_a_message_or_refused(body: bytes) -> None:
    for kind in CONTROL:
        try:
            message = m.decode(kind, body)
        except NotHvcopy:
            continue
        assert type(message) is m.SCHEMA[kind]
        m.encode(message)


@pytest.mark.parametrize("kind", CONTROL)
@given(data=st.data())
def test_decode_of_a_message_with_bytes_changed_is_a_message_or_refused(kind: Type, data: st.DataObject) -> None:
    body = bytearray(m.encode(data.draw(MESSAGES[kind]))[HEADER.size :])
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(body)))
        if data.draw(st.booleans()):
            body[position : position + 1] = data.draw(st.binary(max_size=2))
        else:
            body = body[:position]
    try:
        assert type(m.decode(kind, bytes(body))) is m.SCHEMA[kind]
    except NotHvcopy:
        pass


@given(groups=st.lists(GROUP, max_size=4))
def test_groups_come_back_as_they_were_sent(groups: list[m.Group]) -> None:
    assert m.decode_groups(m.encode_groups(groups)) == groups


@given(body=st.binary(max_size=200) | ANYTHING.map(msgspec.msgpack.encode))
def test_decode_groups_of_anything_is_groups_or_refused(body: bytes) -> None:
    try:
        groups = m.decode_groups(body)
    except NotHvcopy:
        return
    assert all(type(group) is m.Group for group in groups)


@given(groups=st.lists(GROUP, max_size=4), index=SMALL | st.integers(0, 12))
def test_place_in_pack_names_each_file_once(groups: list[m.Group], index: int) -> None:
    flat = [(g.source, g.directory + b"/" + name if g.directory else name) for g in groups for name in g.names]
    if index < len(flat):
        assert m.place_in_pack(groups, index) == flat[index]
    else:
        with pytest.raises(NotHvcopy):
            m.place_in_pack(groups, index)


@given(data=exactly(HEADER.size), early=st.booleans(), sequence=SMALL)
def test_parse_header_of_anything_is_bounded_or_refused(data: bytes, early: bool, sequence: int) -> None:
    try:
        kind, _, length = frames.parse_header(data, early=early, sequence=sequence)
    except (NotHvcopy, DigestMismatch):
        return
    assert 0 <= length <= frames.body_limit(kind, early=early) <= 32 + 16 * 2**20


@given(
    kind=st.sampled_from(list(Type)),
    body=st.binary(max_size=70),
    flags=st.integers(0, 255),
    sequence=st.integers(0, 2**17),
    position=st.integers(0, 85),
    flip=st.integers(1, 255),
)
def test_one_byte_changed_in_what_is_sealed_is_found(
    kind: Type, body: bytes, flags: int, sequence: int, position: int, flip: int
) -> None:
    covered = frames.COVERED.get(kind, len(body))
    frame = bytearray(frames.header(kind, body[:covered], length=len(body), flags=flags, sequence=sequence) + body)
    frames.check_seal(frame[: HEADER.size], kind, memoryview(frame)[HEADER.size :])
    position %= min(len(frame), HEADER.size + covered)
    frame[position] ^= flip
    with pytest.raises(DigestMismatch):
        frames.check_seal(frame[: HEADER.size], kind, memoryview(frame)[HEADER.size :])


@given(
    end=st.builds(
        frames.End,
        st.integers(0, 2**64 - 1),
        st.integers(0, 3),
        SMALL,
        st.integers(0, 2**64 - 1),
        exactly(16),
        st.text(max_size=2000),
    )
)
def test_end_comes_back_but_for_what_its_message_has_no_room_for(end: frames.End) -> None:
    body = frames.encode_end(end)
    assert len(body) <= frames.END.size + 1024
    found = frames.decode_end(body)
    assert found[:5] == end[:5]
    assert end.message.encode("utf-8", "replace").decode().startswith(found.message)
    assert body[frames.END.size :].decode("utf-8") == found.message


@given(body=st.binary(max_size=1100))
def test_decode_end_of_anything_is_an_end_or_refused(body: bytes) -> None:
    try:
        assert frames.decode_end(body).state <= 3
    except NotHvcopy:
        pass


@given(body=st.binary(max_size=100))
def test_decode_sums_of_anything_is_whole_digests_or_refused(body: bytes) -> None:
    try:
        _, _, digests = frames.decode_sums(body)
    except NotHvcopy:
        return
    assert len(digests) % 16 == 0
    assert digests == body[16:]


@given(body=st.binary(max_size=40), layout=st.sampled_from([frames.HOLE, frames.KEEP]))
def test_unpack_of_anything_is_the_layout_or_refused(body: bytes, layout: Any) -> None:
    try:
        assert layout.pack(*frames.unpack(layout, body, "X")) == body
    except NotHvcopy:
        assert len(body) != layout.size


@given(entries=st.lists(ENTRY, max_size=12), weight=st.integers(1, 4000))
def test_in_batches_keeps_every_entry_in_order(entries: list[m.Entry], weight: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(m, "BATCH_BYTES", weight)
        batches = list(m.in_batches(entries))
    assert [entry for batch in batches for entry in batch.entries] == entries
    assert all(batch.entries for batch in batches)
    for batch in batches:
        assert len(batch.entries) == 1 or len(m.encode(batch)) - HEADER.size <= weight + 8
