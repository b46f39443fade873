"""The receiving driver where a name is taken, or another copy writes the same file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from hvcopy.errors import Interrupted
from hvcopy.files.sink import OVERWRITE, REFUSE, UPDATE
from hvcopy.transfer import entrance
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.digests import digest
from hvcopy.wire.frames import Type

from .scripted import BLOCKS, MIB, PATIENCE, TIME, Session, file, send_whole

# ---- what stands there


def test_a_file_that_stands_there_is_compared_and_kept(session: Session) -> None:
    (session.root / "f").write_bytes(b"".join(BLOCKS))
    os.utime(session.root / "f", ns=(TIME, TIME))
    session.start().entries(file(1))
    assert session.answer().verb == m.COMPARE
    sums = session.peer.receive(timeout=PATIENCE)
    while sums.type is Type.PING:
        sums = session.peer.receive(timeout=PATIENCE)
    assert (sums.type, sums.flags) == (Type.SUMS, frames.LAST)
    assert frames.decode_sums(sums.body) == (1, 0, b"".join(map(digest, BLOCKS)))
    session.end(1, *BLOCKS, state=2)
    assert session.ack().state == m.SAME
    session.finish()


def test_a_file_that_stands_there_and_differs_is_kept_and_reported(session: Session) -> None:
    (session.root / "f").write_bytes(b"x" * (MIB + 5))
    os.utime(session.root / "f", ns=(TIME, TIME))
    session.start().entries(file(1))
    assert session.answer().verb == m.COMPARE
    session.peer.receive(timeout=PATIENCE)
    session.end(1, *BLOCKS, state=2)  # the sender says it is the same, and is wrong
    assert session.ack().state == m.FAILED
    assert session.finish().failed == 1
    assert (session.root / "f").read_bytes() == b"x" * (MIB + 5)


@pytest.mark.parametrize("size", [MIB + 5, 9 * MIB])
@pytest.mark.parametrize("same", [True, False])
def test_a_file_that_came_there_meanwhile_is_compared(same: bool, size: int, session: Session) -> None:
    blocks = [b"b" * min(MIB, size - offset) for offset in range(0, size, MIB)]
    session.start().entries(file(1, size=size))
    assert session.answer().verb == m.ALL
    (session.root / "f").write_bytes(b"".join(blocks)[same - 1 :].ljust(size, b"x"))
    for number, block in enumerate(blocks):
        session.data(1, number * MIB, block)
    session.end(1, *blocks)
    ack = session.ack()
    assert (ack.state, ack.digest) == ((m.SAME, digest(b"".join(map(digest, blocks)))) if same else (m.FAILED, b""))
    session.finish()
    assert (session.tally.same, session.tally.files, session.tally.failed) == (int(same), 0, int(not same))
    assert session.tree == ["f"]


def test_a_name_sent_twice_replaces_nothing_of_this_session(session: Session) -> None:
    session.start(existing=OVERWRITE).entries(file(1))
    send_whole(session)
    session.entries(file(2))
    answer = session.answer()
    assert (answer.verb, answer.code) == (m.REFUSE, 11)
    session.finish()
    assert (session.root / "f").read_bytes() == b"".join(BLOCKS)


@pytest.mark.parametrize(
    ("age", "state", "left"), [(1, m.SKIPPED, b"newer"), (-1, m.DONE, b"".join(BLOCKS))], ids=["newer", "older"]
)
def test_what_comes_there_during_an_update_stays_if_it_is_not_older(
    age: int, state: int, left: bytes, session: Session
) -> None:
    session.start(existing=UPDATE).entries(file(1))
    assert session.answer() == m.Answer(1, m.ALL)
    (session.root / "f").write_bytes(b"newer")
    os.utime(session.root / "f", ns=(TIME + age, TIME + age))
    session.data(1, 0, BLOCKS[0])
    session.data(1, MIB, BLOCKS[1])
    session.end(1, *BLOCKS)
    assert session.ack().state == state
    session.finish()
    assert (session.root / "f").read_bytes() == left
    assert (session.tally.files, session.tally.skipped, session.tree) == (age < 0, age > 0, ["f"])


# ---- a part that another copy holds

LARGE = 8 * MIB


@pytest.fixture
def held(session: Session) -> Iterator[Callable[[], None]]:
    """A copy of ``f`` that failed a moment ago and has not let go of its part: call it to let go."""
    import fcntl

    fd = os.open(session.root / ".f.hvcopy-part", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield lambda: fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


LARGE_FILE = file(1, size=LARGE, extra=m.Extra(identity=b"the same source."))
"""``f``, large enough to be resumed."""


def announce_large(session: Session) -> None:
    """Announce it."""
    session.start().entries(LARGE_FILE)


def assert_no_answer_yet(session: Session) -> None:
    """What comes first is a heartbeat that says: busy."""
    frame = session.peer.receive(timeout=PATIENCE)
    assert frame.type is Type.PING
    ping = m.decode(frame.type, frame.body)
    assert isinstance(ping, m.Ping)
    assert ping.busy


def test_a_copy_that_failed_a_moment_ago_is_waited_for(session: Session, held: Callable[[], None]) -> None:
    announce_large(session)
    assert_no_answer_yet(session)
    held()
    assert session.answer() == m.Answer(1, m.ALL)


@pytest.mark.parametrize(
    ("existing", "age", "verb"), [(UPDATE, 1, m.SKIP), (UPDATE, -1, m.ALL), (REFUSE, 0, m.COMPARE), (REFUSE, 1, m.REFUSE)]
)
def test_what_a_copy_that_was_waited_for_has_left_is_looked_at(
    existing: str, age: int, verb: int, session: Session, held: Callable[[], None]
) -> None:
    session.start(existing=existing).entries(LARGE_FILE)
    assert_no_answer_yet(session)
    left = session.root / "f"
    left.touch()
    os.truncate(left, LARGE_FILE.size)
    os.utime(left, ns=(TIME + age, TIME + age))
    held()
    assert session.answer().verb == verb
    assert (".f.hvcopy-part" in os.listdir(session.root)) == (verb == m.ALL)


def test_a_copy_that_goes_on_is_not_waited_for_longer(
    session: Session, held: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance, "LETTING_GO", 0.1)
    announce_large(session)
    answer = session.answer()
    assert (answer.verb, answer.code) == (m.REFUSE, 10)
    assert "another copy is writing" in answer.message


def test_an_interrupt_does_not_wait_for_another_copy(
    session: Session, held: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance, "LETTING_GO", 3600.0)
    announce_large(session)
    assert_no_answer_yet(session)
    session.interrupt()
    session.join()
    assert isinstance(session.error, Interrupted)
