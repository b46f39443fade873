"""The receiving side of a tree: what is made, what is left alone, and what is never reached."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from hvcopy.errors import LocalFailure
from hvcopy.files import system
from hvcopy.files.sink import OVERWRITE, REFUSE, UPDATE, Sink
from hvcopy.wire import messages as m
from hvcopy.wire.frames import LINKED

from .receiving import TIME, cannot_be_looked_at, entry, group, plan, put, tree

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
