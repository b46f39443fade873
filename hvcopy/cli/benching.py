"""What ``hvcopy bench`` does with its measurements: prints seconds on stderr and results on stdout, whatever ends them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from hvcopy import __version__
from hvcopy.address import Address
from hvcopy.admission import Admission
from hvcopy.cli.running import Command, say, show, show_json
from hvcopy.cli.serving import ServerLog
from hvcopy.errors import BadUsage, HvcopyError, NobodyListens, printable
from hvcopy.measuring import plan as plans
from hvcopy.measuring import shape, words
from hvcopy.measuring.advice import Advice, advise
from hvcopy.measuring.engine import Engine, Measurer
from hvcopy.measuring.figures import Interval, Outcome
from hvcopy.measuring.plan import Plan
from hvcopy.measuring.serving import MOST_BUFFER, BenchServer
from hvcopy.measuring.sweep import Sweep
from hvcopy.transport import listen
from hvcopy.units import parse_size

if TYPE_CHECKING:
    from hvcopy.measuring.myself import Myself
    from hvcopy.measuring.rawserving import RawServer

SECONDS, SWEEP_SECONDS = 2.0, 0.2
SWEEP = "sweep"


def sizes(option: str, text: str, usual: Sequence[int]) -> Sequence[int]:
    """Return the sizes of a list with commas, or the *usual* ones of none.  Raises BadUsage."""
    if not text:
        return usual
    found = [parse_size(one.strip()) for one in text.split(",")]
    if not all(found):
        raise BadUsage(f"{option} {printable(text)}: no size is zero", hint=f"{option} 64k,1M")
    return found


class Wishes(Struct, frozen=True):
    """What the command line asks to be measured; *explicit* when it names the modes itself.

    *of_sweep* are the options it gives that a sweep alone heeds.
    """

    modes: list[str]
    explicit: bool
    reverse: bool
    seconds: float | None
    length: int | None
    lanes: int
    buffer: int | None
    lengths: Sequence[int]
    buffers: Sequence[int]
    of_sweep: list[str]
    plot: str
    raw: bool

    def plans(self) -> list[Plan]:
        """Return a plan for each mode, the sweep's among them.  Raises BadUsage, before anything is measured."""
        if self.of_sweep and SWEEP not in self.modes:
            raise BadUsage(f"{self.of_sweep[0]} is for a sweep", hint="add --mode sweep, or leave it out")
        if self.plot:
            from hvcopy.measuring import plot

            plot.check(self.plot)
        if self.raw and plans.PACKS in self.modes:
            raise BadUsage("--mode files needs hvcopy at the other end", hint="leave out --raw")
        return [self._sweep() if mode == SWEEP else self._plan(mode) for mode in self.modes]

    def _plan(self, mode: str) -> Plan:
        fits = self.explicit or plans.MODES[mode][0] == plans.FLOOD
        return plans.make_plan(
            mode,
            seconds=SECONDS if self.seconds is None else self.seconds,
            length=self.length if fits else None,
            lanes=self.lanes if fits else 1,
            buffer=self.buffer,
            reverse=self.reverse,
        )

    def _sweep(self) -> Plan:
        """Return what the sweep's points have in common."""
        seconds = SWEEP_SECONDS if self.seconds is None else self.seconds
        for length, buffer in itertools.zip_longest(self.lengths, self.buffers):
            plans.make_plan(plans.SEND, seconds=seconds, length=length, buffer=buffer)
        return plans.make_plan(plans.SEND, seconds=seconds, reverse=self.reverse)


