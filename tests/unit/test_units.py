"""Sizes, durations and rates: what is read, what is refused, what is printed."""

from __future__ import annotations

import pytest

from hvcopy.errors import BadUsage
from hvcopy.units import format_rate, format_size, parse_duration, parse_size

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("1", 1),
        ("512", 512),
        ("512B", 512),
        ("10k", 10240),
        ("10K", 10240),
        ("10kB", 10240),
        ("10KiB", 10240),
        ("64M", 64 * MIB),
        ("64 MiB", 64 * MIB),
        ("1GiB", GIB),
        ("1gib", GIB),
        ("1.5G", GIB + GIB // 2),
        ("0.5k", 512),
        ("1.3k", 1331),
        ("2T", 2 << 40),
        ("1P", 1 << 50),
        ("7E", 7 << 60),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_size_in_each_spelling_is_read_in_powers_of_1024(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "k", "M", "ten", "-1", "+1", "1.5", "1.5B", "1.", ".5k", "1,5G", "1 000", "10iB", "10kk"),
        *("10kib/s", "0x10", "1e3", "1_000", "٣", "1\n", "nan", "inf", "1\u212a", "1" * 21, "1" * 5000),
    ],
)
def test_size_that_is_nonsense_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadUsage, match="is not a size") as caught:
        parse_size(text)
    assert "64M" in caught.value.hint
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("text", ["8E", "9223372036854775808", "99999999999999999999", "99999999999999999999E"])
def test_size_above_a_file_offset_is_refused(text: str) -> None:
    with pytest.raises(BadUsage, match="too large"):
        parse_size(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (MIB - 1, "1.00 MiB"),
        (MIB, "1.00 MiB"),
        (GIB + GIB // 2, "1.50 GiB"),
        (GIB - 1, "1.00 GiB"),
        (1000 * MIB, "1000.00 MiB"),
        (2**63 - 1, "8.00 EiB"),
        (2**74, "16384.00 EiB"),
    ],
)
def test_size_is_printed_with_the_largest_prefix_that_fits(count: int, text: str) -> None:
    assert format_size(count) == text


def test_rate_is_a_size_each_second() -> None:
    assert format_rate(350 * MIB + 0.7) == "350.00 MiB/s"
    assert format_rate(0.9) == "0 B/s"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("30", 30.0),
        ("30s", 30.0),
        ("30 s", 30.0),
        ("0.25", 0.25),
        ("500ms", 0.5),
        ("2m", 120.0),
        ("1.5m", 90.0),
        ("1h", 3600.0),
        ("576h", 576 * 3600.0),
    ],
)
def test_duration_in_each_unit_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "s", "-1", "-1s", "+1", "1d", "1min", "1H", "1S", "1e3", "1,5", "1.", ".5", "nan", "inf", "1 2", "5\n", "٣s"],
)
def test_duration_that_is_nonsense_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadUsage, match="is not a duration") as caught:
        parse_duration(text)
    assert "500ms" in caught.value.hint


@pytest.mark.parametrize("text", ["577h", "99999999999", "99999999999999999999h"])
def test_duration_beyond_what_poll_takes_is_refused(text: str) -> None:
    with pytest.raises(BadUsage, match="too long"):
        parse_duration(text)


@pytest.mark.parametrize("parse", [parse_size, parse_duration])
def test_refusal_quotes_the_text_without_its_control_characters(parse: type) -> None:
    with pytest.raises(BadUsage) as caught:
        parse("\x1b[31m9")
    assert "\x1b" not in caught.value.message
    assert "\\x1b[31m9" in caught.value.message
