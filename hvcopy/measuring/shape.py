"""Outcomes as one object for programs, shaped as iperf3's where it says the same thing (docs/bench.md).  Pure."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from typing import Any

from hvcopy.errors import HvcopyError
from hvcopy.measuring.advice import Advice, Point
from hvcopy.measuring.figures import PERCENTILES, Flow, Histogram, Interval, Outcome, Side
from hvcopy.measuring.plan import CONNECT, ECHO, FILES, FLOOD

SCHEMA = 1


def whole(
    outcomes: Sequence[Outcome],
    *,
    peer: str,
    protocol: str,
    version: str,
    points: Sequence[Point] = (),
    advice: Advice | None = None,
    error: HvcopyError | None = None,
) -> dict[str, Any]:
    """Return the object of one command, which *error* may have ended early."""
    start = {
        "version": f"hvcopy {version}",
        "system_info": " ".join(platform.uname()[0:1] + platform.uname()[2:5]),
        "connecting_to": {"address": peer},
    }
    tests = [measured(outcome, protocol=protocol) for outcome in outcomes]
    if len(tests) == 1:
        found = tests[0] | {"start": start | tests[0]["start"]}
    else:
        found = {"start": start, "tests": tests, "hvcopy": {}}
    found["hvcopy"]["schema"] = SCHEMA
    if points:
        found["sweep"] = [point(one) for one in points]
    if advice:
        found["advice"] = advised(advice)
    found["ok"] = error is None
    found["exit_code"] = error.exit_code if error else 0
    if error:
        found["error"] = error.message
        found["hint"] = error.hint
    return found


def measured(outcome: Outcome, *, protocol: str) -> dict[str, Any]:
    """Return ``start``, ``intervals`` and ``end`` of one measurement."""
    plan = outcome.plan
    return {
        "start": {
            "timestamp": {
                "time": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(outcome.began)),
                "timesecs": int(outcome.began),
            },
            "sock_bufsize": plan.buffer,
            "test_start": {
                "protocol": protocol,
                "num_streams": outcome.lanes,
                "blksize": plan.length,
                "duration": plan.seconds,
                "reverse": int(plan.receives and not plan.sends),
                "bidir": int(plan.sends and plan.receives),
            },
        },
        "intervals": [_interval(outcome, one) for one in outcome.intervals],
        "end": _end(outcome),
        "hvcopy": {
            "mode": plan.mode,
            "window": outcome.window,
            "window_here": outcome.here.window,
            "window_there": outcome.there.window if outcome.there else 0,
            "cpu_seconds_per_gib": {
                "here": round(outcome.here.cpu_per_gib, 6),
                "there": round(outcome.there.cpu_per_gib, 6) if outcome.there else None,
            },
        },
    }


def point(one: Point) -> dict[str, Any]:
    """Return one point of a sweep."""
    return {
        "length": one.length,
        "buffer": one.buffer,
        "streams": one.lanes,
        "window": one.window,
        "bits_per_second": round(one.rate * 8),
        "samples": [round(rate * 8) for rate in one.rates],
    }


def advised(advice: Advice) -> dict[str, Any]:
    """Return what follows from a sweep."""
    best = point(advice.best)
    kept = ("buffer", "streams", "bits_per_second")
    return {
        "length": advice.message,
        **{name: best[name] for name in kept},
        "gain": round(advice.gain, 3),
        "certain": advice.certain,
        "options": advice.options,
    }


def _sum(flow: Flow, *, start: float = 0.0, sender: bool) -> dict[str, Any]:
    return {
        "start": round(start, 6),
        "end": round(start + flow.seconds, 6),
        "seconds": round(flow.seconds, 6),
        "bytes": flow.bytes,
        "bits_per_second": round(flow.rate * 8),
        "sender": sender,
    }


def _interval(outcome: Outcome, one: Interval) -> dict[str, Any]:
    plan, seconds = outcome.plan, one.end - one.start
    if plan.what in (ECHO, CONNECT):
        name = "latency_us" if plan.what == ECHO else "connect_us"
        return {"start": round(one.start, 6), "end": round(one.end, 6), name: _percentiles(one.trips, seconds)}
    ways = [(one.sent, True)] * plan.sends + [(one.received, False)] * plan.receives
    found: dict[str, Any] = {
        "streams": [
            {"socket": number, **_sum(Flow(moved, seconds), start=one.start, sender=sender)}
            for lanes, sender in ways
            for number, moved in enumerate(lanes)
        ]
    }
    for name, (lanes, sender) in zip(("sum", "sum_bidir_reverse"), ways, strict=False):
        found[name] = _sum(Flow(sum(lanes), seconds), start=one.start, sender=sender)
    return found


def _streams(outcome: Outcome) -> list[dict[str, Any]]:
    """Each connection's total by this side's count, under the name that iperf3 has for the side that counted."""
    plan, seconds = outcome.plan, outcome.intervals[-1].end if outcome.intervals else 0.0
    ways = [("sender", [one.sent for one in outcome.intervals])] * plan.sends
    ways += [("receiver", [one.received for one in outcome.intervals])] * plan.receives
    return [
        {name: {"socket": number, **_sum(Flow(sum(moved), seconds), sender=name == "sender")}}
        for name, lanes in ways
        for number, moved in enumerate(zip(*lanes, strict=True))
    ]


def _end(outcome: Outcome) -> dict[str, Any]:
    plan = outcome.plan
    end: dict[str, Any] = {}
    if plan.what in (FLOOD, FILES):
        ways = [(outcome.up(), True)] * plan.sends + [(outcome.down(), False)] * plan.receives
        for suffix, (flows, ours) in zip(("", "_bidir_reverse"), ways, strict=False):
            for name, flow in zip(("sum_sent", "sum_received"), flows, strict=True):
                if flow:
                    end[name + suffix] = _sum(flow, sender=ours)
        end["streams"] = _streams(outcome)
    if plan.what == FILES:
        rate = outcome.count / outcome.seconds if outcome.seconds else 0.0
        end["files"] = {"count": outcome.count, "per_second": round(rate, 3)}
    elif plan.what in (ECHO, CONNECT):
        end["latency_us" if plan.what == ECHO else "connect_us"] = _percentiles(outcome.trips, outcome.seconds)
    end["cpu_utilization_percent"] = {
        **_processor("host", outcome.here, outcome.seconds),
        **(_processor("remote", outcome.there, outcome.seconds) if outcome.there else {}),
    }
    return end


def _processor(name: str, side: Side, seconds: float) -> dict[str, float]:
    def percent(used: float) -> float:
        return round(100 * used / seconds, 3) if seconds else 0.0

    return {
        f"{name}_total": percent(side.cpu),
        f"{name}_user": percent(side.user),
        f"{name}_system": percent(side.system),
    }


def _percentiles(trips: Histogram, seconds: float) -> dict[str, float]:
    def micros(nanos: float) -> float:
        return round(nanos / 1000, 3)

    counted = {"count": trips.count, "per_second": round(trips.count / seconds, 3) if seconds else 0.0}
    if not trips.count:
        return counted
    return counted | {
        "min": micros(trips.least),
        "mean": micros(trips.mean),
        **{f"p{percent:g}": micros(trips.percentile(percent)) for percent in PERCENTILES},
        "max": micros(trips.most),
    }