class Bench:
    """The measurements of one command.  What is known is printed at its end, however it ends."""

    def __init__(self, command: Command, wishes: Wishes, *, as_json: bool) -> None:
        self._command = command
        self._wishes = wishes
        self._as_json = as_json
        self._peer = self._protocol = ""
        self._measurer: Measurer | None = None
        self._myself: Myself | None = None
        self._outcomes: list[Outcome] = []
        self._sweep: Sweep | None = None
        self._advice: Advice | None = None
        command.epilogue = self._end

    def close(self) -> None:
        """End the second process, if there is one; for any thread."""
        if self._myself:
            self._myself.close()

    def against(self, address: Address, *, key: bytes | None, wait: float, timeout: float) -> None:
        """Measure against a server, or without a protocol a raw peer.  Raises HvcopyError; blocks."""
        found = self._wishes.plans()
        self._peer, self._protocol = str(address), address.scheme
        if self._wishes.raw:
            from hvcopy.measuring.raw import RawEngine

            self._run(RawEngine(address, wait=wait, timeout=timeout), found)
        else:
            self._run(Engine(address, key=key, wait=wait, timeout=timeout), found)

    def against_itself(self, *, timeout: float) -> None:
        """Measure against a second process.  Raises HvcopyError; blocks."""
        from hvcopy.measuring.myself import START_SECONDS, Myself

        found = self._wishes.plans()
        most = max(MOST_BUFFER, self._wishes.buffer or 0, *self._wishes.buffers)
        myself = self._myself = Myself(most_buffer=most, timeout=timeout)
        self._peer, self._protocol = "self", myself.address.scheme
        try:
            self._run(Engine(myself.address, wait=START_SECONDS, timeout=timeout), found)
        except NobodyListens as error:
            raise myself.explain() or error from None
        finally:
            myself.close()

    def _run(self, measurer: Measurer, found: list[Plan]) -> None:
        self._measurer = measurer
        self._command.interruptible(measurer.interrupt)
        self._say(f"hvcopy: measuring against {'a second process' if self._peer == 'self' else self._peer}")
        for mode, plan in zip(self._wishes.modes, found, strict=True):
            if mode == SWEEP:
                self._do_sweep(measurer, plan)
            else:
                outcome = measurer.measure(plan, self._observe)
                self._outcomes.append(outcome)
                self._print(words.result(outcome))

    def _do_sweep(self, measurer: Measurer, plan: Plan) -> None:
        sweep = self._sweep = Sweep(measurer, plan, lambda text: self._say(f"hvcopy: {text}"))
        sweep.run(self._wishes.lengths, self._wishes.buffers)
        measurer.current = None
        self._advice = advise(sweep.points)
        self._print(["", f"sweep, {'receiving' if plan.receives else 'sending'}:", *words.table(sweep.points), ""])
        if self._advice:
            self._print(words.advice(self._advice, sweep.points))
        if self._wishes.plot:
            from hvcopy.measuring import plot

            plot.draw(sweep.points, self._wishes.plot, title=f"hvcopy bench {self._peer}")

    def _observe(self, outcome: Outcome, interval: Interval) -> None:
        self._say(words.interval(outcome, interval))

    def _say(self, line: str) -> None:
        if not self._command.quiet:
            say(line)

    def _print(self, lines: list[str]) -> None:
        if not self._as_json:
            show("\n".join(lines))

    def _end(self, error: HvcopyError | None) -> None:
        """Print what an error left unfinished, and the object."""
        current = self._measurer.current if self._measurer else None
        broken = [current] if current and not current.done and current.intervals else []
        if self._sweep and not self._advice:
            broken = []  # a single point of it
            self._print(["", "sweep, not finished; until then:", *words.table(self._sweep.points)])
        for outcome in broken:
            self._print(words.result(outcome))
        if self._as_json:
            found = shape.whole(
                self._outcomes + broken,
                peer=self._peer or self._command.report.peer,
                protocol=self._protocol,
                version=__version__,
                points=self._sweep.points if self._sweep else (),
                advice=self._advice,
                error=error,
            )
            show_json(found)


def answer(
    command: Command, address: Address, admission: Admission, wishes: Wishes, *, timeout: float, verbose: bool
) -> None:
    """Answer on *address* until stopped, telling of raw peers' connections, or if *verbose* of each measurement.

    Raises HvcopyError; blocks.
    """
    log = ServerLog(command, verbose=False)

    def measured(peer: str, outcome: Outcome) -> None:
        if verbose or (wishes.raw and not command.quiet):
            command.log(f"hvcopy: {printable(peer)}: {words.served(outcome)}")

    with listen(address, buffer=wishes.buffer, timeout=timeout) as listener:
        server: RawServer | BenchServer
        if wishes.raw:
            from hvcopy.measuring.rawserving import RawServer

            seconds = SECONDS if wishes.seconds is None else wishes.seconds
            plan = plans.make_plan(plans.RECV if wishes.reverse else plans.SEND, seconds=seconds, length=wishes.length)
            server = RawServer(
                listener, admission, plan=plan, timeout=timeout, on_failed=log.failed, measured=measured
            )
        else:
            most = wishes.buffer or MOST_BUFFER
            server = BenchServer(listener, admission, timeout=timeout, most_buffer=most, events=log, measured=measured)
        command.interruptible(lambda error: server.stop())
        if not command.quiet:
            say(f"hvcopy: answering to bench on {listener.address}")
        server.run()
