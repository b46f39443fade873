"""WSL2's VM: whether it runs, and the id it has this time.  Asking never starts it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from hvcopy.address import parse_guid
from hvcopy.errors import BadUsage, LocalFailure, NobodyListens, printable
from hvcopy.machines import machine
from hvcopy.machines.machine import Machine
from hvcopy.machines.powershell import system_program
from hvcopy.machines.programs import Missing, ask, never

KIND = "wsl"
SECONDS = 20.0
_START = "start it: wsl.exe"
_INSTALL = "WSL is to be installed first, in an elevated prompt: wsl --install; or name a VM: hvcopy vms lists them"
_NOT_FOUND = 127  # of the shell in WSL
_WSL_1 = "wsl1"  # microsoft/WSL, src/linux/init/wslinfo.cpp
_NO_VM = "WSL has no VM: what runs is of WSL 1"


def _distributions(*options: str, seconds: float, cancelled: Callable[[], bool] = never) -> list[str]:
    """Return the distributions that are installed, or with --running those that run.  Raises Missing, TimedOut."""
    words = [system_program("wsl.exe"), "--list", *options, "--quiet"]
    answer = ask(words, seconds, env={"WSL_UTF8": "1"}, cancelled=cancelled)
    if answer.code:
        return []  # so it says that there are none; the words are in the user's language
    return [line for line in _text(answer.out).splitlines() if re.fullmatch(r"[\w.-]{1,255}", line)]


def ask_wsl_id(seconds: float = SECONDS, cancelled: Callable[[], bool] = never) -> str:
    """Return the GUID of WSL2's VM, after *seconds* at most for all that is asked.

    Raises NobodyListens when it does not run, Missing, TimedOut, LocalFailure, and Interrupted once *cancelled*.
    """
    ends = time.monotonic() + seconds
    try:
        running = _distributions("--running", seconds=seconds, cancelled=cancelled)
    except Missing as error:
        error.hint = _INSTALL
        raise
    if not running:
        raise NobodyListens("WSL is not running", hint=_START)
    guid = _ask_id(running, ends, cancelled)
    if not guid:
        raise NobodyListens(f"{_NO_VM}: {_some(running)}", hint="let one run in WSL 2: wsl --set-version NAME 2")
    return guid


def ask_wsl(seconds: float = SECONDS) -> list[Machine]:
    """Return WSL2's one VM; none where no distribution is installed.  Raises TimedOut, LocalFailure."""
    ends = time.monotonic() + seconds
    try:
        running = _distributions("--running", seconds=seconds)
        installed = running or _distributions(seconds=seconds)
    except Missing:
        return []
    if not installed:
        return []
    if not running:
        return [Machine(KIND, "wsl", machine.OFF, address=machine.hyperv("wsl"), note=_START)]
    guid = _ask_id(running, ends)
    if not guid:
        return [Machine(KIND, "wsl", machine.OFF, address=machine.hyperv("wsl"), note=f"{_NO_VM}: {_some(running)}")]
    note = f"runs {_some(running)}"
    return [Machine(KIND, "wsl", machine.RUNNING, id=guid, address=machine.hyperv("wsl"), note=note)]


def _some(distributions: list[str]) -> str:
    return printable(", ".join(distributions)[:200])


def _ask_id(running: list[str], ends: float, cancelled: Callable[[], bool] = never) -> str:
    """Ask the distributions that run, none of which has to be the default one; empty when all are of WSL 1."""
    trouble: LocalFailure | None = None
    for distribution in running:
        words = [system_program("wsl.exe"), "-d", distribution, "--", "wslinfo", "--vm-id"]
        answer = ask(words, max(0.0, ends - time.monotonic()), env={"WSL_UTF8": "1"}, cancelled=cancelled)
        text = _text(answer.out).strip()
        if text == _WSL_1:
            continue
        try:
            return parse_guid(text)
        except BadUsage:
            trouble = trouble or _untold(answer.code, text)
    if trouble:
        raise trouble
    return ""


def _untold(code: int, text: str) -> LocalFailure:
    if code == _NOT_FOUND or not text:
        why, hint = (
            "this WSL does not tell the id of its VM: it is older than 2.0, or from Windows itself",
            "wsl --update",
        )
    else:
        why, hint = (
            f"wslinfo's answer makes no sense: {printable(text[:200])}",
            "see what it says: wsl -- wslinfo --vm-id",
        )
    return LocalFailure(why, hint=hint)


def _text(raw: bytes) -> str:
    """Old versions of wsl.exe write UTF-16 whatever WSL_UTF8 says."""
    return raw.decode("utf-16-le" if b"\0" in raw else "utf-8", "replace").replace("\ufeff", "").replace("\r", "")
