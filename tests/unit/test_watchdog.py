"""The watchdog's judgement, tick by tick: its clock is the test's, its thread is this one, its link is a fake."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from hvcopy.errors import ConnectionLost, HvcopyError, TimedOut
from hvcopy.transfer import watchdog as module
from hvcopy.transfer.watchdog import HEARTBEAT, SHORTEST, TICK, Watchdog
from hvcopy.wire.messages import Ping

TIMEOUT = 5.0
PING_SIZE = 11


class FakeLink:
    """What the watchdog sees of a link: counters."""

    def __init__(self) -> None:
        self.channel = SimpleNamespace(
            peer="vsock:3:7777", sent=SimpleNamespace(moved=0), received=SimpleNamespace(moved=0, storing=False)
        )
        self.waiting = True
        self.heartbeat_bytes = 0
        self.pings: list[Ping] = []
        self.broken = False

    def send_if_free(self, message: Ping) -> None:
        """Send at once, as to a peer that reads."""
        if self.broken:
            raise ConnectionLost("gone")
        self.pings.append(message)
        self.channel.sent.moved += PING_SIZE
        self.heartbeat_bytes += PING_SIZE

    def hear(self, count: int) -> None:
        """Receive bytes of frames that carry something."""
        self.channel.received.moved += count

    def hear_ping(self) -> None:
        """Receive a heartbeat."""
        self.channel.received.moved += PING_SIZE
        self.heartbeat_bytes += PING_SIZE


class Clock:
    """Time that passes only while the watchdog waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.end = 1000.0
        self.step: Callable[[], None] = lambda: None
        self.lag = 0.0

    def wait(self, seconds: float) -> bool:
        """Let *seconds* pass, and whatever the test does then; True at the end of the story."""
        self.now += seconds + self.lag
        self.lag = 0.0
        if self.now > self.end:
            return True
        self.step()
        return False


class Bench:
    """A watchdog with one link, and a story of so many seconds."""

    def __init__(self, clock: Clock, links: int = 1) -> None:
        self.clock = clock
        self.links = [FakeLink() for _ in range(links)]
        self.link = self.links[0]
        self.verdicts: list[HvcopyError] = []
        self.dog = Watchdog(self.links, timeout=TIMEOUT, fail=self.verdicts.append)  # type: ignore[arg-type]

    def pass_time(
        self, seconds: float, step: Callable[[], None] = lambda: None, *, every_lane: bool = False
    ) -> HvcopyError | None:
        """Watch for *seconds*, doing *step* each tick; returns the verdict, if there is one."""
        self.clock.step = step
        self.clock.end = self.clock.now + seconds
        self.dog.start(every_lane=every_lane)
        assert len(self.verdicts) <= 1
        return self.verdicts[0] if self.verdicts else None


class InlineThread:
    """A thread that runs where it is started."""

    def __init__(self, *, target: Callable[[], None], name: str, daemon: bool) -> None:
        self.start = target

    def is_alive(self) -> bool:
        """It is over once it was started."""
        return False


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bench]:
    """Make a bench whose time is its own."""
    clock = Clock()
    threads = SimpleNamespace(
        Event=lambda: SimpleNamespace(wait=clock.wait, set=lambda: None),
        Thread=InlineThread,
        Lock=threading.Lock,
        current_thread=threading.current_thread,
    )
    monkeypatch.setattr(module, "threading", threads)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return lambda links=1: Bench(clock, links)


def test_a_silent_peer_is_lost_after_the_timeout_and_not_before(bench: Callable[..., Bench]) -> None:
    assert bench().pass_time(TIMEOUT) is None
    verdict = bench().pass_time(TIMEOUT + 3 * TICK)
    assert isinstance(verdict, ConnectionLost)
    assert "vsock:3:7777" in verdict.message
    assert "5 s" in verdict.message


