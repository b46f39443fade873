"""The command line's table of commands."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from hvcopy.cli.strict import StrictCommand

COMMANDS = ("cp", "ls", "serve", "send", "recv", "pipe", "nc", "forward", "bench", "doctor", "vms", "service", "key", "demo")
"""In the order of the help text; command NAME is the function, or the group of commands, NAME of module hvcopy.cli.NAME."""


def _version(wanted: bool) -> None:
    if wanted:
        from hvcopy import __version__

        typer.echo(f"hvcopy {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def build(arguments: Sequence[str]) -> typer.Typer:
    """Return the application; only the command that *arguments* begin with is loaded, or all of them for the help."""
    app = typer.Typer(
        name="hvcopy",
        help="Copy files and streams between a hypervisor host and its guests, without a network: fast and verified.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    wanted = arguments[:1] if arguments and arguments[0] in COMMANDS else COMMANDS
    for name in wanted:
        found = getattr(import_module(f"hvcopy.cli.{name}"), name)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
            for command in found.registered_commands:
                command.cls = StrictCommand
        else:
            app.command(name, cls=StrictCommand)(found)
    return app
