"""The table of exit codes, its page in the docs, and peer text made safe to print."""

from __future__ import annotations

import errno
import runpy
from pathlib import Path

import pytest

from hvcopy import errors
from hvcopy.errors import BY_EXIT_CODE, BadUsage, HvcopyError, make_room, printable

DOCS = Path(__file__).parents[2] / "docs"


def _kinds(kind: type[HvcopyError]) -> set[type[HvcopyError]]:
    return {kind}.union(*(_kinds(below) for below in kind.__subclasses__()))


def test_table_has_each_kind_of_failure_once() -> None:
    kinds = {kind for kind in _kinds(HvcopyError) if kind.__module__ == errors.__name__} - {HvcopyError}
    assert set(BY_EXIT_CODE.values()) == kinds
    assert len(BY_EXIT_CODE) == len(kinds)
    assert all(kind.exit_code == code for code, kind in BY_EXIT_CODE.items())


def test_codes_are_those_promised_to_users() -> None:
    assert sorted(BY_EXIT_CODE) == [*range(2, 12), 130, 141]
    assert HvcopyError.exit_code == 1


def test_each_code_has_a_meaning_of_its_own_in_one_line() -> None:
    kinds: list[type[HvcopyError]] = [HvcopyError, *BY_EXIT_CODE.values()]
    meanings = [kind.meaning for kind in kinds]
    assert len(set(meanings)) == len(meanings)
    assert all(meaning and meaning.isprintable() and "|" not in meaning for meaning in meanings)


def test_page_of_exit_codes_is_generated_from_the_table() -> None:
    page = runpy.run_path(str(DOCS / "generate_exit_codes.py"))["page"]()
    written = (DOCS / "exit-codes.md").read_text(encoding="utf-8")
    assert written == page, "run: python docs/generate_exit_codes.py"
    for code in (0, 1, *BY_EXIT_CODE):
        assert f"| {code} |" in written


def test_failure_carries_its_message_and_hint() -> None:
    failure = BadUsage("what happened", hint="what to type")
    assert (str(failure), failure.message, failure.hint) == ("what happened", "what happened", "what to type")
    assert BadUsage("x").hint == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"plain name.txt", "plain name.txt"),
        ("é 日本 😀", "é 日本 😀"),
        ("é".encode(), "é"),
        (b"\x1b[2J", "\\x1b[2J"),
        (b"a\nb\r\tc", "a\\nb\\r\\tc"),
        (b"\0\x7f", "\\x00\\x7f"),
        (b"caf\xe9", "caf\\xe9"),
        ("caf\udce9", "caf\\xe9"),
        ("\ud800", "\\ud800"),
        ("\x9b31m", "\\x9b31m"),
        ("exe\u202etxt", "exe\\u202etxt"),
        ("a\u2028b", "a\\u2028b"),
        ("\U000e0001", "\\U000e0001"),
        (b"", ""),
    ],
)
def test_text_from_a_peer_becomes_one_printable_line(text: bytes | str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA1), *range(0xDC80, 0xDD00), 0x202E, 0x2066, 0xFEFF])
def test_no_control_format_or_undecodable_character_comes_through(code: int) -> None:
    shown = printable(f"a{chr(code)}b")
    assert shown.isprintable()
    assert shown.isascii()
    assert shown[0] + shown[-1] == "ab"
    assert len(shown) > 3


@pytest.mark.parametrize("text", ["plain", "a b", "\\x1b", "é😀", "\x1b[0m", "\udcff\n"])
def test_printable_text_is_printed_as_it_is(text: str) -> None:
    assert printable(printable(text)) == printable(text)


@pytest.mark.parametrize(("code", "helps"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False), (None, False)])
def test_room_is_to_be_made_where_there_was_none_on_the_disk_or_for_its_user(code: int | None, helps: bool) -> None:
    assert make_room(code).startswith("make room there") == helps
