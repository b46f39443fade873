"""Outcomes as people and programs read them: words, tables, and the object in iperf3's shape."""

from __future__ import annotations

import json

import pytest

from hvcopy.errors import ConnectionLost
from hvcopy.measuring import shape, words
from hvcopy.measuring.advice import Point, advise
from hvcopy.measuring.figures import GIB, Flow, Histogram, Interval, Outcome, Side
from hvcopy.measuring.plan import make_plan
from hvcopy.wire.frames import KIB, MIB

SUM_KEYS = {"start", "end", "seconds", "bytes", "bits_per_second", "sender"}
HERE = Side(Flow(2 * GIB, 2.0), Flow(GIB, 2.0), user=0.5, system=1.0, window=2 * MIB)
THERE = Side(Flow(GIB, 2.0), Flow(2 * GIB, 2.5), user=0.1, system=0.2, window=MIB)
SECONDS = [
    Interval(0.0, 1.0, [MIB, MIB], [0, 0], Histogram()),
    Interval(1.0, 2.0, [MIB, 3 * MIB], [MIB, 0], Histogram()),
]


def outcome(mode: str, *, reverse: bool = False, lanes: int = 2) -> Outcome:
    """A finished outcome of two seconds; figures of directions that it does not have are zero, as the engine leaves them."""
    plan = make_plan(mode, seconds=2.0, reverse=reverse)
    moves, nothing = mode not in ("latency", "connections"), Flow(0, 0.0)
    up, down = moves and plan.sends, moves and plan.receives
    here = Side(HERE.sent if up else nothing, HERE.received if down else nothing, 0.5, 1.0, 2 * MIB)
    there = Side(THERE.sent if down else nothing, THERE.received if up else nothing, 0.1, 0.2, MIB)
    return Outcome(plan, "unix:s", 1e9, lanes, here, there, SECONDS, Histogram(), 0, 2.0, True)


def whole(*outcomes: Outcome, **more: object) -> dict[str, object]:
    """The object of one command, as a program reads it."""
    found = shape.whole(outcomes, peer="unix:s", protocol="unix", version="0.1", **more)  # type: ignore[arg-type]
    back = json.loads(json.dumps(found))
    assert isinstance(back, dict)
    return back


@pytest.mark.parametrize(
    ("mode", "reverse", "sums"),
    [
        ("send", False, {"sum_sent": 2 * GIB, "sum_received": 2 * GIB}),
        ("send", True, {"sum_sent": GIB, "sum_received": GIB}),
        (
            "both",
            False,
            {
                "sum_sent": 2 * GIB,
                "sum_received": 2 * GIB,
                "sum_sent_bidir_reverse": GIB,
                "sum_received_bidir_reverse": GIB,
            },
        ),
    ],
)
def test_a_stream_ends_with_sums_as_iperf3_has_them(mode: str, reverse: bool, sums: dict[str, int]) -> None:
    found = whole(outcome(mode, reverse=reverse))
    end = found["end"]
    assert isinstance(end, dict)
    assert {name: end[name]["bytes"] for name in end if name.startswith("sum")} == sums
    assert all(set(end[name]) == SUM_KEYS for name in sums)
    assert set(end["cpu_utilization_percent"]) == {
        f"{side}_{kind}" for side in ("host", "remote") for kind in ("total", "user", "system")
    }
    assert end["cpu_utilization_percent"]["host_total"] == 75.0


def test_rates_are_by_the_clock_of_the_end_that_is_named() -> None:
    end = whole(outcome("send"))["end"]
    assert isinstance(end, dict)
    assert end["sum_sent"]["bits_per_second"] == GIB * 8
    assert end["sum_received"]["bits_per_second"] == round(2 * GIB * 8 / 2.5)


def test_the_start_says_what_was_asked_for() -> None:
    start = whole(outcome("both"))["start"]
    assert isinstance(start, dict)
    assert start["version"] == "hvcopy 0.1"
    assert start["connecting_to"] == {"address": "unix:s"}
    assert start["timestamp"]["timesecs"] == 10**9
    assert start["test_start"] == {
        "protocol": "unix", "num_streams": 2, "blksize": MIB, "duration": 2.0, "reverse": 0, "bidir": 1,
    }  # fmt: skip


