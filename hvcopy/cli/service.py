"""``hvcopy service``: Hyper-V's registration of services (docs/service.md)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from hvcopy.cli import options

if TYPE_CHECKING:
    from hvcopy.cli.running import Command
    from hvcopy.transport.hyperv.registry import Registry, Service

service = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Register what listens on Hyper-V sockets of a Windows host; ports and GUIDs.

    hvcopy service register 18518

    Needed only where the host listens: when the guest listens and the host connects, nothing has to be registered.
    """,
)

_Which = Annotated[list[str] | None, typer.Argument(metavar="PORT|GUID...", show_default=False)]
_Pool = Annotated[str, typer.Option("--pool", metavar="FIRST-LAST", help="The ports of a range, at most 1024.")]
_UNNEEDED = "only for a host that listens: when the guest listens and the host connects, nothing has to be registered"


@service.command("list")
def list_(as_json: options.Json = False) -> None:
    """List what is registered on this Windows host.

    hvcopy service list
    """

    def work(command: Command, facts: dict[str, object]) -> None:
        from hvcopy.errors import HvcopyError, printable
        from hvcopy.transport.hyperv.registry import read_services

        services = read_services(_registry())
        facts["services"] = [_fact(one) for one in services]
        for one in services:
            if isinstance(one.problem, HvcopyError):
                hint = one.problem.hint or f"with an administrator's rights, {_elevated_list()}"
                command.tally.fail(
                    os.fsencode(one.guid or one.key), one.problem.exit_code, f"{one.problem.message}; {hint}"
                )
            else:
                mark = "  hvcopy" if one.ours else ""
                command.results.append(f"{one.guid}  {one.port or '-':<10}  {printable(one.name[:255])}{mark}")
        if not services:
            _say(command, f"hvcopy: no service is registered on this machine; one is needed {_UNNEEDED}")

    _run("list", work, as_json=as_json)


@service.command()
def register(
    which: _Which = None,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="What to call it; of several, -PORT is added to it.")
    ] = "",
    pool: _Pool = "",
    dry: Annotated[bool, typer.Option("-n", "--dry-run", help="Say what would be registered; change nothing.")] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Register services on this Windows host, as an administrator.

    hvcopy service register 18518

    Then: hvcopy serve hyperv:children:18518 here, vsock:host:18518 in a guest.
    Needed only where the host listens, not where the guest does.
    """

    def work(command: Command, facts: dict[str, object]) -> None:
        from hvcopy import registration
        from hvcopy.errors import printable
        from hvcopy.transport.hyperv.registry import read_services

        wanted = registration.wanted_services(which or [], pool, name)
        registry = _registry()
        new = registration.missing(registry, wanted) if dry else registration.register(registry, wanted)
        guids = {one.guid for one in wanted}
        facts["services"] = [_fact(one) for one in read_services(registry) if one.guid in guids]
        facts["registered"] = [] if dry else [one.guid for one in new]
        for one in wanted:
            done = "would be registered" if dry else "registered"
            how = done if one in new else "registered already,"
            _say(command, f"hvcopy: {registration.label(one.guid)} {how} as '{printable(one.name)}'")
        _say(command, f"  needed {_UNNEEDED}")

    _run("register", work, as_json=as_json, quiet=quiet)


@service.command()
def unregister(
    which: _Which = None,
    pool: _Pool = "",
    everything: Annotated[bool, typer.Option("--all", help="Everything that hvcopy registered.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    dry: Annotated[bool, typer.Option("-n", "--dry-run", help="Say what would be removed; change nothing.")] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Remove registrations: those named, whoever made them, or hvcopy's own.

    hvcopy service unregister 18518
    """

    def work(command: Command, facts: dict[str, object]) -> None:
        from hvcopy import registration
        from hvcopy.cli.running import say
        from hvcopy.errors import NotAllowed, printable

        unwanted = registration.unwanted_services(which or [], pool, everything=everything)
        registry = _registry()
        services = registration.removable(registry, unwanted)
        lines = [
            f"{one.guid or printable(one.key)}  {one.port or '-':<10}  {printable(one.name[:255])}" for one in services
        ]
        facts["services"], facts["removed"] = [_fact(one) for one in services], []
        if dry or not services:
            command.results += lines
            _say(
                command,
                f"hvcopy: {len(services)} to be removed{'' if dry else '; hvcopy service list shows what there is'}",
            )
            return
        try:
            registry.check_writable()
        except PermissionError:
            raise NotAllowed("removing a registration needs an administrator; nothing was changed") from None
        if not yes:
            say("\n".join(lines))
            _confirm(f"hvcopy: remove {len(lines)} registration{'' if len(lines) == 1 else 's'}? [y/N] ")
        registration.unregister(registry, services)
        facts["removed"] = [one.guid for one in services]
        _say(command, f"hvcopy: removed {len(services)}")

    _run("unregister", work, as_json=as_json, quiet=quiet)


