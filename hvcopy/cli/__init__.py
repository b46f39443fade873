"""The commands: one file each.  The only place that prints or exits.  Heavy modules are imported where used."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from hvcopy.cli import signals

GARBAGE_THRESHOLD = 20_000
"""Allocations between two looks for cycles: a transfer makes many small objects and hardly a cycle."""
STDOUT, STDERR = 1, 2
NOT_FLUSHED = 120
"""What Python itself exits with when standard output does not take what was left for it."""
INTERRUPTED = 130
"""As ``errors.Interrupted``, which may not have been imported yet."""


def main() -> NoReturn:
    """Run the command line and end the process with its status.

    At once: to take an interpreter apart costs 10 ms (docs/performance.md), and everything that outlives it, files and
    sockets, commands have seen to by then.  Not on Windows, where the start costs so much more that nobody would notice.
    """
    status = run()
    if sys.platform == "win32":
        sys.exit(status)
    else:
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None:
                    stream.flush()
            except OSError:
                status = status or NOT_FLUSHED
        os._exit(status)


def run() -> int:
    """Run the command line and return its status."""
    try:
        signals.watch()
        _have_stderr()
        _say_anything()
        _start()
    except KeyboardInterrupt:  # before the command looks after its own, or after: while it waited for a reader
        _let_go_of_readers()
        with contextlib.suppress(OSError):
            print("hvcopy: interrupted", file=sys.stderr, flush=True)
        return INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _start() -> None:
    gc.disable()  # nothing that start-up makes is garbage, and looking for some costs a tenth of it
    from hvcopy.cli.app import build

    app = partial(build(sys.argv[1:]), windows_expand_args=False)  # $NAME, %NAME%, ~ and [ are parts of names
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    gc.enable()
    _run(app)


def _run(app: Callable[[], None]) -> None:
    """Run *app*.  Commands tell their own failures; what fails here is printing help, a version or a usage error."""
    output = sys.stdout
    try:
        app()
    except OSError as error:
        from hvcopy.cli.running import mute, no_output, say

        usage = getattr(error.__context__, "exit_code", None)  # what could not be told was one, on stderr
        if usage:
            mute(STDERR)
            sys.exit(usage)
        mute(STDOUT)
        failure = no_output(error)
        say(f"hvcopy: {failure.message}\n  {failure.hint}")
        sys.exit(failure.exit_code)
    except SystemExit:
        if sys.stdout is output:
            raise
        sys.exit(0)  # typer's answer to a reader that has left, which changes no outcome


def _let_go_of_readers() -> None:
    """Wait for nobody to read what is still in a buffer."""
    from hvcopy.descriptors import lead_to_null, takes_line

    for fd in (STDOUT, STDERR):
        if not takes_line(fd):
            lead_to_null(fd)


def _say_anything() -> None:
    """Names have any character; what the locale or Windows' code page lacks must not end a command that only prints them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            utf8 = sys.platform == "win32" and not stream.isatty()
            stream.reconfigure(encoding="utf-8" if utf8 else None, errors="backslashreplace")


def _have_stderr() -> None:
    """Where descriptor 2 is closed let messages go nowhere: Python would print them on standard output, among the data."""
    if sys.stderr is None:
        null = os.open(os.devnull, os.O_WRONLY)
        if null != STDERR:
            os.dup2(null, STDERR)
            os.close(null)
        sys.stderr = open(STDERR, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