def test_a_silent_peer_is_lost_even_while_it_said_it_was_busy(bench: Callable[..., Bench]) -> None:
    """Its last word was that it works; but a living peer would have gone on saying so."""
    one = bench()
    one.dog.heard(Ping(1, True))
    assert isinstance(one.pass_time(TIMEOUT + 3 * TICK), ConnectionLost)


def test_a_silent_peer_is_lost_even_while_this_end_is_busy_elsewhere(bench: Callable[..., Bench]) -> None:
    one = bench()
    with one.dog.own_work():
        assert isinstance(one.pass_time(TIMEOUT + 3 * TICK), ConnectionLost)


def test_silence_while_nobody_listens_is_not_the_peers(bench: Callable[..., Bench]) -> None:
    """While the reader writes to its own disk, bytes may wait in the socket's buffer."""
    one = bench()
    one.link.waiting = False
    with one.dog.own_work():
        assert one.pass_time(4 * TIMEOUT) is None


def test_bytes_that_arrive_are_life_and_progress(bench: Callable[..., Bench]) -> None:
    one = bench()
    assert one.pass_time(10 * TIMEOUT, lambda: one.link.hear(1)) is None


def test_one_byte_starts_the_count_anew(bench: Callable[..., Bench]) -> None:
    one = bench()
    at = one.clock.now + TIMEOUT - TICK

    def step() -> None:
        if one.clock.now == at:
            one.link.hear(1)

    assert one.pass_time(2 * TIMEOUT - 2 * TICK, step) is None
    assert at < one.clock.now


def test_heartbeats_alone_are_a_stall(bench: Callable[..., Bench]) -> None:
    one = bench()

    def step() -> None:
        one.link.hear_ping()
        one.dog.heard(Ping(7, False))

    verdict = one.pass_time(TIMEOUT + 4 * TICK, step)
    assert isinstance(verdict, TimedOut)
    assert "alive" in verdict.message
    assert "--timeout" in verdict.hint


@pytest.mark.parametrize("what", ["progress", "busy"])
def test_heartbeats_of_a_peer_that_works_are_no_stall(bench: Callable[..., Bench], what: str) -> None:
    one = bench()
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        one.link.hear_ping()
        one.dog.heard(Ping(count if what == "progress" else 7, what == "busy"))

    assert one.pass_time(4 * TIMEOUT, step) is None


def test_a_peer_that_stops_being_busy_and_does_nothing_is_a_stall(bench: Callable[..., Bench]) -> None:
    one = bench()
    start = one.clock.now

    def step() -> None:
        one.link.hear_ping()
        one.dog.heard(Ping(7, one.clock.now < start + TIMEOUT))

    assert isinstance(one.pass_time(2 * TIMEOUT + 4 * TICK, step), TimedOut)
    assert one.clock.now > start + 2 * TIMEOUT - TICK


@pytest.mark.parametrize("what", ["own work", "storing", "worked", "sent", "another lane"])
def test_work_at_this_end_is_no_stall(bench: Callable[..., Bench], what: str) -> None:
    one = bench(2)

    def step() -> None:
        one.link.hear_ping()
        if what == "worked":
            one.dog.worked()
        elif what == "sent":
            one.link.channel.sent.moved += 1
        elif what == "another lane":
            one.links[1].hear(1)
        elif what == "storing":
            one.links[1].channel.received.storing = True
        else:
            with one.dog.own_work():
                pass

    assert one.pass_time(4 * TIMEOUT, step) is None


