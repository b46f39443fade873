"""Percentiles and rates: the statistics of a measurement."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcopy.measuring.figures import GIB, Flow, Histogram, Outcome, Side
from hvcopy.measuring.plan import make_plan

NANOS = st.integers(0, 2**45)


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (1, 1), (50, 50), (90, 90), (99, 99), (99.9, 100), (100, 100)])
def test_percentile_of_small_numbers_is_exact(percent: float, value: int) -> None:
    assert Histogram(range(1, 101)).percentile(percent) == value


def test_percentile_of_one_sample_is_that_sample() -> None:
    histogram = Histogram([123_456_789])
    assert [histogram.percentile(percent) for percent in (0.1, 50, 99.9)] == [123_456_789] * 3


def test_an_empty_histogram_has_zeros() -> None:
    histogram = Histogram()
    assert (histogram.count, histogram.percentile(99), histogram.mean, histogram.least, histogram.most) == (0,) * 5


@given(samples=st.lists(NANOS, min_size=1, max_size=200), percent=st.sampled_from([50.0, 90.0, 99.0, 99.9, 100.0]))
def test_percentile_is_within_a_hundredth_of_the_sample(samples: list[int], percent: float) -> None:
    rank = max(1, -(-len(samples) * percent // 100))
    exact = sorted(samples)[int(rank) - 1]
    assert abs(Histogram(samples).percentile(percent) - exact) <= max(1, exact / 100)


@given(samples=st.lists(NANOS, min_size=1, max_size=50))
def test_extremes_and_mean_are_exact(samples: list[int]) -> None:
    histogram = Histogram(samples)
    assert (histogram.count, histogram.least, histogram.most) == (len(samples), min(samples), max(samples))
    assert histogram.mean == pytest.approx(statistics.fmean(samples))


@given(parts=st.lists(st.lists(NANOS, max_size=30), max_size=5))
def test_merged_histograms_are_that_of_all_samples(parts: list[list[int]]) -> None:
    merged, whole = Histogram(), Histogram([sample for part in parts for sample in part])
    for part in parts:
        merged.merge(Histogram(part))
    percents = [1, 25, 50, 75, 99, 100]
    assert [merged.percentile(one) for one in percents] == [whole.percentile(one) for one in percents]
    assert (merged.count, merged.total, merged.least, merged.most) == (whole.count, whole.total, whole.least, whole.most)


def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    histogram = Histogram(range(0, 2_000_000_000, 9973))
    assert histogram.count > 200_000
    assert len(histogram._counts) < 128 * 32


def test_a_flow_in_no_time_has_no_rate() -> None:
    assert Flow(100, 0.0).rate == 0
    assert Flow(100, 0.5).rate == 200


def test_processor_time_per_gib_counts_both_directions() -> None:
    side = Side(Flow(GIB, 1.0), Flow(GIB, 1.0), user=0.25, system=0.75)
    assert (side.cpu, side.cpu_per_gib) == (1.0, 0.5)
    assert Side(user=1.0).cpu_per_gib == 0


def outcome(mode: str, here: Side, there: Side | None) -> Outcome:
    """An outcome of *mode*."""
    return Outcome(make_plan(mode, seconds=1.0), "unix:s", 0.0, here=here, there=there)


SENT, GOT = Flow(1000, 1.0), Flow(1000, 2.0)


def test_the_rate_is_the_receivers_where_it_is_known() -> None:
    assert outcome("send", Side(sent=SENT), Side(received=GOT)).rate == 500
    assert outcome("send", Side(sent=SENT), None).rate == 1000
    assert outcome("recv", Side(received=GOT), Side(sent=SENT)).rate == 500
    assert outcome("both", Side(SENT, GOT), Side(SENT, GOT)).rate == 1000


def test_what_the_peer_has_not_told_is_unknown() -> None:
    assert outcome("send", Side(sent=SENT), None).up() == (SENT, None)
    assert outcome("recv", Side(received=GOT), None).down() == (None, GOT)


@pytest.mark.parametrize(("here", "there", "both"), [(10, 20, 10), (10, 0, 10), (0, 20, 20), (0, 0, 0), (5, None, 5)])
def test_the_window_is_the_smaller_one_that_is_known(here: int, there: int | None, both: int) -> None:
    far = None if there is None else Side(window=there)
    assert outcome("send", Side(window=here), far).window == both
