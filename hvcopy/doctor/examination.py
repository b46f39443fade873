"""One visit: what was asked, what was found, and whether what was asked for would work."""

from __future__ import annotations

from msgspec.structs import replace

from hvcopy.address import Address
from hvcopy.doctor import hyperv, needs
from hvcopy.doctor.finding import ADDRESS, FAIL, OK, WARN, Finding, failed
from hvcopy.doctor.machine import Machine
from hvcopy.doctor.windows import Windows, here
from hvcopy.errors import HvcopyError
from hvcopy.transport import Cancellation

KEY_FILE = "key-file"
NOT_NEEDED = "what was asked for works without"
# The steps to an address bring half of the package with them, and are imported when there is one.


class Examination:
    """Of this machine, or of *machine* or *windows*; ``found`` grows as it goes: an interrupted one has something to show."""

    def __init__(
        self,
        machine: Machine | None = None,
        *,
        windows: Windows | None = None,
        cancellation: Cancellation | None = None,
    ) -> None:
        self.found: list[Finding] = []
        self.asked = ""
        self.listening = False
        self._machine = machine or Machine()
        self._windows = windows or here()
        self._cancellation = cancellation or Cancellation()
        self._decisive: list[Finding] = []

    @property
    def failure(self) -> Finding | None:
        """What keeps that which was asked for from working; None when nothing does."""
        return next((one for one in self._decisive if one.state == FAIL), None)

    def look_around(self) -> None:
        """Look for any way to another machine."""
        self.found += needs.everything(self._machine, self._windows)
        self._decisive = self.found[-1:]

    def refuse(self, step: str, error: HvcopyError) -> None:
        """Note that *error* ended the visit before it began."""
        self._decide(failed(step, error))

    def accept(self, address: Address) -> bool:
        """Note what the address is, and say whether it is one of this system."""
        self.asked = str(address)
        error = needs.misplaced(address, windows=self._windows is not None)
        self._decide(failed(ADDRESS, error) if error else Finding(ADDRESS, OK, self.asked))
        return error is None

    def connect(self, address: Address, *, key: bytes | None, timeout: float) -> None:
        """Try to connect.  Raises Interrupted; blocks."""
        from hvcopy.doctor.steps import Steps

        machine = self._look_at(address)
        steps = Steps(address, machine, key=key, timeout=timeout, cancellation=self._cancellation)
        try:
            steps.connect()
        finally:
            self._decide(*steps.found)
        self._agree()

    def listen(self, address: Address, *, timeout: float = 5.0) -> None:
        """Try to listen.  Raises Interrupted; blocks while names are looked up."""
        from hvcopy.doctor.steps import Steps

        self.listening = True
        machine = self._look_at(address)
        steps = Steps(address, machine, timeout=timeout, cancellation=self._cancellation)
        try:
            steps.listen()
        finally:
            self._decide(*steps.found)
            # Windows may well let it listen for VMs without having any, or without a registration, and no guest gets
            # through.  What a command would end with comes first.
            self._decisive += [one for one in machine if one.id in hyperv.decisive_to_listen(address)]
        self._agree()

    def _agree(self) -> None:
        """When all that was asked for has been done, what this machine lacks was not needed for it."""
        if self.failure is None:
            self.found = [
                replace(one, state=WARN, exit_code=0, why=f"{NOT_NEEDED}: {one.why}" if one.why else NOT_NEEDED)
                if one.state == FAIL
                else one
                for one in self.found
            ]

    def _look_at(self, address: Address) -> list[Finding]:
        found = needs.needed(self._machine, address, listening=self.listening, windows=self._windows)
        self.found += found
        return found

    def decisive(self, one: Finding) -> bool:
        """Say whether *one* is a step of what was asked for."""
        return one in self._decisive

    def json(self, seconds: float) -> dict[str, object]:
        """Return the object of ``--json``."""
        failure = self.failure
        return {
            "schema": 1,
            "command": "doctor",
            "address": self.asked,
            "listen": self.listening,
            "ok": failure is None,
            "exit_code": failure.exit_code if failure else 0,
            "seconds": round(seconds, 6),
            "findings": [one.json() for one in self.found],
        }

    def _decide(self, *findings: Finding) -> None:
        """Add what decides; of one id the later word counts, in the place of the earlier."""
        for one in findings:
            for kept in (self.found, self._decisive):
                places = [index for index, other in enumerate(kept) if other.id == one.id]
                if places:
                    kept[places[0]] = one
                else:
                    kept.append(one)
