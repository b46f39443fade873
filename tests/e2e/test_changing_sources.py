"""A source that changes while it is read is reported for that file, and never delivered as if whole.

The change is made when the source's announcement or some of its blocks have passed a relay, so that no clock decides.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import Finished, run, serving
from peers import Framed, Relay

from e2e.trees import MIB, leftovers, noise, plant, write
from hvcopy.wire.frames import Type

SIZE = 24 * MIB


def shrink(path: Path) -> None:
    """Half of it is gone."""
    os.truncate(path, SIZE // 2)


def empty(path: Path) -> None:
    """All of it is gone, as when something begins to write it anew."""
    os.truncate(path, 0)


def grow(path: Path) -> None:
    """Something is appended, as to a log."""
    with path.open("ab") as file:
        file.write(b"more")


def rewrite(path: Path) -> None:
    """The last byte changes in place."""
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")


def vanish(path: Path) -> None:
    """It is deleted."""
    path.unlink()


def replace(path: Path) -> None:
    """Another file takes its name."""
    other = write(path.with_name("other"), noise(SIZE, 99))
    other.replace(path)


def wait_for_a_writer(path: Path) -> None:
    """A FIFO takes its name, which nobody writes to."""
    path.unlink()
    os.mkfifo(path)


CHANGES = {change.__name__: change for change in (shrink, empty, grow, rewrite, vanish, replace, wait_for_a_writer)}


class Moment:
    """Passes frames on, and calls *act* once when frame *number* of *kind* is there, before it goes on."""

    def __init__(self, kind: Type, number: int, act: Callable[[], object]) -> None:
        self._kind = kind
        self._left = number
        self._act = act
        self._lock = threading.Lock()
        self.happened = False

    def __call__(self, kind: int, frame: bytes) -> bytes:
        with self._lock:
            self._left -= kind == self._kind
            if not self._left and not self.happened:
                self.happened = True
                self._act()
        return frame

    def passage(self) -> Framed:
        """Return the passage for one connection."""
        return Framed(self)


class Trip:
    """A copy of a tree with one file that changes in it, by push or pull, through a relay."""

    def __init__(self, tmp_path: Path, processes: ExitStack, *, pull: bool, limit: str = "200M") -> None:
        self.pull = pull
        self._limit = limit
        self.root, self.here = tmp_path / "root", tmp_path / "here"
        self.source = (self.root if pull else self.here) / "tree"
        self.target = (self.here if pull else self.root) / "copy"
        plant(self.source, {"changing": noise(SIZE), "steady": noise(3 * MIB, 1), "small": b"small"})
        self.root.mkdir(exist_ok=True)
        self.here.mkdir(exist_ok=True)
        self._server = processes.enter_context(serving(f"unix:{tmp_path}/d", self.root))
        self._relay = f"unix:{tmp_path}/s"
        self._processes = processes

    def go(self, moment: Moment, *options: object, sources: Sequence[Path] = ()) -> Finished:
        """Copy, with *moment* in the way of what the sender sends; a push of several *sources* goes into the root."""
        passages = {"down" if self.pull else "up": moment.passage}
        with Relay(self._relay, self._server.address, **passages) as relay:
            remote = f"{relay.address}:/{'tree' if self.pull else '' if sources else 'copy'}"
            ends = [remote, self.target] if self.pull else [*(sources or [self.source]), remote]
            limit = [] if self.pull else ["--bwlimit", self._limit]
            return run("cp", "-r", "--no-fsync", "--json", *limit, *options, *ends, timeout=30)


@pytest.mark.parametrize("change", ["shrink", "grow", "vanish"])
@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_a_file_that_changes_under_way_fails_alone(
    change: str, pull: bool, tmp_path: Path, processes: ExitStack
) -> None:
    trip = Trip(tmp_path, processes, pull=pull)
    moment = Moment(Type.DATA, 3, lambda: CHANGES[change](trip.source / "changing"))
    done = trip.go(moment)
    assert moment.happened
    assert_only_that_one_failed(done, trip.target)


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("change", ["shrink", "empty", "rewrite", "replace"])
def test_a_large_copy_survives_a_file_that_changes(
    change: str, lanes: int, tmp_path: Path, processes: ExitStack
) -> None:
    """Blocks of the file that failed may still be on other lanes, or wait to be written."""
    trip = Trip(tmp_path, processes, pull=False, limit="0")
    plant(trip.source, {f"more{number}": noise(12 * MIB, number) for number in range(3)})
    moment = Moment(Type.DATA, 4, lambda: CHANGES[change](trip.source / "changing"))
    done = trip.go(moment, "--lanes", lanes)
    if done.code == 0:  # all of it had been read before: then it was delivered whole, as it was
        assert (trip.target / "changing").read_bytes() == noise(SIZE)
        return
    assert_only_that_one_failed(done, trip.target)
    for number in range(3):
        assert (trip.target / f"more{number}").read_bytes() == noise(12 * MIB, number)


def assert_only_that_one_failed(done: Finished, target: Path) -> None:
    """The others are there and confirmed; nothing of that one is left."""
    assert done.code == 3, done.err
    failures = done.result["failures"]
    assert [os.path.basename(failure["path"]) for failure in failures] == ["changing"], failures
    assert failures[0]["code"] == 10
    assert "changed" in failures[0]["message"] or "No such file" in failures[0]["message"], failures
    assert not (target / "changing").exists()
    assert (target / "steady").read_bytes() == noise(3 * MIB, 1)
    assert (target / "small").read_bytes() == b"small"
    assert not leftovers(target)


def test_the_only_file_that_changes_is_10_and_the_old_one_stands(
    tmp_path: Path, processes: ExitStack
) -> None:
    trip = Trip(tmp_path, processes, pull=False)
    for name in ("steady", "small"):
        (trip.source / name).unlink()
    write(trip.target / "tree/changing", b"old")
    moment = Moment(Type.DATA, 2, lambda: rewrite(trip.source / "changing"))
    done = trip.go(moment, "--overwrite")
    assert done.code == 10, done.err
    assert (trip.target / "tree/changing").read_bytes() == b"old"
    assert not leftovers(trip.root)


@pytest.mark.parametrize("change", ["shrink", "grow", "vanish", "replace", "wait_for_a_writer"])
def test_a_file_that_changes_between_question_and_answer_fails(
    change: str, tmp_path: Path, processes: ExitStack
) -> None:
    trip = Trip(tmp_path, processes, pull=False)

    def act() -> None:
        CHANGES[change](trip.source / "changing")

    moment = Moment(Type.ENTRIES, 1, act)
    done = trip.go(moment)
    assert moment.happened
    assert_only_that_one_failed(done, trip.target)


@pytest.mark.parametrize("becomes", ["nothing", "a link"])
def test_a_small_file_that_vanishes_before_it_is_read_is_reported(
    becomes: str, tmp_path: Path, processes: ExitStack
) -> None:
    """The first announcement passes before the second directory's files are read."""
    trip = Trip(tmp_path, processes, pull=False, limit="2M")
    for number in range(40):
        plant(trip.source / f"d{number:02}", {f"{i}": noise(100_000, i) for i in range(10)})
    victims = [trip.source / f"d{number:02}" / "9" for number in range(40)]
    gone: list[str] = []

    def act() -> None:
        for victim in victims:
            victim.unlink()
            if becomes == "a link":
                victim.symlink_to("8")
            gone.append(str(victim.relative_to(trip.source)))

    done = trip.go(Moment(Type.PACK, 1, act), "--bwlimit", "20M", "--links")
    assert len(gone) == 40
    failed = {failure["path"].partition("/")[2] for failure in done.result["failures"]}
    there = {str(path.relative_to(trip.target)) for path in trip.target.rglob("9")}
    assert failed | there == set(gone)
    assert not failed & there
    assert done.code == (3 if failed else 0)


