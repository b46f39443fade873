"""``hvcopy serve``: a server for many clients."""

from __future__ import annotations

from typing import Annotated

import typer

from hvcopy.cli import options


def serve(
    address: Annotated[str, typer.Argument(metavar="ADDRESS")],
    root: Annotated[str, typer.Option("--root", metavar="DIR", help="What is served; nothing outside of it is.")],
    read_only: Annotated[bool, typer.Option("--read-only", help="Send files, accept none.")] = False,
    write_only: Annotated[bool, typer.Option("--write-only", help="Accept files, send and list none.")] = False,
    no_fsync: options.NoFsync = False,
    timeout: options.Timeout = "30",
    key_file: options.KeyFile = "",
    allow: options.Allow = None,
    open_to_all: options.Open = False,
    buffer: options.Buffer = "",
    quiet: options.QuietListener = False,
    verbose: options.Verbose = False,
) -> None:
    """Serve a folder until stopped with Ctrl-C.

    hvcopy serve vsock:any:18518 --root /srv --allow vsock:2
    """
    from hvcopy.cli.running import Command, say

    command = Command("serve", quiet=quiet)

    def work() -> None:
        from hvcopy.cli import arguments
        from hvcopy.cli.serving import ServerLog
        from hvcopy.errors import BadUsage
        from hvcopy.server import serve as start

        if read_only and write_only:
            raise BadUsage("--read-only and --write-only exclude each other", hint="leave out both to serve both ways")
        arguments.check_paths(root)
        where, alias_key = arguments.find(address)
        server = start(
            where,
            root,
            admission=arguments.admission(
                where, allow=allow, key_file=key_file, alias_key=alias_key, open_to_all=open_to_all
            ),
            read_only=read_only,
            write_only=write_only,
            sync=not no_fsync,
            timeout=arguments.timeout_seconds(timeout),
            buffer=arguments.size(buffer),
            events=ServerLog(command, verbose=verbose),
        )
        with server.listener as listener:
            command.interruptible(lambda error: server.stop())
            if not quiet:
                say(f"hvcopy: serving {root} on {listener.address}")
            server.run()

    command.heeds_hang_up = command.stops_cleanly = True
    command.run(work)
