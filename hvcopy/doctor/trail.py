"""What the steps to an address gave, one after the other, and what of the machine may explain the one that failed."""

from __future__ import annotations

from collections.abc import Sequence

from hvcopy.address import Address, VsockAddress
from hvcopy.doctor.finding import FAIL, OK, UNKNOWN, WARN, Finding, failed
from hvcopy.errors import HvcopyError, NotAllowed
from hvcopy.transport.vsock import CID_HOST

LOOKUP, SOCKET_FILE, CONNECT, MUXER = "lookup", "socket-file", "connect", "muxer"
GREETING, VERSION, ACCESS, JOBS, LISTEN = "greeting", "version", "access", "jobs", "listen"


class Trail:
    """The steps to *address* in ``found``; *machine* is what was found of this machine before."""

    def __init__(self, address: Address, machine: Sequence[Finding]) -> None:
        self.found: list[Finding] = []
        self._address = address
        self._machine = machine

    def well(self, step: str, what: str) -> None:
        """Note a step that went well."""
        self.found.append(Finding(step, OK, what))

    def note(self, step: str, state: str, what: str, why: str = "") -> None:
        """Note a step that neither went well nor failed."""
        self.found.append(Finding(step, state, what, why))

    def fail(self, step: str, error: HvcopyError, *, why: str = "") -> None:
        """Note that *error* ended *step*."""
        refused = isinstance(error, NotAllowed)
        causes = [one for one in self._machine if step in (CONNECT, LISTEN) and _may_explain(one, refused=refused)]
        mends = [one.fix for one in causes if one.fix and one.state == FAIL]
        mends += [error.hint, *(one.fix for one in causes)]
        error.hint = next(filter(None, mends), "")  # what is known of this machine is more than what an errno tells
        self.found.append(failed(step, error, why=why or self._mistake(step), causes=[one.id for one in causes]))

    def leave_out(self, steps: Sequence[str]) -> None:
        """Note of *steps* those that it did not come to."""
        done = {one.id for one in self.found}
        self.found += [Finding(step, UNKNOWN, "not tried") for step in steps if step not in done]

    def _mistake(self, step: str) -> str:
        """What people most often mistake when a connection fails."""
        ways = {one.id: one.state for one in self._machine}
        to_guest = isinstance(self._address, VsockAddress) and self._address.cid > CID_HOST
        if step == CONNECT and to_guest and ways.get("vsock.to-host") == OK:
            return "a guest reaches its host (vsock:host:PORT), but no other guests"
        return ""


def _may_explain(one: Finding, *, refused: bool) -> bool:
    """Policies explain refusals alone; whatever else does not work explains everything."""
    if one.id in ("system.selinux", "system.apparmor"):
        return refused and one.state == WARN
    return one.state == FAIL
