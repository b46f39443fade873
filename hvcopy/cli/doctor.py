"""``hvcopy doctor``: what works here, what does not, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from hvcopy.cli import options

Listening = Annotated[bool, typer.Option("-l", "--listen", help="See whether listening on ADDRESS would work.")]
Timeout = Annotated[str, typer.Option("--timeout", metavar="SECS", help="Give up on the peer after so long.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Print what is in order, and what does not apply, too.")]


def doctor(
    address: Annotated[str, typer.Argument(metavar="[ADDRESS]")] = "",
    listening: Listening = False,
    timeout: Timeout = "5",
    key_file: options.KeyFile = "",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say what works here, what does not and why, and the command that fixes it.

    hvcopy doctor vsock:3:18518

    0 says that what was asked for works: reaching ADDRESS, listening there (-l), or without ADDRESS reaching any other
    machine over vsock or Hyper-V sockets.
    """
    from hvcopy.cli.running import Command

    command = Command("doctor", quiet=quiet)

    def work() -> None:
        from hvcopy.cli.visiting import Visit

        Visit(command, as_json=as_json, verbose=verbose).run(
            address, listening=listening, timeout=timeout, key_file=key_file
        )

    command.run(work)
