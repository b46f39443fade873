"""``hvcopy send``: one copy, without a server."""

from __future__ import annotations

from typing import Annotated

import typer

from hvcopy.cli import options


def send(
    paths: Annotated[list[str], typer.Argument(metavar="PATH... ADDRESS")],
    listening: options.Listen = False,
    recursive: options.Recursive = False,
    archive: options.Archive = False,
    links: options.Links = False,
    overwrite: options.Overwrite = False,
    update: options.Update = False,
    no_fsync: options.NoFsync = False,
    wait: options.Wait = "0",
    timeout: options.Timeout = "30",
    key_file: options.KeyFile = "",
    allow: options.Allow = None,
    open_to_all: options.Open = False,
    lanes: options.Lanes = 2,
    bwlimit: options.Bwlimit = "",
    buffer: options.Buffer = "",
    progress: options.ProgressKind = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
) -> None:
    """Send files once, to `hvcopy recv` on the other side.

    hvcopy send ./image.raw vsock:3:18518

    Either side may be the one that listens: add -l here or there. Directories need -r.
    """
    from hvcopy.cli.running import Command, say

    command = Command("send", progress=progress, as_json=as_json, quiet=quiet)

    def work() -> None:
        from hvcopy.cli import arguments
        from hvcopy.cli.patterns import expand
        from hvcopy.client import Client, connect, open_sources
        from hvcopy.errors import BadUsage

        *local, where = paths
        if not local:
            raise BadUsage("send needs at least one PATH and an ADDRESS", hint=f"hvcopy send FILE {arguments.A_GUEST}")
        arguments.check_paths(*local)
        arguments.only_for_listeners(listening, allow=allow, open_to_all=open_to_all)
        trying = arguments.wait_seconds(wait, listening=listening)
        address, alias_key = arguments.find(where)
        command.report.peer = str(address)
        job = arguments.copy_options(
            recursive=recursive,
            archive=archive,
            links=links,
            overwrite=overwrite,
            update=update,
            no_fsync=no_fsync,
            dry_run=dry_run,
            totals=command.wants_totals,
        )
        limit = arguments.rate(bwlimit)
        sources = open_sources(expand(local), recursive=job.recursive)
        patience = arguments.timeout_seconds(timeout)

        def push(client: Client) -> None:
            with client:
                command.interruptible(client.interrupt)
                command.tally.window = client.window
                if verbose:
                    say(f"hvcopy: connected to {address}, window {client.window} bytes")
                client.push(sources, b"", job, command.tally, bwlimit=limit)

        if not listening:
            key = arguments.key_of(key_file, alias_key)
            push(
                connect(
                    address,
                    key=key,
                    wait=trying,
                    timeout=patience,
                    cancellation=command.connecting(),
                    start=("hvcopy recv -l {} DIR",),
                    buffer=arguments.size(buffer),
                    lanes=lanes,
                )
            )
            return
        from hvcopy.cli.serving import ServerLog
        from hvcopy.oneshot import SendingListener
        from hvcopy.transport import listen

        admission = arguments.admission(
            address, allow=allow, key_file=key_file, alias_key=alias_key, open_to_all=open_to_all
        )
        with listen(address, buffer=arguments.size(buffer), timeout=patience) as listener:
            ear = SendingListener(
                listener,
                admission,
                timeout=patience,
                lanes=lanes,
                on_refused=ServerLog(command, verbose=verbose).failed,
            )
            command.interruptible(lambda error: ear.close())
            if not quiet:
                say(f"hvcopy: listening on {listener.address}")
            try:
                push(ear.wait())
            finally:
                ear.close()

    command.heeds_hang_up, command.resume_hint = listening, True
    command.run(work)
