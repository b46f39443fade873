"""The time of a listing, which on some systems begins in 1970 for the C library."""

from __future__ import annotations

import pytest

from hvcopy.cli.ls import local_time

DAY = 86_400_000_000_000


@pytest.mark.parametrize(("mtime", "day"), [(-(2**63), "1677-09-"), (-30 * DAY, "1969-12-"), (2**63 - 1, "2262-04-")])
def test_any_time_of_a_file_can_be_listed(mtime: int, day: str) -> None:
    assert local_time(mtime).startswith(day)
    assert len(local_time(mtime)) == 16
