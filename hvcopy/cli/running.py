"""Runs a command's work so that Ctrl-C always works, shows its progress, and turns its end into text and an exit code."""

from __future__ import annotations

import contextlib
import errno
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TextIO

from hvcopy import threads
from hvcopy.cli import STDERR, STDOUT, signals
from hvcopy.descriptors import lead_to_null, takes_line
from hvcopy.errors import (
    BadUsage,
    ConnectionLost,
    HvcopyError,
    Interrupted,
    LocalFailure,
    TimedOut,
    closed_output,
    make_room,
    printable,
    unforeseen,
)
from hvcopy.progress import KINDS, Progress
from hvcopy.report import Report
from hvcopy.transfer.tally import Tally

if TYPE_CHECKING:
    from hvcopy.transport import Cancellation

TICK = 0.1
INTERRUPT_SECONDS = 2.0
MOST_LATER = 10_000
"""Lines kept while standard error takes none; those beyond are counted, but of failed entries, which are all told."""


def _allow_many_files() -> None:
    """Raise the limit of open files to what this user may have: trees of many folders keep many of them open."""
    if sys.platform != "win32":
        with contextlib.suppress(ImportError, ValueError, OSError):
            import resource

            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def say(text: str) -> None:
    """Print a line for people, on stderr, whole, whichever thread says it.  When nobody can be told, that changes nothing."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError as error:
        if not make_room(error.errno):  # whoever serves for months may have room for its log again
            mute(STDERR)


def show(text: str, file: TextIO | None = None) -> None:
    """Print a result on standard output, or on stderr as ``say`` does.  Raises LocalFailure when there is no room for it or
    standard output is closed.

    A reader that has left (``| head``) changes no outcome.
    """
    if file is sys.stderr:
        say(text)
        return
    if sys.stdout is None:
        raise closed_output()
    try:
        print(text, flush=True)
    except OSError as error:
        mute(STDOUT)
        if not isinstance(error, BrokenPipeError):
            raise no_output(error) from None


def show_json(value: object, file: TextIO | None = None) -> None:
    """Print *value* as a line of JSON, as ``show`` does."""
    from json import dumps

    show(dumps(value), file)


def no_output(error: OSError) -> LocalFailure:
    """Return the failure of a command whose results find no room."""
    if error.errno == errno.EBADF:
        return closed_output()
    return LocalFailure(f"standard output: {error.strerror}", hint=make_room(error.errno))


def _not_of_this_locale(error: UnicodeEncodeError) -> Exception:
    """Return the failure of work that had a path for which the locale has no bytes: addresses are UTF-8 in any."""
    if error.encoding == "utf-8":
        return error
    return BadUsage(
        f"{printable(error.object)} cannot be a name of a file in this locale, whose encoding is {error.encoding}",
        hint="run hvcopy with LC_ALL=C.UTF-8",
    )


def _line(path: bytes, message: str) -> str:
    return f"hvcopy: {printable(path)}: {message}" if path else f"hvcopy: {message}"


def mute(fd: int) -> None:
    """Lead a standard descriptor nowhere: what is left in its buffer must not fail again as the interpreter ends."""
    lead_to_null(fd, inheritable=True)


class Command:
    """One run of one command: its options for output, its tally, its report."""

    def __init__(self, name: str, *, progress: str = "none", as_json: bool = False, quiet: bool = False) -> None:
        self.report = Report(name)
        self.quiet = quiet
        self.as_json = as_json
        self.tally = Tally(observer=self)
        self.interrupted = False
        self._interrupt: Callable[[BaseException], None] | None = None
        self.resume_hint = False
        self.lost_hint = ""
        self.results: list[str] = []
        self.results_to = sys.stdout
        self.stops_cleanly = False
        self.heeds_hang_up = False
        """A closed terminal ends it as SIGTERM does: its socket file, folder or process would outlive it."""
        self.told = False
        """The epilogue has told of the failure where its message would go."""
        self.epilogue: Callable[[HvcopyError | None], None] | None = None
        self._kind = "none" if quiet else progress
        self._progress: Progress | None = None
        self._lock = threading.Lock()
        self._said: deque[str] = deque()
        self._unsaid = 0
        self._start = time.monotonic()

    @property
    def wants_totals(self) -> bool:
        """True when progress will be shown against a total, which costs a second walk over the sources."""
        return self._kind in ("bar", "plain", "json") or (self._kind == "auto" and sys.stderr.isatty())

    def failed(self, path: bytes, code: int, message: str) -> None:
        """Tell of a failed entry; called from the transfer's threads."""
        self.report.add_failure(path, code, message)
        self._later(_line(path, message))

    def noted(self, path: bytes, message: str) -> None:
        """Tell of a skipped entry; called from the transfer's threads."""
        if not self.quiet:
            self.log(_line(path, message))

    def log(self, line: str) -> None:
        """Tell of what goes on, soon, from any thread: whoever serves others must not wait for the reader of standard error."""
        self._later(line, at_most=MOST_LATER)

    def _later(self, line: str, *, at_most: float = math.inf) -> None:
        with self._lock:
            if len(self._said) < at_most:
                self._said.append(line)
            else:
                self._unsaid += 1

    def _flush(self, *, last: bool = False) -> None:
        """Print what is to be told, as far as standard error takes it at once; with *last* all of it."""
        if self._said and self._progress:
            self._progress.clear()
        for _ in range(len(self._said)):
            self._let_go_of_reader()
            if not (last or takes_line(STDERR)):
                return
            say(self._said.popleft())
        with self._lock:
            unsaid, self._unsaid = (0, self._unsaid) if self._said else (self._unsaid, 0)
        if unsaid:
            say(f"hvcopy: and {unsaid} more lines are left out: standard error took no more")
        if last:
            self._let_go_of_reader()

    def _let_go_of_reader(self) -> None:
        """Once interrupted, wait for nobody to read standard error any more."""
        if not takes_line(STDERR):
            signals.check()
            if self.interrupted:
                mute(STDERR)

    def run(self, work: Callable[[], None], *, here: bool = False) -> NoReturn:
        """Do *work* and exit the process with the status its outcome deserves.

        *here*: in this thread, for what asks the user and has no progress; a signal breaks it off wherever it is, so that
        it must start no program, which might be left behind.
        """
        signals.watch()
        if self.heeds_hang_up:
            signals.watch_hang_up()
        _allow_many_files()
        error: HvcopyError | None = None
        try:
            if self._kind not in (*KINDS,):
                raise BadUsage(f"--progress {printable(self._kind)} is none of {', '.join(KINDS)}", hint="--progress plain")
            self._progress = Progress(self._kind, self.tally)
            self._start = time.monotonic()
            if here:
                with signals.raising():
                    signals.check()
                    work()
            else:
                self._work(work)
        except HvcopyError as caught:
            error = caught
        except KeyboardInterrupt:
            signals.forget()
            self.interrupted = True
            error = None if self.stops_cleanly else Interrupted("interrupted")
        with signals.raising():  # standard output may be full
            self._end(error)

    def interruptible(self, interrupt: Callable[[BaseException], None]) -> None:
        """Say how to end the work that is under way now; it is ended at once when a signal has come before."""
        self._interrupt = interrupt
        if self.interrupted:
            interrupt(Interrupted("interrupted"))

    def connecting(self) -> Cancellation:
        """Return what ends a connection that is only coming about; until it has, that is the work under way."""
        from hvcopy.transport import Cancellation

        cancellation = Cancellation()
        self.interruptible(lambda error: cancellation.cancel())
        return cancellation

    def _work(self, work: Callable[[], None]) -> None:
        signals.check()  # what came during start-up
        outcome: list[BaseException] = []

        done = threading.Lock()
        done.acquire()

        def run() -> None:
            try:
                work()
            except OSError as error:
                outcome.append(unforeseen(error))
            except UnicodeEncodeError as error:
                outcome.append(_not_of_this_locale(error))
            except BaseException as error:
                outcome.append(error)
            finally:
                done.release()

        # Signals arrive in this thread only, and waiting for a plain lock is safe for them: Thread.join takes an
        # interrupted wait for the thread's end (cpython#90882), and a Condition may lose its own lock.
        try:
            threads.start(run, "command")
            while not done.acquire(timeout=TICK):
                signals.check()
                with signals.raising():  # standard error may be full
                    self._show()
        except KeyboardInterrupt:
            signals.forget()
            self.interrupted = True
            if self._interrupt:
                self._interrupt(Interrupted("interrupted"))
            programs = sys.modules.get("hvcopy.machines.programs")  # of most commands nobody asks any
            if programs:
                programs.end_all()
            with signals.raising():
                done.acquire(timeout=INTERRUPT_SECONDS)
            raise
        finally:
            with signals.raising():
                self._show(last=True)
        if outcome:
            raise outcome[0]

    def _show(self, *, last: bool = False) -> None:
        self._flush(last=last)
        if not self._progress or self._kind == "none" or not (last or takes_line(STDERR)):
            return
        try:
            self._progress.tick()
            if last:
                self._progress.close()
        except OSError:
            mute(STDERR)

    def _end(self, error: HvcopyError | None) -> NoReturn:
        try:
            self._tell(error)
        except LocalFailure as failure:
            say(f"hvcopy: {failure.message}\n  {failure.hint}")
            error = failure
        try:
            sys.stderr.flush()
        except OSError:
            mute(STDERR)
        sys.exit(error.exit_code if error else self.tally.exit_code)

    def _tell(self, error: HvcopyError | None) -> None:
        seconds = time.monotonic() - (self.tally.started or self._start)
        self._flush(last=True)
        if self.epilogue:
            self.epilogue(error)
        if self.told:
            return
        if error:
            say(f"hvcopy: {printable(error.message)}")
            hint = error.hint or self._how_to_go_on(error)
            if hint:
                say(f"  {printable(hint)}")
        elif not self.quiet and self.tally.durability:
            say(f"hvcopy: {self.report.summary(self.tally, seconds)}")
        if not error:
            for line in self.results:
                show(line, self.results_to)
        if self.as_json:
            show_json(self.report.json(self.tally, seconds, error), self.results_to)

    def _how_to_go_on(self, error: HvcopyError) -> str:
        """Return the exact command that goes on where this one broke off, or what else to do when a stream broke."""
        if not isinstance(error, (ConnectionLost, Interrupted, TimedOut)):
            return ""
        if not self.resume_hint:
            nothing_moved = isinstance(error, Interrupted) and not self.tally.started
            return "" if nothing_moved else self.lost_hint
        safe = "nothing half-written stands under a final name"
        from re import search

        lent = [found[1] for word in sys.argv[1:] if (found := search("(?:^|=)(/(?:dev|proc/self)/fd/[0-9]+)$", word))]
        if lent:  # which the next process will not have
            return f"{safe}; to go on, type the same command again: {lent[0]} was lent by the shell, as for <(...)"
        shell, words = _as_typed(sys.argv[1:])
        where = f" in {shell}" if shell else ""
        return f"{safe}; to go on, run again{where}: hvcopy {words}"


def _as_typed(words: list[str]) -> tuple[str, str]:
    """Return *words* as this system's shells take them, and before it the only shell that does, if that is so."""
    if sys.platform == "win32":
        from hvcopy.elevation import typed

        return typed(words)
    else:
        from shlex import join

        return "", join(words)
