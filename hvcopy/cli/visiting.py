"""What ``hvcopy doctor`` does: an examination, printed as it ends, however it ends."""

from __future__ import annotations

import sys
import textwrap
import time
from typing import TYPE_CHECKING

from hvcopy.cli import arguments
from hvcopy.cli.running import show, show_json
from hvcopy.doctor.examination import KEY_FILE, Examination
from hvcopy.doctor.finding import ADDRESS, NOT_APPLICABLE, OK, UNKNOWN, Finding
from hvcopy.errors import BY_EXIT_CODE, BadUsage, HvcopyError, Interrupted, printable

if TYPE_CHECKING:
    from hvcopy.cli.running import Command

_MARKS = {UNKNOWN: "?", NOT_APPLICABLE: "-"}
WIDTH = 120


class Visit:
    """One run of the command."""

    def __init__(self, command: Command, *, as_json: bool, verbose: bool) -> None:
        self._command = command
        self._as_json = as_json
        self._verbose = verbose
        self._start = time.monotonic()
        self._examination = Examination(cancellation=command.connecting())
        command.epilogue = self._show

    def run(self, text: str, *, listening: bool, timeout: str, key_file: str) -> None:
        """Examine this machine, or the way to the address *text*.  Raises the failure that was found; blocks."""
        seconds = arguments.timeout_seconds(timeout)
        if not text:
            if listening or key_file:
                raise BadUsage("-l and --key-file need an ADDRESS", hint=f"hvcopy doctor -l {arguments.LISTENING}")
            self._examination.look_around()
        else:
            self._examine(text, listening=listening, seconds=seconds, key_file=key_file)
        failure = self._examination.failure
        if failure:
            asked = f"{self._examination.asked}: " if self._examination.asked else ""
            what = failure.what.removeprefix(asked)
            raise BY_EXIT_CODE[failure.exit_code](f"{asked}{failure.id}: {what}", hint=failure.fix)

    def _examine(self, text: str, *, listening: bool, seconds: float, key_file: str) -> None:
        visit = self._examination
        visit.asked = text
        try:
            address, alias_key = arguments.find(text)
        except BadUsage as error:
            visit.refuse(ADDRESS, error)
            return
        if not visit.accept(address):
            return
        try:
            key = arguments.key_of(key_file, alias_key)
        except HvcopyError as error:
            visit.refuse(KEY_FILE, error)
            return
        if listening:
            visit.listen(address, timeout=seconds)
        else:
            visit.connect(address, key=key, timeout=seconds)

    def _show(self, error: HvcopyError | None) -> None:
        visit = self._examination
        if isinstance(error, BadUsage) and not visit.found:  # the command line itself
            return
        if self._as_json:
            result = visit.json(time.monotonic() - self._start)
            if isinstance(error, Interrupted):
                result.update(ok=False, exit_code=error.exit_code)
            show_json(result)
        elif not self._command.quiet:
            shown = [one for one in visit.found if self._shown(one)]
            width = max((len(one.id) for one in shown), default=0)
            show("\n".join(_in_words(one, width) for one in shown))
            self._command.told = visit.failure is not None and _one_screen() and not isinstance(error, Interrupted)

    def _shown(self, one: Finding) -> bool:
        if self._verbose:
            return True
        if one.state == NOT_APPLICABLE:
            return False
        return not self._examination.asked or self._examination.decisive(one) or one.state != OK


def _one_screen() -> bool:
    """Say whether findings and messages come to the same eyes."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))


def _in_words(one: Finding, width: int) -> str:
    indent = len("fail  ") + width + 2
    lines = [f"{_MARKS.get(one.state, one.state):<5} {one.id:<{width}}  {printable(one.what)}"]
    causes = f"likely: {', '.join(one.causes)}" if one.causes else ""
    for text in (printable(one.why), causes):
        lines += [" " * indent + line for line in textwrap.wrap(text, WIDTH - indent)]
    if one.fix:  # a command is not broken into lines, for it is to be copied
        lines.append(f"{'fix':>9}".ljust(indent) + printable(one.fix))
    return "\n".join(lines)
