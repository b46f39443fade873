"""``hvcopy recv``: the other end of ``send``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hvcopy.cli import options

if TYPE_CHECKING:
    from hvcopy.channel import Channel
    from hvcopy.transport import Cancellation


def recv(
    address: Annotated[str, typer.Argument(metavar="ADDRESS")],
    directory: Annotated[str, typer.Argument(metavar="[DIR]", help="Where to put what comes.")] = ".",
    listening: options.Listen = False,
    no_fsync: options.NoFsync = False,
    wait: options.Wait = "0",
    timeout: options.Timeout = "30",
    key_file: options.KeyFile = "",
    allow: options.Allow = None,
    open_to_all: options.Open = False,
    buffer: options.Buffer = "",
    progress: options.ProgressKind = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Receive what `hvcopy send` on the other side sends, once.

    hvcopy recv -l vsock:any:18518 ./incoming --open

    Files that exist are not replaced unless the sender says --overwrite or --update.
    """
    from hvcopy.cli.running import Command, say

    command = Command("recv", progress=progress, as_json=as_json, quiet=quiet)

    def work() -> None:
        from hvcopy.cli import arguments
        from hvcopy.cli.serving import ServerLog, open_root
        from hvcopy.transfer.jobs import Served
        from hvcopy.transfer.tally import Tally
        from hvcopy.transport import dial, listen, pinned

        arguments.check_paths(directory)
        arguments.only_for_listeners(listening, allow=allow, open_to_all=open_to_all)
        trying = arguments.wait_seconds(wait, listening=listening)
        where, alias_key = arguments.find(address)
        command.report.peer = str(where)
        patience = arguments.timeout_seconds(timeout)
        served = Served(open_root(directory), may_read=False, sync=not no_fsync)
        size = arguments.size(buffer)
        if not listening:
            from hvcopy.oneshot import receive_once

            target, waiting = where, [trying]

            def connect(cancellation: Cancellation) -> Channel:
                nonlocal target
                channel = dial(
                    target,
                    wait=waiting.pop() if waiting else 0.0,
                    timeout=patience,
                    buffer=size,
                    cancellation=cancellation,
                    start=("hvcopy send -l PATH {}",),
                    keyed=bool(key_file or alias_key),
                )
                target = pinned(where, channel)
                return channel

            receive_once(
                connect,
                address=str(where),
                key=arguments.key_of(key_file, alias_key),
                timeout=patience,
                served=served,
                tally=command.tally,
                cancellation=command.connecting(),
                on_start=command.interruptible,
            )
            return
        from hvcopy.server import Server

        class Once(ServerLog):
            def tally(self) -> Tally:
                return command.tally

        admission = arguments.admission(
            where, allow=allow, key_file=key_file, alias_key=alias_key, open_to_all=open_to_all
        )
        with listen(where, buffer=size, timeout=patience) as listener:
            server = Server(
                listener,
                served,
                admission,
                timeout=patience,
                events=Once(command, verbose=verbose),
                once=True,
                kinds=frozenset({"push"}),
            )
            command.interruptible(lambda error: server.stop())
            if not quiet:
                say(f"hvcopy: listening on {listener.address}")
            server.run()

    command.heeds_hang_up, command.resume_hint = listening, True
    command.run(work)
