"""The step that finds what the names in an address stand for."""

from __future__ import annotations

import queue
import socket
from collections.abc import Callable
from typing import TypeVar, cast

from hvcopy import threads
from hvcopy.address import HypervAddress, TcpAddress
from hvcopy.doctor.finding import ADDRESS
from hvcopy.doctor.trail import LOOKUP, Trail
from hvcopy.errors import BadUsage, HvcopyError, Interrupted, LocalFailure, NobodyListens, printable
from hvcopy.transport.failures import reason
from hvcopy.transport.patience import Patience

T = TypeVar("T")


def host(trail: Trail, address: TcpAddress, patience: Patience) -> bool:
    """Resolve the host's name.  Raises Interrupted."""

    def ask() -> list[str]:
        answers = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(answer[4][0]) for answer in answers))

    try:
        found = aside(ask, patience)
    except (socket.gaierror, UnicodeError, TimeoutError) as error:
        words = getattr(error, "strerror", None) or str(error) or f"no answer within {patience.seconds:g} s"
        what = f"the name {printable(address.host)} cannot be resolved ({words})"
        trail.fail(LOOKUP, NobodyListens(what, hint="give the IP address in place of the name"))
        return False
    except OSError as error:  # EAI_SYSTEM is no word on the name
        trail.fail(LOOKUP, LocalFailure(f"the name {printable(address.host)} cannot be looked up: {reason(error)}"))
        return False
    trail.well(LOOKUP, f"{address.host} is {', '.join(found)}")
    return True


def vm(trail: Trail, address: HypervAddress, patience: Patience, *, listening: bool) -> bool:
    """Find the VM and the service.  Raises Interrupted."""
    from hvcopy.transport.hyperv import check_here
    from hvcopy.transport.hyperv.lookups import of_this_machine
    from hvcopy.transport.hyperv.resolve import resolve

    try:
        check_here(address)
    except BadUsage as error:
        trail.fail(ADDRESS, error)
        return False
    try:
        target = resolve(address, of_this_machine(patience), listening=listening)
    except Interrupted:
        raise
    except HvcopyError as error:
        trail.fail(LOOKUP, error)
        return False
    trail.well(LOOKUP, f"VM {target.vm}, service {target.service}")
    return True


def aside(ask: Callable[[], T], patience: Patience) -> T:
    """Have *ask* answered in a thread of its own, since a resolver has no deadline; who starts programs gives them one.

    Raises what it raises, and what *patience* raises.
    """
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((ask(), None))
        except BaseException as error:
            answers.put((None, error))

    threads.start(run, "lookup")
    while answers.empty():
        patience.pause(0.01)
    answer, error = answers.get()
    if error is not None:
        raise error
    return cast("T", answer)
