"""``hvcopy ls``: what a server offers."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from hvcopy.cli import options


def ls(
    where: Annotated[str, typer.Argument(metavar="ADDRESS[:PATH]")],
    wait: options.Wait = "0",
    timeout: options.Timeout = "30",
    key_file: options.KeyFile = "",
    as_json: options.Json = False,
) -> None:
    """List what a server offers.

    hvcopy ls vsock:3:18518:/images
    """
    from hvcopy.cli.running import Command, show, show_json

    command = Command("ls")

    def work() -> None:
        from hvcopy.cli import arguments
        from hvcopy.client import connect
        from hvcopy.errors import printable

        remote = arguments.find_place(where)
        client = connect(
            remote.address,
            key=arguments.key_of(key_file, remote.key_file),
            wait=arguments.seconds(wait),
            timeout=arguments.timeout_seconds(timeout),
            cancellation=command.connecting(),
        )
        with client:
            command.interruptible(client.interrupt)
            for one in client.entries(remote.path):
                name = printable(one.name)
                if as_json:
                    line = {"name": name, "kind": one.kind, "size": one.size, "mtime_ns": one.mtime, "mode": one.mode}
                    show_json(line)
                else:
                    mark = {"d": "/", "l": "@"}.get(one.kind, "")
                    show(f"{one.mode:04o} {one.size:>14} {local_time(one.mtime)} {name}{mark}")

    command.run(work)


def local_time(mtime_ns: int) -> str:
    """Return a time as it is listed: this machine's, or UTC where its system knows no such time (Windows before 1970)."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(mtime_ns // 10**9))
    except (OSError, OverflowError, ValueError):
        from datetime import UTC, datetime, timedelta

        return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=mtime_ns // 10**9):%Y-%m-%d %H:%M}"
