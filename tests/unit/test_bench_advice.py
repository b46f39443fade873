"""What follows from a sweep: the least that is as good as the best."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hvcopy.measuring.advice import EQUAL, Point, advise, short, smaller_messages
from hvcopy.units import parse_size
from hvcopy.wire.frames import KIB, MIB


def point(rate: float, *, length: int = MIB, buffer: int = 0, lanes: int = 1, window: int = 0) -> Point:
    """A point whose three runs are close to *rate*."""
    return Point(length, buffer, lanes, window or buffer or 2 * MIB, [rate * 0.99, rate, rate * 1.01])


def test_the_fastest_wins_by_more_than_what_counts_as_equal() -> None:
    found = advise([point(100), point(150, buffer=4 * MIB), point(120, buffer=MIB)])
    assert found is not None
    assert (found.best.buffer, found.options, found.gain, found.certain) == (4 * MIB, ["--buffer 4M"], 1.5, True)


def test_within_what_counts_as_equal_the_default_wins() -> None:
    found = advise([point(100), point(104, buffer=4 * MIB), point(103, lanes=4)])
    assert found is not None
    assert (found.best, found.options, found.gain) == (found.base, [], 1.0)


def test_among_equals_the_smallest_buffer_and_message_win() -> None:
    found = advise([
        point(100),
        point(200, buffer=256 * KIB, length=64 * KIB),
        point(205, buffer=256 * KIB),
        point(208, buffer=4 * MIB),
        point(50, buffer=256 * KIB, length=16 * KIB),
    ])  # fmt: skip
    assert found is not None
    assert (found.best.buffer, found.best.length, found.message) == (256 * KIB, MIB, 64 * KIB)


def test_a_buffer_that_is_fast_with_smaller_messages_than_hvcopys_is_none_of_its_options() -> None:
    found = advise([
        point(100),
        point(90, length=64 * KIB),
        point(40, buffer=64 * KIB),
        point(300, buffer=64 * KIB, length=64 * KIB),
    ])  # fmt: skip
    assert found is not None
    assert (found.best, found.options, found.gain, found.message) == (found.base, [], 1.0, MIB)


def test_a_smaller_message_than_hvcopys_may_be_the_best_of_its_buffer() -> None:
    points = [point(100), point(200, length=256 * KIB), point(50, length=16 * KIB)]
    found = advise(points)
    assert found is not None
    assert (found.best.length, found.message) == (MIB, 256 * KIB)
    assert smaller_messages(points, found) == [(16 * KIB, 0.25)]


def test_more_connections_are_named_only_if_they_gain() -> None:
    found = advise([point(100), point(250, lanes=2), point(255, lanes=4)])
    assert found is not None
    assert (found.options, found.gain) == (["--lanes 2"], 2.5)


def test_the_base_is_the_default_buffer_on_one_connection_with_the_largest_message() -> None:
    base = point(90)
    found = advise([point(80, length=64 * KIB), base, point(300, buffer=MIB), point(200, lanes=2)])
    assert found is not None
    assert found.base == base


def test_runs_that_overlap_are_said_to() -> None:
    base, best = Point(MIB, 0, 1, MIB, [80, 100, 140]), Point(MIB, MIB, 1, MIB, [110, 130, 150])
    found = advise([base, best])
    assert found is not None
    assert (found.best, found.certain) == (best, False)


def test_nothing_follows_from_nothing() -> None:
    assert advise([]) is None
    assert advise([Point(MIB, 0, 1, 0, []), Point(MIB, MIB, 1, 0, [0.0, 0.0])]) is None


def test_smaller_messages_are_compared_on_the_same_buffer_and_one_connection() -> None:
    points = [
        point(10, length=16 * KIB),
        point(50, length=64 * KIB),
        point(100),
        point(90, length=16 * KIB, buffer=MIB),
        point(150, lanes=2),
    ]
    found = advise(points)
    assert found is not None
    assert (found.best.lanes, found.message) == (2, MIB)
    assert smaller_messages(points, found) == [(16 * KIB, 0.1), (64 * KIB, 0.5)]


RATES = st.lists(st.floats(1, 1e10), min_size=1, max_size=3)
POINTS = st.lists(
    st.builds(Point, st.sampled_from([KIB, MIB]), st.sampled_from([0, MIB]), st.integers(1, 4), st.integers(0, 9), RATES),
    min_size=1,
    max_size=8,
)


@given(points=POINTS)
def test_the_advice_is_never_slower_than_what_counts_as_equal(points: list[Point]) -> None:
    found = advise(points)
    assert found is not None
    longest = max(one.length for one in points)
    assert found.best.rate >= EQUAL * max(one.rate for one in points if one.length == longest)
    assert found.gain >= 1


@given(size=st.integers(1, 2**31))
def test_a_size_is_written_as_an_option_reads_it(size: int) -> None:
    assert parse_size(short(size)) == size
