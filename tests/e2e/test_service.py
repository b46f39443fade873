"""``hvcopy service`` as a process, on a system that has no such registry: conversions work, the rest says where to type it."""

from __future__ import annotations

import sys

import pytest
from commands import run

GUID = "00004856-facb-11e6-bd58-64006a7986d3"


def test_conversions_work_everywhere() -> None:
    assert run("service", "guid", "18518").out == f"{GUID}\n"
    assert run("service", "port", GUID.upper()).out == "18518\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there it works")
@pytest.mark.parametrize(
    ("words", "typed"),
    [
        (["list"], ": hvcopy service list"),
        (["register", "18518", "--name", "a b"], ': hvcopy service register 18518 --name "a b"'),
        (["register", "18518", "--name", "a's"], " in PowerShell: hvcopy service register 18518 --name 'a''s'"),
        (["unregister", "18518", "--yes"], ": hvcopy service unregister 18518 --yes"),
    ],
)
def test_registration_belongs_to_the_windows_host(words: list[str], typed: str) -> None:
    done = run("service", *words)
    assert (done.code, done.out) == (2, "")
    assert f"type there{typed};" in done.err
    assert "none is needed when the guest listens" in done.err
    assert run("service", *words, "--json").result["exit_code"] == 2


@pytest.mark.parametrize("words", [[], ["--help"], ["register", "--help"]])
def test_help_has_an_example_and_says_when_it_is_needed(words: list[str]) -> None:
    done = run("service", *words)
    said = " ".join((done.out + done.err).split())
    assert "hvcopy service register 18518" in said
    assert "Needed only where the host listens" in said
