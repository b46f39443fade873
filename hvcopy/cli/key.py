"""``hvcopy key``: a new pre-shared key."""

from __future__ import annotations

from typing import Annotated

import typer


def key(file: Annotated[str, typer.Argument(metavar="FILE", help="Where to write it; must not exist.")]) -> None:
    """Make a new pre-shared key, readable by you alone.

    hvcopy key hvcopy.key

    Copy the file to the other machine by a way you trust, and give it to both sides with --key-file.
    """
    from hvcopy.cli.running import Command, say

    def work() -> None:
        from hvcopy.cli import arguments
        from hvcopy.errors import printable
        from hvcopy.files.keys import new_key

        arguments.check_paths(file)
        new_key(file)
        say(f"hvcopy: wrote a new key to {printable(file)}; give it to both sides with --key-file")

    Command("key").run(work)
