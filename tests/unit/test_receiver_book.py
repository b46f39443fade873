"""What the receiver lets a sender announce and send."""

from __future__ import annotations

import pytest

from hvcopy.errors import NotHvcopy
from hvcopy.session import receiver
from hvcopy.session.assembly import Assembly
from hvcopy.session.receiver import ReceiverBook
from hvcopy.wire import messages as m
from hvcopy.wire.frames import PACK_RECORD, End

MIB = 1 << 20


def entry(ident: int, size: int = MIB) -> m.Entry:
    """Return a file as it is announced."""
    return m.Entry(m.FILE, ident, 0, b"f", 0o644, size)


@pytest.fixture
def book() -> ReceiverBook:
    """A book of a directory and a file, which finds fault with every path that has a dot in it."""
    return ReceiverBook(dirs=[True, False], check_path=lambda path: "a dot" if b"." in path else None)


def expect(book: ReceiverBook, ident: int, size: int = MIB) -> receiver.Expected:
    """Announce a file and want all of it."""
    one = entry(ident, size)
    book.announce(one)
    return book.expect(one, m.ALL, Assembly(size))


def test_admit_checks_the_path(book: ReceiverBook) -> None:
    assert book.admit(0, b"a/b") is None
    assert book.admit(0, b"a/../b") == "a dot"


def test_admit_of_the_source_itself_has_no_path_to_check() -> None:
    book = ReceiverBook(dirs=[True], check_path=lambda path: "always")
    assert book.admit(0, b"") is None


def test_admit_refuses_all_of_a_source_whose_name_is_refused() -> None:
    book = ReceiverBook(dirs=[True, True], check_path=lambda path: None, refused={1: "a dot"})
    assert [book.admit(0, b"x"), book.admit(1, b""), book.admit(1, b"x")] == [None, "a dot", "a dot"]


@pytest.mark.parametrize("source", [2, 3, 2**32 - 1])
def test_admit_of_a_source_nobody_asked_for_is_refused(book: ReceiverBook, source: int) -> None:
    with pytest.raises(NotHvcopy, match="only 2"):
        book.admit(source, b"a")


def test_admit_of_a_path_below_a_file_is_refused(book: ReceiverBook) -> None:
    assert book.admit(1, b"") is None
    with pytest.raises(NotHvcopy, match="is a file"):
        book.admit(1, b"a")


@pytest.mark.parametrize("second", [0, 4, 5])
def test_announce_of_an_id_that_does_not_grow_is_refused(book: ReceiverBook, second: int) -> None:
    book.announce(entry(5))
    with pytest.raises(NotHvcopy, match="out of order"):
        book.announce(entry(second))


def test_announce_of_id_zero_is_refused(book: ReceiverBook) -> None:
    with pytest.raises(NotHvcopy):
        book.announce(entry(0))


def test_announce_of_a_closed_id_is_refused(book: ReceiverBook) -> None:
    book.close(expect(book, 1))
    with pytest.raises(NotHvcopy):
        book.announce(entry(1))


def test_announce_may_leave_ids_out(book: ReceiverBook) -> None:
    book.announce(entry(3))
    book.announce(entry(2**63 - 1))


def test_announce_bounds_the_files_under_way(book: ReceiverBook) -> None:
    for ident in range(1, 1025):
        one = expect(book, ident, 0)
    with pytest.raises(NotHvcopy):
        book.announce(entry(2000))
    book.close(one)
    book.announce(entry(2001))


def test_expect_bounds_the_blocks_under_way(book: ReceiverBook) -> None:
    largest = 2**44
    first = expect(book, 1, largest)
    expect(book, 2, largest)
    with pytest.raises(NotHvcopy, match="blocks"):
        expect(book, 3, 1)
    book.close(first)
    expect(book, 4, 1)


