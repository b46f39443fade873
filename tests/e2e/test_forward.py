"""`hvcopy forward` as a process: bytes, ends and many connections, between transports.

What one connection's end means is in tests/unit/test_forwarding.py; what breaks, in test_forward_breaks.py.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import PATIENCE, eventually
from peers import PIECE, Behaviour
from talkers import hear, hear_end, quiet

from e2e.routes import Flood, Route, Swap, memory, reset, stalled
from e2e.trees import noise

KIB, MIB = 1 << 10, 1 << 20
IN_KERNEL = os.environ.get("HVCOPY_LANE") == "kernel"
PAIRS = ("unix-vsock", "vsock-unix", "tcp-vsock", "vsock-tcp", "vsock-vsock") if IN_KERNEL else ("unix-tcp", "tcp-unix")
"""tests/lanes/test_kernel_streams.py runs this file where AF_VSOCK may be opened."""
ROUTES = ("vsock-vsock",) if IN_KERNEL else PAIRS
"""For what depends on one end's transport alone, and not on which two are joined."""
SIZES = (16 * MIB + 1,) if IN_KERNEL else (0, 1, 255 * KIB, 256 * KIB, 257 * KIB, 16 * MIB + 1)
over_every_pair = pytest.mark.parametrize("start", PAIRS, indirect=True)
Start = Callable[..., Route]


def _tcp_buffer(way: str) -> int:
    """The most that the system lets a socket's buffer grow to (tcp(7)): for receiving 6 MiB, on Linux 6.18 it was 32."""
    return int(Path(f"/proc/sys/net/ipv4/tcp_{way}mem").read_text().split()[2])


