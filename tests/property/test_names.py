"""Names: the fast judgement of a batch is the slow one of each name, and nothing that passes leaves a directory."""

from __future__ import annotations

import ntpath
import posixpath

from hypothesis import given
from hypothesis import strategies as st

from hvcopy.files.names import blocks_name, check_name, check_names, check_path, collision_key, part_name

PIECES = [
    *(b"", b".", b"..", b"/", b"\\", b"\0", b":", b" ", b"a", b"B", b"x" * 100, b"$", b"\n", b"\x7f", b"\x80", b"\xff"),
    *(b"con", b"NUL", b"aux", b"Com1", b"lpt9", b"CLOCK$", b"CONIN$", b".hvcopy-", b".HVCOPY-", b"part", b"blocks"),
    *(c.encode() for c in ("é", "\x85", "\x9f", "\xa0", "\u2027", "\u2028", "\u202e", "\u202f", "\u2066", "¹", "😀")),
    *(b"\xc2", b"\xe2", b"\xe2\x80", b"\xe2\x81", b"*", b"|", b"%2f"),
]
built = st.lists(st.sampled_from(PIECES), max_size=5).map(b"".join)
plain = st.text("abcXYZ019 ._-é", min_size=1, max_size=12).map(str.encode)
names = st.one_of(
    built, plain, st.binary(max_size=20), st.text(max_size=20).map(lambda t: t.encode("utf-8", "replace"))
)
batches = st.one_of(st.lists(names, max_size=8), st.lists(plain, max_size=20))


@given(batches, st.booleans())
def test_batch_equals_each_name_alone(batch: list[bytes], windows: bool) -> None:
    alone = {i: reason for i, name in enumerate(batch) if (reason := check_name(name, windows=windows))}
    assert check_names(batch, windows=windows) == alone


@given(names)
def test_safe_name_names_an_entry_of_the_directory_itself_on_linux(name: bytes) -> None:
    if check_name(name, windows=False) is None:
        joined = posixpath.normpath(posixpath.join(b"/root", name))
        assert posixpath.split(joined) == (b"/root", name)
        assert b"\0" not in name


@given(names)
def test_safe_name_names_an_entry_of_the_directory_itself_on_windows(name: bytes) -> None:
    if check_name(name, windows=True) is None:
        text = name.decode()
        joined = ntpath.normpath(ntpath.join("C:\\root", text))
        assert ntpath.split(joined) == ("C:\\root", text)
        assert ntpath.splitdrive(text) == ("", text)


@given(st.lists(names, min_size=1, max_size=6).map(b"/".join))
def test_safe_path_stays_below_the_root(path: bytes) -> None:
    if check_path(path, windows=False) is None:
        assert posixpath.normpath(posixpath.join(b"/served", path)) == b"/served/" + path
    if check_path(path, windows=True) is None:
        text = path.decode()
        joined = ntpath.normpath(ntpath.join("C:\\root", text))
        assert joined == "C:\\root\\" + text.replace("/", "\\")


@given(st.lists(names, min_size=1, max_size=6), st.booleans())
def test_path_is_safe_exactly_when_each_of_its_parts_is(parts: list[bytes], windows: bool) -> None:
    path = b"/".join(parts)
    unsafe = any(check_name(part, windows=windows) for part in path.split(b"/"))
    assert (check_path(path, windows=windows) is not None) is unsafe


@given(names, st.booleans())
def test_reason_is_one_printable_line(name: bytes, windows: bool) -> None:
    reason = check_name(name, windows=windows)
    assert reason is None or (reason and reason.isprintable())


@given(st.binary(min_size=1, max_size=255), st.binary(min_size=1, max_size=255))
def test_own_names_fit_differ_and_are_never_let_through(one: bytes, other: bytes) -> None:
    own = [part_name(one), blocks_name(one)]
    for name in own:
        assert len(name) <= 255
        assert check_name(name, windows=False) is not None
        assert check_name(name, windows=True) is not None
    assert len({*own, part_name(other), blocks_name(other)}) == (2 if one == other else 4)


@given(names)
def test_own_names_of_a_safe_name_break_no_rule_but_the_reservation(name: bytes) -> None:
    for windows in (False, True):
        if check_name(name, windows=windows) is None and len(name) <= 255:
            for own in (part_name(name), blocks_name(name)):
                assert "hvcopy keeps" in (check_name(own, windows=windows) or "")


@given(names)
def test_key_is_its_own_key(name: bytes) -> None:
    key = collision_key(name, folds_case=True)
    assert collision_key(key, folds_case=True) == key
    assert collision_key(name, folds_case=False) == name


@given(st.text(max_size=20))
def test_case_of_a_name_does_not_change_its_key(text: str) -> None:
    def key(other: str) -> bytes:
        return collision_key(other.encode("utf-8", "replace"), folds_case=True)

    assert key(text) == key(text.casefold()) == key(text.swapcase().casefold())
