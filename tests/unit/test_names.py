"""Names from a peer: each rule alone, the batch against it, and hvcopy's own names."""

from __future__ import annotations

import re

import pytest

from hvcopy.files.names import (
    begun_name,
    blocks_name,
    check_asked,
    check_name,
    check_names,
    check_path,
    collision_key,
    part_name,
)

BOTH = pytest.mark.parametrize("windows", [False, True])

UNSAFE_EVERYWHERE = [
    (b"", "empty"),
    (b".", "not a name of its own"),
    (b"..", "not a name of its own"),
    (b"a/b", "slash"),
    (b"/", "slash"),
    (b"../x", "slash"),
    (b"a\0b", "control character"),
    (b"\0", "control character"),
    (b"a\nb", "control character"),
    (b"\x1b[2J", "control character"),
    (b"\x7f", "control character"),
    ("a\x85b".encode(), "control character"),
    ("a\x9bb".encode(), "control character"),
    ("a\u2028b".encode(), "control character"),
    ("exe\u202etxt".encode(), "control character"),
    ("a\u2066b".encode(), "control character"),
    (b"\xff\xe2\x80\xaegnp.exe", "control character"),
    (b"\xe2\xc2\x9b31m", "control character"),
    (b"a\xc2\x9b31m\xff", "control character"),
    (b"\xff\x1b[2J", "control character"),
    (b".hvcopy-", "keeps for its own"),
    (b".hvcopy-key", "keeps for its own"),
    (b".HvCopy-key", "keeps for its own"),
    (b".x.hvcopy-part", "keeps for its own"),
    (b".x.HVCOPY-PART", "keeps for its own"),
    (b"x.hvcopy-blocks", "keeps for its own"),
    (b".x.0.hvcopy-begun", "keeps for its own"),
]
UNSAFE_ON_WINDOWS = [
    (b"a\\b", "Windows forbids \\"),
    (b"..\\x", "Windows forbids \\"),
    (b"C:", "Windows forbids :"),
    (b"file:stream", "Windows forbids :"),
    *((b"a" + character.encode() + b"b", f"Windows forbids {character}") for character in '<>"|?*'),
    (b"a.", "dot or space at the end"),
    (b"a ", "dot or space at the end"),
    (b"...", "dot or space at the end"),
    (b" ", "dot or space at the end"),
    *((name, "device") for name in (b"CON", b"con", b"Prn", b"AUX", b"nul", b"CLOCK$", b"conin$", b"CONOUT$")),
    *((name, "device") for name in (b"COM1", b"com9", b"LPT1", b"lpt9", "COM¹".encode(), "lpt³".encode())),
    *((name, "device") for name in (b"nul.txt", b"NUL.tar.gz", b"con .txt", b"aux..x", b"CLOCK$.a")),
    (b"caf\xe9", "not UTF-8"),
    (b"\xed\xa0\x80", "not UTF-8"),
    (b"x" * 256, "longer than 255 UTF-16 units"),
    ("😀".encode() * 128, "longer than 255 UTF-16 units"),
]
SAFE_EVERYWHERE = [
    *(b"a", b".a", b"..a", b"...a", b"a..b", b"-rf", b"~", b"$HOME", b"a b", b" a", b"%2e%2e", b"hvcopy-x", b"%00"),
    *(b"x.hvcopy", b"a.hvcopy-partial", b"a.hvcopy-x", b"hvcopy-part", b"x" * 255, b"desktop.ini", b"console"),
    *(b"null", b"com", b"COM", b"COM0", b"com10", b"auxiliary", b"xCON", b"my.con", b"CLOCK", b"x.nul.y", b"CONIN"),
    *(
        name.encode()
        for name in ("é", "e\u0301", "日本語.txt", "😀", "👩\u200d💻", "a\u202fb", "a\u3000b", "\u2013", "§")
    ),
]
SAFE_ON_LINUX_ONLY = [
    b"caf\xe9",
    b"\xff\xfe",
    b"\xc2",
    b"\xe2\x80",
    b"a\\b",
    b"a:b",
    b"a*",
    b"CON",
    b"...",
    b"trailing ",
]


