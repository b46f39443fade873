"""The receiving side of a tree: what is made, what is left alone, and what is never reached."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from hvcopy.errors import LocalFailure
from hvcopy.files import sink as sinks
from hvcopy.files import system
from hvcopy.files.confined import open_directory
from hvcopy.files.sink import OVERWRITE, REFUSE, UPDATE, Plan, Sink
from hvcopy.wire import messages as m
from hvcopy.wire.frames import LINKED, PACK_RECORD

TIME = 1_700_000_000_000_000_000
File = tuple[bytes, bytes]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where things arrive, beside a place outside."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim").write_bytes(b"mine")
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def plan(root: Path, existing: str = REFUSE, *, prefixes: list[bytes] | None = None, owner: bool = False) -> Plan:
    """Return a plan: the first source is a directory that goes into the root itself, unless *prefixes* say otherwise."""
    prefixes = prefixes or [b""]
    dirs = [index == 0 for index in range(len(prefixes))]
    return Plan(open_directory(os.fsencode(root)), prefixes, dirs, existing, sync=False, owner=owner)


def group(*files: File, directory: bytes = b"", source: int = 0, mtime: int = TIME, mode: int = 0o644, flags: int = 0) -> m.Group:
    """Return a group of files of one directory."""
    records = b"".join(PACK_RECORD.pack(len(data), mtime, mode, 0, 0, flags, 0) for _, data in files)
    return m.Group(source, directory, [name for name, _ in files], records)


def put(
    sink: Sink, *groups: tuple[m.Group, bytes], admit: Callable[[int, bytes], str | None] = lambda source, path: None
) -> sinks.Packed:
    """Write a pack."""
    return sink.write_pack([one for one, _ in groups], memoryview(b"".join(data for _, data in groups)), admit)


def entry(kind: int, path: bytes, extra: m.Extra = m.NO_EXTRA, *, mode: int = 0o755, source: int = 0) -> m.Entry:
    """Return an entry."""
    return m.Entry(kind, 1, source, path, mode, 0, TIME, extra)


def tree(root: Path) -> list[str]:
    """Return everything below *root*."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


# ---- where things go


@pytest.mark.parametrize(
    ("prefix", "path", "where"), [(b"", b"", b""), (b"", b"a/b", b"a/b"), (b"p/q", b"", b"p/q"), (b"p", b"a", b"p/a")]
)
def test_plan_places_a_source_where_this_side_decided(root: Path, prefix: bytes, path: bytes, where: bytes) -> None:
    assert plan(root, prefixes=[b"other", prefix]).path(1, path) == where


def test_plan_first_time_is_true_once(root: Path) -> None:
    one = plan(root)
    assert [one.first_time(b"a"), one.first_time(b"b"), one.first_time(b"a")] == [True, True, False]


def test_parent_of_the_root_itself_is_an_error(root: Path) -> None:
    with pytest.raises(IsADirectoryError):
        Sink(plan(root)).parent(0, b"")


@pytest.mark.parametrize("path", [b"..", b"a/..", b".", b"a/."])
def test_parent_takes_no_name_that_leads_elsewhere(root: Path, path: bytes) -> None:
    with pytest.raises(PermissionError, match="leads out"):
        Sink(plan(root)).parent(0, path)


# ---- directories


def test_make_directory_makes_what_is_missing_above_it_too(root: Path) -> None:
    Sink(plan(root)).make_directory(entry(m.DIRECTORY, b"a/b/c"))
    assert tree(root) == ["a", "a/b", "a/b/c"]


def test_make_directory_of_one_that_stands_there_is_fine(root: Path) -> None:
    (root / "a").mkdir(mode=0o711)
    (root / "a" / "mine").write_bytes(b"")
    Sink(plan(root)).make_directory(entry(m.DIRECTORY, b"a"))
    assert tree(root) == ["a", "a/mine"]
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o711


