"""What may be measured: modes by name, bounds on both sides of the wire."""

from __future__ import annotations

import pytest

from hvcopy.errors import BadUsage, NotHvcopy
from hvcopy.measuring.plan import MODES, Plan, check_order, make_plan
from hvcopy.wire import messages as m
from hvcopy.wire.frames import HEADER, KIB, MIB, Type


@pytest.mark.parametrize(
    ("mode", "what", "way", "length"),
    [
        ("send", "flood", "up", MIB),
        ("recv", "flood", "down", MIB),
        ("both", "flood", "both", MIB),
        ("files", "files", "up", 2 * KIB),
        ("latency", "echo", "up", 64),
        ("connections", "connect", "up", 1),
    ],
)
def test_each_mode_has_its_way_and_its_usual_length(mode: str, what: str, way: str, length: int) -> None:
    assert make_plan(mode, seconds=2.0) == Plan(mode, what, way, 2.0, length)


@pytest.mark.parametrize(("mode", "reversed_mode", "what"), [("send", "recv", "flood"), ("files", "files", "files")])
def test_reverse_lets_the_server_send(mode: str, reversed_mode: str, what: str) -> None:
    plan = make_plan(mode, seconds=1.0, reverse=True)
    assert (plan.mode, plan.what, plan.way) == (reversed_mode, what, "down")
    assert plan.receives
    assert not plan.sends


@pytest.mark.parametrize("mode", ["latency", "connections", "both"])
def test_reverse_of_what_has_no_direction_is_refused(mode: str) -> None:
    with pytest.raises(BadUsage, match="--reverse"):
        make_plan(mode, seconds=1.0, reverse=True)


@pytest.mark.parametrize("mode", ["latency", "connections"])
def test_more_connections_than_a_mode_uses_are_refused(mode: str) -> None:
    with pytest.raises(BadUsage, match="one connection"):
        make_plan(mode, seconds=1.0, lanes=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": 0.0},
        {"seconds": 0.0004},
        {"seconds": 3600.1},
        {"length": 0},
        {"length": MIB + 1},
        {"buffer": 2**31},
    ],
)
def test_what_is_out_of_bounds_is_refused_with_what_is_possible(wrong: dict[str, float]) -> None:
    with pytest.raises(BadUsage, match="out of bounds") as refused:
        make_plan("send", **({"seconds": 1.0} | wrong))  # type: ignore[arg-type]
    assert refused.value.hint


def test_a_small_file_is_smaller_than_a_message_may_be() -> None:
    assert make_plan("files", seconds=1.0, length=128 * KIB).length == 128 * KIB
    with pytest.raises(BadUsage):
        make_plan("files", seconds=1.0, length=128 * KIB + 1)


def test_an_unknown_mode_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadUsage, match=r"\\x1b.*send, recv, both, files, latency, connections, sweep"):
        make_plan("\x1bquick", seconds=1.0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seconds", [0.001, 3600.0])
def test_every_plan_is_an_order_that_a_server_takes(mode: str, seconds: float) -> None:
    order = make_plan(mode, seconds=seconds, buffer=2**31 - 1).order(1)
    assert m.decode(Type.MEASURE, m.encode(order)[HEADER.size :]) == order
    check_order(order, granted=1)


@pytest.mark.parametrize("what", ["flood", "files"])
def test_a_reversed_plan_is_an_order_that_a_server_takes(what: str) -> None:
    check_order(m.Measure(what, "down", 1, 1, 16, 0), granted=16)


@pytest.mark.parametrize(
    ("what", "way", "length", "lanes"),
    [
        ("format", "up", 1, 1),
        ("flood", "sideways", 1, 1),
        ("files", "both", 1, 1),
        ("echo", "down", 1, 1),
        ("connect", "both", 1, 1),
        ("flood", "up", 1, 5),
        ("echo", "up", 1, 2),
        ("connect", "up", 1, 2),
        ("files", "up", 128 * KIB + 1, 1),
    ],
)
def test_an_order_that_no_plan_makes_is_refused(what: str, way: str, length: int, lanes: int) -> None:
    with pytest.raises(NotHvcopy):
        check_order(m.Measure(what, way, 1000, length, lanes, 0), granted=4)
