"""Writes the option tables of the command pages from the command line itself.  Run: python docs/generate_options.py"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer

from hvcopy.cli.app import COMMANDS, build

DOCS = Path(__file__).parent
_BLOCK = re.compile(r"(?<=<!-- options -->\n).*?(?=<!-- end -->)", re.DOTALL)


def table(command: str) -> str:
    """Return the option table of one command."""
    found = typer.main.get_command(build((command,)))
    found = getattr(found, "commands", {command: found})[command]
    rows = ["| option | meaning | default |", "|---|---|---|"]
    for name, one in getattr(found, "commands", {"": found}).items():  # a group's rows begin with the command
        rows += [_row(name, option) for option in one.params if option.param_type_name == "option"]
    rows.append("| `-h, --help` | Show this message and exit. | |")
    return "\n".join(rows) + "\n"


def _row(command: str, one: Any) -> str:
    value = "" if getattr(one, "is_flag", False) else f" {one.metavar}"
    default = "required" if one.required else "" if one.default in (None, "", False) else f"`{one.default}`"
    spelled = f"{command} {', '.join(one.opts)}{value}".strip()
    return f"| `{spelled}` | {getattr(one, 'help', '')} | {default} |".replace("|  |", "| |")


def page(command: str) -> str:
    """Return the page of *command* as it should be: as it is, with the table of now."""
    text = (DOCS / f"{command}.md").read_text(encoding="utf-8")
    return _BLOCK.sub(lambda _: table(command), text)


if __name__ == "__main__":
    for name in COMMANDS:
        (DOCS / f"{name}.md").write_text(page(name), encoding="utf-8")
