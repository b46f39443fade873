"""``hvcopy forward``: connections from one transport to another."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from hvcopy.cli import options

if TYPE_CHECKING:
    from hvcopy.address import Address

MaxConnections = Annotated[
    int, typer.Option("-m", "--max-conns", metavar="N", min=1, max=1000, help="Connections at once; more of them wait.")
]
IdleTimeout = Annotated[
    str,
    typer.Option("-i", "--idle-timeout", metavar="SECS", help="End a connection on which nothing moves for so long."),
]
Wait = Annotated[
    str, typer.Option("--wait", metavar="SECS", help="Keep trying to reach TARGET for so long, for each connection.")
]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="SECS", help="Give up one attempt to reach TARGET after so long.")
]


def forward(
    listen_at: Annotated[str, typer.Argument(metavar="LISTEN", help="Where to take connections.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Where each of them goes.")],
    max_connections: MaxConnections = 64,
    idle_timeout: IdleTimeout = "",
    wait: Wait = "0",
    timeout: Timeout = "30",
    allow: options.Allow = None,
    open_to_all: options.Open = False,
    buffer: options.Buffer = "",
    quiet: options.QuietListener = False,
    verbose: options.Verbose = False,
) -> None:
    """Relay connections between any two transports, until stopped with Ctrl-C.

    hvcopy forward tcp:127.0.0.1:2222 vsock:3:22 --open

    Here: the guest's sshd on this host's loopback.
    """
    from hvcopy.cli.running import Command, say

    command = Command("forward", quiet=quiet)

    def work() -> None:
        from hvcopy.cli import arguments
        from hvcopy.cli.forward_log import ForwardLog
        from hvcopy.errors import BadUsage
        from hvcopy.forwarding import Forwarder
        from hvcopy.transport import check_dialable, listen

        where, alias_key = arguments.find(listen_at)
        to, _ = arguments.find(target)
        if _leads_back(where, to):
            how = "are the same" if where == to else "lead to one place"
            raise BadUsage(
                f"LISTEN and TARGET {how}, so that each connection would make another",
                hint=f"hvcopy forward tcp:127.0.0.1:2222 {arguments.A_GUEST} --open",
            )
        check_dialable(to)
        who = arguments.admission(where, allow=allow, open_to_all=open_to_all, alias_key=alias_key, raw=True)
        size = arguments.size(buffer)
        idle = arguments.timeout_seconds(idle_timeout, "--idle-timeout") if idle_timeout else None
        trying, patience = arguments.seconds(wait), arguments.timeout_seconds(timeout)
        with listen(where, buffer=size) as listener:
            forwarder = Forwarder(
                listener,
                to,
                who,
                wait=trying,
                timeout=patience,
                idle=idle,
                limit=max_connections,
                buffer=size,
                events=ForwardLog(command, verbose=verbose),
            )
            command.interruptible(lambda error: forwarder.stop())
            if not quiet:
                say(f"hvcopy: forwarding {listener.address} to {to}")
            forwarder.run()

    command.heeds_hang_up = command.stops_cleanly = True
    command.run(work)


def _leads_back(where: Address, to: Address) -> bool:
    """Whether a connection to *to* comes back to who listens at *where*, as far as their names tell."""
    from hvcopy.address import CID_ANY, CID_LOCAL, TcpAddress, UnixAddress, VsockAddress

    match where, to:
        case UnixAddress(), UnixAddress():
            return os.path.realpath(where.path) == os.path.realpath(to.path)
        case VsockAddress(cid=cid, port=port), VsockAddress() if cid == CID_ANY:
            return (to.cid, to.port) == (CID_LOCAL, port)
        case TcpAddress(host="0.0.0.0", port=port), TcpAddress():
            return to.port == port and (to.host == where.host or to.host.startswith("127."))
        case TcpAddress(host="::", port=port), TcpAddress():
            return to.port == port and to.host in ("::", "::1")
    return where == to
