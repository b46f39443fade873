"""A command's run: a signal that comes while the work is still being set up ends it all the same."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from commands import eventually
from programs import HANGS, is_over, program

from hvcopy.cli.running import Command, say
from hvcopy.machines import programs

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a command does to the handlers of this process is undone, and that it ends programs for good."""
    monkeypatch.setattr(programs, "_over", threading.Event())
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


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("ls hyperv:web:5", 130),
        ("doctor hyperv:web:5", 130),
        ("doctor -l hyperv:web:5", 130),
        ("serve hyperv:web:5 --root . --open", 0),
    ],
)
def test_a_signal_ends_the_program_that_is_asked_too(words: str, code: int, tmp_path: Path) -> None:
    """On a Linux that takes itself for one with Hyper-V sockets, which no socket is opened of."""
    pid = tmp_path / "pid"
    body = f"echo $$ > {tmp_path}/new; /bin/mv {tmp_path}/new {pid}; {HANGS}"
    program(tmp_path / "System32/WindowsPowerShell/v1.0/powershell.exe", body)
    start = "import socket; socket.AF_HYPERV = 34; from hvcopy.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", start, *words.split()],
        cwd=tmp_path,
        env={**os.environ, "SYSTEMROOT": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            eventually(pid.exists, what="the question")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
        finally:
            process.kill()
            asked = int(pid.read_text())
            over = is_over(asked)
            if not over:
                os.killpg(asked, signal.SIGKILL)
    assert (process.returncode, "Traceback" in err) == (code, False), err
    assert over


def test_what_several_threads_say_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [f"{number} failed\n  hint {number}" for number in range(400)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with open(tmp_path / "err", "w", buffering=1) as err, ThreadPoolExecutor(8) as pool:
            monkeypatch.setattr(sys, "stderr", err)
            list(pool.map(say, said))
    finally:
        sys.setswitchinterval(before)
    lines = iter((tmp_path / "err").read_text().splitlines())
    assert sorted(map("\n".join, zip(lines, lines, strict=True))) == sorted(said)


@pytest.mark.usefixtures("handlers")
def test_skipped_entries_that_nobody_reads_of_are_counted_and_failed_ones_all_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hvcopy.cli.running.MOST_LATER", 3)
    command = Command("cp")

    def work() -> None:
        with command._lock:  # as long as that is held, nothing is printed
            lines = [threading.Thread(target=command.noted, args=(b"%d" % number, "left out")) for number in range(5)]
            lines += [threading.Thread(target=command.failed, args=(b"%d" % number, 10, "broken")) for number in range(9)]
            for line in lines:
                line.start()
        for line in lines:
            line.join()

    with pytest.raises(SystemExit):
        command.run(work, here=True)
    err = capsys.readouterr().err
    assert err.count("broken") == 9
    noted, unsaid = err.count(": left out"), re.search(r"and (\d) more lines are left out", err)
    assert unsaid
    assert noted + int(unsaid[1]) == 5


@pytest.mark.usefixtures("handlers")
def test_a_file_that_cannot_be_opened_is_named_and_not_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        (tmp_path / "none").read_bytes()

    with pytest.raises(SystemExit) as caught:
        Command("demo").run(work)
    assert caught.value.code == 10
    assert f"hvcopy: {tmp_path}/none: No such file or directory" in capsys.readouterr().err
