"""A system that has no more threads, descriptors or memory to give: said in words, and over for a listener when it is over."""

from __future__ import annotations

import os
import resource
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import Running, Server, eventually, run, serving

from e2e.boxes import with_room_for
from e2e.trees import MIB, noise, write


@pytest.mark.parametrize("command", ["cp", "pipe", "nc", "bench"])
def test_a_command_for_whose_threads_there_is_no_room_is_10(command: str, tmp_path: Path, here: Path, server: Server) -> None:
    """Whichever of them it is."""
    source = write(here / "source", noise(MIB))
    near = f"unix:{tmp_path}/near"
    words = {
        "cp": ("cp", "--overwrite", source, server.at("copy")),
        "pipe": ("pipe", near, "-i", source),
        "nc": ("nc", "-N", near),
        "bench": ("bench", "--raw", "-m", "send", "-t", "100ms", near),
    }[command]
    answers = {"pipe": ("pipe", "-l", near), "nc": ("nc", "-l", "-N", near), "bench": ("bench", "--raw", "--serve", near)}
    for room in range(20):
        with ExitStack() as peers:
            if command in answers:
                peers.enter_context(Running(*answers[command])).line(" on unix:")
            done = run(*words, prefix=with_room_for(room))
        if done.code != 10:
            break
        failed, hint = done.err.splitlines()[-2:]
        assert failed.startswith("hvcopy: the system has no memory for another thread"), done.err
        assert "end what else runs" in hint
        assert "Traceback" not in done.err
    assert room > 0
    assert done.code == 0, done.err


def test_a_listener_for_whose_threads_there_is_no_room_is_10_or_goes_on(tmp_path: Path, here: Path) -> None:
    source, where = write(here / "source", noise(MIB)), f"unix:{tmp_path}/s"
    codes = []
    for room in range(20):
        with Running("pipe", "-l", "-k", where, prefix=with_room_for(room)) as listener:
            eventually(lambda: listener.ended or " on unix:" in listener.err, what="its first word")
            codes.append(run("pipe", where, "-i", source).code)
            if not listener.ended:
                listener.signal(signal.SIGINT)
            done = listener.finish()
        assert "Traceback" not in done.err
        assert done.code == (10 if room < 2 else 0), done.err
        if not codes[-1]:
            break
    assert not codes[-1]
    assert len(codes) > 3


def test_a_listener_that_cannot_wait_any_more_is_10(tmp_path: Path) -> None:
    """Here because poll(2) takes no more descriptors than a process may have."""
    with Running("pipe", "-l", f"unix:{tmp_path}/s", anew=True) as listener:
        listener.line("listening on")
        resource.prlimit(listener.pid, resource.RLIMIT_NOFILE, (0, 0))
        done = listener.finish()
    assert done.code == 10
    assert f"unix:{tmp_path}/s: waiting for a connection failed: Invalid argument" in done.err
    assert "Traceback" not in done.err


def test_a_server_that_was_short_of_memory_for_a_moment_serves_again(
    tmp_path: Path, root: Path, processes: ExitStack
) -> None:
    server = processes.enter_context(serving(f"unix:{tmp_path}/s", root))
    threads = len(os.listdir(f"/proc/{server.pid}/task"))
    assert run("ls", server.address).code == 0
    # the next thread gets the stack of that one, and so is short of memory only when it has begun
    eventually(lambda: len(os.listdir(f"/proc/{server.pid}/task")) == threads, what="the end of the session's thread")
    size = int(Path(f"/proc/{server.pid}/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.prlimit(server.pid, resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
    assert run("ls", server.address).code == 6
    resource.prlimit(server.pid, resource.RLIMIT_AS, limits)
    assert run("ls", server.address).code == 0