HELD = (8 if IN_KERNEL else (_tcp_buffer("r") + _tcp_buffer("w")) // MIB + 8) * MIB
"""More than what kernels and forwarder hold for one connection: TCP buffers, if any, and less than 8 MiB of other things."""


@pytest.fixture(params=ROUTES)
def start(request: pytest.FixtureRequest, processes: ExitStack, tmp_path: Path) -> Start:
    """Start a forwarder to a target with some behaviour, over each route in turn."""
    kinds: str = request.param

    def run(behaviour: Behaviour, *options: object) -> Route:
        return Route(processes, tmp_path, kinds, behaviour, *options)

    return run


def answers_backwards(sock: socket.socket) -> None:
    """A target that hears its client to the end, and then says the same backwards."""
    heard = hear_end(sock)
    sock.sendall(heard[::-1])
    sock.shutdown(socket.SHUT_WR)


def echoes(sock: socket.socket) -> None:
    while piece := sock.recv(PIECE):
        sock.sendall(piece)
    sock.shutdown(socket.SHUT_WR)


@over_every_pair
@pytest.mark.parametrize("size", SIZES)
def test_streams_of_every_size_arrive_both_ways_at_once(start: Start, size: int) -> None:
    there, back = noise(size, 1), noise(size * 3 // 4, 2)
    heard: list[str] = []
    route = start(lambda sock: heard.append(Swap(sock, back).heard()))
    assert Swap(route.client(), there).heard() == hashlib.sha256(back).hexdigest()
    assert eventually(lambda: heard, what="the target's end") == [hashlib.sha256(there).hexdigest()]


def test_fifty_connections_at_once_each_have_their_own_bytes(start: Start) -> None:
    route = start(answers_backwards)
    contents = [noise(100_000 + number, number) for number in range(50)]
    clients = [route.client() for _ in contents]
    for client, content in zip(clients, contents, strict=True):  # each has said something before any of them ends
        client.sendall(content[:1000])
    eventually(lambda: route.target.accepted == len(clients), what="all of them at the target")
    talks = [Swap(client, content[1000:]) for client, content in zip(clients, contents, strict=True)]
    for talk, content in zip(talks, contents, strict=True):
        assert talk.heard() == hashlib.sha256(content[::-1]).hexdigest()
    assert route.process.err.count("\n") == 1, route.process.err


def test_what_was_written_last_arrives_at_a_slow_reader_though_its_writer_is_gone(start: Start) -> None:
    """opengcs#295, ocaml-hvsock#13: the tail that was still in the buffers of somebody in between."""
    content = noise(3 * MIB + 1)

    def says_and_goes(sock: socket.socket) -> None:
        sock.sendall(content)
        sock.close()

    route = start(says_and_goes)
    for _ in range(5):
        client = route.client()
        eventually(lambda client=client: not quiet(client), what="the first of it")
        heard = b"".join(iter(lambda client=client: client.recv(5003), b""))
        assert heard == content


@pytest.mark.parametrize("size", [1, 200])
def test_tiny_writes_all_arrive(start: Start, size: int) -> None:
    """libkrun#795: enough of them at once, and some kernels reset a connection of AF_VSOCK."""
    content = noise(5000 * size)
    client = start(answers_backwards).client()
    for at in range(0, len(content), size):
        client.sendall(content[at : at + size])
    client.shutdown(socket.SHUT_WR)
    assert hear_end(client) == content[::-1]


def test_a_line_goes_on_at_once_and_so_does_its_answer(start: Start) -> None:
    client = start(echoes).client()
    for number in range(200):
        client.sendall(b"%d\n" % number)
        assert hear(client, len(b"%d\n" % number)) == b"%d\n" % number


@over_every_pair
@pytest.mark.parametrize("who", ["client", "target"])
def test_either_side_may_end_first_and_hears_what_the_other_one_still_says(start: Start, who: str) -> None:
    over = threading.Event()

    def ends_first(sock: socket.socket) -> None:
        sock.sendall(b"question")
        sock.shutdown(socket.SHUT_WR)
        assert hear_end(sock) == b"the answer, late"
        over.set()

    def answers(sock: socket.socket) -> None:
        assert hear_end(sock) == b"question"
        for word in (b"the ", b"answer, ", b"late"):
            assert quiet(sock) or sock.recv(1) == b""
            sock.sendall(word)
        sock.close()

    route = start(answers if who == "client" else ends_first)
    (ends_first if who == "client" else answers)(route.client())
    assert over.wait(PATIENCE), route.target.failures


def test_connections_beyond_the_limit_wait_for_their_turn(start: Start) -> None:
    route = start(echoes, "--max-conns", "2")
    first, second = route.client(), route.client()
    for client in (first, second):
        client.sendall(b"in")
        assert hear(client, 2) == b"in"
    route.process.line("2 connections at once: the next ones wait")
    third = route.client()
    third.sendall(b"waiting")
    for number in range(50):  # the others go on meanwhile
        second.sendall(b"%2d" % number)
        assert hear(second, 2) == b"%2d" % number
    assert quiet(third)
    assert route.target.accepted == 2
    first.close()
    assert hear(third, 7) == b"waiting"
    assert route.target.accepted == 3
    assert route.process.err.count("at once") == 1


@pytest.mark.parametrize("reader", ["client", "target"])
def test_a_slow_reader_holds_its_sender_back_and_nobody_else(start: Start, reader: str) -> None:
    """The forwarder keeps what its documentation says, however much the sender has."""
    content, go, rest = noise(MIB), threading.Event(), []
    floods: list[Flood] = []

    def stands(sock: socket.socket) -> None:
        if sock.recv(1) == b"e":
            return echoes(sock)
        if reader == "client":
            floods.append(Flood(sock, content, HELD * 2))
            assert floods[-1].over() == HELD * 2
            return sock.shutdown(socket.SHUT_WR)
        assert go.wait(PATIENCE)
        return rest.append(digest_to_the_end(sock))

    route = start(stands)
    other = route.client()
    other.sendall(b"echo")
    assert hear(other, 3) == b"cho"
    before = memory(route.process)
    clients = [route.client() for _ in range(3)]
    for client in clients:
        client.sendall(b"s")
    if reader == "target":
        floods += [Flood(client, content, HELD * 2) for client in clients]
    eventually(lambda: len(floods) == len(clients), what="senders")
    stalled(floods)
    assert max(flood.sent for flood in floods) < HELD
    assert memory(route.process) - before < 16 * MIB
    other.sendall(b"still here")
    assert hear(other, 10) == b"still here"
    go.set()
    if reader == "client":
        rest += [digest_to_the_end(client) for client in clients]
    for client, flood in zip(clients, floods, strict=True):
        assert flood.over() == HELD * 2
        if reader == "target":
            client.shutdown(socket.SHUT_WR)
    whole = hashlib.sha256(content * (HELD * 2 // MIB)).hexdigest()
    assert eventually(lambda: len(rest) == len(clients) and rest, what="all of it") == [whole] * len(clients)
    assert memory(route.process) - before < 16 * MIB


def digest_to_the_end(sock: socket.socket) -> str:
    digest = hashlib.sha256()
    while piece := sock.recv(PIECE):
        digest.update(piece)
    return digest.hexdigest()


def test_clients_that_come_and_go_leave_nothing_behind(start: Start) -> None:
    route = start(echoes)

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{route.process.pid}/fd"))

    def visit(number: int) -> None:
        client = route.client()
        client.sendall(b"hello")
        assert hear(client, 5) == b"hello"
        if number % 2:
            reset(client)
        else:
            client.close()

    idle = descriptors()
    for number in range(30):
        visit(number)
    eventually(lambda: descriptors() <= idle, what="only the listener's descriptors")
    assert not route.process.ended
