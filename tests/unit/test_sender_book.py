"""What the sender believes of the receiver's answers, and what it refuses to."""

from __future__ import annotations

import pytest

from hvcopy.errors import NotHvcopy
from hvcopy.session import sender
from hvcopy.session.sender import Asked, Packed, SenderBook
from hvcopy.wire import messages as m
from hvcopy.wire.digests import ABSENT, MAX_SIZE

MIB = 1 << 20
DIGEST = b"d" * 16


@pytest.fixture
def book() -> SenderBook:
    """An empty book."""
    return SenderBook()


def asked(book: SenderBook, size: int = 3 * MIB, verb: int | None = None) -> Asked:
    """Ask about one file; with *verb*, as answered already."""
    one = book.ask(0, b"f", size)
    if verb is not None:
        book.answer(m.Answer(one.id, verb))
    return one


def test_ids_grow_and_never_repeat(book: SenderBook) -> None:
    first = book.ask(0, b"a", 1)
    pack = book.new_id()
    second = book.ask(0, b"b", 1)
    assert 1 <= first.id < pack < second.id


@pytest.mark.parametrize("verb", [m.ALL])
def test_answer_all_may_go_on_at_once(book: SenderBook, verb: int) -> None:
    one = asked(book)
    assert book.answer(m.Answer(one.id, verb)) is one
    assert one.assembly is not None
    assert one.assembly.missing == 3
    assert not book.idle


@pytest.mark.parametrize("verb", [m.REST, m.COMPARE, m.PATCH])
def test_answer_that_announces_sums_waits_for_them(book: SenderBook, verb: int) -> None:
    one = asked(book)
    assert book.answer(m.Answer(one.id, verb)) is None
    assert book.sums(one.id, 0, DIGEST, last=False) is None
    assert book.sums(one.id, 1, DIGEST, last=True) is one


@pytest.mark.parametrize("verb", [m.SKIP, m.REFUSE])
def test_answer_skip_or_refuse_leaves_the_book(book: SenderBook, verb: int) -> None:
    one = asked(book)
    assert book.answer(m.Answer(one.id, verb)) is one
    assert book.idle


@pytest.mark.parametrize("verb", [6, 7, 2**32 - 1])
def test_answer_of_an_unknown_verb_is_refused(book: SenderBook, verb: int) -> None:
    one = asked(book)
    with pytest.raises(NotHvcopy):
        book.answer(m.Answer(one.id, verb))


@pytest.mark.parametrize("ident", [0, 2, 2**63 - 1])
def test_answer_about_something_not_asked_is_refused(book: SenderBook, ident: int) -> None:
    asked(book)
    with pytest.raises(NotHvcopy):
        book.answer(m.Answer(ident, m.ALL))


@pytest.mark.parametrize("first", range(6))
@pytest.mark.parametrize("second", range(6))
def test_a_second_answer_is_refused(book: SenderBook, first: int, second: int) -> None:
    one = asked(book, verb=first)
    with pytest.raises(NotHvcopy):
        book.answer(m.Answer(one.id, second))


def test_answer_for_a_link_is_refused(book: SenderBook) -> None:
    """Links are acknowledged without an answer (section 5)."""
    link = book.ask(0, b"l", 0, link=True)
    with pytest.raises(NotHvcopy):
        book.answer(m.Answer(link.id, m.ALL))
    assert book.acknowledge(m.Ack(link.id, m.DONE)) is link


def test_sums_of_rest_are_kept_blocks(book: SenderBook) -> None:
    one = asked(book, verb=m.REST)
    book.sums(one.id, 0, DIGEST + ABSENT + DIGEST, last=True)
    assert one.assembly is not None
    assert [one.assembly.has(index) for index in range(3)] == [True, False, True]
    assert one.reused == 2 * MIB


def test_sums_of_the_short_last_block_reuse_its_length(book: SenderBook) -> None:
    one = asked(book, 2 * MIB + 5, verb=m.REST)
    book.sums(one.id, 0, ABSENT + DIGEST, last=False)
    book.sums(one.id, 2, DIGEST, last=True)
    assert one.reused == MIB + 5


@pytest.mark.parametrize("verb", [m.COMPARE, m.PATCH])
def test_sums_of_what_stands_there_are_remembered_and_keep_nothing(book: SenderBook, verb: int) -> None:
    one = asked(book, verb=verb)
    book.sums(one.id, 1, DIGEST + ABSENT, last=True)
    assert one.sums == {1: DIGEST}
    assert one.assembly is not None
    assert one.assembly.missing == 3
    assert one.reused == 0


@pytest.mark.parametrize(("first", "count"), [(0, 4), (3, 1), (2, 2), (2**64 - 1, 1)])
@pytest.mark.parametrize("verb", [m.REST, m.COMPARE])
def test_sums_beyond_the_end_are_refused(book: SenderBook, verb: int, first: int, count: int) -> None:
    one = asked(book, verb=verb)
    with pytest.raises(NotHvcopy):
        book.sums(one.id, first, DIGEST * count, last=True)


