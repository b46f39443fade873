"""--wait: peers that come later, and waits that end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hvcopy.address import Address, HybridAddress, TcpAddress, UnixAddress
from hvcopy.errors import Interrupted, NobodyListens, TimedOut
from hvcopy.transport import Cancellation, dial, listen
from hvcopy.transport.connecting import FIRST_PAUSE, LONGEST_PAUSE, _pauses
from hvcopy.transport.patience import Patience
from transport.muxer import Muxer, normal, silent
from transport.test_tcp import unused_port


class Later:
    """A *cancelled* that starts a listener on the third look, when the first attempt has been refused."""

    def __init__(self, start: Callable[[], None]) -> None:
        self.looks = 0
        self._start = start

    def __call__(self) -> bool:
        self.looks += 1
        if self.looks == 3:
            self._start()
        return False


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def addresses(folder: Path) -> dict[str, Address]:
    return {
        "unix": UnixAddress(str(folder / "hv.sock")),
        "tcp": TcpAddress("127.0.0.1", unused_port()),
        "hybrid": HybridAddress(str(folder / "v.sock"), 18518),
    }


@pytest.mark.parametrize("family", ["unix", "tcp", "hybrid"])
def test_listener_that_appears_during_the_wait_is_reached(family: str, tmp_path: Path, stack: ExitStack) -> None:
    address = addresses(tmp_path)[family]

    def start() -> None:
        if isinstance(address, HybridAddress):
            stack.enter_context(Muxer(address.path, normal))
        else:
            stack.enter_context(listen(address))

    later = Later(start)
    channel = dial(address, wait=50, cancellation=Cancellation(later))
    assert later.looks >= 3
    channel.close()


@pytest.mark.parametrize("family", ["unix", "tcp", "hybrid"])
def test_wait_that_passes_says_why_and_for_how_long(family: str, tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(NobodyListens, match=r"gave up after 0\.2 s of trying") as caught:
        dial(addresses(tmp_path)[family], wait=0.2)
    assert time.monotonic() - begun >= 0.2
    assert caught.value.exit_code == 4
    assert "nobody listens" in caught.value.message
    assert "wait longer than --wait 0.2" in caught.value.hint


def test_no_wait_means_one_attempt(tmp_path: Path) -> None:
    looks = 0

    def cancelled() -> bool:
        nonlocal looks
        looks += 1
        return False

    with pytest.raises(NobodyListens) as caught:
        dial(UnixAddress(str(tmp_path / "none")), cancellation=Cancellation(cancelled))
    assert looks == 0
    assert "gave up" not in caught.value.message


def test_silence_is_tried_again_and_ends_as_a_timeout(tmp_path: Path) -> None:
    address = HybridAddress(str(tmp_path / "v.sock"), 1)
    with Muxer(address.path, silent) as muxer:
        with pytest.raises(TimedOut, match="gave up after"):
            dial(address, wait=0.6, timeout=0.05)
        assert len(muxer.lines) >= 2


def test_cancelled_ends_the_wait(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(Interrupted, match="was interrupted"):
        dial(UnixAddress(str(tmp_path / "none")), wait=50, cancellation=Cancellation(lambda: time.monotonic() > begun + 0.1))
    assert time.monotonic() - begun < 10


def test_ctrl_c_ends_the_wait_at_once(tmp_path: Path) -> None:
    program = f"""
from hvcopy.address import UnixAddress
from hvcopy.transport import Cancellation, dial
def cancelled():
    print("waiting", flush=True)
    return False
try:
    dial(UnixAddress({str(tmp_path / "none")!r}), wait=500, cancellation=Cancellation(cancelled))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        *_, last = process.stdout.read().split()
        assert process.wait(10) == 0
    assert last == "interrupted"
    assert time.monotonic() - begun < 5


def test_socket_closed_while_it_is_waited_for_ends_the_wait() -> None:
    sock = socket.socket()
    looks = iter([False, True])

    def cancelled() -> bool:
        sock.close()
        return next(looks)

    with pytest.raises(Interrupted):
        Patience(50, cancelled).readable(sock)


def test_pauses_grow_from_50_ms_to_2_s_and_differ() -> None:
    pauses = _pauses()
    seen = [next(pauses) for _ in range(40)]
    full = [min(FIRST_PAUSE * 2**n, LONGEST_PAUSE) for n in range(40)]
    assert all(length / 2 < pause <= length for pause, length in zip(seen, full, strict=True))
    assert len(set(seen[10:])) > 1
