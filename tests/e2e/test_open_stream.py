"""Streams for Python programs: hvcopy.open_stream, with the command at the other end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import eventually
from peers import Listening, Peer, server

import hvcopy
from e2e.plumbing import Piped, feed, listening
from e2e.trees import MIB, noise
from hvcopy.errors import BadUsage, ConnectionLost, HvcopyError, Interrupted, NobodyListens, ReaderGone
from hvcopy.transfer import greeting
from hvcopy.wire import messages as m


@pytest.fixture
def left(tmp_path: Path, processes: ExitStack) -> Piped:
    """`pipe -l` on a unix socket."""
    return processes.enter_context(listening(f"unix:{tmp_path}/s"))


@pytest.fixture
def address(tmp_path: Path) -> hvcopy.Address:
    """Where it listens."""
    return hvcopy.parse_address(f"unix:{tmp_path}/s")


def test_a_question_and_its_answer(left: Piped, address: hvcopy.Address) -> None:
    with hvcopy.open_stream(address) as stream:
        assert stream.peer == str(address)
        assert stream.window > 0
        stream.write(b"what is ")
        stream.write(memoryview(b"the time?\n"))
        stream.end()
        assert left.tap().all() == b"what is the time?\n"
        left.send(b"late\n")
        left.end()
        assert stream.read(2) == b"la"
        assert stream.read() == b"te\n"
        assert stream.read() == b""
    assert left.finish().code == 0


def test_a_turn_may_come_later_than_a_greeting(
    tmp_path: Path, processes: ExitStack, address: hvcopy.Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(greeting, "HANDSHAKE_SECONDS", 0.5)
    processes.enter_context(listening(str(address), "-k"))
    with ExitStack() as first, ThreadPoolExecutor(1) as pool:
        first.enter_context(hvcopy.open_stream(address))
        second = pool.submit(hvcopy.open_stream, address)
        with pytest.raises(TimeoutError):
            second.result(1.0)
        first.close()
        with second.result():
            pass


def test_much_goes_both_ways_at_once(left: Piped, address: hvcopy.Address) -> None:
    there, back = noise(5 * MIB), noise(3 * MIB, 1)
    tap = left.tap()
    feed(left, back)
    with hvcopy.open_stream(address) as stream:
        writer = threading.Thread(target=lambda: (stream.write(there), stream.end()))
        writer.start()
        assert stream.read() == back
        writer.join()
    assert left.finish().code == 0
    assert tap.all() == there


def test_leaving_the_block_is_the_end_and_waits_for_the_peer(left: Piped, address: hvcopy.Address) -> None:
    left.end()
    with hvcopy.open_stream(address) as stream:
        stream.write(b"all of it")
    assert left.finish().code == 0
    assert left.tap().all() == b"all of it"


def test_what_was_not_read_is_an_error_on_both_sides(left: Piped, address: hvcopy.Address) -> None:
    feed(left, noise(3 * MIB))
    with pytest.raises(ReaderGone, match="did not read it to its end"), hvcopy.open_stream(address) as stream:
        assert stream.read(10) == noise(3 * MIB)[:10]
    assert left.finish().code == 141


def test_a_program_that_fails_fails_the_stream(left: Piped, address: hvcopy.Address) -> None:
    class Mishap(Exception):
        pass

    def use() -> None:
        with hvcopy.open_stream(address) as stream:
            stream.write(b"x")
            raise Mishap

    with pytest.raises(Mishap):
        use()
    assert left.finish().code == 130


def test_a_peer_that_is_killed_is_told_to_whoever_reads_or_writes(left: Piped, address: hvcopy.Address) -> None:
    stream = hvcopy.open_stream(address)
    stream.write(b"x")
    assert os.read(left.reads, 1) == b"x"
    left.signal(signal.SIGKILL)
    with pytest.raises(ConnectionLost):
        stream.read()

    def write() -> bool:
        stream.write(noise(MIB))
        return False

    with pytest.raises(ConnectionLost):
        eventually(write, what="the failure")
    with pytest.raises(ConnectionLost), stream:
        pass


def test_misuse_and_absence_are_told(left: Piped, address: hvcopy.Address, tmp_path: Path) -> None:
    left.end()
    with hvcopy.open_stream(address) as stream:
        stream.end()
        stream.end()
        with pytest.raises(BadUsage):
            stream.write(b"x")
    with pytest.raises(NobodyListens):
        hvcopy.open_stream(hvcopy.parse_address(f"unix:{tmp_path}/none"))


def test_a_stream_that_was_not_used_is_closed(left: Piped, address: hvcopy.Address) -> None:
    with hvcopy.open_stream(address):
        pass
    assert left.finish().code == 6


def test_a_stream_can_be_interrupted_from_another_thread(tmp_path: Path) -> None:
    def silent(peer: Peer) -> None:
        peer.expect(m.Job)
        peer.send(m.Ready(b"", 1, "", []))
        peer.beat()
        peer.idle()

    with Listening(f"unix:{tmp_path}/s", server(silent)) as scripted:
        stream = hvcopy.open_stream(hvcopy.parse_address(scripted.address))
        threading.Timer(0.1, stream.interrupt, [Interrupted("enough")]).start()
        with pytest.raises(Interrupted, match="enough"):
            stream.read()
        with pytest.raises(Interrupted), stream:
            pass


def test_a_stream_may_be_closed_at_any_time(left: Piped, address: hvcopy.Address) -> None:
    tap = left.tap()
    with hvcopy.open_stream(address) as stream:
        stream.write(b"x")
        eventually(lambda: tap.content == b"x", what="what was written")
        stream.close()
        with pytest.raises(BadUsage):
            stream.read(1)
        stream.close()
    assert left.finish().code == 130


def test_a_closed_stream_takes_and_gives_nothing(left: Piped, address: hvcopy.Address) -> None:
    stream = hvcopy.open_stream(address)
    stream.close()
    for use in (lambda: stream.write(b"x"), stream.end, stream.read):
        with pytest.raises(BadUsage, match="closed"):
            use()


def test_a_stream_closed_under_a_writer_and_a_reader_tells_both(tmp_path: Path) -> None:
    def silent(peer: Peer) -> None:
        peer.expect(m.Job)
        peer.send(m.Ready(b"", 1, "", []))
        peer.beat()
        peer.idle()

    def write(stream: hvcopy.Stream) -> None:
        while True:
            stream.write(noise(MIB))

    with Listening(f"unix:{tmp_path}/s", server(silent)) as scripted, ThreadPoolExecutor(2) as pool:
        stream = hvcopy.open_stream(hvcopy.parse_address(scripted.address))
        writer, reader = pool.submit(write, stream), pool.submit(stream.read)
        eventually(lambda: not stream._link.channel.writable(), what="a writer that waits")
        stream.close()
        assert isinstance(writer.exception(), HvcopyError)
        assert isinstance(reader.exception(), HvcopyError)


def test_an_end_while_another_thread_writes_comes_after_what_it_writes(left: Piped, address: hvcopy.Address) -> None:
    left.end()
    tap, content = left.tap(), noise(64 * MIB)
    with hvcopy.open_stream(address) as stream:
        writer = threading.Thread(target=stream.write, args=[content])
        writer.start()
        eventually(lambda: bool(tap.content), what="the beginning")
        stream.end()
        writer.join()
    assert left.finish().code == 0
    assert tap.all() == content


def test_a_stream_that_is_forgotten_warns_and_fails_at_both_ends_and_leaves_nothing(
    left: Piped, address: hvcopy.Address
) -> None:
    before = threading.active_count()

    def use() -> None:
        hvcopy.open_stream(address).write(b"half of it")

    with pytest.warns(ResourceWarning, match=re.escape(f"unclosed stream: {address}")):
        use()
    assert left.finish().code == 130
    eventually(lambda: threading.active_count() == before, what="the end of its threads")


def test_a_write_to_a_stream_known_to_be_broken_is_no_signal(left: Piped, address: hvcopy.Address) -> None:
    script = """
import signal, sys
import hvcopy
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
stream = hvcopy.open_stream(hvcopy.parse_address(sys.argv[1]))
stream.write(b"x")
try:
    stream.read()
except hvcopy.HvcopyError:
    pass
try:
    stream.write(b"x")
except hvcopy.HvcopyError as error:
    sys.exit(error.exit_code)
"""
    program = subprocess.Popen([sys.executable, "-c", script, str(address)])
    try:
        assert os.read(left.reads, 1) == b"x"
        left.signal(signal.SIGKILL)
        assert program.wait(20) == 6
    finally:
        program.kill()
        program.wait()
