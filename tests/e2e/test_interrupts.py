"""Ctrl-C and SIGTERM: ended at once, with nothing left but what a resume uses."""

from __future__ import annotations

import array
import fcntl
import os
import shlex
import signal
import subprocess
import termios
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import PATIENCE, Running, Server, eventually, run, serving
from peers import Gate, Relay, client_of, connect
from ports import is_free
from starting import ELSEWHERE, HVCOPY

from e2e.boxes import HEEDING_HANG_UP
from e2e.trees import MIB, leftovers, noise, resumable, write

SIZE = 40 * MIB
SIGNALS = [signal.SIGINT, signal.SIGTERM]
SOON = 10.0
"""Seconds: a second or so on an idle machine, with room for a busy one; left alone these commands would take 30."""


def seconds_to_end(running: Running, number: signal.Signals) -> tuple[int, float, str]:
    """Send the signal; returns the exit code, the seconds until the end, and stderr."""
    before = running.elapsed
    running.signal(number)
    done = running.finish()
    return done.code, done.seconds - before, done.err


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_an_interrupted_client_ends_soon_with_130_and_can_go_on(
    pull: bool, number: signal.Signals, tmp_path: Path, root: Path, here: Path, processes: ExitStack
) -> None:
    source = write((root if pull else here) / "large", noise(SIZE))
    target = (here if pull else root) / "copy"
    server = processes.enter_context(serving(f"unix:{tmp_path}/d", root))
    gate = Gate(SIZE * 6 // 10)
    relay = processes.enter_context(
        Relay(f"unix:{tmp_path}/s", server.address, **{"down" if pull else "up": lambda: gate})
    )
    ends = [f"{relay.address}:/large", target] if pull else [source, f"{relay.address}:/copy"]
    client = processes.enter_context(Running("cp", "--no-fsync", "--json", *ends))
    assert gate.reached.wait(PATIENCE)
    code, seconds, err = seconds_to_end(client, number)
    assert code == 130, err
    assert seconds < SOON
    assert "Traceback" not in err
    assert not target.exists()
    names = eventually(lambda: leftovers(target.parent), what="the part")
    assert names == resumable(target.parent)
    gate.open()
    done = eventually(lambda: _completed(ends), what="a resume once the server has let go")
    assert done["reused_bytes"] >= 16 * MIB
    assert target.read_bytes() == source.read_bytes()


def test_what_only_this_shell_knows_is_no_word_to_type_again(
    tmp_path: Path, root: Path, here: Path, processes: ExitStack
) -> None:
    """``--key-file <(PROGRAM)`` arrives as a descriptor."""
    assert run("key", tmp_path / "k").code == 0
    server = processes.enter_context(serving(f"unix:{tmp_path}/d", root, "--key-file", tmp_path / "k"))
    gate = Gate(SIZE * 6 // 10)
    relay = processes.enter_context(Relay(f"unix:{tmp_path}/s", server.address, up=lambda: gate))
    copy = shlex.join([*HVCOPY, "cp", "--no-fsync", str(write(here / "large", noise(SIZE))), f"{relay.address}:/copy"])
    words = ["bash", "-c", f"exec {copy} --key-file <(cat {tmp_path}/k)"]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as client:
        assert gate.reached.wait(PATIENCE)
        client.terminate()
        _, err = client.communicate()
    assert client.returncode == 130, err
    assert "type the same command again: /dev/fd/" in err
    assert "hvcopy cp" not in err


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupted_client_ends_though_nobody_reads_what_it_says(
    number: signal.Signals, server: Server, here: Path
) -> None:
    """As of a program that starts it, waits for its end, and reads a pipe only then."""
    (here / "t").mkdir()
    for index in range(2000):
        (here / "t" / f"{index:060}").symlink_to("x")
    words = [*HVCOPY, "cp", "-r", str(here / "t"), server.at()]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as client:
        try:
            assert client.stderr
            err = client.stderr.fileno()
            eventually(lambda: _waiting_in(err) > fcntl.fcntl(err, fcntl.F_GETPIPE_SZ) // 2, what="messages")
            client.send_signal(number)
            assert client.wait(SOON) == 130
        finally:
            client.kill()


def _waiting_in(pipe: int) -> int:
    """Bytes that a pipe holds (pipe(7))."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def _completed(ends: list[object]) -> dict[str, int] | None:
    done = run("cp", "--no-fsync", "--json", *ends)
    return done.result if done.code == 0 else None


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", ["cp --wait", "send -l", "recv -l"])
def test_an_interrupted_wait_ends_soon_with_130(
    command: str, number: signal.Signals, tmp_path: Path, here: Path
) -> None:
    source, address = write(here / "f"), f"unix:{tmp_path}/s"
    arguments = {
        "cp --wait": ["cp", "--wait", "60", source, f"{address}:/f"],
        "send -l": ["send", "-l", source, address],
        "recv -l": ["recv", "-l", address, here],
    }[command]
    with Running(*arguments) as running:
        if "-l" in command:
            running.line("listening on")
        else:
            eventually(lambda: _catches(running.pid, number), what="the command to be set up")
        code, seconds, err = seconds_to_end(running, number)
    assert code == 130, err
    assert seconds < SOON
    assert is_free(address), "the socket file is left"


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has its own handler for a signal by now (proc(5)); workers wait for theirs before they take one."""
    if ELSEWHERE:
        return True
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1 and caught >> (number - 1) & 1)


@pytest.mark.parametrize("number", SIGNALS)
def test_an_idle_server_stops_cleanly(number: signal.Signals, server: Server) -> None:
    assert not is_free(server.address)
    code, seconds, err = seconds_to_end(server, number)
    assert code == 0, err
    assert seconds < SOON
    assert is_free(server.address)
    assert "Traceback" not in err


def test_a_busy_server_stops_cleanly_and_tells_its_clients(
    tmp_path: Path, root: Path, here: Path, processes: ExitStack
) -> None:
    source = write(here / "large", noise(SIZE))
    server = processes.enter_context(serving(f"unix:{tmp_path}/d", root))
    gate = Gate(SIZE * 6 // 10)
    relay = processes.enter_context(Relay(f"unix:{tmp_path}/s", server.address, up=lambda: gate))
    client = processes.enter_context(Running("cp", source, f"{relay.address}:/copy"))
    silent = processes.enter_context(connect(server.address))
    scripted = processes.enter_context(client_of(server.address))
    scripted.push([b"x"], [False])
    assert gate.reached.wait(PATIENCE)
    code, seconds, err = seconds_to_end(server, signal.SIGTERM)
    assert code == 0, err
    assert seconds < SOON + 2
    assert is_free(server.address)
    done = client.finish()
    assert done.code == 6, done.err
    assert done.resume_command
    assert scripted.error().code == 6
    while silent.recv(100):
        pass
    assert leftovers(root) == resumable(root)


def test_a_second_ctrl_c_does_not_leave_a_traceback(server: Server) -> None:
    server.signal(signal.SIGINT)
    server.signal(signal.SIGINT)
    done = server.finish()
    assert done.code in (0, 130, -2)
    assert "Traceback" not in done.err


def test_ctrl_c_while_the_command_starts_leaves_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    done = run("key", tmp_path / "key", env={"PYTHONPATH": str(tmp_path)})
    assert (done.code, done.out, done.err) == (130, "", "hvcopy: interrupted\n")
    assert not (tmp_path / "key").exists()


LOSES_IT = """\
import importlib, os, signal, sys, weakref


class Thing:
    pass


thing = Thing()
watching = weakref.ref(thing, lambda gone: os.kill(os.getpid(), signal.SIGINT))
del thing
sys.path.remove(os.path.dirname(__file__))
del sys.modules["typer"]
sys.modules["typer"] = importlib.import_module("typer")
"""


def test_ctrl_c_in_the_middle_of_pythons_bookkeeping_is_not_lost(tmp_path: Path, here: Path) -> None:
    """Python ignores an exception there, whatever it is: an import makes hundreds of such moments."""
    (tmp_path / "typer.py").write_text(LOSES_IT)
    for words in (["key", here / "key"], ["cp", write(here / "f"), f"unix:{tmp_path}/s:/f", "--wait", "60"]):
        done = run(*words, env={"PYTHONPATH": str(tmp_path)})
        assert (done.code, done.out, done.err.partition("\n")[0]) == (130, "", "hvcopy: interrupted"), done.err
        assert "Exception ignored" not in done.err
    assert not (here / "key").exists()


LISTENERS = {
    "serve": ("serve", "--root", ".", 0),
    "send": ("send", "-l", __file__, 130),
    "recv": ("recv", "-l", 130),
    "pipe": ("pipe", "-l", 130),
    "pipe -k": ("pipe", "-l", "-k", 0),
    "nc": ("nc", "-l", 130),
    "nc -k": ("nc", "-l", "-k", 0),
    "forward": ("forward", 0),
    "bench": ("bench", "--serve", 0),
}
"""Each with what it ends with when it is told to end."""


@pytest.mark.parametrize("name", LISTENERS)
def test_a_listener_whose_terminal_is_closed_leaves_no_socket_file(name: str, tmp_path: Path) -> None:
    """SIGHUP ends it as SIGTERM does."""
    *words, code = LISTENERS[name]
    where = f"unix:{tmp_path}/s"
    target = ["unix:nowhere"] if name == "forward" else []
    with Running(*words, where, *target, prefix=HEEDING_HANG_UP) as listener:
        listener.line(rf"{where}\b")
        listener.signal(signal.SIGHUP)
        assert listener.finish().code == code
    assert os.listdir(tmp_path) == []


def test_a_listener_that_is_to_outlive_its_terminal_does(tmp_path: Path) -> None:
    with Running("forward", f"unix:{tmp_path}/s", "unix:nowhere", prefix=["nohup"]) as listener:
        listener.line("forwarding")
        listener.signal(signal.SIGHUP)
        listener.signal(signal.SIGHUP)
        assert run("nc", "-z", f"unix:{tmp_path}/s").code == 0
        assert not listener.ended
