"""``hvcopy vms``: the VMs of this host, with the address to use for each."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hvcopy.cli import options

if TYPE_CHECKING:
    from hvcopy.machines.machine import Machine

_KINDS = {
    "hyperv": "Hyper-V",
    "wsl": "WSL",
    "libvirt": "libvirt",
    "qemu": "QEMU",
    "firecracker": "Firecracker",
    "cloud-hypervisor": "Cloud Hypervisor",
    "vhost-device-vsock": "vhost-device-vsock",
}
_NONE_LINUX = "no VM was found; a guest reaches its host at vsock:host:18518"
_NONE_WINDOWS = "no VM was found; a Windows guest reaches its host at hyperv:parent:18518"


def vms(
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="SECS", help="Give up on a program that has not answered for so long.")
    ] = "20",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """List the VMs of this host, and the address that reaches each.

    hvcopy vms
    """
    from hvcopy.cli.running import Command, say
    from hvcopy.report import FactsReport

    command = Command("vms", as_json=as_json, quiet=quiet)
    command.report = report = FactsReport("vms")

    def work() -> None:
        from hvcopy.cli import arguments
        from hvcopy.machines.finding import find_all, sources

        found, failed = find_all(sources(arguments.timeout_seconds(timeout)))
        report.facts["vms"] = [_fact(one) for one in found]
        for source, error in failed:
            command.tally.fail(
                source.encode(), error.exit_code, f"{error.message}; {error.hint}" if error.hint else error.message
            )
        if not as_json:
            command.results = _lines(found)
        if not found and not failed and not quiet:
            say(f"hvcopy: {_NONE_WINDOWS if sys.platform == 'win32' else _NONE_LINUX}")

    command.run(work)


def _lines(found: list[Machine]) -> list[str]:
    from hvcopy.errors import printable

    rows: list[tuple[str, ...]] = []
    for one in found:
        source = _KINDS[one.kind] + (f", process {one.pid}" if one.pid else "")
        address = str(one.address) if one.address else "-"
        rows.append((printable(one.name[:255]), printable(one.state), address, printable(one.id) or "-", source))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for one, row in zip(found, rows, strict=True):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if one.note:
            lines.append(f"    {printable(one.note)}")
    return lines


def _fact(one: Machine) -> dict[str, object]:
    from hvcopy.errors import printable

    return {
        "kind": one.kind,
        "name": printable(one.name),
        "id": printable(one.id),
        "pid": one.pid,
        "state": printable(one.state),
        "address": str(one.address) if one.address else None,
        "note": printable(one.note),
    }
