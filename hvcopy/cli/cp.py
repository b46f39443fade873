"""``hvcopy cp``: scp-like copying to and from a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hvcopy.cli import options

if TYPE_CHECKING:
    from hvcopy.cli.arguments import Remote


def cp(
    paths: Annotated[list[str], typer.Argument(metavar="SRC... DST", help="Exactly one side is ADDRESS:PATH.")],
    recursive: options.Recursive = False,
    archive: options.Archive = False,
    links: options.Links = False,
    overwrite: options.Overwrite = False,
    update: options.Update = False,
    no_fsync: options.NoFsync = False,
    wait: options.Wait = "0",
    timeout: options.Timeout = "30",
    key_file: options.KeyFile = "",
    lanes: options.Lanes = 2,
    bwlimit: options.Bwlimit = "",
    buffer: options.Buffer = "",
    progress: options.ProgressKind = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
) -> None:
    """Copy files to or from a server, verified.

    hvcopy cp -r ./project vsock:3:18518:/srv/

    The other way round: hvcopy cp vsock:3:18518:/var/log/syslog . — after a break, the same command goes on.
    """
    from hvcopy.cli.running import Command, say

    command = Command("cp", progress=progress, as_json=as_json, quiet=quiet)

    def work() -> None:
        from hvcopy.cli import arguments
        from hvcopy.cli.patterns import expand
        from hvcopy.client import connect, open_sources

        arguments.check_paths(*paths)
        sources, destination, remote = _sides(paths)
        command.report.peer = str(remote.address)
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
        opened = open_sources(expand(sources), recursive=job.recursive) if isinstance(destination, bytes) else []
        client = connect(
            remote.address,
            key=arguments.key_of(key_file, remote.key_file),
            wait=arguments.seconds(wait),
            timeout=arguments.timeout_seconds(timeout),
            cancellation=command.connecting(),
            buffer=arguments.size(buffer),
            lanes=lanes,
        )
        with client:
            command.interruptible(client.interrupt)
            command.tally.window = client.window
            if verbose:
                say(f"hvcopy: connected to {remote.address}, window {client.window} bytes")
            if isinstance(destination, bytes):
                client.push(opened, destination, job, command.tally, bwlimit=limit)
            else:
                client.pull(_pull_paths(sources), destination, job, command.tally)

    command.resume_hint = True
    command.run(work)


def _sides(paths: list[str]) -> tuple[list[str], bytes | str, Remote]:
    """Return (sources, destination, server): a push has the destination as bytes, a pull as a local path."""
    from hvcopy.cli.arguments import A_GUEST, WINDOWS, find_remote
    from hvcopy.errors import BadUsage

    if len(paths) < 2:
        raise BadUsage("cp needs at least one source and a destination", hint=f"hvcopy cp FILE {A_GUEST}:/")
    *sources, destination = paths
    target = find_remote(destination)
    origins = [find_remote(source) for source in sources]
    if target is not None and not any(origins):
        return sources, target.path, target
    first = origins[0]
    if (
        target is None
        and first is not None
        and all(one is not None and one.address == first.address for one in origins)
    ):
        return sources, destination, first
    if target is None and not any(origins):
        raise BadUsage(
            "neither side is remote",
            hint=f"one side is ADDRESS:PATH, as {A_GUEST}:/srv/; for local copies use {'copy' if WINDOWS else 'cp'}",
        )
    raise BadUsage(
        "exactly one side must be remote, and all sources on the same server",
        hint="copy to this machine first, and from here on to the other server",
    )


def _pull_paths(sources: list[str]) -> list[bytes]:
    from hvcopy.cli.arguments import find_remote

    return [remote.path for source in sources if (remote := find_remote(source))]