def test_own_heartbeats_are_no_progress(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.pass_time(TIMEOUT + 4 * TICK, one.link.hear_ping)
    assert one.link.pings
    assert isinstance(one.verdicts[0], TimedOut)


def test_a_machine_that_was_asleep_does_not_condemn_its_peer(bench: Callable[..., Bench]) -> None:
    """After an hour of sleep both ends wake: the time in between counts as two ticks."""
    one = bench()
    start = one.clock.now

    def sleep() -> None:
        if one.clock.now == start + 1.0:
            one.clock.lag = 3600.0

    assert one.pass_time(3600.0 + TIMEOUT - 2 * TICK, sleep) is None
    assert one.clock.now > start + 3600.0


def test_pings_are_sent_in_silence_only(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.pass_time(4.0, lambda: one.link.hear(1))
    assert len(one.link.pings) == 4.0 / HEARTBEAT
    busy = bench()

    def send() -> None:
        busy.link.hear(1)
        busy.link.channel.sent.moved += 1

    busy.pass_time(4.0, send)
    assert busy.link.pings == []


def test_pings_say_progress_and_busy(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.pass_time(1.0, lambda: one.link.hear(100))
    assert [ping.busy for ping in one.link.pings] == [False, False]
    first, second = (ping.progress for ping in one.link.pings)
    assert 0 < first < second
    with one.dog.own_work():
        one.pass_time(1.0, lambda: one.link.hear(100))
    assert one.link.pings[-1].busy


def test_progress_in_pings_never_falls(bench: Callable[..., Bench]) -> None:
    """A heartbeat is known before all its bytes are counted."""
    one = bench()
    one.link.hear(100)
    one.pass_time(1.0)
    one.link.heartbeat_bytes += 50
    one.pass_time(1.0)
    progress = [ping.progress for ping in one.link.pings]
    assert progress == sorted(progress)


def test_the_receivers_beat_stays_on_lane_0(bench: Callable[..., Bench]) -> None:
    """Nobody reads the receiver's words on further lanes: they would fill the connection in the end (section 9)."""
    one = bench(3)
    one.pass_time(4.0, lambda: one.link.hear(1))
    assert one.link.pings
    assert [link.pings for link in one.links[1:]] == [[], []]


def test_the_sender_beats_on_every_lane_that_is_silent(bench: Callable[..., Bench]) -> None:
    one = bench(3)

    def step() -> None:
        one.link.hear(1)
        one.links[1].channel.sent.moved += 1

    one.pass_time(4.0, step, every_lane=True)
    assert [len(link.pings) for link in one.links] == [4.0 / HEARTBEAT, 0, 4.0 / HEARTBEAT]


def test_a_lane_that_is_broken_keeps_no_other_from_its_beat(bench: Callable[..., Bench]) -> None:
    one = bench(3)
    one.links[1].broken = True
    one.pass_time(1.0, lambda: one.link.hear(1), every_lane=True)
    assert one.links[2].pings


def test_a_ping_that_cannot_be_sent_is_left_to_the_verdict(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.link.broken = True
    assert isinstance(one.pass_time(TIMEOUT + 3 * TICK), ConnectionLost)


def test_own_work_ends_with_a_failure_too(bench: Callable[..., Bench]) -> None:
    one = bench()

    def fail() -> None:
        with one.dog.own_work():
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        fail()
    one.dog.heard(Ping(7, False))
    assert isinstance(one.pass_time(TIMEOUT + 4 * TICK, one.link.hear_ping), TimedOut)


def test_a_very_short_timeout_still_lets_a_heartbeat_through(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.dog = Watchdog([one.link], timeout=0.1, fail=one.verdicts.append)  # type: ignore[list-item]
    assert one.pass_time(SHORTEST) is None
    assert SHORTEST > 2 * HEARTBEAT


def test_stop_before_start_and_twice_is_fine() -> None:
    dog = Watchdog([], timeout=TIMEOUT, fail=lambda error: None)
    dog.stop()
    dog.stop()


def test_stop_ends_the_thread() -> None:
    """Once with a real thread and a real clock."""
    link = FakeLink()
    dog = Watchdog([link], timeout=TIMEOUT, fail=lambda error: None)  # type: ignore[list-item]
    dog.start()
    dog.stop()
    assert "watchdog" not in {thread.name for thread in threading.enumerate()}
