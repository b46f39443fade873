#!/usr/bin/env python3
"""Compares hvcopy with the tools that are installed; writes results/*.json, results/latest.md and latest.svg.

Never judges by its exit status: the report says what was met, what was not, and what did not run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import (
    boundary,
    boundary_forward,
    boundary_streams,
    boundary_trees,
    inside,
    local,
    machine,
    plot,
    relays,
    startup,
    streams,
    windows,
)
from bench.processes import Failed
from bench.report import markdown
from bench.results import Result, result_from
from bench.rounds import say
from bench.workspace import HERE, Settings, compile_floor, find_hvcopy

GIB = 1 << 30
RESULTS = HERE / "results"

SCENARIOS: dict[str, Callable[[Settings], list[Result]]] = {
    "file-1g": lambda settings: [local.large_file(settings, "file-1g", GIB)],
    "file-4g": lambda settings: [local.large_file(settings, "file-4g", 4 * GIB)],
    "small-100k": lambda settings: [local.small_files(settings)],
    "tree": lambda settings: [local.library_tree(settings)],
    "startup": lambda settings: [startup.startup(settings)],
    "memory": lambda settings: [local.memory(settings)],
    "pipe-zero": lambda settings: [streams.pipe_zero(settings)],
    "pipe-data": lambda settings: [streams.pipe_data(settings)],
    "pipe-file": lambda settings: [streams.pipe_file(settings)],
    "nc": streams.raw,
    "forward": relays.forward,
    "vsock-local": lambda settings: inside.from_outside(settings, "vsock-local"),
    "vsock-streams": lambda settings: inside.from_outside(settings, "vsock-streams"),
    "vsock-trees": lambda settings: inside.from_outside(settings, "vsock-trees"),
    "vsock-forward": lambda settings: inside.from_outside(settings, "vsock-forward"),
    "guest": boundary.guest,
    "guest-streams": boundary_streams.guest_streams,
    "guest-trees": boundary_trees.guest_trees,
    "guest-forward": boundary_forward.guest_forward,
    "windows": lambda settings: [windows.files(settings)],
}


def main() -> int:
    options = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.install:
        _install()
    try:
        settings = Settings(
            hvcopy=options.hvcopy or find_hvcopy(),
            floor=compile_floor(),
            rounds=options.rounds,
            size=options.size,
            quick=options.quick,
        )
    except Failed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 0
    if options.inside:
        options.out.write_text(json.dumps([one.as_dict() for one in inside.run_inside(settings, options.inside)]))
        return 0
    if options.report:
        stored = json.loads(options.out.read_text())
        _write(stored["machine"], _stored(options.out), options.out)
        return 0
    facts = machine.facts(settings.hvcopy)
    say(f"bench: not installed: {facts['not installed']} (--install gets them with apt-get)")
    if not plot.available():
        say("bench: no plot without matplotlib: pip install 'hvcopy[plot]'")
    results = _stored(options.out) if options.resume else []
    for name in options.scenario or SCENARIOS:
        done = _run(name, settings)
        names = {one.name for one in done}
        results = [one for one in results if one.name not in names] + done
        _write(facts, results, options.out)
    print(markdown(facts, results))
    return 0


def _run(name: str, settings: Settings) -> list[Result]:
    watch = machine.Watch()
    try:
        results = SCENARIOS[name](settings)
    except (Failed, OSError, subprocess.SubprocessError) as error:
        say(f"bench: {name}: {error}")
        return [Result(name, name, skipped=str(error))]
    for result in results:
        result.circumstances |= watch.circumstances()
    return results


def _write(facts: dict[str, object], results: list[Result], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    stored = {"machine": facts, "scenarios": [one.as_dict() for one in results]}
    out.write_text(json.dumps(stored, indent=1) + "\n")
    picture = out.with_name("latest.svg")
    drawn = plot.draw(results, picture)
    out.with_name("latest.md").write_text(markdown(facts, results, picture.name if drawn else None))


def _stored(path: Path) -> list[Result]:
    if not path.exists():
        return []
    return [result_from(one) for one in json.loads(path.read_text())["scenarios"]]


def _install() -> None:
    missing = [package for tool, package in machine.PACKAGES.items() if not shutil.which(tool)]
    if missing:
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *missing])


def _size(text: str) -> int:
    factors = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
    return int(text[:-1]) * factors[text[-1].lower()] if text[-1:].lower() in factors else int(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compares hvcopy with the tools that are installed.")
    parser.add_argument("scenario", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS) + " (all)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="counted rounds (5)")
    parser.add_argument("--size", type=_size, default=0, metavar="SIZE", help="of the large file: 512M, 2G")
    parser.add_argument("--quick", action="store_true", help="a tenth of the files")
    parser.add_argument("--hvcopy", metavar="PROGRAM", help="the one to measure")
    parser.add_argument("--install", action="store_true", help="get missing peers with apt-get first")
    parser.add_argument("--resume", action="store_true", help="keep the other scenarios that --out holds")
    parser.add_argument("--report", action="store_true", help="only write latest.md and latest.svg again, from --out")
    parser.add_argument("--inside", choices=list(inside.INSIDE), help=argparse.SUPPRESS)
    default = RESULTS / f"{time.strftime('%Y-%m-%d')}.json"
    parser.add_argument("--out", type=Path, default=default, metavar="FILE", help="results/DATE.json")
    options = parser.parse_args()
    unknown = [name for name in options.scenario if name not in SCENARIOS]
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
