"""Control messages: which bodies are taken, and which are refused."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from hvcopy.errors import NotHvcopy
from hvcopy.wire import messages as m
from hvcopy.wire.frames import HEADER, MIB, PACK_RECORD, Type

pack = msgspec.msgpack.encode
HELLO = [1, 1, "client", bytes(32), False, "tcp:x", [], "hvcopy", "posix"]
ENTRY = [2, 1, 0, b"a", 0o644, 5, 6, {}]


def changed(base: list[object], index: int, value: object) -> bytes:
    """Return the body of *base* with one field replaced."""
    return pack([*base[:index], value, *base[index + 1 :]])


def test_encode_is_a_frame_with_its_type_and_length() -> None:
    frame = m.encode(m.Ping(5, True), 258)
    assert frame[:8] == bytes([3, 0, 0, 0, Type.PING, 0, 2, 1])
    assert frame[HEADER.size :] == b"\x92\x05\xc3"


def test_schema_covers_every_control_type() -> None:
    fixed = {
        Type.DATA, Type.HOLE, Type.KEEP, Type.END, Type.SUMS, Type.RECHECK, Type.PACK, Type.CHUNK, Type.FLOOD, Type.ECHO,
    }  # fmt: skip
    assert set(m.SCHEMA) == set(Type) - fixed


def test_decode_takes_a_memoryview() -> None:
    assert m.decode(Type.PING, memoryview(bytearray(b"\x92\x05\xc3"))) == m.Ping(5, True)


@pytest.mark.parametrize("length", range(len(HELLO)))
def test_decode_without_all_fields_is_refused(length: int) -> None:
    with pytest.raises(NotHvcopy, match="HELLO"):
        m.decode(Type.HELLO, pack(HELLO[:length]))


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (0, -1), (0, 2**32), (0, "1"), (0, 1.0), (0, None), (1, True), (2, b"client"), (2, "x" * 33),
        (3, bytes(31)), (3, bytes(33)), (3, "x" * 32), (4, 0), (5, "x" * 1025), (6, ["x"] * 33), (6, "holes"),
        (6, [1]), (7, "x" * 33), (8, None),
    ],
)  # fmt: skip
def test_decode_with_a_field_out_of_its_bounds_is_refused(index: int, value: object) -> None:
    with pytest.raises(NotHvcopy):
        m.decode(Type.HELLO, changed(HELLO, index, value))


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (0, -1), (1, -1), (1, 2**63), (2, 2**32), (3, bytes(4097)), (3, "a"), (4, -1), (5, -1), (5, 2**63),
        (6, 2**63), (6, 2**64 - 1), (7, []), (7, {"identity": bytes(17)}),
        (7, {"sparse": 1}), (7, {"uid": -1}), (7, {"to": [1]}), (7, {"to": [0, b"a", 1]}), (7, {"target": bytes(4097)}),
        (7, {"xattrs": {b"%d" % n: b"" for n in range(257)}}), (7, {"xattrs": {"a": b""}}), (7, {"message": "x" * 1025}),
    ],
)  # fmt: skip
def test_decode_entry_with_a_field_out_of_its_bounds_is_refused(index: int, value: object) -> None:
    entry = [*ENTRY[:index], value, *ENTRY[index + 1 :]]
    with pytest.raises(NotHvcopy):
        m.decode(Type.ENTRIES, pack([[entry]]))


MEASURE = ["flood", "up", 1000, 65536, 1, 0]


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (0, "x" * 33), (0, b"flood"), (1, 1), (2, 0), (2, -1), (2, 3_600_001), (2, 1.5), (3, 0), (3, MIB + 1),
        (4, 0), (4, 17), (5, -1), (5, 2**31), (5, None),
    ],
)  # fmt: skip
def test_decode_an_order_out_of_its_bounds_is_refused(index: int, value: object) -> None:
    with pytest.raises(NotHvcopy, match="MEASURE"):
        m.decode(Type.MEASURE, changed(MEASURE, index, value))


@pytest.mark.parametrize(
    "order", [["connect", "up", 1, 1, 1, 0], ["flood", "both", 3_600_000, MIB, 16, 2**31 - 1]], ids=["least", "most"]
)
def test_decode_an_order_at_its_bounds_is_taken(order: list[object]) -> None:
    assert m.decode(Type.MEASURE, pack(order)) == m.Measure(*order)  # type: ignore[arg-type]


def test_decode_entry_at_its_bounds_is_taken() -> None:
    extra = {"identity": bytes(16), "uid": 2**32 - 1, "to": [0, bytes(4096)], "xattrs": {b"n": bytes(70000)}}
    message = m.decode(Type.ENTRIES, pack([[[2, 2**63 - 1, 0, bytes(4096), 0, 2**63 - 1, -(2**63), extra]]]))
    assert isinstance(message, m.Entries)
    (entry,) = message.entries
    assert (entry.id, entry.size, entry.mtime) == (2**63 - 1, 2**63 - 1, -(2**63))
    assert entry.extra.to == (0, bytes(4096))


def test_decode_ignores_unknown_keys_of_a_map_and_further_fields() -> None:
    options = {"existing": "update", "tomorrow": [1, {"x": b"y"}]}
    job = m.decode(Type.JOB, pack(["push", [b"a"], options, b"", 1, "new", None]))
    assert job == m.Job("push", [b"a"], m.Options(existing="update"), b"", 1)


def test_options_by_default_refuse_and_sync() -> None:
    job = m.decode(Type.JOB, pack(["list", [b""], {}, b"", 1]))
    assert isinstance(job, m.Job)
    assert job.options == m.Options()
    assert (job.options.existing, job.options.sync) == ("refuse", True)
    assert not any([job.options.owner, job.options.xattrs, job.options.links, job.options.recursive, job.options.dry])


def test_options_that_are_default_are_not_sent() -> None:
    assert m.encode(m.Job("list", [b""], m.Options(), b"", 1))[HEADER.size :] == b"\x95\xa4list\x91\xc4\x00\x80\xc4\x00\x01"


@pytest.mark.parametrize("kind", m.SCHEMA)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\xc0",
        b"\x80",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 100_000,
        b"\x9f" * 100_000,
        b"\x81\xa1x" * 100_000,
        b"\x91\xa1\xff",
        b"\x91\xd6\xff\x00\x00\x00\x00",
        b"\x90\x90",
    ],
    ids=["empty", "reserved", "nil", "map", "long-array", "long-map", "long-bin", "deep", "deep-wide", "deep-map", "bad-utf8",
         "time", "trailing"],
)  # fmt: skip
def test_decode_of_hostile_bytes_is_refused(kind: Type, body: bytes) -> None:
    if kind in (Type.BYE, Type.LULL) and body in (b"\x91\xa1\xff", b"\x91\xd6\xff\x00\x00\x00\x00"):
        assert m.decode(kind, body) in (m.Bye(), m.Lull())  # no field of their own, and what follows is passed over unread
        return
    with pytest.raises(NotHvcopy, match=kind.name):
        m.decode(kind, body)


@pytest.mark.parametrize(
    ("kind", "element"),
    [
        (Type.ENTRIES, [1, 0, 0, b""]),
        (Type.ANSWERS, [1, 0]),
        (Type.ACKS, [1, 0]),
    ],
)
def test_decode_of_more_elements_than_a_frame_may_have_is_refused(kind: Type, element: list[object]) -> None:
    assert m.decode(kind, pack([[element] * 4096]))
    with pytest.raises(NotHvcopy):
        m.decode(kind, pack([[element] * 4097]))


def test_decode_keeps_nothing_of_the_buffer_it_read() -> None:
    """A link reuses its buffer for the next frame while messages are still in hand."""
    body = bytearray(m.encode(m.Entries([m.Entry(m.FILE, 1, 0, b"name", extra=m.Extra(identity=b"i" * 16))]))[HEADER.size :])
    message = m.decode(Type.ENTRIES, memoryview(body))
    body[:] = bytes(len(body))
    assert message == m.Entries([m.Entry(m.FILE, 1, 0, b"name", extra=m.Extra(identity=b"i" * 16))])


def group(names: list[bytes], *, source: int = 0, directory: bytes = b"") -> m.Group:
    """Return a group of empty files."""
    return m.Group(source, directory, names, PACK_RECORD.pack(0, 0, 0, 0, 0, 0, 0) * len(names))


LONG = m.MAX_PATH - 8


@pytest.mark.parametrize(
    ("count", "extra"),
    [
        (0, m.NO_EXTRA),
        (m.MAX_LISTED - 1, m.NO_EXTRA),
        (m.MAX_LISTED, m.NO_EXTRA),
        (m.MAX_LISTED + 1, m.NO_EXTRA),
        (3, m.Extra(xattrs={b"user.a": bytes(MIB // 2 - 5000)})),
        (5, m.Extra(xattrs={b"user.%03d" % number: bytes(1000) for number in range(250)})),
        (700, m.Extra(target=bytes(LONG))),
        (700, m.Extra(to=(0, bytes(LONG)))),
        (2000, m.Extra(message="x" * 1000)),
    ],
    ids=["none", "one less", "as many as may be", "one more", "large", "many", "target", "to", "message"],
)
def test_in_batches_gives_every_entry_in_order_in_frames_within_the_bounds(count: int, extra: m.Extra) -> None:
    entries = [m.Entry(m.FILE, number, 0, b"", extra=extra) for number in range(count)]
    frames = [m.encode(batch) for batch in m.in_batches(entries)]
    assert max(map(len, frames), default=0) <= HEADER.size + MIB
    taken: list[m.Entry] = []
    for frame in frames:
        batch = m.decode(Type.ENTRIES, frame[HEADER.size :])
        assert isinstance(batch, m.Entries)
        taken += batch.entries
    assert taken == entries


def test_in_batches_makes_no_more_frames_than_it_must() -> None:
    assert len(list(m.in_batches([m.Entry(m.FILE, number, 0, b"f") for number in range(4000)]))) == 1


def test_groups_come_back_as_they_were_sent() -> None:
    groups = [group([b"a", b"\xff"], directory=b"d"), group([b""], source=3)]
    assert m.decode_groups(memoryview(m.encode_groups(groups))) == groups


@pytest.mark.parametrize("body", [b"", b"\x91\x90", b"\x91\x94\x00\xc4\x00\x91\xa1x\xc4\x00", b"\xdd\xff\xff\xff\xff"])
def test_decode_groups_of_other_bytes_is_refused(body: bytes) -> None:
    with pytest.raises(NotHvcopy, match="PACK"):
        m.decode_groups(body)


def test_decode_groups_with_a_name_too_long_is_refused() -> None:
    with pytest.raises(NotHvcopy):
        m.decode_groups(m.encode_groups([group([bytes(256)])]))


def test_place_in_pack_counts_over_groups() -> None:
    groups = [group([b"a", b"b"], directory=b"d/e"), group([], directory=b"empty"), group([b"c"]), group([b""], source=2)]
    found = [m.place_in_pack(groups, index) for index in range(4)]
    assert found == [(0, b"d/e/a"), (0, b"d/e/b"), (0, b"c"), (2, b"")]


@pytest.mark.parametrize("index", [1, 2**32 - 1])
def test_place_in_pack_beyond_it_is_refused(index: int) -> None:
    with pytest.raises(NotHvcopy):
        m.place_in_pack([group([b"a"])], index)


FIRST_DECODES = """
import sys, threading
from hvcopy.wire import messages as m
from hvcopy.wire.frames import HEADER
sys.setswitchinterval(1e-6)
start = threading.Barrier(8)
nested = [
    m.Entries([m.Entry(m.FILE, 1, 0, b"x", extra=m.Extra(to=(1, b"y")))]),
    m.Answers([m.Answer(1, 0)]),
    m.Acks([m.Ack(1, 0, failures=[(1, 10, "")])]),
    m.Listing([m.Listed(b"x", "f", 0, 0, 0)], True),
    m.Job("push", [b"x"], m.Options(), b"", 1),
]
def decode():
    for message in nested:
        body = m.encode(message)[HEADER.size:]
        start.wait()
        assert m.decode(m._TYPE_OF[type(message)], body) == message
threads = [threading.Thread(target=decode) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_first_messages_of_several_threads_at_once_are_decoded() -> None:
    """Many clients connect at once to a server that has just started: in a process that has decoded nothing yet."""
    done = subprocess.run([sys.executable, "-c", FIRST_DECODES], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
