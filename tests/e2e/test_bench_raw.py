"""``hvcopy bench --raw``: plain bytes to sinks, from sources, to echoes; and being a sink or a source itself."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import Running, Server, answering, eventually, run
from peers import Behaviour, Listening, connect, drain, sends_zeros
from talkers import hear, quiet

from e2e.conftest import TRANSPORTS
from hvcopy.address import parse_address
from hvcopy.measuring import raw
from hvcopy.measuring.plan import make_plan
from hvcopy.server import MAX_CLIENTS

SHORT = ("-t", "100ms", "--timeout", "2")
MIB = 1 << 20


def echoes(sock: socket.socket) -> None:
    """Give everything back."""
    with contextlib.suppress(OSError):
        while piece := sock.recv(1 << 16):
            sock.sendall(piece)


def takes(count: int) -> Behaviour:
    """Read so many bytes and close."""

    def behaviour(sock: socket.socket) -> None:
        left = count
        while left > 0 and (piece := sock.recv(min(left, 1 << 16))):
            left -= len(piece)
        sock.close()

    return behaviour


@pytest.fixture(params=TRANSPORTS)
def where(request: pytest.FixtureRequest, socket_address: str) -> str:
    """Where to listen, over each transport."""
    return socket_address if request.param == "unix" else "tcp:127.0.0.1"


def test_what_a_sink_takes_is_counted(where: str) -> None:
    with Listening(where, drain) as sink:
        done = run("bench", "--raw", sink.address, "-m", "send", "-P", 2, "-l", "64k", *SHORT, "--json")
    assert done.code == 0, done.err
    end = done.result["end"]
    assert end["sum_sent"]["bytes"] >= 128 * 1024
    assert end["sum_sent"]["bytes"] % 65536 == 0
    assert 0.1 <= end["sum_sent"]["seconds"] < 10
    assert "sum_received" not in end
    assert "remote_total" not in end["cpu_utilization_percent"]
    assert sink.accepted == 2


@pytest.mark.parametrize("way", [["-m", "send"], ["--serve", "-R"]], ids=" ".join)
def test_only_whole_messages_of_the_length_asked_for_are_sent(where: str, way: list[str]) -> None:
    """Of a prime length, of which other lengths make no multiple."""
    length, heard = 65_537, bytearray()

    def hears(sock: socket.socket) -> None:
        while piece := sock.recv(MIB):
            heard.extend(piece)

    if way[0] == "-m":
        with Listening(where, hears) as sink:
            done = run("bench", "--raw", sink.address, *way, "-l", length, *SHORT, "--json")
        assert done.code == 0, done.err
        assert len(heard) == done.result["end"]["sum_sent"]["bytes"]
    else:
        access = () if where.startswith("unix:") else ("--open",)
        at = where if where.startswith("unix:") else f"{where}:0"
        with answering(at, "--raw", "-R", "-l", length, "-t", "30ms", *access) as (_, address), connect(address) as sock:
            hears(sock)
    assert len(heard) > 0
    assert len(heard) % length == 0


@pytest.mark.parametrize("length", [1, 64, 65_537])
def test_a_round_trip_is_one_message_of_the_length_asked_for(socket_address: str, length: int) -> None:
    """Nothing follows it until all of it has come back."""
    heard: list[int] = []

    def listens(sock: socket.socket) -> None:
        while message := hear(sock, length):
            heard.append(len(message) + (0 if quiet(sock) else len(sock.recv(MIB))))
            if len(heard) == 3:
                return drain(sock)
            sock.sendall(message)

    with Listening(socket_address, listens) as echo:
        done = run("bench", "--raw", echo.address, "-m", "latency", "-l", length, *SHORT, "--json")
    assert done.result["end"]["latency_us"]["count"] == 2, done.err
    assert heard == [length] * 3


def test_what_a_source_sends_is_counted(socket_address: str) -> None:
    with Listening(socket_address, sends_zeros) as source:
        done = run("bench", "--raw", source.address, "-R", *SHORT, "--json")
    assert done.code == 0, done.err
    assert done.result["end"]["sum_received"]["bytes"] > 0
    assert "sum_sent" not in done.result["end"]


def test_a_source_that_ends_early_ends_the_measurement(socket_address: str) -> None:
    def short(sock: socket.socket) -> None:
        sock.sendall(bytes(12345))
        sock.close()

    with Listening(socket_address, short) as source:
        done = run("bench", "--raw", source.address, "-R", "-t", "60", "--json")
    assert done.code == 0, done.err
    assert done.result["end"]["sum_received"]["bytes"] == 12345


def test_round_trips_through_an_echo_are_timed(where: str) -> None:
    with Listening(where, echoes) as echo:
        done = run("bench", "--raw", echo.address, "-m", "latency", *SHORT, "--json")
    assert done.code == 0, done.err
    trips = done.result["end"]["latency_us"]
    assert trips["count"] >= 1
    assert 0 < trips["min"] <= trips["p50"] <= trips["max"]


def test_a_message_that_no_buffer_holds_comes_back_from_who_echoes_as_it_reads(where: str) -> None:
    with Listening(where, echoes) as echo:
        done = run("bench", "--raw", echo.address, "-m", "latency", "-l", "1M", "--buffer", "64k", *SHORT, "--json")
    assert done.code == 0, done.err
    assert done.result["end"]["latency_us"]["count"] >= 1


def test_an_echo_that_stops_is_5_with_the_round_trips_until_then(socket_address: str) -> None:
    def once(sock: socket.socket) -> None:
        sock.sendall(sock.recv(64))
        drain(sock)

    with Listening(socket_address, once) as echo:
        done = run("bench", "--raw", echo.address, "-m", "latency", "-t", "1", "--json")
    assert done.code == 5, done.err
    assert "nothing came back any more" in done.err
    assert "a peer that echoes" in done.err
    assert done.result["end"]["latency_us"]["count"] == 1


def test_both_ways_through_an_echo(socket_address: str) -> None:
    with Listening(socket_address, echoes) as echo:
        done = run("bench", "--raw", echo.address, "--bidir", *SHORT, "--json")
    assert done.code == 0, done.err
    end = done.result["end"]
    assert 0 < end["sum_received_bidir_reverse"]["bytes"] <= end["sum_sent"]["bytes"]


def test_an_echo_is_heard_until_everything_is_sent(socket_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An echo of which nobody reads any more takes nothing either: the rest would count as sent slowly, or not at all."""
    heard: list[int] = []

    def counts(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 12)
        count = 0
        while piece := sock.recv(1 << 16):
            count += len(piece)
            sock.sendall(piece)
        heard.append(count)

    monkeypatch.setattr(raw, "STOP_SECONDS", 20.0)
    with Listening(socket_address, counts) as echo:
        outcome = raw.RawEngine(parse_address(echo.address)).measure(make_plan("both", seconds=0.2, length=MIB))
        eventually(lambda: bool(heard), what="the end of what is sent")
    assert heard == [outcome.here.sent.bytes]
    assert heard[0] % MIB == 0


