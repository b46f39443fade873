"""A command's run: a signal that comes while the work is still being set up ends it all the same."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
from commands import eventually

from hvcopy.cli.running import Command

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def handlers() -> Iterator[None]:
    """Whatever a command does to the handlers of this process is undone."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_before_there_is_anything_to_end_ends_what_comes_then(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command("ls")
    ended, cleaned_up = threading.Event(), threading.Event()

    def work() -> None:
        os.kill(os.getpid(), number)
        eventually(lambda: command.interrupted, what="the signal to be noticed")
        command.interruptible(lambda error: ended.set())
        if ended.wait(20):
            cleaned_up.set()

    with pytest.raises(SystemExit) as caught:
        command.run(work)
    assert caught.value.code == 130
    assert cleaned_up.is_set()
    assert "interrupted" in capsys.readouterr().err
