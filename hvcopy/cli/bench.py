"""``hvcopy bench``: what a connection can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hvcopy.cli import options

if TYPE_CHECKING:
    from hvcopy.cli.benching import Bench
    from hvcopy.cli.running import Command
    from hvcopy.errors import HvcopyError

USUAL = "send,recv,latency,connections,sweep"


def bench(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", show_default=False)] = "",
    serving: Annotated[bool, typer.Option("--serve", help="Answer on ADDRESS until stopped.")] = False,
    mode: Annotated[
        str,
        typer.Option(
            "-m", "--mode", metavar="LIST", help="send, recv, both, files, latency, connections, sweep; or several."
        ),
    ] = "",
    reverse: Annotated[
        bool, typer.Option("-R", "--reverse", help="The peer sends: with -m files or sweep, or as -m recv.")
    ] = False,
    bidir: Annotated[bool, typer.Option("--bidir", help="Both ways at once: as -m both.")] = False,
    seconds: Annotated[
        str, typer.Option("-t", "--time", metavar="SECS", help="Of each measurement; 2, in a sweep 200ms.")
    ] = "",
    length: Annotated[
        str, typer.Option("-l", "--length", metavar="SIZE", help="Of a message: 1M; with files 2k, with latency 64.")
    ] = "",
    lanes: Annotated[int, typer.Option("-P", "--lanes", metavar="N", help="Connections at once, 1 to 16.")] = 1,
    buffer: options.Buffer = "",
    lengths: Annotated[
        str, typer.Option("--lengths", metavar="LIST", help="Of the sweep's messages: 16k,64k,256k,1M.")
    ] = "",
    buffers: Annotated[
        str, typer.Option("--buffers", metavar="LIST", help="Of the sweep, besides the default one: 64k,256k,1M,4M.")
    ] = "",
    plot: Annotated[str, typer.Option("--plot", metavar="FILE", help="Draw the sweep: FILE.svg or FILE.png.")] = "",
    raw: Annotated[
        bool, typer.Option("--raw", help="Plain bytes, no handshake: to a sink, from a source, to an echo.")
    ] = False,
    wait: options.Wait = "0",
    timeout: options.Timeout = "30",
    key_file: options.KeyFile = "",
    allow: options.Allow = None,
    open_to_all: options.Open = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object on stdout, as iperf3's.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Leave out the seconds in progress.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="With --serve, tell of each measurement.")] = False,
) -> None:
    """Measure a connection, and say how to use it best.

    hvcopy bench vsock:3:18518

    On the other side: hvcopy bench --serve vsock:any:18518 --allow vsock:host. Without ADDRESS against itself.
    """
    from hvcopy.cli.running import Command

    command = Command("bench", quiet=quiet)
    if as_json:
        command.epilogue = lambda error: _fail(command, error)
    runs: list[Bench] = []

    def work() -> None:
        from hvcopy.cli import arguments
        from hvcopy.cli.benching import Bench, Wishes, answer, sizes
        from hvcopy.measuring.sweep import BUFFERS, LENGTHS

        of_sweep = arguments.given({"--lengths": lengths, "--buffers": buffers, "--plot": plot})
        measuring = {"--mode": mode, "--bidir": bidir, "--json": as_json, "--lanes": lanes > 1}
        sending = {"--reverse": reverse, "--time": seconds, "--length": length}  # a source heeds them
        _check(
            address,
            mode,
            serving=serving,
            raw=raw,
            reverse=reverse,
            bidir=bidir,
            lanes=lanes,
            key_file=key_file,
            allow=allow,
            everyone=open_to_all,
            of_client=arguments.given(measuring if raw and reverse else measuring | sending) + of_sweep,
        )
        trying = arguments.wait_seconds(wait, listening=serving)
        alone = "both" if bidir else "send" if reverse or raw else USUAL  # few raw peers are good for more than one
        wishes = Wishes(
            modes=[one.strip() for one in (mode or alone).split(",")],
            explicit=bool(mode),
            reverse=reverse,
            seconds=arguments.seconds(seconds) if seconds else None,
            length=arguments.size(length),
            lanes=lanes,
            buffer=arguments.size(buffer),
            lengths=sizes("--lengths", lengths, LENGTHS),
            buffers=sizes("--buffers", buffers, BUFFERS),
            of_sweep=of_sweep,
            plot=plot,
            raw=raw,
        )
        patience = arguments.timeout_seconds(timeout)
        where, alias_key = arguments.find(address) if address else (None, "")
        command.report.peer = str(where or "self")
        if where and serving:
            admission = arguments.admission(
                where, allow=allow, key_file=key_file, alias_key=alias_key, open_to_all=open_to_all, raw=raw
            )
            answer(command, where, admission, wishes, timeout=patience, verbose=verbose)
            return
        run = Bench(command, wishes, as_json=as_json)
        runs.append(run)
        if where:
            key = None if raw else arguments.key_of(key_file, alias_key)
            run.against(where, key=key, wait=trying, timeout=patience)
        else:
            run.against_itself(timeout=patience)

    command.lost_hint = "see that `hvcopy bench --serve` still runs on the other side, and run the same command again"
    command.heeds_hang_up, command.stops_cleanly = True, serving
    try:
        command.run(work)
    finally:
        for run in runs:  # an interrupted command does not wait for its thread
            run.close()


def _fail(command: Command, error: HvcopyError | None) -> None:
    """Print the object of a command that fails before it measures."""
    from hvcopy import __version__
    from hvcopy.cli.running import show_json
    from hvcopy.measuring.shape import whole

    show_json(whole([], peer=command.report.peer, protocol="", version=__version__, error=error))


def _check(
    address: str,
    mode: str,
    *,
    serving: bool,
    raw: bool,
    reverse: bool,
    bidir: bool,
    lanes: int,
    key_file: str,
    allow: list[str] | None,
    everyone: bool,
    of_client: list[str],
) -> None:
    """Raise BadUsage for options that do not go together; *of_client* are those given that only who measures heeds."""
    from hvcopy.cli.arguments import A_GUEST, LISTENING, THE_HOST
    from hvcopy.errors import BadUsage, printable
    from hvcopy.transfer.lanes import MAX_LANES

    if not 1 <= lanes <= MAX_LANES:  # here and not by typer, which would print no object
        raise BadUsage(f"--lanes {lanes} is out of bounds", hint=f"give 1 to {MAX_LANES} connections")
    if reverse and bidir:
        raise BadUsage("--reverse and --bidir exclude each other", hint="both directions in turn: --mode send,recv")
    if mode and bidir:
        raise BadUsage("--mode and --bidir exclude each other", hint="name it in the list: --mode send,both")
    if serving and of_client:
        raise BadUsage(
            f"{of_client[0]} is for who measures, and --serve only answers",
            hint=f"leave it out here, and on the other side: hvcopy bench {mode and f'--mode {printable(mode)} '}ADDRESS",
        )
    if not address and (serving or raw or key_file):
        typed = "hvcopy bench --raw" if raw else "hvcopy bench"
        measuring = f"{'--key-file FILE ' * bool(key_file)}{A_GUEST}"
        end = f"--serve {LISTENING} --allow {THE_HOST}" if serving else measuring
        raise BadUsage("an ADDRESS is missing", hint=f"{typed} {end}")
    if (allow or everyone) and not serving:
        raise BadUsage("--allow and --open go with --serve", hint="say there who may connect, and leave them out here")
    if raw and key_file:
        raise BadUsage("--raw has no handshake, so it proves no key", hint="leave out --key-file")