@pytest.mark.parametrize(("mode", "sums"), [("send", {"sum"}), ("both", {"sum", "sum_bidir_reverse"})])
def test_an_interval_has_its_streams_and_their_sum(mode: str, sums: set[str]) -> None:
    intervals = whole(outcome(mode))["intervals"]
    assert isinstance(intervals, list)
    assert len(intervals) == 2
    last = intervals[1]
    assert set(last) == {"streams", *sums}
    assert (last["sum"]["bytes"], last["sum"]["start"], last["sum"]["seconds"]) == (4 * MIB, 1.0, 1.0)
    assert [one["bytes"] for one in last["streams"] if one["sender"]] == [MIB, 3 * MIB]
    assert {one["socket"] for one in last["streams"]} == {0, 1}


def test_the_end_has_every_stream_under_the_side_that_counted_it() -> None:
    end = whole(outcome("both"))["end"]
    assert isinstance(end, dict)
    assert [(name, one["socket"], one["bytes"]) for streams in end["streams"] for name, one in streams.items()] == [
        ("sender", 0, 2 * MIB), ("sender", 1, 4 * MIB), ("receiver", 0, MIB), ("receiver", 1, 0),
    ]  # fmt: skip
    first = end["streams"][0]["sender"]
    assert set(first) == {*SUM_KEYS, "socket"}
    assert (first["start"], first["seconds"], first["sender"]) == (0.0, 2.0, True)
    broken = outcome("send")
    broken.intervals = []
    assert whole(broken)["end"]["streams"] == []  # type: ignore[index]


@pytest.mark.parametrize(("mode", "name"), [("latency", "latency_us"), ("connections", "connect_us")])
def test_what_is_timed_has_percentiles_in_microseconds(mode: str, name: str) -> None:
    one = outcome(mode, lanes=1)
    one.trips.add(range(1000, 101_000, 1000))
    end = whole(one)["end"]
    assert isinstance(end, dict)
    assert end[name] == {
        "count": 100, "per_second": 50.0, "min": 1.0, "mean": 50.5, "max": 100.0,
        "p50": pytest.approx(50, rel=0.01), "p90": pytest.approx(90, rel=0.01),
        "p99": pytest.approx(99, rel=0.01), "p99.9": pytest.approx(100, rel=0.01),
    }  # fmt: skip
    assert "sum_sent" not in end


def test_files_are_counted() -> None:
    one = outcome("files")
    one.count = 5000
    end = whole(one)["end"]
    assert isinstance(end, dict)
    assert end["files"] == {"count": 5000, "per_second": 2500.0}


def test_several_modes_stand_in_tests_and_one_stands_by_itself() -> None:
    several = whole(outcome("send"), outcome("both"))
    assert "end" not in several
    tests = several["tests"]
    assert isinstance(tests, list)
    assert [one["hvcopy"]["mode"] for one in tests] == ["send", "both"]
    assert several["hvcopy"] == {"schema": 1}
    assert "tests" not in whole(outcome("send"))


def test_an_error_is_told_beside_what_there_is() -> None:
    broken = outcome("send")
    broken.there = None
    found = whole(broken, error=ConnectionLost("gone", hint="look"))
    assert (found["ok"], found["exit_code"], found["error"], found["hint"]) == (False, 6, "gone", "look")
    end = found["end"]
    assert isinstance(end, dict)
    assert "sum_received" not in end
    assert end["sum_sent"]["bytes"] == 2 * GIB
    assert whole(error=ConnectionLost("gone"))["tests"] == []


POINTS = [
    Point(64 * KIB, 0, 1, 2 * MIB, [100e6, 110e6, 90e6]),
    Point(MIB, 0, 1, 2 * MIB, [200e6] * 3),
    Point(64 * KIB, 4 * MIB, 1, 8 * MIB, [150e6] * 3),
    Point(MIB, 4 * MIB, 1, 8 * MIB, [400e6] * 3),
    Point(MIB, 4 * MIB, 2, 8 * MIB, [800e6] * 3),
]