@pytest.mark.parametrize(("name", "reason"), UNSAFE_EVERYWHERE)
@BOTH
def test_unsafe_name_is_refused_with_its_reason(name: bytes, reason: str, windows: bool) -> None:
    assert reason in (check_name(name, windows=windows) or "accepted")


@pytest.mark.parametrize(("name", "reason"), UNSAFE_ON_WINDOWS)
def test_name_that_windows_cannot_have_is_refused_there_with_what_to_do(name: bytes, reason: str) -> None:
    said = check_name(name, windows=True) or "accepted"
    assert reason in said
    assert "(rename it where it comes from, or copy its folder as a tar file)" in said


@pytest.mark.parametrize(("path", "reason"), [(b"d/con", "the name is a device on Windows"), (b"d/x.", "drops a dot or space")])
def test_of_a_path_that_was_typed_nothing_is_said_of_where_it_comes_from(path: bytes, reason: str) -> None:
    said = check_asked(path, windows=True) or "accepted"
    assert reason in said
    assert "rename" not in said


def test_a_path_that_was_typed_with_backslashes_is_refused_where_they_are_in_no_name_and_told_so() -> None:
    assert "parted by /" in (check_asked(rb"d\file", windows=True) or "accepted")
    assert check_asked(rb"d\file", windows=False) is None


@pytest.mark.parametrize("name", SAFE_EVERYWHERE)
@BOTH
def test_everyday_name_is_accepted(name: bytes, windows: bool) -> None:
    assert check_name(name, windows=windows) is None


@pytest.mark.parametrize("name", SAFE_ON_LINUX_ONLY)
def test_name_that_only_linux_can_have_is_accepted_there(name: bytes) -> None:
    assert check_name(name, windows=False) is None
    assert check_name(name, windows=True) is not None


def test_length_counts_bytes_on_linux_and_utf_16_units_on_windows() -> None:
    assert check_name("é".encode() * 127, windows=False) is None
    assert "255 bytes" in (check_name("é".encode() * 128, windows=False) or "accepted")
    assert check_name("é".encode() * 255, windows=True) is None
    assert "255 UTF-16" in (check_name("é".encode() * 256, windows=True) or "accepted")
    assert check_name("😀".encode() * 127, windows=True) is None


ALL = [name for name, _ in (*UNSAFE_EVERYWHERE, *UNSAFE_ON_WINDOWS)] + SAFE_EVERYWHERE + SAFE_ON_LINUX_ONLY


@pytest.mark.parametrize("name", ALL)
@BOTH
def test_batch_judges_each_name_as_it_is_judged_alone(name: bytes, windows: bool) -> None:
    alone = check_name(name, windows=windows)
    for batch in ([name], [b"a", name, b"b"], [name, b"a"], [b"a", name]):
        expected = {batch.index(name): alone} if alone else {}
        assert check_names(batch, windows=windows) == expected


@BOTH
def test_batch_names_every_refused_index(windows: bool) -> None:
    reasons = check_names([b"a", b"..", b"b", b"", b"x/y", b"c"], windows=windows)
    assert sorted(reasons) == [1, 3, 4]
    assert all(reasons.values())


@BOTH
def test_batch_of_nothing_has_nothing_to_refuse(windows: bool) -> None:
    assert check_names([], windows=windows) == {}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (b"", "empty"),
        (b"/", "absolute"),
        (b"/etc/passwd", "absolute"),
        (b"//host/share", "absolute"),
        (b"a//b", "empty part"),
        (b"a/", "empty part"),
        (b"..", "not a name of its own"),
        (b"a/../b", "not a name of its own"),
        (b"a/..", "not a name of its own"),
        (b"./a", "not a name of its own"),
        (b"a/b\0", "control character"),
        (b"a/.hvcopy-x/b", "keeps for its own"),
        (b"a/" * 256 + b"b", "deeper than 256"),
        (b"/".join([b"x" * 255] * 17), "longer than 4096"),
        (b"a/" + b"x" * 256, "longer than 255"),
    ],
)
@BOTH
def test_unsafe_path_is_refused_with_its_reason(path: bytes, reason: str, windows: bool) -> None:
    assert reason in (check_path(path, windows=windows) or "accepted")


