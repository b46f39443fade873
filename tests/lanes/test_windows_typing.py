"""`pipe` and `nc` at a console of Windows: what is typed leaves, and what comes can be read, whatever the code page is."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from commands import Finished
from e2e.plumbing import Piped, feed, listening

from lanes.parts import require
from lanes.test_windows import MINOR, PYTHON, Windows
from lanes.windows import wine
from lanes.windows.built import link_package

TYPED = Path(wine.__file__).with_name("typed.py")
END = "\x1a\n"
"""Ctrl-Z and Enter."""
CTRL_C = "\x03"
SECONDS = 120
"""More than typed.py has patience."""
TEXT = "grüß Ω \N{PILE OF POO}"

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("windows"), pytest.mark.timeout(300)]


class Desk(Windows):
    """hvcopy's command line in a console with somebody at it; stdout is what the screen shows at the end."""

    def at(self, steps: Sequence[tuple[str, str]], *arguments: object) -> wine.Program:
        """Start a command, and type: see typed.py."""
        python = wine.windows_path(PYTHON)
        argv = [PYTHON, "-P", wine.windows_path(TYPED), json.dumps(steps), python, "-P", "-m", "hvcopy"]
        return wine.Program([*argv, *map(str, arguments)], cwd=self._cwd, env=self._env)

    def finish(self, steps: Sequence[tuple[str, str]], *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        with self.at(steps, *arguments) as program:
            return program.finish(SECONDS)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    require("windows")
    return Desk(link_package(MINOR), tmp_path)


@pytest.fixture
def peer() -> Iterator[Piped]:
    """`pipe -l` on this side."""
    with listening("tcp:127.0.0.1:0", "--open") as running:
        yield running


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A peer that is not hvcopy."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(SECONDS)
        yield sock


def address(of: Piped | socket.socket) -> str:
    """Where it listens."""
    return f"tcp:127.0.0.1:{of.getsockname()[1]}" if isinstance(of, socket.socket) else of.line(r"listening on (\S+)\n")[1]


def read_line(fd: int) -> bytes:
    """What comes until a line feed."""
    line = b""
    while not line.endswith(b"\n") and (piece := os.read(fd, 1)):
        line += piece
    return line


def ended(program: wine.Program, peer: Piped) -> tuple[subprocess.CompletedProcess[str], Finished]:
    """Both ends, over."""
    return program.finish(SECONDS), peer.finish()


def test_a_typed_line_leaves_at_once_as_utf_8_and_ctrl_z_is_the_end(desk: Desk, peer: Piped) -> None:
    steps = [("", f"{TEXT}\n"), ("first came", f"second\n{END}")]
    with desk.at(steps, "pipe", address(peer)) as program:
        assert read_line(peer.reads) == f"{TEXT}\n".encode()
        peer.send(b"first came\n")
        assert peer.tap().all() == b"second\n"
        peer.end()
        here, there = ended(program, peer)
    assert (here.returncode, there.code) == (0, 0), here.stdout
    assert "verified" in here.stdout


def test_what_comes_can_be_read_whatever_the_code_page(desk: Desk, peer: Piped) -> None:
    with desk.at([("and ñ", END)], "pipe", "-q", address(peer)) as program:
        whole = f"{TEXT}\nand ñ\n".encode()
        for cut in range(0, len(whole), 3):  # in the middle of characters, too
            peer.send(whole[cut : cut + 3])
        peer.end()
        here, there = ended(program, peer)
    assert (here.returncode, there.code) == (0, 0), here.stdout
    first, second = here.stdout.splitlines()[:2]
    assert (first[2:], second) == (TEXT[2:], "and ñ")  # ^Z is shown where the cursor was when the read began


@pytest.mark.parametrize("name", ["", "CON", "conout$"])
def test_bytes_that_are_no_text_do_not_reach_a_console(desk: Desk, peer: Piped, name: str) -> None:
    feed(peer, bytes(range(256)) * 64)
    here = desk.finish([], "pipe", address(peer), *(["-o", name] if name else []))
    assert here.returncode == 10, here.stdout
    assert "is a terminal" in here.stdout
    assert "--force" in here.stdout


def test_force_lets_them_through(desk: Desk, peer: Piped) -> None:
    feed(peer, b"\xff\xfe forced\n")
    here = desk.finish([("forced", END)], "pipe", "--force", address(peer))
    assert here.returncode == 0, here.stdout


def test_a_peer_that_ends_is_not_kept_by_a_console_where_nobody_types(desk: Desk, peer: Piped) -> None:
    with desk.at([("", "one\nhalf")], "pipe", address(peer)) as program:
        assert read_line(peer.reads) == b"one\n"
        peer.kill()
        here = program.finish(SECONDS)
    assert here.returncode == 6, here.stdout


def test_ctrl_c_ends_it_while_it_waits_for_a_line(desk: Desk, peer: Piped) -> None:
    peer.send(b"here\n")
    here = desk.finish([("here", "half"), ("half", CTRL_C)], "pipe", address(peer))
    assert here.returncode == 130, here.stdout
    assert "hvcopy: interrupted" in here.stdout


def test_nc_shows_what_comes_while_a_line_is_being_typed(desk: Desk, listener: socket.socket) -> None:
    steps = [("", "half"), ("half", ""), ("more ñ", " a line\n")]
    with desk.at(steps, "nc", address(listener)) as program:
        with listener.accept()[0] as sock:
            sock.settimeout(SECONDS)
            program.line("typed ''", SECONDS)  # and half a line is shown
            sock.sendall(b"more " + "ñ".encode()[:1])
            sock.sendall("ñ\n".encode()[1:])
            with sock.makefile("rb") as stream:
                assert stream.readline() == b"half a line\n"
        here = program.finish(SECONDS)
    assert here.returncode == 0, here.stdout


def test_nc_tells_its_peer_of_the_end_that_is_typed(desk: Desk, listener: socket.socket) -> None:
    with desk.at([("", f"ü\n{END}")], "nc", "-N", address(listener)) as program:
        with listener.accept()[0] as sock:
            sock.settimeout(SECONDS)
            with sock.makefile("rb") as stream:
                assert stream.read() == "ü\n".encode()
        here = program.finish(SECONDS)
    assert here.returncode == 0, here.stdout


def test_nc_that_only_receives_leaves_what_is_typed_for_who_comes_next(desk: Desk, listener: socket.socket) -> None:
    with desk.at([("", "dir\n")], "nc", "--recv-only", address(listener)) as program:
        with listener.accept()[0] as sock:
            sock.sendall(b"came\n")
        here = program.finish(SECONDS)
    assert (here.returncode, here.stdout) == (0, "came")  # a console shows what is typed only to who reads it


@pytest.mark.parametrize("words", [["--help"], ["pipe", "--help"], ["doctor"], ["vms"]])
def test_what_is_printed_at_a_console_does_not_fail(desk: Desk, words: list[str]) -> None:
    here = desk.finish([], *words)
    assert "Traceback" not in here.stdout
    assert here.returncode in (0, 4, 9, 10), here.stdout
    assert here.stdout


def test_a_bar_and_names_of_any_character_are_shown(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "Ω-ñ").mkdir()
    (tmp_path / "Ω-ñ" / "large").write_bytes(os.urandom(8 << 20))
    with desk.serving(tmp_path, "--open") as server:
        here = desk.finish([], "cp", f"{server}:/Ω-ñ", "copy", "-r", "--bwlimit", "8M")
    assert here.returncode == 0, here.stdout
    assert "100%" in here.stdout
    assert "verified" in here.stdout
    missing = desk.finish([], "cp", "Ω missing", "tcp:127.0.0.1:1:/")
    assert "Ω missing" in missing.stdout