@pytest.mark.parametrize("target", ["../outside", "nowhere"])
def test_make_directory_where_a_link_stands_is_an_error(root: Path, target: str) -> None:
    (root / "a").symlink_to(target)
    for path in (b"a", b"a/b"):
        with pytest.raises(OSError, match=r"symbolic|Not a directory|File exists"):
            Sink(plan(root)).make_directory(entry(m.DIRECTORY, path))
    assert tree(root.parent / "outside") == ["victim"]


def test_end_directory_sets_mode_and_time(root: Path) -> None:
    sink = Sink(plan(root))
    sink.make_directory(entry(m.DIRECTORY, b"a"))
    sink.end_directory(entry(m.DIRECTORY_END, b"a", mode=0o4750))
    found = (root / "a").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o750, TIME)


def test_end_directory_makes_one_that_nothing_went_into(root: Path) -> None:
    Sink(plan(root)).end_directory(entry(m.DIRECTORY_END, b"a/b", mode=0o750))
    assert stat.S_IMODE((root / "a" / "b").stat().st_mode) == 0o750


@pytest.mark.parametrize("plant", ["link", "file"])
def test_end_directory_where_something_else_stands_changes_nothing(root: Path, plant: str) -> None:
    outside = (root.parent / "outside").stat()
    if plant == "link":
        (root / "a").symlink_to("../outside")
    else:
        (root / "a").write_bytes(b"mine")
    with pytest.raises(OSError, match=r"symbolic|Not a directory|File exists"):
        Sink(plan(root)).end_directory(entry(m.DIRECTORY_END, b"a", mode=0o700))
    after = (root.parent / "outside").stat()
    assert (after.st_mode, after.st_mtime_ns) == (outside.st_mode, outside.st_mtime_ns)


def end_all(sink: Sink, entries: list[m.Entry]) -> None:
    """End all of them together, as far as that goes."""
    while entries:
        count = sink.end_directories(entries)
        assert count > 0
        entries = entries[count:]


