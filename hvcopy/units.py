"""Sizes, durations and rates as people write and read them.  This file knows no option and no file."""

from __future__ import annotations

import re

from hvcopy.errors import BadUsage, printable

LARGEST_SIZE = 2**63 - 1
"""Bytes: what a file offset can hold."""
LONGEST_DURATION = 24 * 86400
"""Seconds.  In milliseconds it still fits the C int that poll(2) takes."""

_PREFIXES = "KMGTPE"
_SIZE = r"(?ai)([0-9]{1,20})(?:\.([0-9]{1,20}))? ?(?:([kmgtpe])(?:i?b)?|b)?"
_DURATION = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?) ?(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_size(text: str) -> int:
    """Return the bytes that *text* names: ``64M``, ``1GiB``, ``10k``, ``1.5G``; a prefix is a power of 1024.

    A fraction of a byte is dropped.  Raises BadUsage for anything else, and above 2**63 - 1.
    """
    found = re.fullmatch(_SIZE, text)
    if found is None or (found[2] and not found[3]):
        raise BadUsage(
            f"'{_shown(text)}' is not a size",
            hint="write bytes, or a number with k, M, G or T (powers of 1024): 64M, 1.5GiB",
        )
    fraction = found[2] or ""
    power = _PREFIXES.index(found[3].upper()) + 1 if found[3] else 0
    size: int = int(found[1] + fraction) * 1024**power // 10 ** len(fraction)
    if size > LARGEST_SIZE:
        raise BadUsage(f"'{_shown(text)}' is too large for a size", hint="the largest is 8 EiB less one byte")
    return size


def format_size(count: int) -> str:
    """Return *count* bytes with three or more digits: ``999 B``, ``1.50 GiB``."""
    if count < 1024:
        return f"{count} B"
    value, power = count / 1024, 0
    while round(value, 2) >= 1024 and power < len(_PREFIXES) - 1:
        value, power = value / 1024, power + 1
    return f"{value:.2f} {_PREFIXES[power]}iB"


def format_rate(bytes_per_second: float) -> str:
    """Return a rate as ``350.00 MiB/s``; a fraction of a byte is dropped."""
    return f"{format_size(int(bytes_per_second))}/s"


def parse_duration(text: str) -> float:
    """Return the seconds that *text* names: ``500ms``, ``30``, ``30s``, ``2m``, ``1h``.

    Raises BadUsage for anything else, and above 24 days.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise BadUsage(
            f"'{_shown(text)}' is not a duration",
            hint="write seconds, or a number with ms, s, m or h: 500ms, 30s, 2m",
        )
    seconds = float(found[1]) * _SECONDS[found[2] or "s"]
    if seconds > LONGEST_DURATION:
        raise BadUsage(f"'{_shown(text)}' is too long for a duration", hint="the longest is 576h (24 days)")
    return seconds


def _shown(text: str) -> str:
    return printable(text if len(text) <= 80 else text[:80] + "...")
