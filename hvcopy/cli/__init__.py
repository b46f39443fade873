"""The commands: one file each.  The only place that prints or exits.  Heavy modules are imported where used."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line and exit with its status."""
    gc.disable()  # nothing that start-up makes is garbage, and looking for some costs a tenth of it
    from hvcopy.cli.app import build

    app = build(sys.argv[1:])
    gc.freeze()
    gc.enable()
    app()