def test_a_sweep_and_its_advice_are_told() -> None:
    advice = advise(POINTS)
    assert advice
    found = whole(points=POINTS, advice=advice)
    sweep = found["sweep"]
    assert isinstance(sweep, list)
    assert len(sweep) == 5
    assert sweep[0] == {
        "length": 64 * KIB, "buffer": 0, "streams": 1, "window": 2 * MIB, "bits_per_second": 800_000_000,
        "samples": [800_000_000, 880_000_000, 720_000_000],
    }  # fmt: skip
    assert found["advice"] == {
        "length": MIB, "buffer": 4 * MIB, "streams": 2, "bits_per_second": 6_400_000_000, "gain": 4.0, "certain": True,
        "options": ["--buffer 4M", "--lanes 2"],
    }  # fmt: skip


# ---- words


def test_the_table_has_a_row_for_each_message_and_a_column_for_each_buffer() -> None:
    lines = words.table(POINTS)
    assert lines[0].split() == ["buffer", "default", "4M"]
    assert lines[2].split() == ["64.00", "KiB", "95.37", "MiB/s", "143.05", "MiB/s"]
    assert lines[3].split() == ["1.00", "MiB", "190.73", "MiB/s", "381.47", "MiB/s"]
    assert lines[4].startswith("2 connections, messages of 1.00 MiB, buffer 4M: 762.94 MiB/s")
    assert lines[5].endswith("differ by up to 20%")
    assert words.table([]) == []


def test_the_advice_names_the_options_to_type_and_the_gain() -> None:
    found = advise(POINTS)
    assert found
    lines = words.advice(found, POINTS)
    assert "--buffer 4M --lanes 2" in lines[0]
    assert "4.00 times" in lines[0]
    assert lines[1].strip() == "hvcopy cp --buffer 4M --lanes 2 ..."
    assert "socat -b 1048576" in lines[2]
    assert lines[2].endswith("64.00 KiB 38%")


def test_advice_that_changes_nothing_says_so() -> None:
    found = advise(POINTS[:2])
    assert found
    lines = words.advice(found, POINTS[:2])
    assert lines[0].startswith("The default buffer and one connection are as good as any")
    assert not any("hvcopy cp" in line for line in lines)


def test_advice_that_may_be_chance_says_so() -> None:
    points = [Point(MIB, 0, 1, MIB, [80, 100, 140]), Point(MIB, MIB, 1, MIB, [110, 130, 150])]
    found = advise(points)
    assert found
    assert "may be chance" in "\n".join(words.advice(found, points))


def test_a_result_names_both_ends_and_what_it_cost() -> None:
    lines = words.result(outcome("send"))
    assert lines[0].startswith("send ")
    assert "sent 2.00 GiB in 2.00 s: 1.00 GiB/s" in lines[0]
    assert "received 2.00 GiB in 2.50 s: 819.20 MiB/s" in lines[0]
    assert "2 connections" in lines[1]
    assert "window 1.00 MiB" in lines[1]
    assert "0.75 s/GiB here, 0.15 s/GiB there" in lines[1]


def test_an_unfinished_result_says_so() -> None:
    broken = outcome("send")
    broken.there, broken.done = None, False
    lines = words.result(broken)
    assert "not finished" in lines[0]
    assert "sent 2.00 GiB" in lines[1]
    assert "received" not in "".join(lines)


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "0.00 µs"), (999, "1.00 µs"), (17_340, "17.3 µs"), (999_400, "999 µs"), (1_000_000, "1.00 ms"),
        (20_480_000, "20.5 ms"), (999_900_000, "1.00 s"), (2.5e9, "2.50 s"),
    ],
)  # fmt: skip
def test_a_duration_has_three_digits(nanos: float, text: str) -> None:
    assert words.micros(nanos) == text


def test_the_server_tells_a_measurement_in_a_line() -> None:
    assert words.served(outcome("send")) == (
        "send for 2.00 s, received 2.00 GiB, 819.20 MiB/s, 0.15 s/GiB of processor time"
    )
    assert words.served(outcome("latency")) == "latency for 2.00 s"
