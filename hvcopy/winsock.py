"""What Winsock's errors mean on a Hyper-V socket: one table, for messages, for --wait and for docs/hyper-v.md.

Pure.  The meanings were seen by others (microsoft/go-winio hvsock.go, microsoft/WSL src/windows/common, linuxkit/virtsock,
moby/vpnkit issue 299), not by this project on a real Hyper-V; 10049 on connecting is a conclusion.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct


class Fate(Enum):
    """What becomes of the call: the failure it is told as, and whether --wait tries again."""

    ABSENT = "nobody listens, tried again by --wait"
    FORBIDDEN = "not allowed"
    UNSUPPORTED = "not on this Windows"
    LOST = "connection lost"
    TAKEN = "in use"
    EXHAUSTED = "nothing left"


class Fault(Struct, frozen=True):
    """One error.  *cause* is for the user; *advice* what to do or type next, with two things in braces that depend on the
    address: ``start`` (how to listen there) and ``allow`` (how to be let).  *cause_of_break*: what it means on a connection
    that stood, where that is something else than on one that is to be made.
    """

    code: int
    name: str
    fate: Fate
    cause: str
    advice: str
    cause_of_break: str = ""


_AGAIN = "see that the VM runs (hvcopy vms), then run the same command again: what has arrived is not sent again"
_COMING = "see whether the VM is up (hvcopy vms), or keep trying with --wait 30"

_FAULTS = (
    Fault(10061, "WSAECONNREFUSED", Fate.ABSENT, "nobody listens on that service", "{start}"),
    Fault(
        10060,
        "WSAETIMEDOUT",
        Fate.ABSENT,
        "no answer: nobody listens on that service (Linux guests do not say so), or the VM is off, paused or without hv_sock",
        "hvcopy vms shows whether it runs; {start}",
        "the VM answers no more: it was turned off, is paused or hangs",
    ),
    Fault(
        10013,
        "WSAEACCES",
        Fate.FORBIDDEN,
        "Windows does not let this user do that, or the service is not registered on the host",
        "{allow}",
    ),
    Fault(10050, "WSAENETDOWN", Fate.ABSENT, "the VM is restarting or going away", _COMING),
    Fault(
        10051,
        "WSAENETUNREACH",
        Fate.ABSENT,
        "there is no way to that VM from here yet",
        _COMING,
        "there is no way to that VM any more",
    ),
    Fault(
        10049,
        "WSAEADDRNOTAVAIL",
        Fate.ABSENT,
        "this machine has no VM with that id, or it has not been started",
        "hvcopy vms shows the VMs and their ids; or keep trying with --wait 30",
    ),
    Fault(1225, "ERROR_CONNECTION_REFUSED", Fate.ABSENT, "nobody listens on that service", "{start}"),
    Fault(1201, "ERROR_CONNECTION_UNAVAIL", Fate.ABSENT, "there is no connection to that VM yet", _COMING),
    Fault(10053, "WSAECONNABORTED", Fate.LOST, "the VM was stopped or restarted, or Windows gave the connection up", _AGAIN),
    Fault(10054, "WSAECONNRESET", Fate.LOST, "the process at the other end, or its VM, has gone", _AGAIN),
    Fault(10057, "WSAENOTCONN", Fate.LOST, "the connection is over already", _AGAIN),
    Fault(10058, "WSAESHUTDOWN", Fate.LOST, "the connection was ended on this side", _AGAIN),
    Fault(109, "ERROR_BROKEN_PIPE", Fate.LOST, "the peer closed without saying so: whole only if it was verified", _AGAIN),
    Fault(
        10047,
        "WSAEAFNOSUPPORT",
        Fate.UNSUPPORTED,
        "this Windows has no Hyper-V sockets",
        "turn them on in an elevated prompt: dism /online /enable-feature /all /featurename:VirtualMachinePlatform",
    ),
    Fault(
        10048,
        "WSAEADDRINUSE",
        Fate.TAKEN,
        "another process listens there already",
        "end that one, or choose another port",
    ),
    Fault(10024, "WSAEMFILE", Fate.EXHAUSTED, "this process has too many sockets open", "close some, or use fewer --lanes"),
    Fault(10055, "WSAENOBUFS", Fate.EXHAUSTED, "Windows has no room for sockets left", "use fewer --lanes or a smaller --buffer"),
)

FAULTS: dict[int, Fault] = {fault.code: fault for fault in _FAULTS}

TRIED_AGAIN = frozenset(fault.code for fault in _FAULTS if fault.fate is Fate.ABSENT)
"""go-winio's list (canRedial), a VM that restarts (vpnkit issue 299), and one that is not there yet."""


def fault_of(error: OSError) -> Fault | None:
    """The row for *error*; None for errors of other systems, and for codes that the table lacks.

    Below 10000 only ``winerror`` counts: other systems use these numbers for something else.
    """
    code = getattr(error, "winerror", None)
    if code is None and error.errno is not None and error.errno >= 10000:
        code = error.errno
    return FAULTS.get(code) if code is not None else None
