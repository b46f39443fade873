"""The receiving side of a tree: packs, whose files are written by one call of the core."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from hvcopy.files import sink as sinks
from hvcopy.files import system
from hvcopy.files.sink import OVERWRITE, UPDATE, Sink
from hvcopy.wire import messages as m
from hvcopy.wire.frames import PACK_RECORD

from .receiving import TIME, cannot_be_looked_at, group, plan, put, tree


def test_write_pack_creates_files_of_several_directories(root: Path) -> None:
    sink = Sink(plan(root, prefixes=[b"", b"other"]))
    result = put(
        sink,
        (group((b"a", b"one"), (b"b", b"")), b"one"),
        (group((b"c", b"two"), directory=b"d/e"), b"two"),
        (group((b"", b"three"), source=1), b"three"),
    )
    assert (result.files, result.same, result.skipped, result.failures) == (4, 0, 0, [])
    assert {path: (root / path).read_bytes() for path in ("a", "b", "d/e/c", "other")} == {
        "a": b"one",
        "b": b"",
        "d/e/c": b"two",
        "other": b"three",
    }
    assert (root / "a").stat().st_mtime_ns == TIME


@pytest.mark.parametrize("name", [b"..", b".", b"a/b", b"/x", b"\x1b", b"", b".f.hvcopy-part"])
def test_write_pack_refuses_an_unsafe_name_and_keeps_the_rest_in_step(root: Path, name: bytes) -> None:
    result = put(Sink(plan(root)), (group((b"a", b"one"), (name, b"evil"), (b"b", b"two")), b"oneeviltwo"))
    ((index, code, reason),) = result.failures
    assert (index, code, result.files) == (1, 11, 2)
    assert reason
    assert tree(root) == ["a", "b"]
    assert ((root / "a").read_bytes(), (root / "b").read_bytes()) == (b"one", b"two")


def test_write_pack_of_an_empty_name_for_a_root_is_a_failure(root: Path) -> None:
    """Only a source that is itself a file has the empty name."""
    result = put(Sink(plan(root)), (group((b"", b"x")), b"x"))
    assert [(index, code) for index, code, _ in result.failures] == [(0, 11)]
    assert tree(root) == []


def test_write_pack_refuses_a_directory_by_its_name_and_keeps_the_rest_in_step(root: Path) -> None:
    result = put(
        Sink(plan(root)),
        (group((b"x", b"evil"), (b"y", b"er"), directory=b"../outside"), b"eviler"),
        (group((b"a", b"one")), b"one"),
        admit=lambda source, path: "no" if b".." in path else None,
    )
    assert result.failures == [(0, 11, "no"), (1, 11, "no")]
    assert (root / "a").read_bytes() == b"one"
    assert tree(root.parent / "outside") == ["victim"]


def test_write_pack_into_a_link_is_a_failure_and_keeps_the_rest_in_step(root: Path) -> None:
    (root / "l").symlink_to("../outside")
    evil, fine = group((b"victim", b"evil"), directory=b"l"), group((b"a", b"one"))
    result = put(Sink(plan(root, OVERWRITE)), (evil, b"evil"), (fine, b"one"))
    assert [(index, code) for index, code, _ in result.failures] == [(0, 10)]
    assert (root.parent / "outside" / "victim").read_bytes() == b"mine"
    assert (root / "a").read_bytes() == b"one"


def test_write_pack_under_refuse_tells_the_same_from_another(root: Path) -> None:
    for name, data in (("same", b"data"), ("other", b"mine"), ("longer", b"data+"), ("shorter", b"dat")):
        (root / name).write_bytes(data)
    names = [b"same", b"other", b"longer", b"shorter", b"new"]
    result = put(Sink(plan(root)), (group(*[(name, b"data") for name in names]), b"data" * 5))
    assert (result.files, result.same) == (1, 1)
    assert sorted(result.failures) == [(index, 10, sinks.EXISTS) for index in (1, 2, 3)]
    assert (root / "other").read_bytes() == b"mine"


@pytest.mark.parametrize("plant", ["link", "dangling", "directory", "fifo"])
def test_write_pack_under_refuse_leaves_what_is_no_file(root: Path, plant: str) -> None:
    if plant == "directory":
        (root / "a").mkdir()
    elif plant == "fifo":
        os.mkfifo(root / "a")
    else:
        (root / "a").symlink_to("../outside/victim" if plant == "link" else "nowhere")
    before = os.lstat(root / "a").st_mode
    result = put(Sink(plan(root)), (group((b"a", b"mine")), b"mine"))
    reason = {"directory": sinks.A_DIRECTORY, "fifo": sinks.SPECIAL}.get(plant, sinks.EXISTS)
    assert result.failures == [(0, 10, reason)]
    assert os.lstat(root / "a").st_mode == before
    assert (root.parent / "outside" / "victim").read_bytes() == b"mine"


def test_write_pack_under_overwrite_replaces_files_and_links_themselves(root: Path) -> None:
    (root / "a").write_bytes(b"old")
    (root / "l").symlink_to("../outside/victim")
    result = put(Sink(plan(root, OVERWRITE)), (group((b"a", b"new"), (b"l", b"new")), b"newnew"))
    assert (result.files, result.failures) == (2, [])
    assert ((root / "a").read_bytes(), (root / "l").read_bytes()) == (b"new", b"new")
    assert (root.parent / "outside" / "victim").read_bytes() == b"mine"


def test_write_pack_tells_of_each_name_that_is_taken_whether_it_is_the_same(root: Path) -> None:
    there = {"same": b"abc", "other": b"abx", "longer": b"abcd", "shorter": b"ab", "large": bytes(100_000), "empty": b""}
    for name, data in there.items():
        (root / name).write_bytes(data)
    (root / "link").symlink_to("same")
    (root / "folder").mkdir()
    sent = [(b"new", b"abc"), *((os.fsencode(name), b"abc") for name in there), (b"empty", b""), (b"link", b"abc")]
    sent += [(b"folder", b""), (b"same", b"abc"), (b"last", b"abc")]
    result = put(Sink(plan(root)), (group(*sent), b"".join(data for _, data in sent)))
    assert (result.files, result.same) == (2, 3)
    assert sorted(sent[index][0] for index, _, _ in result.failures) == sorted(
        [b"other", b"longer", b"shorter", b"large", b"empty", b"link", b"folder"]
    )
    assert {name: (root / name).read_bytes() for name in there} == there


def test_write_pack_under_overwrite_never_replaces_a_directory(root: Path) -> None:
    (root / "a").mkdir()
    result = put(Sink(plan(root, OVERWRITE)), (group((b"a", b"new")), b"new"))
    assert [(index, code) for index, code, _ in result.failures] == [(0, 10)]
    assert tree(root) == ["a"]


@pytest.mark.parametrize(("age", "replaced"), [(-1, True), (0, False), (1, False)])
def test_write_pack_under_update_skips_what_is_not_older(root: Path, age: int, replaced: bool) -> None:
    (root / "a").write_bytes(b"old")
    os.utime(root / "a", ns=(TIME + age, TIME + age))
    result = put(Sink(plan(root, UPDATE)), (group((b"a", b"new"), (b"b", b"x")), b"newx"))
    assert (result.files, result.skipped) == ((2, 0) if replaced else (1, 1))
    assert (root / "a").read_bytes() == (b"new" if replaced else b"old")
    assert (root / "b").read_bytes() == b"x"


@pytest.mark.parametrize("directory", [b"", b"d"])
def test_write_pack_refuses_the_same_name_twice_where_it_would_replace(root: Path, directory: bytes) -> None:
    sink = Sink(plan(root, OVERWRITE))
    result = put(sink, (group((b"a", b"one"), (b"a", b"two"), directory=directory), b"onetwo"))
    assert [(index, code) for index, code, _ in result.failures] == [(1, 11)]
    again = put(sink, (group((b"a", b"three"), directory=directory), b"three"))
    assert [(index, code) for index, code, _ in again.failures] == [(0, 11)]
    assert (root / os.fsdecode(directory) / "a").read_bytes() == b"one"


@pytest.mark.parametrize(("owner", "mode"), [(False, 0o755), (True, 0o4755)])
def test_write_pack_sets_set_id_bits_only_with_the_owner(root: Path, owner: bool, mode: int) -> None:
    if owner and os.geteuid():
        pytest.skip("only root may give files away")
    put(Sink(plan(root, owner=owner)), (group((b"a", b""), mode=0o4755), b""))
    assert stat.S_IMODE((root / "a").stat().st_mode) == mode


def test_write_pack_gives_no_file_away_unasked(root: Path) -> None:
    other = m.Group(0, b"", [b"a"], PACK_RECORD.pack(1, TIME, 0o644, os.geteuid() + 1, os.getegid() + 1, 0, 0))
    assert put(Sink(plan(root)), (other, b"x")).files == 1
    found = (root / "a").stat()
    assert (found.st_uid, found.st_gid) == (os.geteuid(), os.getegid())


def test_write_pack_under_update_keeps_the_rest_in_step_with_what_cannot_be_looked_at(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = system.stat

    def stat_of_others(parent: int, name: bytes) -> os.stat_result:
        if name == b"a":
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return real(parent, name)

    monkeypatch.setattr(system, "stat", stat_of_others)
    result = put(Sink(plan(root, UPDATE)), (group((b"a", b"left"), (b"b", b"x"), (b"c", b"yz")), b"leftxyz"))
    assert (result.files, [index for index, *_ in result.failures]) == (2, [0])
    assert ((root / "b").read_bytes(), (root / "c").read_bytes()) == (b"x", b"yz")


def test_write_pack_under_update_replaces_nothing_that_cannot_be_looked_at(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_bytes(b"newer")
    sink = Sink(plan(root, UPDATE))
    cannot_be_looked_at(monkeypatch)
    result = put(sink, (group((b"a", b"old"), (b"b", b"x")), b"oldx"))
    why = sinks.not_written(os.strerror(errno.ENOMEM))
    assert (result.files, result.failures) == (0, [(0, 10, why), (1, 10, why)])
    assert (tree(root), (root / "a").read_bytes()) == (["a"], b"newer")


def test_write_pack_stops_the_copy_where_no_folder_has_room(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(system, "make_directory", full)
    with pytest.raises(sinks.PackStopped, match="space") as stopped:
        put(Sink(plan(root)), (group((b"a", b"x")), b"x"), (group((b"b", b"y"), directory=b"d"), b"y"))
    assert stopped.value.index == 1


def test_write_pack_of_nothing_is_nothing(root: Path) -> None:
    assert put(Sink(plan(root))) == sinks.Packed()
