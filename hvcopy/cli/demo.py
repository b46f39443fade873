"""``hvcopy demo``: shows the main job on real input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hvcopy.demo.stage import Stage
    from hvcopy.demo.tour import Row, Source

LARGE_TREE = 1 << 30
WIDTH = 78


def demo(
    size: Annotated[str, typer.Option("--size", metavar="SIZE", help="Of the large file: 256M, 4G.")] = "1G",
) -> None:
    """Copy a real tree and a large file through a socket and back, compare, and show the rates beside cp's.

    hvcopy demo --size 256M

    Serves a unix socket in a temporary folder (TMPDIR), which is removed at the end.
    """
    from hvcopy.cli.running import Command, say

    command = Command("demo")
    stages: list[Stage] = []

    def work() -> None:
        from hvcopy.cli import arguments
        from hvcopy.demo.stage import Stage
        from hvcopy.demo.tour import Tour
        from hvcopy.errors import BadUsage

        wanted = arguments.size(size) or 0
        if not wanted:
            raise BadUsage("--size: the file needs at least one byte", hint="hvcopy demo --size 256M")
        with Stage() as stage:
            stages.append(stage)
            command.interruptible(stage.stop)
            print(_intro(stage.folder), flush=True)
            tour = Tour(stage, wanted, _show_source, _show_row, lambda text: say(f"... {text}"))
            copies = tour.run()
        print(_end(copies), flush=True)

    command.heeds_hang_up = True
    try:
        command.run(work)
    finally:
        for stage in stages:  # an interrupted command does not wait for its thread, which may still be removing files
            stage.close()


def _intro(folder: str) -> str:
    return f"""\
hvcopy demo: two processes and a unix socket between them, in
{folder}
  serve   hvcopy serve unix:socket --root server --no-fsync
  push    hvcopy cp -r --links --no-fsync SOURCE unix:socket:/
  pull    hvcopy cp -r --links --no-fsync unix:socket:/NAME pulled
"""


def _show_source(source: Source) -> None:
    from hvcopy.errors import printable

    print(f"\n{source.title}: {printable(source.path)}")
    if source.extent.bytes > LARGE_TREE and source.extent.files > 1:
        print("  (more than 1 GiB: the packages that are installed in it come along)")
    print(f"  {'':14} {'files':>9} {'size':>12} {'seconds':>9} {'rate':>15} {'x cp':>8}")
    print(f"  {'-' * (WIDTH - 6)}", flush=True)


def _show_row(row: Row) -> None:
    from hvcopy.units import format_rate, format_size

    rate = format_rate(row.extent.bytes / max(row.seconds, 1e-9))
    times = f"{row.cp_seconds / row.seconds:.2f}" if row.cp_seconds and row.seconds else "-"
    size = format_size(row.extent.bytes)
    print(f"  {row.way:14} {row.extent.files:>9,} {size:>12} {row.seconds:>9.2f} {rate:>15} {times:>8}", flush=True)


def _end(copies: int) -> str:
    return f"""
All {copies} copies are equal to their sources: names, bytes, modes and times.
hvcopy verified every byte by digest within the times above; cp verifies none.
--no-fsync: nobody waits for the disk, as with cp. Without it, exit 0 says also
that everything is on the receiver's disk. One run each: no benchmark."""
