#!/usr/bin/env python3
"""Runs Windows Python in this checkout under Wine, with hvcopy and its core on its path.

usage: run.py [--python 3.12] ARGUMENT...        run.py -m pytest tests/unit

Exit status: Python's own, 126 if a part of the lane is missing.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from lanes.parts import CHECKOUT, LANES, LaneMissing, locate
from lanes.windows import standin, wine
from lanes.windows.built import link_package
from lanes.windows.made import RECIPES

USAGE, MISSING = 2, 126


def lane(minor: str) -> str:
    """The lane's name in parts.py."""
    return "windows" if minor == "3.12" else f"windows-{minor}"


def main() -> int:
    arguments, minor = sys.argv[1:], "3.12"
    if arguments[:1] == ["--python"] and arguments[1:2] and arguments[1] in RECIPES:
        minor, arguments = arguments[1], arguments[2:]
    if not arguments or arguments[0] in ("-h", "--help", "--python"):
        print(__doc__, file=sys.stderr)
        return USAGE
    try:
        for part in LANES[lane(minor)]:
            locate(part)
    except LaneMissing as error:
        print(f"run.py: {error}", file=sys.stderr)
        return MISSING
    tree = link_package(minor)
    # -P: not the hvcopy/ of the current folder, whose core is for Linux
    argv = [str(RECIPES[minor].python), "-P", *arguments]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return wine.stream(argv, cwd=CHECKOUT, env=standin.environment(tree))


if __name__ == "__main__":
    sys.exit(main())
