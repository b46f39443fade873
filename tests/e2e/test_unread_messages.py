"""Commands whose standard error is a full pipe: nobody reads, nobody has closed it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from commands import PATIENCE, Server, eventually, run
from peers import PIECE, connect
from starting import HVCOPY

from e2e.trees import write
from hvcopy.descriptors import takes_line

PLACES = 64
"""Connections that a server takes at once (hvcopy/server.py)."""


class Unread:
    """A command whose messages wait in a pipe that is full from the beginning, or from its first line on."""

    def __init__(self, *words: object, ready: bool = False, stdout: int = subprocess.DEVNULL) -> None:
        self._reads, self._writes = os.pipe()
        if not ready:
            self.fill()
        command = [*HVCOPY, *map(str, words)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=self._writes)
        if ready:
            self.said = os.read(self._reads, 4096).decode()
            self.fill()

    def fill(self) -> None:
        """Leave no room in the pipe."""
        os.set_blocking(self._writes, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self._writes, b"-")
        os.set_blocking(self._writes, True)

    def taken(self) -> bytes:
        """Read what is in the pipe."""
        return os.read(self._reads, 1 << 20)

    def interrupt(self, number: signal.Signals) -> int:
        """Send a signal; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """Kill it, unless it is over."""
        self.process.kill()
        self.process.wait()
        os.close(self._reads)
        os.close(self._writes)


@contextmanager
def unread(*words: object, ready: bool = False, stdout: int = subprocess.DEVNULL) -> Iterator[Unread]:
    """Such a command for the time of a ``with``."""
    with contextlib.closing(Unread(*words, ready=ready, stdout=stdout)) as command:
        yield command


def strangers(address: str, count: int) -> None:
    """Connect so often, and say what is none of hvcopy's: a message for each."""
    for _ in range(count):
        with connect(address) as sock, contextlib.suppress(ConnectionError):  # of a forwarder without its target
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            sock.recv(PIECE)


@pytest.mark.parametrize(
    ("words", "places", "question"),
    [
        ("serve ADDRESS --root .", PLACES, "ls ADDRESS"),
        ("bench --serve ADDRESS", PLACES, "bench -m connections -t 10ms ADDRESS"),
        ("pipe -l -k ADDRESS", 16, "pipe ADDRESS"),
        ("recv -l ADDRESS .", PLACES, "send f ADDRESS"),
        ("send -l f ADDRESS", 16, "recv ADDRESS there"),
    ],
)
def test_a_listener_whose_messages_nobody_reads_goes_on(
    words: str, places: int, question: str, tmp_path: Path, socket_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "f", b"f")
    (tmp_path / "there").mkdir()
    with unread(*words.replace("ADDRESS", socket_address).split(), ready=True) as listener:
        strangers(socket_address, places)
        done = run(*question.replace("ADDRESS", socket_address).split(), "--timeout", "5")
        assert done.code in (0, 3), done.err
        if listener.process.poll() is None:
            assert listener.interrupt(signal.SIGTERM) in (0, 130)


def test_what_was_not_read_is_told_when_somebody_reads_again(tmp_path: Path, socket_address: str) -> None:
    with unread("serve", socket_address, "--root", tmp_path, ready=True) as server:
        strangers(socket_address, 3)
        said = b""

        def told() -> bool:
            nonlocal said
            said += server.taken()
            return said.count(b"does not speak hvcopy") == 3

        eventually(told, what="three messages")


def test_a_forwarder_whose_messages_nobody_reads_goes_on(tmp_path: Path, socket_address: str) -> None:
    with unread("forward", socket_address, f"unix:{tmp_path}/none", ready=True) as forwarder:
        strangers(socket_address, PLACES + 1)
        assert forwarder.interrupt(signal.SIGTERM) == 0


def test_a_raw_listener_whose_messages_nobody_reads_goes_on(tmp_path: Path, socket_address: str) -> None:
    with open(tmp_path / "out", "wb") as out, unread(
        "nc", "-l", "-k", "-v", socket_address, ready=True, stdout=out.fileno()
    ) as listener:
        for _ in range(3):
            with connect(socket_address) as sock:
                sock.sendall(b"x")
        eventually(lambda: (tmp_path / "out").read_bytes() == b"xxx", what="what three peers said")
        assert listener.interrupt(signal.SIGTERM) == 0


def test_one_interrupt_ends_a_copy_that_waits_for_a_reader_of_its_messages(
    server: Server, here: Path, processes: ExitStack
) -> None:
    os.mkfifo(write(here / "t" / "f", b"f").with_name("fifo"))
    copy = processes.enter_context(unread("cp", "-r", here / "t", server.at()))
    eventually((server.root / "t" / "f").exists, what="the copy")
    assert copy.interrupt(signal.SIGINT) == 130


def test_one_interrupt_ends_what_waits_for_a_reader_of_its_results(server: Server) -> None:
    for number in range(500):
        write(server.root / (f"{number:04}" + "n" * 240))
    reads, writes = os.pipe()
    with open(reads, "rb"), open(writes, "wb"), unread("ls", server.address, stdout=writes) as lister:
        eventually(lambda: not takes_line(writes), what="a full pipe")
        assert lister.interrupt(signal.SIGINT) == 130