def test_sums_that_keep_a_block_twice_are_refused(book: SenderBook) -> None:
    one = asked(book, verb=m.REST)
    book.sums(one.id, 0, DIGEST, last=False)
    with pytest.raises(NotHvcopy):
        book.sums(one.id, 0, DIGEST, last=True)


@pytest.mark.parametrize("verb", [None, m.ALL, m.SKIP, m.REFUSE])
def test_sums_nobody_waits_for_are_refused(book: SenderBook, verb: int | None) -> None:
    one = asked(book, verb=verb)
    with pytest.raises(NotHvcopy):
        book.sums(one.id, 0, DIGEST, last=True)


@pytest.mark.parametrize("verb", [m.REST, m.COMPARE, m.PATCH])
def test_sums_after_the_last_are_refused(book: SenderBook, verb: int) -> None:
    one = asked(book, verb=verb)
    book.sums(one.id, 0, DIGEST, last=True)
    with pytest.raises(NotHvcopy):
        book.sums(one.id, 1, DIGEST, last=True)


def test_sums_of_an_empty_file_are_empty(book: SenderBook) -> None:
    one = asked(book, 0, verb=m.COMPARE)
    assert book.sums(one.id, 0, b"", last=True) is one


def test_acknowledge_of_a_file_takes_it_out(book: SenderBook) -> None:
    one = asked(book, verb=m.ALL)
    assert book.acknowledge(m.Ack(one.id, m.DONE)) is one
    assert book.idle
    with pytest.raises(NotHvcopy):
        book.acknowledge(m.Ack(one.id, m.DONE))


def test_acknowledge_of_a_pack_takes_it_out(book: SenderBook) -> None:
    pack = Packed(book.new_id(), DIGEST, [], 0)
    book.packs[pack.id] = pack
    assert not book.idle
    assert book.acknowledge(m.Ack(pack.id, m.DONE)) is pack
    assert book.idle


@pytest.mark.parametrize("state", [4, 2**32 - 1])
def test_acknowledge_of_an_unknown_state_is_refused(book: SenderBook, state: int) -> None:
    one = asked(book, verb=m.ALL)
    with pytest.raises(NotHvcopy):
        book.acknowledge(m.Ack(one.id, state))
    assert not book.idle


@pytest.mark.parametrize("ident", [0, 2, 2**63 - 1])
def test_acknowledge_of_something_never_sent_is_refused(book: SenderBook, ident: int) -> None:
    asked(book)
    with pytest.raises(NotHvcopy):
        book.acknowledge(m.Ack(ident, m.DONE))


def test_may_ask_bounds_the_files_under_way(book: SenderBook) -> None:
    for _ in range(sender.MAX_ASKED):
        assert book.may_ask(1)
        last = asked(book, 1)
    assert not book.may_ask(1)
    book.forget(last.id)
    assert book.may_ask(1)
    assert sender.MAX_ASKED <= 1024


def test_may_ask_bounds_the_blocks_under_way(book: SenderBook) -> None:
    largest = MAX_SIZE
    assert book.may_ask(largest)
    one = asked(book, largest)
    assert not book.may_ask(MIB)
    assert book.may_ask(0)
    book.answer(m.Answer(one.id, m.SKIP))
    assert book.may_ask(largest)


def test_may_ask_is_true_for_any_single_file(book: SenderBook) -> None:
    assert book.may_ask(2**62)


def test_forget_of_what_is_not_there_is_nothing(book: SenderBook) -> None:
    assert book.forget(5) is None


def doubtful(book: SenderBook, verb: int = m.ALL, *, sent: int = 2) -> Asked:
    """A file of three blocks, of which the first ones are on their way."""
    one = asked(book, verb=verb)
    assert one.assembly is not None
    for index in range(sent):
        one.assembly.add(index, DIGEST)
    return one


@pytest.mark.parametrize("verb", [m.ALL, m.REST])
def test_doubt_names_a_block_that_was_sent(book: SenderBook, verb: int) -> None:
    one = doubtful(book, verb)
    assert book.doubt(one.id, MIB) == (one, 1)


@pytest.mark.parametrize("offset", [5, MIB - 1, 2 * MIB, 3 * MIB, 2**63])
def test_doubt_of_what_was_not_sent_is_refused(book: SenderBook, offset: int) -> None:
    with pytest.raises(NotHvcopy, match="doubts"):
        book.doubt(doubtful(book).id, offset)


def test_doubt_of_a_file_a_second_time_is_refused(book: SenderBook) -> None:
    one = doubtful(book)
    book.doubt(one.id, 0)
    with pytest.raises(NotHvcopy, match="a second time"):
        book.doubt(one.id, MIB)


@pytest.mark.parametrize("verb", [None, m.COMPARE, m.PATCH])
def test_doubt_of_a_file_of_which_no_block_is_sent_is_refused(book: SenderBook, verb: int | None) -> None:
    with pytest.raises(NotHvcopy, match="no block is on its way"):
        book.doubt(asked(book, verb=verb).id, 0)


def test_doubt_of_an_unknown_file_is_refused(book: SenderBook) -> None:
    with pytest.raises(NotHvcopy, match="no block is on its way"):
        book.doubt(7, 0)
