"""The first failure of a session is told to the peer, whatever else fails at the same moment."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from hvcopy.errors import HvcopyError, LocalFailure
from hvcopy.transfer import lanes as module
from hvcopy.transfer.lanes import Lanes


class SlowLink:
    """A link whose last word takes until the test says so; it is lost if the link is cancelled before."""

    def __init__(self) -> None:
        self.telling, self.may_go_on = threading.Event(), threading.Event()
        self.cancelled = self.told = False
        self.heard: list[str] = []
        self.channel = SimpleNamespace(peer="unix:/s", cancel=self._cancel)

    def _cancel(self) -> None:
        self.cancelled = True

    def send_error(self, error: HvcopyError) -> None:
        """Tell, unless cut off."""
        self.telling.set()
        assert self.may_go_on.wait(10)
        if not self.cancelled:
            self.heard.append(error.message)


def session() -> tuple[Lanes, SlowLink]:
    """A session over such a link."""
    link = SlowLink()
    return Lanes(link, granted=1, token=b"", timeout=10), link  # type: ignore[arg-type]


def test_a_second_failure_does_not_cut_off_the_word_about_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ERROR_WAIT", 10)
    lanes, link = session()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lanes.fail, LocalFailure("the disk is full"))
        assert link.telling.wait(10)
        second = pool.submit(lanes.fail, LocalFailure("something that came of it"))
        assert not second.done()
        assert not link.cancelled
        link.may_go_on.set()
        first.result()
        second.result()
    assert link.heard == ["the disk is full"]
    assert link.cancelled
    assert str(lanes.error) == "the disk is full"


def test_a_peer_that_does_not_listen_holds_up_nobody_for_long() -> None:
    lanes, link = session()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lanes.fail, LocalFailure("the disk is full"))
        assert link.telling.wait(10)
        lanes.fail(LocalFailure("another"))
        assert link.cancelled
        link.may_go_on.set()
        first.result()
    assert link.heard == []


def test_what_the_system_refused_and_nobody_expected_is_told_to_both_sides_as_it_says_it() -> None:
    lanes, link = session()
    link.may_go_on.set()
    lanes.fail(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))
    assert isinstance(lanes.error, LocalFailure)
    assert link.heard == [lanes.error.message] == [os.strerror(errno.ENOMEM)]
