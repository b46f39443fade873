"""``hvcopy pipe``: standard input to the peer's standard output, and back, verified."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from hvcopy.cli import options

if TYPE_CHECKING:
    from hvcopy.address import Address
    from hvcopy.admission import Admission
    from hvcopy.cli.ends import Ends
    from hvcopy.cli.running import Command
    from hvcopy.errors import HvcopyError
    from hvcopy.streams import Stream, StreamListener
    from hvcopy.transfer.tally import StreamTally


def pipe(
    address: Annotated[str, typer.Argument(metavar="ADDRESS")],
    listening: options.Listen = False,
    keep_open: options.KeepOpen = False,
    input_file: Annotated[
        str, typer.Option("-i", "--input", metavar="FILE", help="Send FILE instead of standard input.")
    ] = "",
    output_file: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="Write FILE, once it is whole, not standard output.")
    ] = "",
    digest: Annotated[bool, typer.Option("--digest", help="Print the XXH3-128 of what was sent and received.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Let anything through to a terminal.")] = False,
    no_fsync: options.NoFsync = False,
    wait: options.Wait = "0",
    timeout: options.Timeout = "30",
    key_file: options.KeyFile = "",
    allow: options.Allow = None,
    open_to_all: options.Open = False,
    bwlimit: options.Bwlimit = "",
    buffer: options.Buffer = "",
    progress: options.ProgressKind = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Join two pipelines: standard input to the other side's standard output, and back, verified.

    tar c . | hvcopy pipe vsock:3:18518

    On the other side: hvcopy pipe -l vsock:any:18518 --allow vsock:2 | tar x
    """
    from hvcopy.cli.ends import STDOUT, Ends, descriptor_called, fill_standard_descriptors
    from hvcopy.cli.running import Command, say
    from hvcopy.report import StreamReport
    from hvcopy.transfer.tally import StreamTally

    fill_standard_descriptors()
    command = Command("pipe", progress="none" if keep_open else progress, as_json=as_json, quiet=quiet)
    command.report = StreamReport("pipe")
    command.tally = tally = StreamTally(observer=command)
    command.results_to = sys.stderr if descriptor_called(output_file) == STDOUT else sys.stdout

    def work() -> None:
        from hvcopy.cli import arguments
        from hvcopy.errors import BadUsage

        if keep_open and not listening:
            raise BadUsage("-k goes on listening, so it needs -l", hint=f"hvcopy pipe -l -k {arguments.LISTENING} --open")
        arguments.only_for_listeners(listening, allow=allow, open_to_all=open_to_all)
        trying = arguments.wait_seconds(wait, listening=listening)
        where, alias_key = arguments.find(address)
        command.report.peer = str(where)
        patience, size, limit = arguments.timeout_seconds(timeout), arguments.size(buffer), arguments.rate(bwlimit)
        with Ends(input_file, output_file, sync=not no_fsync, force=force, many=keep_open) as ends:
            if not listening:
                from hvcopy.streams import open_stream

                key = arguments.key_of(key_file, alias_key)
                stream = open_stream(
                    where,
                    key=key,
                    wait=trying,
                    timeout=patience,
                    buffer=size,
                    cancellation=command.connecting(),
                )
            else:
                admission = arguments.admission(
                    where, allow=allow, key_file=key_file, alias_key=alias_key, open_to_all=open_to_all
                )
                with _listening(command, where, admission, patience, size) as ear:
                    if keep_open:
                        _serve(command, ear, ends, limit, digest=digest)
                    stream = ear.wait()
            command.interruptible(stream.interrupt)
            tally.window = stream.window
            if verbose:
                say(f"hvcopy: connected to {stream.peer}, window {stream.window} bytes")
            inlet, sink = ends.take()
            stream.carry(inlet, sink, tally, bwlimit=limit)
            command.results = _digests(tally) if digest and not as_json else []

    command.lost_hint = "anything that came is not whole: use nothing of it, and run the same commands again on both sides"
    command.heeds_hang_up, command.stops_cleanly = listening, keep_open
    command.run(work)


@contextlib.contextmanager
def _listening(
    command: Command, where: Address, admission: Admission, timeout: float, buffer: int | None
) -> Iterator[StreamListener]:
    """Listen until the end of the block, which one peer or many may have been waited for."""
    from hvcopy.cli.running import say
    from hvcopy.errors import printable, said_of
    from hvcopy.streams import StreamListener
    from hvcopy.transport import listen

    def refused(peer: str, error: HvcopyError) -> None:
        if not command.quiet:
            command.log(f"hvcopy: {printable(said_of(peer, error.message))}")

    with listen(where, buffer=buffer, timeout=timeout) as listener:
        if not command.quiet:
            say(f"hvcopy: listening on {listener.address}")
        ear = StreamListener(listener, admission, timeout=timeout, on_refused=refused)
        command.interruptible(lambda error: ear.close())
        try:
            yield ear
        finally:
            ear.close()


def _serve(command: Command, ear: StreamListener, ends: Ends, limit: int, *, digest: bool) -> NoReturn:
    """Take one peer after the other, while somebody still reads; a session that fails is told and does not end it."""
    from hvcopy.errors import HvcopyError, ReaderGone
    from hvcopy.transfer.tally import StreamTally

    as_json, command.as_json = command.as_json, False
    while True:
        stream = ear.wait()

        def interrupt(error: BaseException, stream: Stream = stream) -> None:
            ear.close()
            stream.interrupt(error)

        command.interruptible(interrupt)
        began, failure = time.monotonic(), None
        tally = StreamTally(window=stream.window)
        try:
            inlet, sink = ends.take()
            stream.carry(inlet, sink, tally, bwlimit=limit)
        except HvcopyError as error:
            failure = error
            stream.interrupt(error)  # of what went wrong before it was carried, the peer hears now
        finally:
            stream.close()
        leaving = isinstance(failure, ReaderGone) and sink.lost()
        _tell(command, stream.peer, tally, time.monotonic() - began, failure, told=not leaving, as_json=as_json, digest=digest)
        if failure and leaving:
            raise failure


def _tell(
    command: Command,
    peer: str,
    tally: StreamTally,
    seconds: float,
    failure: HvcopyError | None,
    *,
    told: bool,
    as_json: bool,
    digest: bool,
) -> None:
    """Tell what became of one session: with *told* its failure, which else the whole command ends with."""
    from json import dumps

    from hvcopy.cli.running import show
    from hvcopy.errors import printable

    if failure and told:
        command.log(f"hvcopy: {printable(failure.message)}")
    elif not (failure or command.quiet):
        command.log(f"hvcopy: {peer}: {command.report.summary(tally, seconds)}")
    results = _digests(tally) if digest and not (failure or as_json) else []
    if as_json:
        results = [dumps(command.report.json(tally, seconds, failure))]
    for line in results:
        if command.results_to is sys.stderr:
            command.log(line)
        else:
            show(line)


def _digests(tally: StreamTally) -> list[str]:
    """Return both digests as xxh128sum prints them."""
    return [f"{tally.sent_digest.hex()}  sent", f"{tally.received_digest.hex()}  received"]
