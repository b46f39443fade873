"""The script for a machine with Hyper-V, read as text: nothing here can run PowerShell.  What its checks find, only such a
machine tells."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from hvcopy.cli.app import COMMANDS, build

MAIN = Path(__file__).resolve().parents[1] / "lanes/real-hyperv.ps1"
PARTS = MAIN.with_suffix("")
FILES = [MAIN, *sorted(PARTS.glob("*.ps1"))]

QUOTED = r"""@'\n.*?\n'@|'(?:[^']|'')*'"""
COMMENT = r"<\#.*?\#>|\#[^\n]*"
EXPANDED = r'''"(?:[^"`]|`.|"")*"'''
CLOSES = {")": "(", "]": "[", "}": "{"}
AUTOMATIC = {"_", "null", "true", "false", "psscriptroot", "pshome", "psversiontable", "executioncontext"}
PREFERENCES = {"erroractionpreference", "progresspreference"}
RESERVED = {"args", "error", "event", "foreach", "home", "host", "input", "matches", "pid", "profile", "sender", "switch", "this"}
CMDLETS = [  # of 5.1 and 7 both
    "Add-Type", "Compare-Object", "ConvertFrom-Json", "ConvertTo-Json", "ForEach-Object", "Get-ChildItem",
    "Get-CimInstance", "Get-Command", "Get-Date", "Get-FileHash", "Get-Item", "Get-VM", "Join-Path", "New-Item",
    "Out-String", "Remove-Item", "Resume-VM", "Save-VM", "Select-Object", "Sort-Object", "Start-Process",
    "Start-Sleep", "Start-VM", "Stop-Process", "Suspend-VM", "Test-Path", "Wait-Process", "Where-Object",
    "Write-Host", "Write-Verbose",
]


def read(path: Path) -> str:
    return path.read_text(encoding="ascii")


def without(text: str, *kinds: str) -> str:
    """The text with blanks in place of what is of these kinds, each character where it was."""

    def blank(found: re.Match[str]) -> str:
        gone = any(re.fullmatch(kind, found[0], re.DOTALL) for kind in kinds)
        return re.sub(r"[^\n]", " ", found[0]) if gone else found[0]

    return re.sub("|".join((COMMENT, QUOTED, EXPANDED)), blank, text, flags=re.DOTALL)


def bare(text: str) -> str:
    return without(text, COMMENT, QUOTED, EXPANDED)


def live(text: str) -> str:
    """With the strings in which variables stand."""
    return without(text, COMMENT, QUOTED)


def end(text: str, start: int) -> int:
    """Where the bracket at *start* is closed."""
    open_ones: list[str] = []
    for at in range(start, len(text)):
        if text[at] in CLOSES.values():
            open_ones.append(text[at])
        elif text[at] in CLOSES:
            assert open_ones, f"{text[at]} too many: ...{text[at - 60 : at]}"
            assert open_ones.pop() == CLOSES[text[at]], f"{text[at]} closes another: ...{text[at - 60 : at]}"
            if not open_ones:
                return at
    raise AssertionError(f"not closed: {text[start : start + 60]}...")


def variables(text: str) -> set[str]:
    """Names without a scope, as PowerShell compares them."""
    return {name.lower() for name in re.findall(r"\$\{?(\w+)\b(?!:\w)", text)}


def assigned(text: str) -> set[str]:
    names = set(re.findall(r"\$(?:script:)?(\w+)\s*=(?!=)", text)) | set(re.findall(r"foreach \(\$(\w+) in", text))
    for start in re.finditer(r"^(?:function [\w-]+|param)\(", bare(text), re.MULTILINE):
        names |= set(re.findall(r"\$(\w+)", live(text)[start.end() : end(bare(text), start.end() - 1)]))
    return {name.lower() for name in names} - {"null"}


def collisions(text: str) -> list[str]:
    """Variables of blocks that are also those of the function that runs the block: it would see the function's."""
    code, found = bare(text), []
    for start in re.finditer(r"^function ([\w-]+)(\(.*\[scriptblock\].*) \{$", code, re.MULTILINE):
        own = variables(live(text)[start.start() : end(code, start.end() - 1)]) - AUTOMATIC
        for call in re.finditer(rf"\b{start[1]}\b(?!\()[^{{\n]*\{{", code):
            seen = variables(live(text)[call.end() : end(code, call.end() - 1)])
            found += [f"{start[1]}: ${name}" for name in sorted(own & seen)]
    return found


