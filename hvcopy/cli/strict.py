"""What every command refuses in the same way, before it begins."""

from __future__ import annotations

import typer
from typer.core import TyperCommand


class StrictCommand(TyperCommand):
    """A command no value of which may be empty: that is what a shell makes of a variable that is not set.

    Taken for "not given", it would let a server start without the key that was asked for.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Raise BadParameter, status 2, for an option or optional argument that is there and empty."""
        rest = super().parse_args(ctx, args)
        for one in self.params:
            value = ctx.params.get(one.name or "")
            empty = "" in value if isinstance(value, (list, tuple)) else value == ""
            source = ctx.get_parameter_source(one.name or "")
            if empty and not one.required and source and source.name == "COMMANDLINE":
                raise typer.BadParameter("it is empty, as of a variable that is not set", ctx=ctx, param=one)
        return rest