def test_connections_to_anything_are_counted(socket_address: str) -> None:
    with Listening(socket_address, drain) as sink:
        done = run("bench", "--raw", sink.address, "-m", "connections", *SHORT, "--json")
        assert done.code == 0, done.err
        assert done.result["end"]["connect_us"]["count"] >= 1
        eventually(lambda: sink.accepted >= done.result["end"]["connect_us"]["count"], what="all of them accepted")


def test_a_sweep_goes_through_a_sink(socket_address: str) -> None:
    options = ["-m", "sweep", "-t", "5ms", "--lengths", "4k,1M", "--buffers", "64k"]
    with Listening(socket_address, takes(1 << 60)) as sink:
        done = run("bench", "--raw", sink.address, *options)
    assert done.code == 0, done.err
    assert "socat -b" in done.out


def test_nobody_listening_is_4(socket_address: str) -> None:
    assert run("bench", "--raw", socket_address, "-m", "send").code == 4


def test_a_sink_that_closes_is_6_with_what_was_sent(socket_address: str) -> None:
    with Listening(socket_address, takes(8 * MIB)) as sink:
        done = run("bench", "--raw", sink.address, "-m", "send", "-t", "60", "--json")
    assert done.code == 6, done.err
    assert done.result["end"]["sum_sent"]["bytes"] >= 8 * MIB
    assert "reads until" in done.result["hint"]


def test_an_echo_that_closes_is_6(socket_address: str) -> None:
    with Listening(socket_address, takes(64)) as echo:
        done = run("bench", "--raw", echo.address, "-m", "latency", "-t", "60")
    assert done.code == 6, done.err
    assert "a peer that echoes" in done.err
    assert "Traceback" not in done.err


def test_a_source_that_ends_before_it_has_sent_anything_is_6(socket_address: str) -> None:
    with Listening(socket_address, lambda sock: sock.shutdown(socket.SHUT_WR)) as empty:
        done = run("bench", "--raw", empty.address, "-R", "-t", "60")
    assert done.code == 6, done.err
    assert "ended before it had sent anything" in done.err


