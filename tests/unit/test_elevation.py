"""The command that asks Windows for rights: what PowerShell and then a program make of it is what was meant."""

from __future__ import annotations

import pytest

from hvcopy.elevation import elevated, elevated_to_be_read, quote, to_join_hyperv_administrators, word


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("plain", "'plain'"),
        ("", "''"),
        ("it's", "'it''s'"),
        ('$env:PATH `n "x"', "'$env:PATH `n \"x\"'"),
        ("\u2018curly\u2019 \u201alow\u201b", "'\u2018\u2018curly\u2019\u2019 \u201a\u201alow\u201b\u201b'"),
    ],
)
def test_a_literal_of_powershell_ends_where_it_should(text: str, literal: str) -> None:
    assert quote(text) == literal


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        *((plain, plain) for plain in ("-r", "--lanes", "C:\\in\\Überblick", "C:/in/*.img", "hyperv:web1:18518:/", "[::1]:80")),
        ("hyperv:My VM:18518:/", '"hyperv:My VM:18518:/"'),
        ("C:\\my folder\\", '"C:\\my folder\\\\"'),
        *((f"C:\\a{special}b", f"'C:\\a{special}b'") for special in "&(),;$#@~`^%!{}|<>"),
        ("C:\\it's mine & yours", "'C:\\it''s mine & yours'"),
        ("hyperv:web:18518,no-suspend", "'hyperv:web:18518,no-suspend'"),
        ("-o.x", "'-o.x'"),
        ("--timeout=1.5", "--timeout=1.5"),
        ("", "''"),
    ],
)
def test_a_word_is_quoted_for_both_shells_or_else_for_powershell(text: str, typed: str) -> None:
    assert word(text) == typed


def test_the_command_quotes_for_powershell_and_for_the_program() -> None:
    command = elevated(r"C:\Program Files\Python's\python.exe", ["-m", "hvcopy", "--name", 'a "b" c', "--x=", ""])
    assert command == (
        r"Start-Process -Verb RunAs -Wait -FilePath 'C:\Program Files\Python''s\python.exe'"
        r""" -ArgumentList '-m hvcopy --name "a \"b\" c" --x= ""'"""
    )


def test_a_window_that_is_to_be_read_stays() -> None:
    assert elevated_to_be_read(r"C:\Program Files\Python's\python.exe", ["-m", "hvcopy", "service", "list"]) == (
        "Start-Process -Verb RunAs -FilePath cmd.exe"
        r""" -ArgumentList '/k ""C:\Program Files\Python''s\python.exe" -m hvcopy service list"'"""
    )


def test_the_group_is_joined_in_any_language_and_by_the_user_who_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USERDOMAIN", "PC")
    monkeypatch.setenv("USERNAME", "o'neil")
    assert "Add-LocalGroupMember -SID S-1-5-32-578 -Member 'PC\\o''neil'," in to_join_hyperv_administrators()
