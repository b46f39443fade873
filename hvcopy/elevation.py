"""What to type in PowerShell to run a command as an administrator.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from subprocess import list2cmdline

_QUOTES = "'\u2018\u2019\u201a\u201b"  # PowerShell ends a quoted text at any of them (CharTraits.IsSingleQuote)


def quote(text: str) -> str:
    """Return *text* as a literal of PowerShell, which expands nothing in it."""
    return "'" + "".join(c + c if c in _QUOTES else c for c in text) + "'"


def elevated(program: str, arguments: Sequence[str]) -> str:
    """Return the PowerShell command that asks for rights and runs *program* with them.

    The arguments are one text, quoted as Windows programs read it: Start-Process joins an array without quotes.
    """
    return f"Start-Process -Verb RunAs -Wait -FilePath {quote(program)} -ArgumentList {quote(list2cmdline(arguments))}"