def test_directories_that_end_together_have_their_modes_and_times(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a").chmod(0o2777)
    paths = [b"a/b/c", b"a/b", *(b"d%d/e" % number for number in range(100)), *(b"d%d" % number for number in range(100)), b"a"]
    end_all(Sink(plan(root)), [entry(m.DIRECTORY_END, path, mode=0o4751) for path in paths])
    found = {path: (root / os.fsdecode(path)).stat() for path in paths}
    assert {(stat.S_IMODE(one.st_mode), one.st_mtime_ns) for path, one in found.items() if path != b"a"} <= {
        (0o751, TIME),
        (0o2751, TIME),  # made in one that hands its group on
    }
    assert (stat.S_IMODE(found[b"a"].st_mode), found[b"a"].st_mtime_ns) == (0o2751, TIME)


@pytest.mark.parametrize("path", [b"b", b"b/c", b"..", b"a/..", b"a/."])
def test_directories_that_end_together_stop_before_what_leads_elsewhere(path: bytes, root: Path) -> None:
    (root / "b").symlink_to("../outside")
    before = [one.stat() for one in (root.parent, root.parent / "outside")]
    sink = Sink(plan(root))
    ends = [entry(m.DIRECTORY_END, one, mode=0o700) for one in (b"a", path, b"z")]
    assert sink.end_directories(ends) == 1
    assert sink.end_directories(ends[1:]) == 0
    after = [one.stat() for one in (root.parent, root.parent / "outside")]
    assert [(one.st_mode, one.st_mtime_ns) for one in after] == [(one.st_mode, one.st_mtime_ns) for one in before]
    assert not (root / "z").exists()


# ---- symbolic links


def test_make_symlink_recreates_it_and_follows_nothing(root: Path) -> None:
    sink = Sink(plan(root))
    assert not sink.make_symlink(entry(m.SYMLINK, b"d/l", m.Extra(target=b"../../outside/victim")))
    assert os.readlink(root / "d" / "l") == "../../outside/victim"
    assert os.lstat(root / "d" / "l").st_mtime_ns == TIME
    assert tree(root) == ["d", "d/l"]


def test_make_symlink_that_stands_there_is_the_same(root: Path) -> None:
    (root / "l").symlink_to("x")
    assert Sink(plan(root)).make_symlink(entry(m.SYMLINK, b"l", m.Extra(target=b"x")))


@pytest.mark.parametrize("existing", [REFUSE, OVERWRITE, UPDATE])
def test_make_symlink_over_a_file_only_when_asked(root: Path, existing: str) -> None:
    (root / "l").write_bytes(b"mine")
    os.utime(root / "l", ns=(0, TIME - 1))
    sink = Sink(plan(root, existing))
    if existing == REFUSE:
        with pytest.raises(FileExistsError):
            sink.make_symlink(entry(m.SYMLINK, b"l", m.Extra(target=b"x")))
        assert (root / "l").read_bytes() == b"mine"
    else:
        sink.make_symlink(entry(m.SYMLINK, b"l", m.Extra(target=b"x")))
        assert os.readlink(root / "l") == "x"
    assert tree(root) == ["l"], "no temporary name is left"


def test_make_symlink_over_a_directory_is_an_error(root: Path) -> None:
    (root / "l").mkdir()
    with pytest.raises(OSError, match="directory"):
        Sink(plan(root, OVERWRITE)).make_symlink(entry(m.SYMLINK, b"l", m.Extra(target=b"x")))
    assert tree(root) == ["l"]


def test_make_symlink_over_what_this_session_wrote_is_an_error(root: Path) -> None:
    """Names that are two for the sender and one for us must not eat each other."""
    sink = Sink(plan(root, OVERWRITE))
    put(sink, (group((b"a", b"new")), b"new"))
    with pytest.raises(FileExistsError):
        sink.make_symlink(entry(m.SYMLINK, b"a", m.Extra(target=b"x")))
    assert (root / "a").read_bytes() == b"new"
    assert tree(root) == ["a"]


def test_make_symlink_whose_owner_cannot_be_set_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(system, "chown_link", forbidden)
    with pytest.raises(OSError, match="its owner 1:2 cannot be kept there"):
        Sink(plan(root, owner=True)).make_symlink(entry(m.SYMLINK, b"l", m.Extra(target=b"x", uid=1, gid=2)))
    assert tree(root) == []


# ---- hard links


@pytest.fixture(params=[b"", b"d"])
def linked(request: pytest.FixtureRequest, root: Path) -> tuple[Sink, bytes]:
    """A sink that delivered a file which hard links will follow to, and that file's path."""
    directory: bytes = request.param
    sink = Sink(plan(root))
    put(sink, (group((b"first", b"data"), directory=directory, flags=LINKED), b"data"))
    return sink, directory + b"/first" if directory else b"first"


def test_make_hardlink_to_a_delivered_file(root: Path, linked: tuple[Sink, bytes]) -> None:
    sink, first = linked
    assert not sink.make_hardlink(entry(m.HARDLINK, b"e/second", m.Extra(to=(0, first))))
    assert (root / "e" / "second").samefile(root / os.fsdecode(first))
    assert sink.make_hardlink(entry(m.HARDLINK, b"e/second", m.Extra(to=(0, first)))), "it stands there already"


@pytest.mark.parametrize("to", [None, (0, b"mine"), (0, b"plain"), (0, b"../outside/victim"), (1, b"first"), (0, b"")])
def test_make_hardlink_to_anything_else_is_refused(root: Path, to: tuple[int, bytes] | None) -> None:
    (root / "mine").write_bytes(b"mine")
    sink = Sink(plan(root))
    put(sink, (group((b"first", b"data"), flags=LINKED), b"data"), (group((b"plain", b"")), b""))
    with pytest.raises(LocalFailure, match="not delivered"):
        sink.make_hardlink(entry(m.HARDLINK, b"second", m.Extra(to=to)))
    assert tree(root) == ["first", "mine", "plain"]


def test_make_hardlink_to_a_file_that_failed_is_refused(root: Path) -> None:
    (root / "first").write_bytes(b"mine")
    sink = Sink(plan(root))
    put(sink, (group((b"first", b"data"), flags=LINKED), b"data"))
    with pytest.raises(LocalFailure):
        sink.make_hardlink(entry(m.HARDLINK, b"second", m.Extra(to=(0, b"first"))))


def test_make_hardlink_to_a_file_that_was_skipped_is_refused(root: Path) -> None:
    """Nobody has looked into it: it may be anything."""
    (root / "first").write_bytes(b"mine")
    sink = Sink(plan(root, UPDATE))
    assert put(sink, (group((b"first", b"data"), (b"other", b""), flags=LINKED), b"data")).skipped == 1
    with pytest.raises(LocalFailure, match="not delivered"):
        sink.make_hardlink(entry(m.HARDLINK, b"second", m.Extra(to=(0, b"first"))))


def test_make_hardlink_to_a_file_that_is_the_same_already(root: Path) -> None:
    (root / "first").write_bytes(b"data")
    sink = Sink(plan(root))
    put(sink, (group((b"first", b"data"), flags=LINKED), b"data"))
    sink.make_hardlink(entry(m.HARDLINK, b"second", m.Extra(to=(0, b"first"))))
    assert (root / "second").samefile(root / "first")


def test_make_hardlink_over_a_file_without_asking_is_refused(root: Path, linked: tuple[Sink, bytes]) -> None:
    sink, first = linked
    (root / "second").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        sink.make_hardlink(entry(m.HARDLINK, b"second", m.Extra(to=(0, first))))
    assert (root / "second").read_bytes() == b"mine"
    assert not any(".hvcopy-" in path for path in tree(root))


def test_make_hardlink_with_overwrite_replaces_a_file_that_holds_the_same(root: Path) -> None:
    """The two were one file at the sender, so they are one here."""
    (root / "second").write_bytes(b"data")
    sink = Sink(plan(root, OVERWRITE))
    put(sink, (group((b"first", b"data"), flags=LINKED), b"data"))
    assert sink.make_hardlink(entry(m.HARDLINK, b"second", m.Extra(to=(0, b"first")))) == m.DONE
    assert (root / "second").samefile(root / "first")


# ---- what stands there


def test_standing_does_not_follow_links(root: Path) -> None:
    (root / "l").symlink_to("../outside/victim")
    found = Sink(plan(root)).standing(0, b"l")
    assert found is not None
    assert stat.S_ISLNK(found.st_mode)


@pytest.mark.parametrize("path", [b"x", b"d/x"])
def test_standing_of_nothing_is_nothing_and_makes_nothing(root: Path, path: bytes) -> None:
    assert Sink(plan(root)).standing(0, path) is None
    assert tree(root) == []


def test_standing_below_a_file_is_an_error(root: Path) -> None:
    (root / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        Sink(plan(root)).standing(0, b"file/x")


def test_open_standing_does_not_follow_links(root: Path) -> None:
    (root / "l").symlink_to("../outside/victim")
    with pytest.raises(OSError, match="symbolic"):
        Sink(plan(root)).open_standing(0, b"l")


# ---- packs


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


def cannot_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the system has no memory to say what stands under a name."""

    def stat_fails(*_: object) -> os.stat_result:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(system, "stat", stat_fails)


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


@pytest.mark.parametrize("existing", [OVERWRITE, UPDATE])
def test_make_symlink_replaces_nothing_that_cannot_be_looked_at(
    existing: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_bytes(b"newer")
    sink = Sink(plan(root, existing))
    cannot_be_looked_at(monkeypatch)
    with pytest.raises(OSError, match=os.strerror(errno.ENOMEM)):
        sink.make_symlink(entry(m.SYMLINK, b"a", m.Extra(target=b"t")))
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
