"""What to type in the shells of Windows: any command, and what gets the rights that are missing."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from subprocess import list2cmdline

HYPERV_ADMINISTRATORS = "S-1-5-32-578"  # the group's name is in the system's language
_QUOTES = "'\u2018\u2019\u201a\u201b"  # PowerShell ends a quoted text at any of them (CharTraits.IsSingleQuote)
_PLAIN = re.compile(r"(?!-[^-].*[.:])[\w.:/\\+=*?\[\]-]+")  # PowerShell parts -a.b in two
_SPACED = re.compile(r"[\w.:/\\+=*?\[\] -]+")


def quote(text: str) -> str:
    """Return *text* as a literal of PowerShell, which expands nothing in it."""
    return "'" + "".join(c + c if c in _QUOTES else c for c in text) + "'"


def word(text: str) -> str:
    """Return *text* as one word of a command: for cmd and PowerShell as long as they agree, else for PowerShell alone."""
    if _PLAIN.fullmatch(text):
        return text
    return list2cmdline([text]) if _SPACED.fullmatch(text) and " " in text else quote(text)


def typed(words: Sequence[str]) -> tuple[str, str]:
    """Return the command of *words*, and before it "PowerShell" when cmd would take it for another."""
    quoted = [word(one) for one in words]
    return "PowerShell" if any(one.startswith("'") for one in quoted) else "", " ".join(quoted)


def elevated(program: str, arguments: Sequence[str]) -> str:
    """Return the PowerShell command that asks for rights and runs *program* with them, in a window that closes after it.

    The arguments are one text, quoted as Windows programs read it: Start-Process joins an array without quotes.
    """
    return f"Start-Process -Verb RunAs -Wait -FilePath {quote(program)} -ArgumentList {quote(list2cmdline(arguments))}"


def elevated_to_be_read(program: str, arguments: Sequence[str]) -> str:
    """The same for a *program* whose output is what is wanted: the window stays.  No argument may be special to cmd."""
    line = '/k "' + list2cmdline([program, *arguments]) + '"'  # cmd strips these two quotes (cmd /?)
    return f"Start-Process -Verb RunAs -FilePath cmd.exe -ArgumentList {quote(line)}"


def to_join_hyperv_administrators() -> str:
    """Return what lets this user reach VMs from the next sign-in on; an elevated PowerShell may be another user's."""
    domain, user = os.environ.get("USERDOMAIN"), os.environ.get("USERNAME")
    member = quote(f"{domain}\\{user}") if domain and user else "$env:USERNAME"
    command = f"Add-LocalGroupMember -SID {HYPERV_ADMINISTRATORS} -Member {member}"
    return f"join Hyper-V Administrators, in an elevated PowerShell: {command}, and sign in anew"
