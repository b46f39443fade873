"""The receiving driver before a sender that says what it likes: real frames over a real socket, decided by the test."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from hvcopy import fileio
from hvcopy.errors import DigestMismatch, HvcopyError, NotHvcopy
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.digests import ABSENT, digest
from hvcopy.wire.frames import Type

from .scripted import BLOCKS, MIB, PATIENCE, TIME, Session, file, send_whole

REFUSALS = (NotHvcopy, DigestMismatch)
FROM_SENDERS = [
    Type.DATA,
    Type.PACK,
    Type.END,
    Type.HOLE,
    Type.PING,
    Type.ENTRIES,
    Type.TOTALS,
    Type.FINISH,
]


def test_a_whole_file_is_acknowledged_with_the_receivers_own_digest(session: Session) -> None:
    session.start().entries(m.Entry(m.DIRECTORY, 0, 0, b"d"), file(1, b"d/f"))
    ack = send_whole(session)
    assert (ack.id, ack.state, ack.digest) == (1, m.DONE, digest(b"".join(map(digest, BLOCKS))))
    result = session.finish()
    assert (result.files, result.bytes, result.failed, result.durability) == (1, MIB + 5, 0, "cached")
    assert (session.root / "d" / "f").read_bytes() == b"".join(BLOCKS)


def test_every_file_system_that_was_written_to_is_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.stat("/dev").st_dev == os.stat("/dev/shm").st_dev:
        pytest.skip("needs a folder that is mounted below another")
    really, synced = fileio.sync_filesystem, []

    def sync(fd: int) -> None:
        synced.append(os.fstat(fd).st_dev)
        really(fd)

    monkeypatch.setattr(fileio, "sync_filesystem", sync)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as below:
        session = Session(Path("/dev")).start(sync=True)
        session.entries(file(1, os.fsencode(Path(below).relative_to("/dev") / "d/f")))
        send_whole(session)
        assert session.finish().durability == "synced"
        session.close()
    assert sorted(synced) == sorted(os.stat(name).st_dev for name in ("/dev", "/dev/shm"))


def test_an_end_may_come_before_its_blocks(session: Session) -> None:
    session.start().entries(file(1))
    session.answer()
    session.end(1, *BLOCKS)
    session.data(1, MIB, BLOCKS[1])
    session.data(1, 0, BLOCKS[0])
    assert session.ack().state == m.DONE
    session.finish()
    assert (session.root / "f").read_bytes() == b"".join(BLOCKS)


def test_holes_count_as_zeros(session: Session) -> None:
    session.start().entries(file(1, size=4 * MIB))
    session.answer()
    session.hole(1, MIB, 3 * MIB)
    session.data(1, 0, BLOCKS[0])
    session.end(1, BLOCKS[0], *[bytes(MIB)] * 3)
    assert session.ack().state == m.DONE
    session.finish()
    assert (session.root / "f").read_bytes() == BLOCKS[0] + bytes(3 * MIB)


def test_an_empty_file_needs_only_its_end(session: Session) -> None:
    session.start().entries(file(1, size=0))
    session.answer()
    session.end(1)
    assert session.ack().state == m.DONE
    session.finish()
    assert (session.root / "f").read_bytes() == b""


# ---- what this side did not ask for


def test_a_symbolic_link_nobody_asked_for_is_refused(session: Session) -> None:
    session.start().entries(m.Entry(m.SYMLINK, 1, 0, b"l", extra=m.Extra(target=b"/etc")))
    assert isinstance(session.refusal(), NotHvcopy)
    assert session.tree == []


def test_a_symbolic_link_that_was_asked_for_is_made(session: Session) -> None:
    session.start(links=True).entries(m.Entry(m.SYMLINK, 1, 0, b"l", extra=m.Extra(target=b"x")))
    assert session.ack().state == m.DONE
    session.finish()
    assert os.readlink(session.root / "l") == "x"


def test_owner_set_id_bits_and_attributes_nobody_asked_for_are_left_out(session: Session) -> None:
    extra = m.Extra(uid=os.geteuid(), gid=os.getegid(), xattrs={b"user.planted": b"1"})
    session.start().entries(m.Entry(m.DIRECTORY, 0, 0, b"d"), file(1, extra=extra, mode=0o6755))
    send_whole(session)
    session.entries(m.Entry(m.DIRECTORY_END, 0, 0, b"d", 0o6755, 0, TIME, extra))
    session.finish()
    for path in (session.root / "f", session.root / "d"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
        assert os.listxattr(path) == []


def test_a_source_nobody_asked_for_is_refused(session: Session) -> None:
    session.start().entries(m.Entry(m.DIRECTORY, 0, 1, b"d"))
    assert isinstance(session.refusal(), NotHvcopy)
    assert session.tree == []


@pytest.mark.parametrize("kind", [m.FILE, m.DIRECTORY, m.HARDLINK])
def test_a_path_below_a_source_that_is_a_file_is_refused(session: Session, kind: int) -> None:
    session.start(dirs=[False]).entries(m.Entry(kind, 1, 0, b"x", extra=m.Extra(to=(0, b""))))
    assert isinstance(session.refusal(), NotHvcopy)
    assert session.tree == []


@pytest.mark.parametrize("path", [b"../f", b"/f", b"a/../../f", b"..", b"a//f", b".hvcopy-x", b"\x1b[2J"])
def test_an_unsafe_path_is_answered_with_a_refusal_and_the_rest_goes_on(session: Session, path: bytes) -> None:
    session.start().entries(file(1, path))
    answer = session.answer()
    assert (answer.id, answer.verb, answer.code) == (1, m.REFUSE, 11)
    session.entries(file(2, b"fine"))
    send_whole(session, 2)
    assert session.finish().failed == 1
    assert session.tree == ["fine"]
    assert os.listdir(session.root.parent) == ["root"]


def test_contents_of_a_refused_file_are_not_taken(session: Session) -> None:
    session.start().entries(file(1, b"../f"))
    session.answer()
    session.data(1, 0, BLOCKS[0])
    assert isinstance(session.refusal(), NotHvcopy)
    assert os.listdir(session.root.parent) == ["root"]


def test_dry_session_refuses_a_pack(session: Session) -> None:
    session.start(dry=True).pack([m.Group(0, b"", [b"f"], frames.PACK_RECORD.pack(1, TIME, 0o644, 0, 0, 0, 0))], b"x")
    assert isinstance(session.refusal(), NotHvcopy)
    assert session.tree == []


def test_dry_session_refuses_blocks(session: Session) -> None:
    session.start(dry=True).entries(m.Entry(m.DIRECTORY, 0, 0, b"d"), file(1))
    assert session.answer().verb == m.ALL
    session.data(1, 0, BLOCKS[0])
    assert isinstance(session.refusal(), NotHvcopy)
    assert session.tree == []


@pytest.mark.parametrize(
    ("kind", "extra"),
    [(m.SYMLINK, m.Extra(target=b"a\0b")), (m.FILE, m.Extra(xattrs={b"user.\0": b""}))],
    ids=["target of a link", "name of an attribute"],
)
def test_a_nul_byte_breaks_the_protocol(kind: int, extra: m.Extra, session: Session) -> None:
    session.start(links=True, owner=True, xattrs=True)
    session.entries(m.Entry(kind, 1, 0, b"f", 0o644, 1, TIME, extra))
    assert isinstance(session.refusal(), NotHvcopy)
    assert session.tree == []


def test_attributes_of_files_under_way_are_bounded(session: Session) -> None:
    """Nothing is written of them before the file is whole, so they would all be in memory."""
    session.start(xattrs=True)
    extra = m.Extra(xattrs={b"user.%d" % n: bytes(4000) for n in range(200)})
    for ident in range(1, 50):
        try:
            session.entries(file(ident, b"f%d" % ident, extra=extra))
        except HvcopyError:
            break
    session.join()
    assert isinstance(session.error, NotHvcopy)
    assert "more extended attributes at once" in session.error.message


# ---- damage


def test_a_damaged_block_ends_the_session_and_nothing_has_the_name(session: Session) -> None:
    session.start().entries(file(1))
    session.answer()
    session.data(1, 0, BLOCKS[0], digest(b"other"))
    assert isinstance(session.refusal(), DigestMismatch)
    assert session.tree == []


def test_a_damaged_block_does_not_count_when_the_copy_goes_on(session: Session) -> None:
    """Its bytes may stand in the part, for they are written as they come, but nothing vouches for them."""
    again = Session(session.root)
    entry = file(1, size=9 * MIB, extra=m.Extra(identity=b"i" * 16))
    session.start().entries(entry)
    session.answer()
    session.data(1, 0, b"a" * MIB)
    session.data(1, MIB, b"b" * MIB, digest(b"other"))
    assert isinstance(session.refusal(), DigestMismatch)
    again.start().entries(entry)
    assert again.answer().verb == m.REST
    sums = again.peer.receive(timeout=PATIENCE)
    known = [digest(b"a" * MIB), *[ABSENT] * 8]
    assert frames.decode_sums(sums.body) == (1, 0, b"".join(known))
    again.close()


def doubt(session: Session) -> None:
    """Bring the receiver to doubt file 1: its first block, said to be live, is not what its digest says."""
    session.start().entries(file(1))
    session.answer()
    session.data(1, 0, BLOCKS[0], digest(b"other"), live=True)
    frame = session.peer.receive(timeout=PATIENCE)
    assert (frame.type, frames.RECHECK.unpack(frame.body)) == (Type.RECHECK, (1, 0))


@pytest.mark.parametrize("ended", [False, True], ids=["not yet ended", "ended as whole before"])
def test_a_live_block_that_changed_costs_its_file_and_the_rest_goes_on(ended: bool, session: Session) -> None:
    doubt(session)
    session.data(1, MIB, BLOCKS[1], digest(b"different"), live=True)  # no second question
    if ended:
        session.end(1, *BLOCKS)
    session.end(1, state=1, code=10, message="it changed while it was read")
    ack = session.ack()
    assert (ack.id, ack.state, ack.code) == (1, m.FAILED, 10)
    session.entries(file(2, b"g"))
    assert send_whole(session, 2).state == m.DONE
    session.finish()
    assert session.tree == ["g"]


def test_a_doubtful_file_is_never_whole(session: Session) -> None:
    doubt(session)
    session.data(1, 0, BLOCKS[0])
    session.data(1, MIB, BLOCKS[1])
    session.end(1, *BLOCKS)
    session.peer.send(m.Finish(1, 1))
    assert isinstance(session.refusal(), NotHvcopy)
    assert session.tree == []


@pytest.mark.parametrize("state", [0, 2, 3])
def test_a_second_end_of_a_doubtful_file_may_only_say_that_it_failed(state: int, session: Session) -> None:
    doubt(session)
    session.end(1, *BLOCKS)
    session.end(1, *BLOCKS, state=state)
    assert isinstance(session.refusal(), NotHvcopy)
    assert session.tree == []


def test_a_wrong_root_ends_the_session_and_nothing_has_the_name(session: Session) -> None:
    session.start().entries(file(1))
    session.answer()
    session.data(1, 0, BLOCKS[0])
    session.data(1, MIB, BLOCKS[1])
    session.end(1, BLOCKS[0], b"c" * 5)
    assert isinstance(session.refusal(), DigestMismatch)
    assert session.tree == []


def test_a_wrong_root_keeps_no_part_that_would_be_wrong_again(session: Session) -> None:
    size = 9 * MIB
    blocks = [bytes([65 + index]) * MIB for index in range(9)]
    session.start().entries(file(1, size=size, extra=m.Extra(identity=b"i" * 16)))
    session.answer()
    for index, block in enumerate(blocks):
        session.data(1, index * MIB, block)
    session.end(1, *blocks[::-1])
    assert isinstance(session.refusal(), DigestMismatch)
    assert session.tree == []


def test_a_damaged_pack_ends_the_session_and_nothing_of_it_is_there(session: Session) -> None:
    session.start().pack(
        [m.Group(0, b"", [b"f"], frames.PACK_RECORD.pack(1, TIME, 0o644, 0, 0, 0, 0))], b"x", damage=True
    )
    assert isinstance(session.refusal(), DigestMismatch)
    assert session.tree == []


# ---- order


@pytest.mark.parametrize(
    ("offset", "block"),
    [(1, BLOCKS[0]), (0, BLOCKS[1]), (MIB, b"b" * 6), (2 * MIB, b"b"), (2**63, b"b")],
    ids=["beside it", "too short", "too long", "behind the file", "nowhere"],
)
def test_a_block_off_the_grid_is_refused(session: Session, offset: int, block: bytes) -> None:
    session.start().entries(file(1))
    session.answer()
    session.data(1, offset, block)
    assert isinstance(session.refusal(), NotHvcopy)
    assert session.tree == []


@pytest.mark.parametrize("size", [MIB + 5, 6 * MIB])
def test_a_block_sent_twice_is_refused(session: Session, size: int) -> None:
    """Written by the lane's own thread, and by the writer's."""
    session.start().entries(file(1, size=size))
    session.answer()
    session.data(1, 0, BLOCKS[0])
    session.data(1, 0, b"x" * MIB)
    assert isinstance(session.refusal(), NotHvcopy)
    assert session.tree == []


def test_a_hole_over_a_block_is_refused(session: Session) -> None:
    session.start().entries(file(1))
    session.answer()
    session.data(1, 0, BLOCKS[0])
    session.hole(1, 0, MIB + 5)
    assert isinstance(session.refusal(), NotHvcopy)


@pytest.mark.parametrize("state", [2, 3])
def test_an_end_of_a_comparison_nobody_made_is_refused(session: Session, state: int) -> None:
    session.start().entries(file(1))
    session.answer()
    session.end(1, *BLOCKS, state=state)
    assert isinstance(session.refusal(), NotHvcopy)


def test_a_second_end_is_refused(session: Session) -> None:
    session.start().entries(file(1))
    session.answer()
    session.end(1, *BLOCKS)
    session.end(1, *BLOCKS)
    assert isinstance(session.refusal(), NotHvcopy)


def test_a_finish_while_a_file_is_under_way_is_refused(session: Session) -> None:
    session.start().entries(file(1))
    session.answer()
    session.peer.send(m.Finish(1, 1))
    assert isinstance(session.refusal(), NotHvcopy)
    assert session.tree == []


@pytest.mark.parametrize("kind", sorted(set(Type) - {*FROM_SENDERS, Type.ERROR}))
def test_a_frame_that_a_sender_never_sends_is_refused(session: Session, kind: Type) -> None:
    session.start().frame(kind, bytes(32), frames.COVERED.get(kind))
    assert isinstance(session.refusal(), NotHvcopy)


@pytest.mark.parametrize("kind", FROM_SENDERS)
@pytest.mark.parametrize("length", [0, 1, 24, 31, 32, 40])
def test_a_frame_of_zeros_is_refused(session: Session, kind: Type, length: int) -> None:
    session.start().frame(kind, bytes(length))
    assert isinstance(session.refusal(), REFUSALS)
    assert session.tree == []


# ---- failures of the source


@pytest.mark.parametrize("size", [MIB + 5, 6 * MIB])
def test_data_that_an_end_of_failure_overtook_is_dropped(session: Session, size: int) -> None:
    """END may overtake blocks on other lanes (section 6): one file fails, and the session goes on."""
    session.start().entries(file(1, size=size))
    session.answer()
    session.data(1, 0, BLOCKS[0])
    session.end(1, state=1, code=10, message="it changed")
    ack = session.ack()
    assert (ack.id, ack.state, ack.code, ack.message) == (1, m.FAILED, 10, "it changed")
    session.data(1, MIB, BLOCKS[0])
    session.hole(1, MIB, size - MIB)
    session.entries(file(2, b"fine"))
    send_whole(session, 2)
    assert session.finish().failed == 1
    assert session.tree == ["fine"]


@pytest.mark.parametrize("code", [0, 10, 2**32 - 1])
def test_a_failure_of_the_source_is_never_a_success(session: Session, code: int) -> None:
    extra = m.Extra(code=code, message="no\x1b[2J")
    session.start().entries(m.Entry(m.FAILURE, 0, 0, b"x", extra=extra))
    assert session.finish().failed == 1
    assert session.tally.exit_code == 10


def test_a_sender_that_vanishes_leaves_nothing_under_the_name(session: Session) -> None:
    session.start().entries(file(1))
    session.answer()
    session.data(1, 0, BLOCKS[0])
    session.peer.close()
    session.join()
    assert isinstance(session.error, HvcopyError)
    assert session.error.exit_code == 6
    assert session.tree == []
