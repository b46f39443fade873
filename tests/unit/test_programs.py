"""Asking a program: what it says, how long it may take, how much it may say, and that nothing of it is left."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from commands import eventually
from programs import HANGS, is_over, program

from hvcopy.errors import Interrupted, LocalFailure, NotAllowed, TimedOut
from hvcopy.machines import programs
from hvcopy.machines.programs import Missing, ask


def test_what_it_says_comes_back_whatever_its_code(tmp_path: Path) -> None:
    words = [
        str(program(tmp_path / "p", 'printf %s "$1$LANGUAGE"; echo one >&2; echo "two\033[2J" >&2; exit 3')),
        "a b;$(c)",
    ]
    answer = ask(words, 20, env={"LANGUAGE": "xx"})
    assert (answer.code, answer.out, answer.last_words) == (3, b"a b;$(c)xx", "two\\x1b[2J")
    assert ask([str(program(tmp_path / "p", "exit 4"))], 20).last_words == "exit code 4"


def test_it_hears_nothing_from_us(tmp_path: Path) -> None:
    assert ask([str(program(tmp_path / "p", "read line; echo $?"))], 20).out == b"1\n"


def test_what_is_not_there_and_what_may_not_be_started(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="nothing is not on this machine"):
        ask([str(tmp_path / "nothing")], 20)
    (tmp_path / "plain").write_text("x")
    with pytest.raises(NotAllowed, match="plain cannot be started"):
        ask([str(tmp_path / "plain")], 20)
    (tmp_path / "broken").write_text("x")
    (tmp_path / "broken").chmod(0o755)
    with pytest.raises(LocalFailure, match="broken cannot be started"):
        ask([str(tmp_path / "broken")], 20)


def test_one_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    script = program(tmp_path / "p", f"echo $$ > {tmp_path}/pid; /bin/sleep 300 & echo $! > {tmp_path}/child; {HANGS}")
    with pytest.raises(TimedOut, match=r"p did not answer within 0\.5 s"):
        ask([str(script)], 0.5)
    for name in ("pid", "child"):
        pid = int((tmp_path / name).read_text())
        eventually(lambda pid=pid: is_over(pid), what=f"the end of {name}")  # type: ignore[misc]


def test_the_advice_is_more_than_it_had(tmp_path: Path) -> None:
    with pytest.raises(TimedOut) as caught:
        ask([str(program(tmp_path / "p", HANGS))], 0.1)
    assert "--timeout 60" in caught.value.hint
    assert programs.more_time(60).endswith("--timeout 120")


def test_one_that_is_not_wanted_any_more_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = tmp_path / "pid"
    words = [str(program(tmp_path / "p", f"echo $$ > {tmp_path}/new; /bin/mv {tmp_path}/new {pid}; {HANGS}"))]
    with pytest.raises(Interrupted):
        ask(words, 60, cancelled=pid.exists)
    eventually(lambda: is_over(int(pid.read_text())), what="its end")
    pid.unlink()
    monkeypatch.setattr(programs, "_over", threading.Event())

    def leave() -> None:
        eventually(pid.exists, what="its start")
        programs.end_all()

    leaving = threading.Thread(target=leave)
    leaving.start()
    with pytest.raises(Interrupted):
        ask(words, 60)
    leaving.join()
    eventually(lambda: is_over(int(pid.read_text())), what="its end")
    with pytest.raises(Interrupted):
        ask(words, 60)


def test_one_that_never_stops_talking_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(LocalFailure, match="more than 4 MiB"):
        ask([str(program(tmp_path / "p", "exec /bin/cat /dev/zero"))], 20)


def test_a_child_that_keeps_the_answer_open_is_ended_within_the_time_of_its_program(tmp_path: Path) -> None:
    script = program(tmp_path / "p", f"/bin/sleep 300 & echo $! > {tmp_path}/child; echo done")
    began = time.monotonic()
    with pytest.raises(LocalFailure, match="left its answer open"):
        ask([str(script)], 1)
    assert time.monotonic() - began < 2
    eventually(lambda: is_over(int((tmp_path / "child").read_text())), what="its end")