WHOLE = "\n".join(read(path) for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_plain_and_closes_what_it_opens(path: Path) -> None:
    code = bare(read(path))
    assert not set("'\"") & set(code), "a quote is not closed"
    assert all(stray not in code for stray in ("&&", "||", "??", "-Parallel")), "5.1 knows it not"
    end(f"({code})", 0)


def test_what_it_names_is_there() -> None:
    named = re.search(r"foreach \(\$part in ([^)]*)\)", read(MAIN))
    assert named
    loaded = {f"{name}.ps1" for name in re.findall(r"'(\w+)'", named[1])}
    started = set(re.findall(r"'(\w+\.ps1)'", WHOLE))
    assert loaded | started == {path.name for path in FILES[1:]}
    called = set(re.findall(r"(?<![\w.])[A-Z]\w+-[A-Z]\w+\b", live(WHOLE)))
    assert called - set(re.findall(r"function ([\w-]+)", WHOLE)) == {*CMDLETS}


def test_every_variable_is_set_somewhere_and_none_is_powershells() -> None:
    known = assigned(WHOLE)
    used = {name.lower() for name in re.findall(r"\$\{?(?:script:)?(\w+)\b(?!:)", live(WHOLE))}
    assert used - known - {"env", "script"} <= AUTOMATIC
    assert not known & (RESERVED | (AUTOMATIC - PREFERENCES))


def test_no_block_sees_a_variable_of_what_runs_it() -> None:
    assert collisions(WHOLE) == []


def test_such_a_variable_is_found() -> None:
    script = "function Test-Step([string]$Name, [scriptblock]$Step) {\n  & $Step\n}\n$name = 'a'\nTest-Step 'x' { \"$name\" }\n"
    assert collisions(script) == ["Test-Step: $name"]


def arrays() -> Iterator[list[str]]:
    """The command lines of hvcopy in it, without what is no literal."""
    code = bare(WHOLE)
    for start in re.finditer(r"@\(", code):
        words = re.findall(r"'([^']*)'", WHOLE[start.end() : end(code, start.end() - 1)])
        if words and words[0] in COMMANDS:
            yield words
    for line in re.findall(r"hvcopy (\w+ .*)", WHOLE):
        if line.split()[0] in COMMANDS:
            yield line.split()


@cache
def commands() -> TyperGroup:
    group = typer.main.get_command(build([]))
    assert isinstance(group, TyperGroup)
    return group


def unknown(words: Sequence[str]) -> list[str]:
    """The options of a command line that the command has not."""
    command: Any = commands()
    rest = list(words)
    while isinstance(command, TyperGroup):
        name = rest.pop(0)
        assert name in command.commands, f"hvcopy has no {' '.join(words)}"
        command = command.commands[name]
    known = {"--help"}.union(*(param.opts for param in command.params))
    return [word for word in rest if re.fullmatch(r"--?[a-z][\w-]*", word, re.IGNORECASE) and word not in known]


def test_its_command_lines_are_hvcopys() -> None:
    found = list(arrays())
    assert {words[0] for words in found} == set(COMMANDS) - {"send", "recv", "demo"}
    assert [words for words in found if unknown(words)] == []


def test_an_option_that_is_none_is_found() -> None:
    assert unknown(["service", "register", "18518", "--yes"]) == ["--yes"]


def test_the_place_of_its_result_is_found_before_anything_runs_and_is_no_earlier_result() -> None:
    code = live(read(MAIN))
    assert code.index("New-Result") < code.index("try {")
    assert set(re.findall(r"Save-Result (\S+)", code)) == {"$resultPath"}
    assert "[IO.FileMode]::CreateNew" in WHOLE
    assert "real-hyperv-TIME.json" in read(MAIN)
    assert "real-hyperv-TIME.json" in (MAIN.parents[2] / "docs/windows.md").read_text(encoding="utf-8")


def test_a_machine_with_wsl_alone_is_expected_to_be_warned_of() -> None:
    block = re.search(r"Test-Step 'doctor: other machines can be reached' \{.*?\n    \}", WHOLE, re.DOTALL)
    assert block
    assert re.search(r"\$role = if \(\$isHost -or \$isGuest\) \{ 'ok' \} else \{ 'warn' \}", block[0])
    assert "Assert-Finding $json 'hyperv.role' $role" in block[0]
