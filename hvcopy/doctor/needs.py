"""What this machine has, all of it or what one address needs; and whether any other machine can be reached."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from hvcopy.address import Address, HybridAddress, HypervAddress, TcpAddress, UnixAddress, VsockAddress
from hvcopy.doctor import hyperv, local, system, vsock
from hvcopy.doctor.finding import FAIL, OK, WARN, Finding, not_applicable
from hvcopy.doctor.machine import Machine
from hvcopy.doctor.windows import Windows
from hvcopy.errors import BadUsage, NobodyListens

LOW_PORTS = 1024
NO_HYPERV = "AF_HYPERV is Windows's; a Linux guest of Hyper-V uses vsock: addresses"
NO_VSOCK = "AF_VSOCK is Linux's; Windows has hyperv: addresses"


def everything(machine: Machine, windows: Windows | None = None) -> list[Finding]:
    """Return all findings, of *windows* or else of a Linux; and as the last one whether there is a way to another machine."""
    if windows:
        found = [_this_windows(), *vsock.none_of_it(NO_VSOCK), *hyperv.findings(windows)]
        found += [local.tcp(), *local.no_unix_sockets()]
        over = ("Hyper-V sockets", "tcp: may still do")
        return [*found, _way(found, *over, hyperv.NEEDED, (hyperv.ROLE,), good=(OK, WARN))]
    found = [*system.findings(machine), *vsock.findings(machine)]
    found += [local.unix(), local.tcp(), local.hybrid(), not_applicable("hyperv", NO_HYPERV)]
    over = ("vsock", "unix:, tcp: and a VMM's hybrid: socket may still do")
    return [*found, _way(found, *over, (vsock.SOCKET,), (vsock.TO_HOST, vsock.TO_GUESTS), good=(OK,))]


def needed(machine: Machine, address: Address, *, listening: bool, windows: Windows | None = None) -> list[Finding]:
    """Return what *address* needs of this machine."""
    port = address.port if isinstance(address, VsockAddress | TcpAddress) else 0
    low_port = port if listening and 0 < port < LOW_PORTS else 0
    found = [_this_windows()] if windows else system.findings(machine, low_port=low_port)
    match address:
        case VsockAddress():
            found += vsock.none_of_it(NO_VSOCK) if windows else vsock.findings(machine, address)
            return found
        case UnixAddress() | HybridAddress():
            found += local.no_unix_sockets() if windows else [local.unix()]
        case TcpAddress():
            found.append(local.tcp())
        case HypervAddress():
            known = hyperv.findings(windows, address, listening=listening) if windows else []
            found += known or [not_applicable("hyperv", NO_HYPERV)]
    return [not_applicable(one.id, "only vsock: needs another WSL") if one.id == "system.wsl" else one for one in found]


def misplaced(address: Address, *, windows: bool) -> BadUsage | None:
    """Return why *address* is none of this system, None when it is; of hyperv: addresses their own transport says it."""
    if not windows or isinstance(address, TcpAddress | HypervAddress):
        return None
    if isinstance(address, VsockAddress):
        hint = f"a guest of Hyper-V is hyperv:VM:{address.port}, the host hyperv:parent:{address.port}"
        return BadUsage(f"{address}: {NO_VSOCK}", hint=hint)
    return BadUsage(f"{address}: Python on Windows has no unix sockets", hint="on one machine use tcp:127.0.0.1:18518")


def _this_windows() -> Finding:
    return system.describe("Windows", platform.release())


def _way(
    found: Sequence[Finding], over: str, otherwise: str, needs: Sequence[str], ways: Sequence[str], *, good: Sequence[str]
) -> Finding:
    """Return whether one of *ways* is in one of the states *good*, and nothing that all of them need has failed."""
    by_id = {one.id: one for one in found}
    missing = [by_id[one] for one in needs if by_id[one].state == FAIL]
    open_ways = [by_id[one].what for one in ways if by_id[one].state in good]
    if open_ways and not missing:
        return Finding("way", OK, "; ".join(open_ways))
    causes = missing or [by_id[one] for one in ways if by_id[one].state == FAIL]
    fix = next((one.fix for one in causes if one.fix), "")
    code = causes[0].exit_code if causes else NobodyListens.exit_code
    what = f"no other machine is known to be reached over {over} from here"
    return Finding("way", FAIL, what, otherwise, fix, code, [one.id for one in causes])