def test_a_peer_that_neither_reads_nor_sends_is_5(socket_address: str) -> None:
    def waits(sock: socket.socket) -> None:
        eventually(lambda: sock.fileno() < 0, what="the end of the test")

    with Listening(socket_address, waits) as stuck:
        sending = run("bench", "--raw", stuck.address, "-m", "send", "-t", "60", "--timeout", "500ms")
        echoing = run("bench", "--raw", stuck.address, "-m", "latency", "-t", "60", "--timeout", "500ms")
        receiving = run("bench", "--raw", stuck.address, "-R", "-t", "100ms")
        silent = run("bench", "--raw", stuck.address, "-m", "latency", "-t", "100ms")
    assert (sending.code, echoing.code, receiving.code) == (5, 5, 5), sending.err + receiving.err
    assert "nothing came" in receiving.err
    assert silent.code == 5, "no round trip is no result"
    assert "nothing came back" in silent.err


def test_a_sink_is_no_echo_and_gives_no_figures(socket_address: str) -> None:
    with Listening(socket_address, drain) as sink:
        done = run("bench", "--raw", sink.address, "-m", "latency", "-t", "100ms")
        early = run("bench", "--raw", sink.address, "-m", "latency", "-t", "60", "--timeout", "500ms")
        shaped = run("bench", "--raw", sink.address, "-m", "latency", "-t", "100ms", "--json")
    assert (done.code, early.code, shaped.code) == (5, 5, 5), done.err + early.err
    assert "nothing came back" in done.err
    for one in (done, early):
        assert "a peer that echoes, such as: socat" in one.err
        assert "0 in 0." in one.out
        assert "p50" not in one.out + one.err, "of no round trip"
    assert shaped.result["end"]["latency_us"] == {"count": 0, "per_second": 0.0}


def test_what_came_back_must_be_what_was_sent(socket_address: str) -> None:
    with Listening(socket_address, sends_zeros) as source:
        done = run("bench", "--raw", source.address, "-m", "latency", "-t", "60")
    assert done.code == 7, done.err
    assert "is no echo" in done.err
    assert "a peer that echoes, such as: socat" in done.err


@pytest.mark.parametrize("serving", ["bench", "files", "nobody"])
@pytest.mark.parametrize(
    "mode", [["send"], ["both"], ["latency"], ["latency", "-l", "1M"], ["sweep"]], ids=lambda mode: " ".join(mode)
)
def test_a_peer_that_speaks_hvcopy_is_not_measured_as_a_sink_or_echo(
    serving: str, mode: list[str], tmp_path: Path, processes: ExitStack
) -> None:
    if serving == "bench":
        _, address = processes.enter_context(answering(f"unix:{tmp_path}/s"))
    elif serving == "files":
        address = processes.enter_context(Server(f"unix:{tmp_path}/s", tmp_path)).address
    else:  # not let in
        address = processes.enter_context(Server("tcp:127.0.0.1:0", tmp_path, "--allow", "127.0.0.2")).address
    done = run("bench", "--raw", address, "-m", *mode, "-t", "60")
    assert done.code == 2, done.err
    assert "speaks hvcopy" in done.err
    assert "leave out --raw" in done.err


def test_a_peer_that_sends_nothing_by_itself_may_speak_hvcopy(socket_address: str) -> None:
    with answering(socket_address) as (_, address):
        done = run("bench", "--raw", address, "-R", "-t", "100ms")
    assert done.code == 5, done.err
    assert "hvcopy bench --raw --serve -R" in done.err
    assert "without --raw" in done.err


def test_a_slow_echo_counts_from_its_first_round_trip(socket_address: str) -> None:
    """Its few round trips are the result, however long a whole batch of them would take."""

    def slowly(sock: socket.socket) -> None:
        for _ in range(3):
            sock.sendall(sock.recv(64))
        drain(sock)

    with Listening(socket_address, slowly) as echo:
        done = run("bench", "--raw", echo.address, "-m", "latency", "-t", "100ms", "--json")
    assert done.code == 0, done.err
    assert done.result["end"]["latency_us"]["count"] == 3


# ---- a sink, a source


def test_a_sink_tells_what_each_peer_sent(socket_address: str) -> None:
    with answering(socket_address, "--raw") as (sink, address):
        with connect(address) as sock:
            sock.sendall(bytes(3 * MIB))
        sink.line(r"send for \d+\.\d\d s, received 3\.00 MiB, .*/s")
        done = run("bench", "--raw", address, "-m", "send", *SHORT)
        assert done.code == 0, done.err
        assert not sink.ended


