"""``hvcopy ls``: what a server offers."""

from __future__ import annotations

import json
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
    from hvcopy.cli.running import Command, show

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
        )
        with client:
            command.interruptible(client.interrupt)
            for one in client.entries(remote.path):
                name = printable(one.name)
                if as_json:
                    line = {"name": name, "kind": one.kind, "size": one.size, "mtime_ns": one.mtime, "mode": one.mode}
                    show(json.dumps(line))
                else:
                    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.mtime / 1e9))
                    mark = {"d": "/", "l": "@"}.get(one.kind, "")
                    show(f"{one.mode:04o} {one.size:>14} {when} {name}{mark}")

    command.run(work)
