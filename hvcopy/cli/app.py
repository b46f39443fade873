"""The command line's table of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from hvcopy.cli import cp, demo, key, ls, recv, send, serve

app = typer.Typer(
    name="hvcopy",
    help="Copy files and streams between a hypervisor host and its guests, without a network: fast and verified.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from hvcopy import __version__

        typer.echo(f"hvcopy {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


for command in (cp.cp, ls.ls, serve.serve, send.send, recv.recv, key.key, demo.demo):
    app.command(command.__name__)(command)
