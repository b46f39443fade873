"""The commands: one file each.  The only place that prints or exits.  Heavy modules are imported where used."""

from __future__ import annotations

import gc
import sys

GARBAGE_THRESHOLD = 20_000
"""Allocations between two looks for cycles: a transfer makes many small objects and hardly a cycle."""


def main() -> None:
    """Run the command line and exit with its status."""
    gc.disable()  # nothing that start-up makes is garbage, and looking for some costs a tenth of it
    from hvcopy.cli.app import build

    app = build(sys.argv[1:])
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    gc.enable()
    app()
