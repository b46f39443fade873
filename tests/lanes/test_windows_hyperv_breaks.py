"""Connections over ``hyperv:`` that break in the middle, or end as only AF_HYPERV does: by the plan of breaks.c."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import commands
import pytest
from peers import PATIENCE

from lanes.parts import require
from lanes.test_windows import MINOR
from lanes.test_windows_hyperv import MIB, OverHyperv, unused_port
from lanes.windows import standin, wine
from lanes.windows.built import link_package
from lanes.windows.one_file import SIZE, OneFile

BREAK = 24 * MIB

GONE = (10054, "the connection broke: the process at the other end, or its VM, has gone (WSAECONNRESET)")
STOPPED = (10053, "the connection broke: the VM was stopped or restarted, or Windows gave the connection up (WSAECONNABORTED)")
SILENT = (10060, "the connection broke: the VM answers no more: it was turned off, is paused or hangs (WSAETIMEDOUT)")
UNSUPPORTED = 10045  # WSAEOPNOTSUPP
UNKNOWN = (10052, "the connection broke: ")  # WSAENETRESET, which nobody has seen there: what words Windows has
ENDED = (109, "the connection ended before the transfer did")  # ERROR_BROKEN_PIPE

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("windows"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def env() -> dict[str, str]:
    """The environment of Windows programs that have hvcopy and the stand-in."""
    require("windows")
    return standin.environment(link_package(MINOR))


def breaking(env: dict[str, str], cwd: Path, call: str, code: int, after: int = BREAK) -> OverHyperv:
    return OverHyperv(env, cwd, HVCOPY_HV_BREAKS=f"{call} {code} {after}")


@pytest.mark.parametrize(
    ("way", "call", "error"),
    [
        *(("pull", "recv", error) for error in (GONE, SILENT, UNKNOWN, ENDED)),
        ("push", "recv", ENDED),
        ("push", "send", STOPPED),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else value,
)
def test_a_copy_whose_connection_breaks_names_the_cause_and_goes_on(
    way: str, call: str, error: tuple[int, str], env: dict[str, str], tmp_path: Path
) -> None:
    file = OneFile(way, tmp_path)
    code, words = error
    with commands.serving("tcp:127.0.0.1:0", file.root, "--open") as server:
        command = file.command(f"hyperv:parent:{server.address.rpartition(':')[2]}")
        said = breaking(env, tmp_path, call, code).failing(6, *command)
        assert words in said
        assert "to go on, run again: hvcopy cp " in said
        assert not file.target.exists()
        done = OverHyperv(env, tmp_path).run(*command, "--json")
    assert json.loads(done.stdout)["reused_bytes"] >= 8 * MIB
    assert file.target.read_bytes() == file.source.read_bytes()


@pytest.mark.parametrize(
    ("call", "error"),
    [("recv", SILENT), ("recv", ENDED), ("send", GONE)],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else value,
)
def test_a_stream_whose_connection_breaks_names_the_cause_and_leaves_no_file(
    call: str, error: tuple[int, str], env: dict[str, str], tmp_path: Path
) -> None:
    data, arrived, port = tmp_path / "data", tmp_path / "arrived", unused_port()
    data.write_bytes(os.urandom(SIZE))
    code, words = error
    ends = [["-i", data], ["-o", arrived]]
    here, there = ends if call == "recv" else reversed(ends)
    with commands.Running("pipe", "-k", "-l", f"tcp:127.0.0.1:{port}", "--open", *here) as listening:
        listening.line("listening on")
        command = ["pipe", f"hyperv:parent:{port}", *there]
        said = breaking(env, tmp_path, call, code).failing(6, *command)
        assert words in said
        assert "use nothing of it, and run the same commands again on both sides" in said
        assert not arrived.exists()
        OverHyperv(env, tmp_path).run(*command)
    assert arrived.read_bytes() == data.read_bytes()


def test_a_listener_whose_connection_breaks_names_the_cause_and_goes_on(env: dict[str, str], tmp_path: Path) -> None:
    root, data, port = tmp_path / "root", tmp_path / "data", unused_port()
    root.mkdir()
    data.write_bytes(os.urandom(SIZE))
    code, words = SILENT
    receive = ("recv", "-l", f"hyperv:loopback:{port}", root, "--open", "--no-fsync", "--json")
    with breaking(env, tmp_path, "recv", code).start(*receive) as receiving:
        receiving.line("listening on")
        assert commands.run("send", data, f"tcp:127.0.0.1:{port}").code == 6
        broken = receiving.finish()
    assert (broken.returncode, words in broken.stderr) == (6, True), broken.stderr
    assert f"to go on, run again: hvcopy recv -l hyperv:loopback:{port} " in broken.stderr
    assert not (root / "data").exists()
    with OverHyperv(env, tmp_path).start(*receive) as receiving:
        receiving.line("listening on")
        assert commands.run("send", data, f"tcp:127.0.0.1:{port}").code == 0
        done = receiving.finish()
    assert json.loads(done.stdout)["reused_bytes"] >= 8 * MIB
    assert (root / "data").read_bytes() == data.read_bytes()


def test_raw_bytes_whose_connection_breaks_are_a_failure_that_names_the_cause(env: dict[str, str], tmp_path: Path) -> None:
    port = unused_port()
    code, words = SILENT
    windows = breaking(env, tmp_path, "recv", code, after=MIB)
    with windows.start("nc", "-l", f"hyperv:loopback:{port}", "--open", "--recv-only") as listening:
        listening.line("listening on")
        with socket.create_connection(("127.0.0.1", port), 20) as sock, contextlib.suppress(ConnectionError):
            while True:
                sock.sendall(bytes(MIB))
        done = listening.finish()
    assert (done.returncode, words in done.stderr) == (6, True), done.stderr


def test_broken_pipe_in_place_of_an_end_is_no_failure_of_what_was_verified(env: dict[str, str], tmp_path: Path) -> None:
    """ERROR_BROKEN_PIPE is what a peer leaves that closes without shutdown (microsoft/WSL relay.cpp)."""
    root, data, port = tmp_path / "root", tmp_path / "data", unused_port()
    root.mkdir()
    data.write_bytes(os.urandom(MIB))
    windows = breaking(env, tmp_path, "end", 109)
    with windows.start("recv", "-l", f"hyperv:loopback:{port}", root, "--open", "--no-fsync", "--json") as receiving:
        receiving.line("listening on")
        assert commands.run("send", data, f"tcp:127.0.0.1:{port}").code == 0
        done = receiving.finish()
    assert (done.returncode, json.loads(done.stdout)["files"]) == (0, 1), done.stderr
    assert (root / "data").read_bytes() == data.read_bytes()


def test_broken_pipe_is_the_end_of_raw_bytes(env: dict[str, str], tmp_path: Path) -> None:
    port = unused_port()
    windows = breaking(env, tmp_path, "end", 109)
    with windows.start("nc", "-l", f"hyperv:loopback:{port}", "--open", "--recv-only") as listening:
        listening.line("listening on")
        with socket.create_connection(("127.0.0.1", port), 20) as sock:
            sock.sendall(b"from Linux" * 1000)
        done = listening.finish()
    assert (done.returncode, done.stdout) == (0, "from Linux" * 1000), done.stderr


@contextlib.contextmanager
def forwarded(env: dict[str, str], cwd: Path, error: int) -> Iterator[tuple[wine.Program, socket.socket, socket.socket]]:
    """A forwarder whose looks at what its Hyper-V target says next fail; its client and that target."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        windows = OverHyperv(env, cwd, HVCOPY_HV_BREAKS=f"look {error}")
        words = ("forward", "tcp:127.0.0.1:0", f"hyperv:loopback:{listener.getsockname()[1]}", "--open")
        with windows.start(*words) as forwarder:
            port = int(forwarder.line(r"tcp:127\.0\.0\.1:([1-9]\d*)")[1])
            listener.settimeout(PATIENCE)
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                target, _ = listener.accept()
                with target:
                    target.settimeout(PATIENCE)
                    yield forwarder, client, target


def test_a_target_whose_connection_broke_while_nothing_was_said_to_it_is_told_with_the_cause(
    env: dict[str, str], tmp_path: Path
) -> None:
    code, words = GONE
    cause = words.partition(": ")[2]
    with forwarded(env, tmp_path, code) as (forwarder, client, target):
        target.sendall(b"t")  # once that has come through, the relay has looked
        assert client.recv(1) == b"t"
        target.shutdown(socket.SHUT_WR)
        forwarder.line(re.escape(cause))


def test_a_look_at_what_comes_next_that_the_system_refuses_says_nothing(env: dict[str, str], tmp_path: Path) -> None:
    with forwarded(env, tmp_path, UNSUPPORTED) as (_, client, target):
        target.sendall(b"t")  # once that has come through, the relay has looked
        assert client.recv(1) == b"t"
        for _ in range(3):
            client.sendall(b"c")
            assert target.recv(1) == b"c"
