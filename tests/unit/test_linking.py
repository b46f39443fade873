"""Which name of a file is sent, and what becomes of the others when that one is not delivered."""

from __future__ import annotations

import pytest

from hvcopy.transfer.linking import File, LinkEntry, Linking, Place
from hvcopy.wire import messages as m

FILE, OTHER = (1, 2, 3, 4), (1, 5, 3, 4)


def named(linking: Linking, number: int, file: File = FILE) -> None:
    """Find name *number* of a file."""
    if to := linking.first(file, place(number)):
        linking.add(LinkEntry(m.HARDLINK, *place(number), 4), to)


def place(number: int) -> Place:
    """Return the place of a name."""
    return 0, b"%d" % number


def links(linking: Linking) -> list[tuple[bytes, Place | None]]:
    """Return what would be made: each name, and what it is linked to."""
    return [(link.path, link.extra.to) for link in linking.all()]


@pytest.fixture
def linking() -> Linking:
    """A file of which six names were found."""
    found = Linking()
    for number in range(6):
        named(found, number)
    return found


def test_each_name_that_is_lost_costs_one_other(linking: Linking) -> None:
    """Were all of them looked at again each time, a file with very many names, all of them taken, would take for ever."""
    gone = [b"0"]
    for _ in range(3):
        linking.lost((0, gone[-1]))
        (following,) = linking.take_orphans(99)
        assert following.path not in gone
        gone.append(following.path)
        named(linking, int(following.path))
    assert links(linking) == [(b"1", place(3)), (b"2", place(3))]


def test_a_name_that_is_found_later_waits_for_the_one_that_followed(linking: Linking) -> None:
    linking.lost(place(0))
    linking.take_orphans(1)
    named(linking, 6)
    named(linking, 5)
    assert links(linking) == [(b"%d" % number, place(5)) for number in (1, 2, 3, 4, 6)]


def test_a_name_that_has_become_another_file_takes_none_of_the_others(linking: Linking) -> None:
    linking.lost(place(0))
    linking.take_orphans(1)
    named(linking, 5, OTHER)
    assert [link.path for link in linking.take_orphans(99)] == [b"4"]
    named(linking, 4)
    assert links(linking) == [(b"1", place(4)), (b"2", place(4)), (b"3", place(4))]


def test_a_link_to_what_is_lost_by_now_is_an_orphan(linking: Linking) -> None:
    to = linking.first(FILE, place(6))
    for number in (0, 5, 4, 3, 2, 1):
        linking.lost(place(number))
        linking.take_orphans(99)
    linking.add(LinkEntry(m.HARDLINK, *place(6), 4), to)
    assert [link.path for link in linking.orphans] == [b"6"]