@pytest.mark.parametrize(
    "path", [b"C:/x", b"c:x", b"C:", b"a/C:/x", b"\\\\host\\share", b"a\\..\\b", b"\\\\?\\C:\\x", b"a/nul"]
)
def test_path_that_leaves_the_root_on_windows_is_refused_there_only(path: bytes) -> None:
    assert check_path(path, windows=True) is not None
    assert check_path(path, windows=False) is None


@pytest.mark.parametrize("path", [b"a", b"a/b/c.txt", b"a/..b/.c", b"/".join([b"a"] * 256), "ä/\u2013".encode()])
@BOTH
def test_relative_path_is_accepted(path: bytes, windows: bool) -> None:
    assert check_path(path, windows=windows) is None


def test_longest_path_is_accepted() -> None:
    path = b"/".join([b"x" * 255] * 16)
    assert len(path) == 4095
    assert check_path(path, windows=False) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("README", "readme"),
        ("é", "e\u0301"),
        ("É", "e\u0301"),
        ("ß", "SS"),
        ("Σ", "ς"),
        ("K", "\u212a"),
        ("Å", "\u212b"),
    ],
)
def test_names_that_are_one_file_where_case_folds_have_one_key(one: str, other: str) -> None:
    assert collision_key(one.encode(), folds_case=True) == collision_key(other.encode(), folds_case=True)
    assert collision_key(one.encode(), folds_case=False) != collision_key(other.encode(), folds_case=False)


def test_names_that_differ_keep_different_keys() -> None:
    names = [b"a", b"b", b"\xc3\xa9", b"e", b"caf\xe9", b"caf\xe8", b"a.", b"a "]
    assert len({collision_key(name, folds_case=True) for name in names}) == len(names)


def test_own_names_of_a_short_name_are_readable() -> None:
    assert part_name(b"a.img") == b".a.img.hvcopy-part"
    assert blocks_name(b"a.img") == b".a.img.hvcopy-blocks"
    assert re.fullmatch(rb"\.a\.[0-9a-f]{16}\.hvcopy-begun", begun_name(b"a", b"source"))


def test_what_began_is_named_by_the_source_too() -> None:
    assert begun_name(b"a", b"source") != begun_name(b"a", b"other")
    assert begun_name(b"a", b"source") == begun_name(b"a", b"source")


@pytest.mark.parametrize("own", [part_name, blocks_name, lambda name: begun_name(name, b"source")])
@pytest.mark.parametrize("length", [1, 239, 240, 241, 242, 243, 255])
def test_own_name_always_fits_and_differs_by_the_end_of_a_long_name(own: type[bytes], length: int) -> None:
    one, other = own(b"x" * (length - 1) + b"1"), own(b"x" * (length - 1) + b"2")
    assert one != other
    assert len(one) <= 255
    assert one.startswith(b".x" if length > 1 else b".1")


@pytest.mark.parametrize("own", [part_name, blocks_name, lambda name: begun_name(name, b"source")])
@pytest.mark.parametrize("shift", range(4))
def test_own_name_of_a_long_name_is_not_cut_inside_a_character(own: type[bytes], shift: int) -> None:
    name = b"x" * shift + "😀".encode() * 62
    assert own(name).decode().startswith("." + "x" * shift + "😀" * 50)
    assert len(own(name)) > 245


def test_own_name_of_a_long_name_is_the_same_in_every_version() -> None:
    """A resume after an upgrade finds the part of the older version."""
    assert part_name(b"x" * 255) == b"." + b"x" * 226 + b"2be953982ac8bd9d.hvcopy-part"
