"""Progress as people and programs see it, by a clock that the test turns."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import pytest

from hvcopy import progress as module
from hvcopy.progress import BAR_AFTER, JSON_EVERY, PLAIN_EVERY, Progress
from hvcopy.transfer.tally import Tally

MIB = 1 << 20
STARTED = 1.0


class Terminal(io.StringIO):
    """A stderr that says whether it is a terminal."""

    def __init__(self, *, tty: bool) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        """As it was made."""
        return self._tty


class Clock:
    """Seconds since some start."""

    def __init__(self) -> None:
        self.now = 50.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the progress display."""
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A stderr that is no terminal."""
    stderr = Terminal(tty=False)
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=stderr))
    return stderr


@pytest.fixture
def tally() -> Tally:
    """A transfer half done."""
    half = Tally(files=3, total_bytes=100 * MIB, total_files=7, counted=True, current=b"d/file", started=STARTED)
    return moved(half, 50 * MIB)


def moved(tally: Tally, count: int) -> Tally:
    """Return *tally*, to which *count* bytes were added."""
    tally.add(bytes=count)
    return tally


def lines(stderr: Terminal) -> list[str]:
    """Return what was printed."""
    return stderr.getvalue().splitlines()


def test_what_is_skipped_is_no_part_of_the_whole(clock: Clock, stderr: Terminal, tally: Tally) -> None:
    tally.leave_out(40 * MIB)
    shown = Progress("plain", tally)
    clock.now += 60
    shown.tick()
    assert "50.00 MiB of 60.00 MiB (83 %)" in stderr.getvalue()


def test_plain_prints_a_line_every_few_seconds(clock: Clock, stderr: Terminal, tally: Tally) -> None:
    shown = Progress("plain", tally)
    for _ in range(100):
        shown.tick()
    assert lines(stderr) == []
    clock.now += PLAIN_EVERY
    shown.tick()
    shown.tick()
    assert lines(stderr) == ["hvcopy: 50.00 MiB of 100.00 MiB (50 %), 5 s left, 10.00 MiB/s, 3/7 files d/file"]
    clock.now += PLAIN_EVERY
    shown.tick()
    assert len(lines(stderr)) == 2


@pytest.mark.parametrize("kind", ["plain", "bar"])
def test_what_is_there_already_linked_skipped_or_failed_is_dealt_with(
    kind: str, clock: Clock, stderr: Terminal, tally: Tally
) -> None:
    """Else a copy that is done again, or one of links, would seem to stand still until its end."""
    tally.total_files = 200
    tally.add(links=10, same=20, skipped=40)
    tally.fail(b"d/bad", 10, "broken")
    shown = Progress(kind, tally)
    clock.now += PLAIN_EVERY
    shown.tick()
    shown.close()
    assert "74/200 files d/file" in stderr.getvalue()


def test_more_than_was_counted_is_no_part_of_it(clock: Clock, stderr: Terminal, tally: Tally) -> None:
    """Symbolic links are not counted before."""
    tally.add(links=40)
    shown = Progress("plain", tally)
    clock.now += PLAIN_EVERY
    shown.tick()
    assert ", 43 files d/file" in stderr.getvalue()


def test_plain_without_totals_names_no_end(clock: Clock, stderr: Terminal) -> None:
    shown = Progress("plain", moved(Tally(total_bytes=1, counted=False, started=STARTED), 5 * MIB))
    clock.now += PLAIN_EVERY
    shown.tick()
    assert lines(stderr) == ["hvcopy: 5.00 MiB, 1.00 MiB/s, 0 files"]


def test_plain_rate_leaves_out_what_was_reused(clock: Clock, stderr: Terminal, tally: Tally) -> None:
    tally.reused = 40 * MIB
    shown = Progress("plain", tally)
    clock.now += PLAIN_EVERY
    shown.tick()
    assert "2.00 MiB/s" in lines(stderr)[0]
    assert "25 s left" in lines(stderr)[0]


def test_plain_before_anything_moved_promises_no_end(clock: Clock, stderr: Terminal) -> None:
    shown = Progress("plain", Tally(total_bytes=100 * MIB, counted=True, started=STARTED))
    clock.now += PLAIN_EVERY
    shown.tick()
    assert "0 s left" not in lines(stderr)[0]


def test_plain_says_nothing_while_nobody_has_come(clock: Clock, stderr: Terminal) -> None:
    tally = Tally()
    shown = Progress("plain", tally)
    clock.now += 20 * PLAIN_EVERY
    shown.tick()
    assert lines(stderr) == []
    tally.started = clock.now
    shown.tick()
    assert len(lines(stderr)) == 1


@pytest.mark.parametrize("kind", ["plain", "json"])
def test_names_of_the_peer_are_shown_escaped(clock: Clock, stderr: Terminal, tally: Tally, kind: str) -> None:
    tally.current = b"\x1b[2J\n\xff"
    shown = Progress(kind, tally)
    clock.now += PLAIN_EVERY
    shown.tick()
    assert len(lines(stderr)) == 1
    assert "\x1b" not in stderr.getvalue()


def test_json_prints_an_object_a_line(clock: Clock, stderr: Terminal, tally: Tally) -> None:
    tally.reused = MIB
    shown = Progress("json", tally)
    clock.now += JSON_EVERY
    shown.tick()
    shown.tick()
    (line,) = lines(stderr)
    assert json.loads(line) == {
        "event": "progress",
        "bytes": 50 * MIB,
        "total_bytes": 100 * MIB,
        "files": 3,
        "total_files": 7,
        "links": 0,
        "same": 0,
        "skipped": 0,
        "reused_bytes": MIB,
        "failed": 0,
        "seconds": 1.0,
        "current": "d/file",
    }


def test_json_without_totals_has_null(clock: Clock, stderr: Terminal) -> None:
    shown = Progress("json", Tally())
    clock.now += JSON_EVERY
    shown.tick()
    found = json.loads(lines(stderr)[0])
    assert found["total_bytes"] is None
    assert found["total_files"] is None


@pytest.mark.parametrize("kind", ["none", "bar"])
def test_nothing_is_printed_before_it_is_time(clock: Clock, stderr: Terminal, tally: Tally, kind: str) -> None:
    shown = Progress(kind, tally)
    clock.now += BAR_AFTER / 2 if kind == "bar" else 1000
    shown.tick()
    shown.clear()
    shown.close()
    assert stderr.getvalue() == ""


def test_bar_shows_the_state_and_is_closed_once(clock: Clock, stderr: Terminal, tally: Tally) -> None:
    shown = Progress("bar", tally)
    clock.now += 2 * BAR_AFTER
    shown.tick()
    assert "50.0M/100M" in stderr.getvalue()
    assert "3/7 files d/file" in stderr.getvalue()
    moved(tally, 50 * MIB)
    tally.files = 7
    shown.clear()
    shown.close()
    assert "100M/100M" in stderr.getvalue()
    assert "7/7 files" in stderr.getvalue()
    before = stderr.getvalue()
    shown.close()
    shown.clear()
    assert stderr.getvalue() == before


def test_bar_without_totals_has_no_end(clock: Clock, stderr: Terminal) -> None:
    shown = Progress("bar", moved(Tally(), 5 * MIB))
    clock.now += 2 * BAR_AFTER
    shown.tick()
    shown.close()
    assert "5.00MB" in stderr.getvalue()
    assert "%" not in stderr.getvalue()


def test_bar_never_ends_before_the_bytes_do(clock: Clock, stderr: Terminal, tally: Tally) -> None:
    """A source may grow after it was counted."""
    shown = Progress("bar", moved(tally, 100 * MIB))
    clock.now += 2 * BAR_AFTER
    shown.tick()
    shown.close()
    assert "150M/150M" in stderr.getvalue()


@pytest.mark.parametrize("tty", [True, False])
def test_auto_is_a_bar_on_a_terminal_only(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tally: Tally, tty: bool
) -> None:
    stderr = Terminal(tty=tty)
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=stderr))
    shown = Progress("auto", tally)
    clock.now += 2 * BAR_AFTER
    shown.tick()
    shown.close()
    assert ("50.0M/100M" in stderr.getvalue()) == tty
