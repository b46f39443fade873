"""Outcomes, sweeps and advice as lines for people.  Pure: it prints nothing."""

from __future__ import annotations

from collections.abc import Sequence

from hvcopy.measuring.advice import Advice, Point, short, smaller_messages
from hvcopy.measuring.figures import PERCENTILES, Histogram, Interval, Outcome, Side
from hvcopy.measuring.plan import CONNECT, ECHO, FILES, FLOOD
from hvcopy.units import format_rate, format_size

WIDTH = 12


def interval(outcome: Outcome, one: Interval) -> str:
    """Return one second in progress."""
    plan, seconds = outcome.plan, max(one.end - one.start, 1e-9)
    when = f"{one.start:7.2f}-{one.end:.2f} s"
    if plan.what in (ECHO, CONNECT):
        things = "round trips" if plan.what == ECHO else "connections"
        middle = f", p50 {micros(one.trips.percentile(50))}" if one.trips.count else ""
        return f"{when}  {one.trips.count:,} {things}{middle}"
    ways = [("sent", one.sent)] * plan.sends + [("received", one.received)] * plan.receives
    return f"{when}  " + ", ".join(f"{word} {format_rate(sum(lanes) / seconds)}" for word, lanes in ways)


def result(outcome: Outcome) -> list[str]:
    """Return what became of one measurement; of an unfinished one, what is known."""
    plan = outcome.plan
    lines = [] if outcome.done else ["not finished; until then:"]
    if plan.what in (ECHO, CONNECT):
        lines += _timed(outcome)
    else:
        lines += _moved(outcome)
    head = f"{plan.mode:{WIDTH}}"
    return [(head if number == 0 else " " * WIDTH) + line for number, line in enumerate(lines)]


def served(outcome: Outcome) -> str:
    """Return one measurement in a line, as the server tells it."""
    side, flows = outcome.there or Side(), []
    for word, flow in (("received", side.received), ("sent", side.sent)):
        if flow.bytes:
            flows.append(f"{word} {format_size(flow.bytes)}, {format_rate(flow.rate)}")
    cost = [f"{side.cpu_per_gib:.2f} s/GiB of processor time"] if flows else []
    return f"{outcome.plan.mode} for {outcome.seconds:.2f} s" + "".join(f", {one}" for one in [*flows, *cost])


def _moved(outcome: Outcome) -> list[str]:
    plan = outcome.plan
    lines = []
    if plan.what == FILES:
        rate = outcome.count / outcome.seconds if outcome.seconds else 0.0
        lines.append(
            f"{outcome.count:,} files of {format_size(plan.length)} in {outcome.seconds:.2f} s: {rate:,.0f} files/s"
        )
    ways = [outcome.up()] * plan.sends + [outcome.down()] * plan.receives
    for sent, received in ways:
        parts = []
        for word, flow in (("sent", sent), ("received", received)):
            if flow:
                parts.append(f"{word} {format_size(flow.bytes)} in {flow.seconds:.2f} s: {format_rate(flow.rate)}")
        lines.append("; ".join(parts))
    lanes = f"{outcome.lanes} connection{'s' * (outcome.lanes > 1)}"
    messages = f", messages of {format_size(plan.length)}" if plan.what == FLOOD else ""
    window = f", window {format_size(outcome.window)}" if outcome.window else ""
    lines.append(f"{lanes}{messages}{window}; processor time {_processor(outcome)}")
    return lines


def _processor(outcome: Outcome) -> str:
    def told(side: Side, where: str) -> str:
        return f"{side.cpu_per_gib:.2f} s/GiB {where}"

    sides = [(outcome.here, "here")] * bool(outcome.here.cpu)
    sides += [(outcome.there, "there")] if outcome.there else []
    return ", ".join(told(side, where) for side, where in sides)


def _timed(outcome: Outcome) -> list[str]:
    trips = outcome.trips
    rate = trips.count / outcome.seconds if outcome.seconds else 0.0
    what = f"{format_size(outcome.plan.length)} there and back" if outcome.plan.what == ECHO else "connect to close"
    lines = [f"{what}: {trips.count:,} in {outcome.seconds:.2f} s, {rate:,.0f}/s"]
    return [*lines, _percentiles(trips)] if trips.count else lines


def _percentiles(trips: Histogram) -> str:
    known = [f"p{percent:g} {micros(trips.percentile(percent))}" for percent in PERCENTILES]
    return ", ".join([*known, f"max {micros(trips.most)}"])


def micros(nanos: float) -> str:
    """Return a duration of *nanos* nanoseconds with three digits: ``17.3 µs``, ``2.05 ms``."""
    for limit, divisor, unit in ((1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if nanos < limit * 0.9995:
            return f"{_three(nanos / divisor)} {unit}"
    return f"{_three(nanos / 1e9)} s"


def _three(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def table(points: Sequence[Point]) -> list[str]:
    """Return a sweep as a table: a row for each message size, a column for each window; then the connections."""
    grid = [one for one in points if one.lanes == 1]
    if not grid:
        return []
    buffers = {one.buffer: one.window for one in grid}
    heads = [f"{'default' if buffer == 0 else short(buffer)}" for buffer in buffers]
    lines = ["buffer      " + "".join(f"{head:>14}" for head in heads)]
    lines.append("its window  " + "".join(f"{format_size(window):>14}" for window in buffers.values()))
    rates = {(one.length, one.buffer): one.rate for one in grid}
    for length in sorted({one.length for one in grid}):
        cells = [rates.get((length, buffer)) for buffer in buffers]
        shown = "".join(f"{format_rate(cell) if cell is not None else '-':>14}" for cell in cells)
        lines.append(f"{format_size(length):12}" + shown)
    for one in points:
        if one.lanes > 1:
            where = f"messages of {format_size(one.length)}, buffer {short(one.buffer) if one.buffer else 'default'}"
            lines.append(f"{one.lanes} connections, {where}: {format_rate(one.rate)}")
    worst = max(one.spread for one in points)
    runs = max(len(one.rates) for one in points)
    if runs > 1:
        lines.append(f"each the median of {runs} runs, which differ by up to {worst:.0%}")
    return lines


def advice(found: Advice, points: Sequence[Point]) -> list[str]:
    """Return what to type, and what it gains."""
    best, options = found.best, " ".join(found.options)
    base = f"the defaults on one connection ({format_rate(found.base.rate)})"
    if not options:
        first = f"The default buffer and one connection are as good as any: {format_rate(best.rate)}."
    elif found.gain > 1:
        first = f"Best on this link: {options}, {format_rate(best.rate)}, {found.gain:.2f} times {base}."
    else:
        first = f"{options} does as well as {base}."
    lines = [first]
    if found.gain > 1 and not found.certain:
        lines.append("  The runs overlap, so it may be chance: repeat it on a quiet machine, or with -t 1.")
    if options:
        lines.append(f"  hvcopy cp {options} ...")
    shares = [f"{format_size(length)} {share:.0%}" for length, share in smaller_messages(points, found)]
    if shares:
        lines.append(
            f"Other tools need messages of {format_size(found.message)} (socat -b {found.message}); smaller ones reach: "
            + ", ".join(shares)
        )
    else:
        lines.append(f"Messages of {format_size(found.message)} are enough for other tools (socat -b {found.message}).")
    return lines
