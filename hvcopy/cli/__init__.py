"""The commands: one file each.  The only place that prints or exits.  Heavy modules are imported where they are used."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with its status."""
    from hvcopy.cli.app import app

    app()
