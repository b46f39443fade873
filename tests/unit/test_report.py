"""The last line for people, and the object for programs."""

from __future__ import annotations

import json

import pytest

from hvcopy.errors import ConnectionLost
from hvcopy.report import MAX_FAILURES, Report
from hvcopy.transfer.tally import Tally

MIB = 1 << 20


def done(**counts: object) -> Tally:
    """Return a finished transfer of 3 files and 30 MiB."""
    usual: dict[str, object] = {"files": 3, "durability": "synced"}
    size = counts.pop("bytes", 30 * MIB)
    tally = Tally(**usual | counts)  # type: ignore[arg-type]
    tally.add(bytes=size)  # type: ignore[arg-type]
    return tally


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, "3 files, 30.00 MiB in 2.00 s (15.00 MiB/s); verified, on disk there"),
        ({"here": True}, "3 files, 30.00 MiB in 2.00 s (15.00 MiB/s); verified, on disk here"),
        ({"files": 1}, "1 file, 30.00 MiB in 2.00 s (15.00 MiB/s); verified, on disk there"),
        ({"durability": "cached"}, "3 files, 30.00 MiB in 2.00 s (15.00 MiB/s); verified"),
        ({"durability": "dry"}, "3 files, 30.00 MiB in 2.00 s (15.00 MiB/s); nothing written (dry run)"),
        ({"durability": ""}, "3 files, 30.00 MiB in 2.00 s (15.00 MiB/s); not confirmed"),
        ({"files": 0, "bytes": 0}, "0 files, 0 B in 2.00 s; verified, on disk there"),
        ({"bytes": 30 * MIB, "reused": 30 * MIB},
         "3 files, 30.00 MiB, 30.00 MiB of it reused from an interrupted copy in 2.00 s; verified, on disk there"),
        ({"same": 2, "skipped": 4, "links": 5},
         "3 files, 30.00 MiB, 5 links, 2 there already and verified, 4 skipped in 2.00 s (15.00 MiB/s); verified, on disk there"),
        ({"links": 1}, "3 files, 30.00 MiB, 1 link in 2.00 s (15.00 MiB/s); verified, on disk there"),
    ],
)  # fmt: skip
def test_summary_says_what_was_done_in_one_line(counts: dict[str, object], expected: str) -> None:
    assert Report("cp").summary(done(**counts), 2.0) == expected


def test_summary_shouts_failures() -> None:
    tally = done()
    tally.fail(b"x", 10, "")
    assert "1 FAILED" in Report("cp").summary(tally, 2.0)


def test_summary_of_failures_alone_vouches_for_nothing() -> None:
    tally = done(files=0, bytes=8)
    tally.fail(b"x", 10, "")
    assert Report("cp").summary(tally, 2.0).endswith("1 FAILED in 2.00 s (4 B/s); nothing was copied")


@pytest.mark.parametrize("directories", [0, 7])
def test_summary_of_nothing_but_what_was_skipped_or_failed_vouches_for_no_file(directories: int) -> None:
    skipped = done(files=0, bytes=0, skipped=2, directories=directories)
    failed = done(files=0, bytes=0, directories=directories)
    failed.fail(b"x", 10, "")
    for tally in (skipped, failed):
        assert Report("cp").summary(tally, 2.0).endswith("no file was copied" if directories else "nothing was copied")


def test_summary_of_no_time_at_all_divides_by_nothing() -> None:
    assert "in 0.00 s;" in Report("cp").summary(done(), 0.0)


def test_json_of_a_success_has_every_field() -> None:
    tally = done(directories=2, links=1, same=4, skipped=5, reused=10 * MIB, lanes=2, window=4096)
    report = Report("cp", "tcp:x:1")
    found = json.loads(json.dumps(report.json(tally, 2.0)))
    assert found == {
        "schema": 1,
        "command": "cp",
        "peer": "tcp:x:1",
        "ok": True,
        "exit_code": 0,
        "files": 3,
        "directories": 2,
        "links": 1,
        "same": 4,
        "skipped": 5,
        "failed": 0,
        "bytes": 30 * MIB,
        "reused_bytes": 10 * MIB,
        "seconds": 2.0,
        "bytes_per_second": 10 * MIB,
        "durability": "synced",
        "lanes": 2,
        "window": 4096,
        "failures": [],
    }


def test_json_of_some_failures_is_not_ok() -> None:
    tally, report = done(), Report("cp")
    tally.fail(b"x", 10, "no")
    report.add_failure(b"d/\x1b\xff", 10, "no")
    found = report.json(tally, 2.0)
    assert (found["ok"], found["exit_code"], found["failed"]) == (False, 3, 1)
    assert found["failures"] == [{"path": "d/\\x1b\\xff", "code": 10, "message": "no"}]
    assert "error" not in found


def test_json_of_an_error_carries_it_and_its_code() -> None:
    found = Report("cp").json(done(), 2.0, ConnectionLost("gone", hint="again"))
    assert (found["ok"], found["exit_code"]) == (False, 6)
    assert found["error"] == {"message": "gone", "hint": "again"}


def test_json_of_no_time_at_all_divides_by_nothing() -> None:
    assert Report("cp").json(done(), 0.0)["bytes_per_second"] == 0


def test_failures_listed_are_bounded_but_all_are_counted() -> None:
    tally, report = done(), Report("cp")
    for number in range(MAX_FAILURES + 5):
        tally.fail(b"x", 10, "")
        report.add_failure(b"%d" % number, 10, "")
    found = report.json(tally, 1.0)
    assert found["failed"] == MAX_FAILURES + 5
    assert isinstance(found["failures"], list)
    assert len(found["failures"]) == MAX_FAILURES
