"""`hvcopy nc` to a guest behind a VMM, whatever that makes of half-close."""

from __future__ import annotations

import threading

import pytest
from commands import run
from talkers import hear, hear_end
from transport.muxer import Muxer, answering, half_close_is_full_close, half_close_is_lost, hang_up, normal

from e2e.netcats import Stage
from e2e.trees import noise

MIB = 1 << 20
SOON = 4.0
"""Seconds: a second or so on an idle machine, with room for a busy one."""


def test_the_guests_first_bytes_may_follow_the_ok_at_once(stage: Stage) -> None:
    with Muxer(str(stage.path), answering(b"OK 1073741824\nbanner\n")) as muxer:
        talker = stage.dial(to=f"hybrid:{stage.path}:22")
        guest = muxer.guest()
        guest.sendall(b"more")
        assert talker.hear(11) == b"banner\nmore"
        talker.say(b"answer")
        assert hear(guest, 6) == b"answer"


def test_a_half_close_that_becomes_a_close_still_brings_everything_and_warns(stage: Stage) -> None:
    data = noise(3 * MIB)
    with Muxer(str(stage.path), half_close_is_full_close) as muxer:
        talker = stage.dial("-N", to=f"hybrid:{stage.path}:5000")
        guest = muxer.guest()
        writer = threading.Thread(target=lambda: (talker.say(data), talker.end_input()))
        writer.start()
        assert hear_end(guest) == data
        writer.join()
        assert talker.finish() == 0, talker.err
    assert "an answer after that is lost (-N)" in talker.err


def test_where_a_half_close_is_lost_q_still_ends_the_connection(stage: Stage) -> None:
    """vhost-device#874: without an end of its own the guest would wait for ever."""
    data = noise(3 * MIB)
    with Muxer(str(stage.path), half_close_is_lost) as muxer:
        talker = stage.dial("-q", "1", to=f"hybrid:{stage.path}:5000")
        guest = muxer.guest()
        guest.sendall(b"answer")
        writer = threading.Thread(target=lambda: (talker.say(data), talker.end_input()))
        writer.start()
        assert hear(guest, len(data)) == data
        writer.join()
        assert talker.hear_end() == b"answer"
        assert talker.finish() == 0, talker.err
        assert hear_end(guest) == b""


@pytest.mark.parametrize("options", [[], ["--send-only"]], ids=str)
def test_there_is_no_warning_where_nothing_can_be_lost(stage: Stage, options: list[str]) -> None:
    with Muxer(str(stage.path), normal) as muxer:
        talker = stage.dial(*options, to=f"hybrid:{stage.path}:5000")
        guest = muxer.guest()
        talker.say(b"x")
        assert hear(guest, 1) == b"x"
        talker.end_input()
        guest.close()
        assert talker.finish() == 0
    assert talker.err == ""


def test_nobody_in_the_guest_is_4(stage: Stage) -> None:
    with Muxer(str(stage.path), hang_up):
        done = run("nc", f"hybrid:{stage.path}:22")
    assert done.code == 4
    assert "nobody listens on port 22 in the guest" in done.err


def test_w_limits_connecting(stage: Stage) -> None:
    with Muxer(str(stage.path), lambda muxer, client: muxer.keep(client)):
        talker = stage.dial("-w", "300ms", to=f"hybrid:{stage.path}:22")
        assert talker.finish(SOON) == 5