def test_a_source_sends_until_its_time_is_over(socket_address: str) -> None:
    with answering(socket_address, "--raw", "-R", "-t", "100ms", "-l", "10k") as (source, address):
        received = 0
        with connect(address) as sock:
            while piece := sock.recv(MIB):
                received += len(piece)
        source.line("recv for 0\\.\\d\\d s, sent ")
    assert received > 0
    assert received % 10240 == 0


def test_who_finds_no_place_is_sent_nothing_that_could_be_taken_for_data(socket_address: str) -> None:
    with answering(socket_address, "--raw") as (server, address), ExitStack() as peers:
        for _ in range(MAX_CLIENTS):
            peers.enter_context(connect(address))
        late = peers.enter_context(connect(address))
        assert late.recv(100) == b""
        server.signal(signal.SIGINT)
        assert server.finish().code == 0


def test_a_source_without_any_time_is_2(socket_address: str) -> None:
    done = run("bench", "--raw", "--serve", socket_address, "-R", "-t", "0")
    assert done.code == 2, done.err
    assert "--time 0 is out of bounds" in done.err


def test_a_client_of_hvcopy_is_no_peer_of_a_sink(socket_address: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"f")
    with answering(socket_address, "--raw") as (sink, address):
        done = run("cp", tmp_path / "f", f"{address}:/f", "--timeout", "5")
        assert done.code in (6, 7), done.err
        sink.line("speaks hvcopy")


def test_who_is_not_on_the_list_gets_nothing() -> None:
    with answering("tcp:127.0.0.1:0", "--raw", "-R", "--allow", "127.0.0.2") as (source, address):
        with connect(address) as sock, contextlib.suppress(ConnectionError):
            assert sock.recv(1) == b""
        source.line("not on the list")


def test_a_raw_server_is_not_told_of_keys() -> None:
    done = run("bench", "--raw", "--serve", "tcp:127.0.0.1:0")
    assert done.code == 2, done.err
    assert "--allow PEER" in done.err
    assert "key" not in done.err


# ---- other tools


@contextlib.contextmanager
def tool(command: Sequence[str], path: Path) -> Iterator[None]:
    """Another tool that listens on the socket *path*; its own session, ended with the test."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        eventually(path.is_socket, what=f"{command[0]} listening")
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize(
    ("command", "options", "found"),
    [
        (["socat", "-u", "UNIX-LISTEN:{},fork", "OPEN:/dev/null"], ["-m", "send"], r"sent [1-9][\d.]* \w+ in"),
        (["socat", "-U", "UNIX-LISTEN:{},fork", "OPEN:/dev/zero"], ["-R"], r"received [1-9][\d.]* \w+ in"),
        (["socat", "UNIX-LISTEN:{},fork", "PIPE"], ["-m", "latency"], r"p50 \d+"),
        (["nc", "-lkU", "{}"], ["-m", "connections"], r"connect to close: \d+"),
    ],
    ids=["socat discards", "socat sends", "socat echoes", "nc accepts"],
)
def test_other_tools_are_measured(command: list[str], options: list[str], found: str, tmp_path: Path) -> None:
    """They fork for each connection: for longer than ``SHORT``, so that something comes on a busy machine."""
    path = tmp_path / "s"
    with tool([one.format(path) for one in command], path):
        done = run("bench", "--raw", f"unix:{path}", *options, "-t", "1", "--timeout", "5")
    assert done.code == 0, done.err
    assert re.search(found, done.out), done.out


def test_another_tool_sends_to_our_sink(socket_address: str, tmp_path: Path) -> None:
    if shutil.which("socat") is None:
        pytest.skip("needs socat")
    (tmp_path / "f").write_bytes(bytes(5 * MIB))
    with answering(socket_address, "--raw") as (sink, address):
        target = f"UNIX-CONNECT:{address.removeprefix('unix:')}"
        subprocess.run(["socat", "-u", f"OPEN:{tmp_path}/f", target], check=True, timeout=20)
        sink.line(r"received 5\.00 MiB")


def test_an_interrupted_measurement_ends_soon_with_what_it_has(socket_address: str) -> None:
    with (
        Listening(socket_address, drain) as sink,
        Running("bench", "--raw", sink.address, "-m", "send", "-t", "60", "--json") as client,
    ):
        eventually(lambda: sink.accepted, what="a connection")
        client.signal(signal.SIGINT)
        done = client.finish()
    assert done.code == 130, done.err
    assert done.result["error"] == "interrupted"
    assert done.result["intervals"]
