"""``hvcopy nc``: raw bytes over any transport."""

from __future__ import annotations

from typing import Annotated

import typer

from hvcopy.cli import options

CONNECT_SECONDS = 30.0

KeepOpen = Annotated[bool, typer.Option("-k", "--keep-open", help="With -l: take one connection after another.")]
Fin = Annotated[bool, typer.Option("-N", help="Tell the peer when standard input has ended (half-close).")]
QuitAfter = Annotated[str, typer.Option("-q", metavar="SECS", help="End so long after standard input; implies -N.")]
SendOnly = Annotated[bool, typer.Option("--send-only", help="Throw away what comes; end when standard input does.")]
RecvOnly = Annotated[bool, typer.Option("--recv-only", help="Send nothing; end when the peer does.")]
Patience = Annotated[
    str, typer.Option("-w", metavar="SECS", help="Give up after so long: connecting, and when nothing moves.")
]
Probe = Annotated[bool, typer.Option("-z", help="Only see whether somebody listens.")]


def nc(
    address: Annotated[str, typer.Argument(metavar="ADDRESS")],
    listening: options.Listen = False,
    keep_open: KeepOpen = False,
    fin: Fin = False,
    quit_after: QuitAfter = "",
    send_only: SendOnly = False,
    recv_only: RecvOnly = False,
    patience: Patience = "",
    probe: Probe = False,
    wait: options.Wait = "0",
    allow: options.Allow = None,
    open_to_all: options.Open = False,
    buffer: options.Buffer = "",
    verbose: options.Verbose = False,
) -> None:
    """Send standard input to a peer that is not hvcopy, and write what it sends: raw bytes, as nc does.

    ssh -o ProxyCommand='hvcopy nc %h' vsock:3:22

    Nothing is verified: 0 says that the bytes were handed over. Where both sides have hvcopy, `hvcopy pipe` knows that they
    arrived.
    """
    from hvcopy.cli.running import Command

    command = Command("nc")

    def work() -> None:
        from hvcopy.cli import arguments
        from hvcopy.cli.talking import Talks, probe_for
        from hvcopy.errors import BadUsage, printable
        from hvcopy.netcat import Habits
        from hvcopy.stdio import Stdio

        if send_only and recv_only:
            raise BadUsage("--send-only and --recv-only exclude each other", hint="leave out both to send and receive")
        if listening and probe:
            raise BadUsage("-z looks for a listener, and -l is one", hint=f"hvcopy nc -z {printable(address)}")
        ending = arguments.given({"-N": fin, "-q": quit_after})
        moving = ending + arguments.given({"--send-only": send_only, "--recv-only": recv_only, "--buffer": buffer})
        if probe and moving:
            raise BadUsage(f"-z moves no bytes, so {moving[0]} has no effect", hint="leave out one of them")
        if recv_only and ending:
            raise BadUsage(f"--recv-only reads no standard input, so {ending[0]} has no effect", hint="leave out one of them")
        if send_only and quit_after:
            raise BadUsage("--send-only ends with standard input, so -q has no effect", hint="leave out one of them")
        if keep_open and not listening:
            raise BadUsage("-k keeps listening", hint="add -l")
        arguments.only_for_listeners(listening, allow=allow, open_to_all=open_to_all)
        trying = arguments.wait_seconds(wait, listening=listening)
        where, alias_key = arguments.find(address)
        negative = quit_after[:1] == "-" and quit_after[1:2].isdigit()  # no option that took the place of the number
        after = arguments.seconds(quit_after) if quit_after and not negative else None
        idle = arguments.timeout_seconds(patience, "-w") if patience else None
        patient, size = idle or CONNECT_SECONDS, arguments.size(buffer)
        if probe:
            probe_for(command, where, wait=trying, timeout=patient, verbose=verbose)
            return
        habits = Habits(listening, keep_open, fin or after is not None, after, send_only, recv_only, idle)
        with Stdio(reads=not recv_only) as stdio:
            talks = Talks(command, where, stdio, habits, verbose=verbose)
            if listening:
                who = arguments.admission(where, allow=allow, open_to_all=open_to_all, alias_key=alias_key, raw=True)
                talks.listen(who, buffer=size)
            else:
                talks.dial(wait=trying, timeout=patient, buffer=size)

    command.lost_hint = "bytes may be missing at either end: run the same commands again on both sides"
    command.heeds_hang_up, command.stops_cleanly = listening, keep_open
    command.run(work)