def test_expect_bounds_the_attributes_under_way_and_not_those_of_a_whole_copy(book: ReceiverBook) -> None:
    def with_attributes(ident: int) -> receiver.Expected:
        extra = m.Extra(xattrs={b"user.a": bytes(receiver.MAX_OPEN_XATTRS // 2)})
        one = m.Entry(m.FILE, ident, 0, b"f%d" % ident, 0o644, 5, 0, extra)
        book.announce(one)
        return book.expect(one, m.ALL, Assembly(5))

    first, _ = with_attributes(1), with_attributes(2)
    with pytest.raises(NotHvcopy, match="attributes"):
        with_attributes(3)
    book.close(first)
    book.close(first)
    with_attributes(4)
    with pytest.raises(NotHvcopy, match="attributes"):
        with_attributes(5)


def test_get_returns_the_open_file(book: ReceiverBook) -> None:
    one = expect(book, 7)
    assert book.get(7) is one


@pytest.mark.parametrize("ident", [0, 6, 8, 2**64 - 1])
def test_get_of_another_id_is_refused(book: ReceiverBook, ident: int) -> None:
    expect(book, 7)
    with pytest.raises(NotHvcopy, match="not wanted"):
        book.get(ident)


def test_get_of_a_closed_file_is_refused(book: ReceiverBook) -> None:
    one = expect(book, 7)
    book.close(one)
    with pytest.raises(NotHvcopy):
        book.get(7)


def test_close_twice_gives_its_blocks_back_once(book: ReceiverBook) -> None:
    half = 2**44
    one = expect(book, 1, half)
    book.close(one)
    book.close(one)
    expect(book, 2, half)
    expect(book, 3, half)
    with pytest.raises(NotHvcopy):
        expect(book, 4, 1)


def test_close_remembers_only_those_whose_source_failed(book: ReceiverBook) -> None:
    whole, broken = expect(book, 1), expect(book, 2)
    broken.failure = End(2, 1, 10, 0, bytes(16))
    book.close(whole)
    book.close(broken)
    assert list(book.failed) == [2]


def test_close_remembers_no_more_of_them_than_can_still_have_contents_under_way(book: ReceiverBook) -> None:
    """Else a sender whose files all fail would take the receiver's memory."""
    for ident in range(1, receiver.MAX_FAILED + 3):
        broken = expect(book, ident)
        broken.failure = End(ident, 1, 10, 0, bytes(16))
        book.close(broken)
    assert len(book.failed) == receiver.MAX_FAILED
    assert ident in book.failed
    assert 1 not in book.failed


def record(size: int) -> bytes:
    """Return a record of a pack."""
    return PACK_RECORD.pack(size, 0, 0o644, 0, 0, 0, 0)


def test_check_pack_counts_its_files(book: ReceiverBook) -> None:
    groups = [m.Group(0, b"", [b"a", b"b"], record(3) + record(0)), m.Group(0, b"d", [], b""), m.Group(1, b"", [b""], record(4))]
    assert book.check_pack(groups, 7) == 3


def test_check_pack_of_nothing_is_nothing(book: ReceiverBook) -> None:
    assert book.check_pack([], 0) == 0


@pytest.mark.parametrize("names", [[b"a"], [], [b"", b""], [b"", b"a"]])
def test_check_pack_with_names_below_a_file_is_refused(book: ReceiverBook, names: list[bytes]) -> None:
    with pytest.raises(NotHvcopy, match="is a file"):
        book.check_pack([m.Group(1, b"", names, record(0) * len(names))], 0)


@pytest.mark.parametrize("contents", [0, 6, 8])
def test_check_pack_whose_contents_do_not_fit_is_refused(book: ReceiverBook, contents: int) -> None:
    with pytest.raises(NotHvcopy, match="fit"):
        book.check_pack([m.Group(0, b"", [b"a"], record(7))], contents)


def test_check_pack_with_sizes_that_wrap_is_refused(book: ReceiverBook) -> None:
    with pytest.raises(NotHvcopy):
        book.check_pack([m.Group(0, b"", [b"a", b"b"], record(2**64 - 1) + record(8))], 7)


@pytest.mark.parametrize("records", [b"", record(0)[:-1], record(0) + b"x", record(0) * 2])
def test_check_pack_whose_records_do_not_fit_its_names_is_refused(book: ReceiverBook, records: bytes) -> None:
    with pytest.raises(NotHvcopy, match="records"):
        book.check_pack([m.Group(0, b"", [b"a"], records)], 0)


def test_check_pack_bounds_its_files(book: ReceiverBook) -> None:
    names = [b"%d" % number for number in range(2048)]
    full = m.Group(0, b"", names, record(0) * 2048)
    assert book.check_pack([full, full], 0) == 4096
    with pytest.raises(NotHvcopy):
        book.check_pack([full, full, m.Group(0, b"", [b"x"], record(0))], 0)
