"""Sizes and durations: printing and reading agree for every number."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from hvcopy.errors import BadUsage
from hvcopy.units import LARGEST_SIZE, LONGEST_DURATION, format_size, parse_duration, parse_size


@given(st.integers(0, LARGEST_SIZE - (1 << 56)))
def test_printed_size_reads_back_within_its_precision(count: int) -> None:
    back = parse_size(format_size(count))
    assert abs(back - count) <= max(count * 0.005 + 1, 0)


@given(st.integers(0, LARGEST_SIZE))
def test_bytes_in_decimal_read_back_exactly(count: int) -> None:
    assert parse_size(str(count)) == count


@given(st.integers(0, 7), st.sampled_from("kMGTPE"), st.sampled_from(["", "B", "iB"]))
def test_each_spelling_of_a_prefix_means_the_same_power(count: int, prefix: str, ending: str) -> None:
    assert parse_size(f"{count}{prefix}{ending}") == count << 10 * ("kMGTPE".index(prefix) + 1)


@given(st.text(max_size=30) | st.from_regex(r"[-+]?[0-9.]{0,25} ?[kKmMsShHiIbB]{0,3}", fullmatch=True))
def test_any_text_is_a_bounded_number_or_bad_usage(text: str) -> None:
    with suppress(BadUsage):
        assert 0 <= parse_size(text) <= LARGEST_SIZE
    with suppress(BadUsage):
        assert 0 <= parse_duration(text) <= LONGEST_DURATION


@given(st.integers(0, LONGEST_DURATION * 1000))
def test_milliseconds_read_back(milliseconds: int) -> None:
    assert abs(parse_duration(f"{milliseconds}ms") * 1000 - milliseconds) < 0.01
