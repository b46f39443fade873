"""The smallest command-line program with Typer: what a start costs before hvcopy does anything."""

from __future__ import annotations

import typer


def main() -> None:
    """Say hello."""
    typer.echo("hello")


if __name__ == "__main__":
    typer.run(main)