@pytest.mark.parametrize("size", [100, 9 * MIB])
def test_a_file_that_takes_the_inode_number_of_a_deleted_one_is_no_link_to_it(
    size: int, tmp_path: Path, processes: ExitStack
) -> None:
    """Both have two names.  What lies between them in the order of the copy keeps one lane busy until the change."""
    trip = Trip(tmp_path, processes, pull=False)
    shutil.rmtree(trip.source)
    old = write(trip.here / "1/old", b"old" * 100)
    os.link(old, trip.here / "1/other")
    number = old.stat().st_ino
    plant(trip.here / "2", {f"{i}": noise(100_000, i) for i in range(120)})
    plant(trip.here / "3", {"new": b"", "other": b""})
    taken = False

    def act() -> None:
        nonlocal taken
        for name in ("old", "other"):
            (trip.here / "1" / name).unlink()
        for attempt in range(200):
            new = write(trip.here / "1" / f"new{attempt}", b"")
            if taken := new.stat().st_ino == number:
                break
        new.write_bytes(noise(size))
        (trip.here / "3/other").unlink()
        os.link(new, trip.here / "3/other")
        new.replace(trip.here / "3/new")

    done = trip.go(Moment(Type.PACK, 1, act), "--lanes", 1, sources=[trip.here / name for name in "123"])
    if not taken:
        pytest.skip("the file system of the tests gives no inode number a second time")
    assert done.code == 0, done.err
    assert (trip.root / "1/other").read_bytes() == b"old" * 100
    assert (trip.root / "3/new").read_bytes() == noise(size)
    assert (trip.root / "3/other").samefile(trip.root / "3/new")


def test_a_directory_that_vanishes_is_reported_or_was_read(tmp_path: Path, processes: ExitStack) -> None:
    trip = Trip(tmp_path, processes, pull=False)
    write(trip.source / "sub/inner")

    def act() -> None:
        (trip.source / "sub/inner").unlink()
        (trip.source / "sub").rmdir()

    done = trip.go(Moment(Type.JOB, 1, act))
    assert done.code == 0, done.err
    assert not (trip.target / "sub").exists()


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_a_file_that_is_written_all_the_time_fails_alone(
    pull: bool, lanes: int, tmp_path: Path, processes: ExitStack
) -> None:
    """As a disk of a running machine, whose blocks change between being hashed and being sent."""
    trip = Trip(tmp_path, processes, pull=pull, limit="0")
    over, gone_over = threading.Event(), threading.Event()

    def scribble() -> None:
        with (trip.source / "changing").open("r+b", buffering=0) as file:
            while not over.is_set():
                for at in range(0, SIZE, 64 * 1024):
                    os.pwrite(file.fileno(), os.urandom(16), at)
                gone_over.set()

    def wait_for_writes() -> None:
        """However busy the machine is, all is written to between the first block and the last."""
        for _ in range(2):  # the first may have been under way
            gone_over.clear()
            assert gone_over.wait(20)

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        wait_for_writes()
        done = trip.go(Moment(Type.DATA, 1, wait_for_writes), "--lanes", lanes)
    finally:
        over.set()
        writer.join()
    assert_only_that_one_failed(done, trip.target)