@service.command()
def guid(port: Annotated[str, typer.Argument(metavar="PORT")], as_json: options.Json = False) -> None:
    """Print the service GUID that stands for a vsock port.

    hvcopy service guid 18518
    """

    def work(command: Command, facts: dict[str, object]) -> None:
        from hvcopy.errors import BadUsage, printable

        if not (port.isascii() and port.isdigit()):
            raise BadUsage(
                f"'{printable(port)}' is no port", hint="hvcopy service guid 18518; of a GUID: hvcopy service port GUID"
            )
        _convert(command, facts, port, show="guid")

    _run("guid", work, as_json=as_json)


@service.command()
def port(guid: Annotated[str, typer.Argument(metavar="GUID")], as_json: options.Json = False) -> None:
    """Print the vsock port that a service GUID stands for.

    hvcopy service port 00004856-facb-11e6-bd58-64006a7986d3
    """

    def work(command: Command, facts: dict[str, object]) -> None:
        from hvcopy.registration import read_port

        _convert(command, facts, str(read_port(guid)), show="port")

    _run("port", work, as_json=as_json)


def _convert(command: Command, facts: dict[str, object], port: str, *, show: str) -> None:
    from hvcopy.registration import read_service

    facts |= {"guid": read_service(port), "port": int(port)}
    command.results.append(str(facts[show]))


def _run(
    name: str, work: Callable[[Command, dict[str, object]], None], *, as_json: bool = False, quiet: bool = False
) -> NoReturn:
    """Run one of the commands; a failure for want of rights says how to get them."""
    from hvcopy.cli.running import Command
    from hvcopy.errors import NotAllowed
    from hvcopy.report import FactsReport

    command = Command(f"service {name}", as_json=as_json, quiet=quiet)
    command.report = report = FactsReport(f"service {name}")

    def run() -> None:
        try:
            work(command, report.facts)
        except NotAllowed as error:
            sure = ["--yes"] if name == "unregister" and not {"-y", "--yes"} & {*sys.argv} else []
            again = [*sys.argv[1:3], *sure, *sys.argv[3:]]  # before any --
            error.hint = error.hint or (_elevated_list() if name == "list" else _elevated(again))
            raise
        if as_json:
            command.results.clear()

    command.run(run, here=True)


def _registry() -> Registry:
    from hvcopy.transport.hyperv import registry

    return registry.open_registry(sys.argv[1:])


def _elevated(arguments: Sequence[str]) -> str:
    from hvcopy.elevation import elevated

    return f"type in PowerShell: {elevated(sys.executable, ['-m', 'hvcopy', *arguments])}"


def _elevated_list() -> str:
    from hvcopy.elevation import elevated_to_be_read

    return f"type in PowerShell: {elevated_to_be_read(sys.executable, ['-m', 'hvcopy', 'service', 'list'])}"


def _confirm(question: str) -> None:
    """Raise Interrupted unless the user says yes, BadUsage when nobody can be asked."""
    from hvcopy.errors import BadUsage, Interrupted

    answer = ""
    if sys.stdin and sys.stdin.isatty():
        print(question, end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
    if not answer:  # NUL is a terminal to Windows, and has nothing to say
        raise BadUsage(
            "nobody can be asked here; nothing was changed", hint="add --yes to remove them without a question"
        )
    if answer.strip().lower() not in ("y", "yes"):
        raise Interrupted("nothing was changed")


def _say(command: Command, text: str) -> None:
    from hvcopy.cli.running import say

    if not command.quiet:
        say(text)


def _fact(one: Service) -> dict[str, object]:
    from hvcopy.errors import printable

    return {
        "guid": one.guid,
        "key": printable(one.key),
        "port": one.port,
        "name": printable(one.name),
        "by_hvcopy": one.ours,
    }
