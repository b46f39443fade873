"""`hvcopy forward` when something breaks: a broken connection is never passed on as one that has ended."""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import PATIENCE, Running, eventually, forwarding, run
from peers import PIECE, Listening, connect, drain, sends_zeros
from starting import HVCOPY
from talkers import Talker, hear, quiet

from e2e.routes import Flood, Route, how_it_ends, in_thread, place, reset, stalled, visited

MIB = 1 << 20
SOON = 10.0
SIGNALS = [signal.SIGINT, signal.SIGTERM]
OPEN = "--open"


@pytest.fixture
def tcp(processes: ExitStack, tmp_path: Path) -> Callable[..., Route]:
    """Start a forwarder over TCP, which alone knows resets."""
    return lambda behaviour, *options: Route(processes, tmp_path, "tcp-tcp", behaviour, *options)


def flood(sock: socket.socket) -> Flood:
    """Send zeros without end."""
    return Flood(sock, bytes(MIB), 1 << 40)


# ---- a target that is not there


def test_nobody_at_the_target_is_a_reset_and_one_line_and_the_next_client_is_served(
    processes: ExitStack, tmp_path: Path
) -> None:
    target = f"unix:{tmp_path}/far"
    process, address = processes.enter_context(forwarding("tcp:127.0.0.1:0", target, OPEN))
    assert visited(address, b"is somebody there?") == "reset"
    process.line(rf"(?m)^hvcopy: tcp:127\.0\.0\.1:\d+: {target}: nobody listens there: .*$")
    assert process.err.count("\n") == 2, process.err
    processes.enter_context(Listening(target, lambda sock: sock.sendall(b"yes")))
    assert hear(processes.enter_context(connect(address)), 3) == b"yes"


def test_wait_keeps_the_client_until_there_is_a_target(processes: ExitStack, tmp_path: Path) -> None:
    target = f"unix:{tmp_path}/far"
    _, address = processes.enter_context(forwarding("tcp:127.0.0.1:0", target, OPEN, "--wait", "30"))
    client = processes.enter_context(connect(address))
    client.sendall(b"early")
    arrived: list[bytes] = []
    processes.enter_context(Listening(target, lambda sock: arrived.append(hear(sock, 5))))
    assert eventually(lambda: arrived, what="what the client said") == [b"early"]


def test_what_a_client_said_before_it_left_is_still_delivered(processes: ExitStack, tmp_path: Path) -> None:
    target = f"unix:{tmp_path}/far"
    process, address = processes.enter_context(forwarding(f"unix:{tmp_path}/near", target, "--wait", "30", "-m", "1"))
    with connect(address) as client:
        client.sendall(b"early")
    with connect(address):  # taken when the first one is done with
        arrived: list[bytes] = []
        processes.enter_context(Listening(target, lambda sock: arrived.append(hear(sock, 5))))
        assert eventually(lambda: arrived, what="what the client said") == [b"early"]
    assert "left before" not in process.err


@pytest.mark.parametrize("listen_at", ["unix:FOLDER/near", "tcp:127.0.0.1:0"], ids=["unix", "tcp"])
def test_a_client_that_leaves_while_its_target_is_waited_for_gives_its_place_to_the_next(
    listen_at: str, processes: ExitStack, tmp_path: Path
) -> None:
    target, options = f"unix:{tmp_path}/far", ["--wait", "300", "-m", "1"]
    where = listen_at.replace("FOLDER", str(tmp_path))
    process, address = processes.enter_context(
        forwarding(where, target, *options, *([OPEN] if where.startswith("tcp") else []))
    )
    with connect(address):
        pass
    process.line(f"left before {target} was reached")
    client = processes.enter_context(connect(address))
    processes.enter_context(Listening(target, lambda sock: sock.sendall(b"yes")))
    assert hear(client, 3) == b"yes"


def test_a_client_that_only_sends_nothing_more_has_not_left(processes: ExitStack, tmp_path: Path) -> None:
    target = f"unix:{tmp_path}/far"
    for number, where in enumerate((f"unix:{tmp_path}/near", "tcp:127.0.0.1:0")):
        process, address = processes.enter_context(
            forwarding(where, f"{target}{number}", "--wait", "300", *([OPEN] if where.startswith("tcp") else []))
        )
        client = processes.enter_context(connect(address))
        client.shutdown(socket.SHUT_WR)
        with connect(address):
            pass
        process.line("left before")  # the one that did
        processes.enter_context(Listening(f"{target}{number}", lambda sock: sock.sendall(b"yes")))
        assert hear(client, 3) == b"yes"


def test_a_client_of_a_target_that_never_answers_is_given_up(processes: ExitStack, tmp_path: Path) -> None:
    with Listening(f"unix:{tmp_path}/v", drain):  # a paused VM: takes CONNECT and says nothing
        process, address = processes.enter_context(
            forwarding("tcp:127.0.0.1:0", f"hybrid:{tmp_path}/v:22", OPEN, "--timeout", "300ms")
        )
        assert visited(address, b"hello") == "reset"
        process.line("0.3 s")


# ---- resets


@pytest.mark.parametrize("ended", [False, True], ids=["open", "after the client's end"])
def test_a_target_that_resets_is_no_end_for_the_client(tcp: Callable[..., Route], ended: bool) -> None:
    def breaks_off(sock: socket.socket) -> None:
        assert hear(sock, 8) == b"question"
        if ended:
            assert sock.recv(1) == b""
        sock.sendall(b"half of the ans")
        reset(sock)

    route = tcp(breaks_off)
    for _ in range(20):
        client = route.client()
        client.sendall(b"question")
        if ended:
            client.shutdown(socket.SHUT_WR)
        assert how_it_ends(client) == "reset"
    assert route.target.failures == []
    eventually(lambda: route.process.err.count("the connection broke") == 20, what="a line for each")


@pytest.mark.parametrize("flowing", ["nothing", "there", "back", "both"])
def test_a_client_that_resets_is_no_end_for_the_target(tcp: Callable[..., Route], flowing: str) -> None:
    ends: list[str] = []

    def target(sock: socket.socket) -> None:
        sock.sendall(b"hello")
        ends.append(flood(sock).how_it_ends() if flowing in ("back", "both") else how_it_ends(sock))

    route = tcp(target)
    for _ in range(20):
        client = route.client()
        assert hear(client, 5) == b"hello"
        if flowing in ("there", "both"):
            client.sendall(bytes(3 * MIB))
        reset(client)
    assert eventually(lambda: len(ends) == 20 and ends, what="the target's ends") == ["reset"] * 20


def test_a_client_that_goes_with_an_answer_unread_is_no_end_for_the_target(tcp: Callable[..., Route]) -> None:
    ends: list[str] = []
    route = tcp(lambda sock: ends.append(flood(sock).how_it_ends()))
    for _ in range(20):
        client = route.client()
        assert hear(client, MIB) == bytes(MIB)
        eventually(lambda client=client: not quiet(client), what="something unread")
        client.close()
    assert eventually(lambda: len(ends) == 20 and ends, what="the target's ends") == ["reset"] * 20


# ---- processes that are killed


def test_a_target_killed_in_mid_stream_ends_its_clients_and_not_the_forwarder(
    processes: ExitStack, tmp_path: Path
) -> None:
    """It has read everything, so its kernel says an end: the same as without the forwarder."""
    process, address = processes.enter_context(forwarding("tcp:127.0.0.1:0", f"unix:{tmp_path}/far", OPEN))
    for _ in range(2):
        with open("/dev/zero", "rb") as zero:
            target = processes.enter_context(Talker(*HVCOPY, "nc", "-l", f"unix:{tmp_path}/far", stdin=zero.fileno()))
            target.line("listening on")
            client = processes.enter_context(connect(address))
            assert hear(client, MIB) == bytes(MIB)
            target.process.kill()
            assert how_it_ends(client) in ("end", "reset")
    assert not process.ended


def test_a_client_killed_in_mid_stream_breaks_its_target_and_not_the_forwarder(
    tcp: Callable[..., Route], processes: ExitStack
) -> None:
    ends: list[str] = []
    floods: list[Flood] = []

    def target(sock: socket.socket) -> None:
        floods.append(flood(sock))
        ends.append(floods[-1].how_it_ends())

    route = tcp(target)
    for number in range(3):
        client = processes.enter_context(Talker(*HVCOPY, "nc", route.address))
        assert client.hear(MIB) == bytes(MIB)
        eventually(lambda number=number: len(floods) > number, what="the flood, whose bytes may come before it is noted")
        stalled(floods[number:])
        client.process.kill()
        eventually(lambda number=number: len(ends) > number, what="the target's end")
    assert ends == ["reset"] * 3
    assert not route.process.ended


def test_a_forwarder_that_is_killed_is_no_end_for_anybody(tcp: Callable[..., Route]) -> None:
    """It has read everything that came, so that nothing but its care makes its kernel say more than "end"."""
    ends: list[str] = []

    def target(sock: socket.socket) -> None:
        sock.sendall(hear(sock, 5))
        ends.append(how_it_ends(sock))

    route = tcp(target)
    client = route.client()
    client.sendall(b"hello")
    assert hear(client, 5) == b"hello"
    route.process.kill()
    assert how_it_ends(client) == "reset"
    assert eventually(lambda: ends, what="the target's end") == ["reset"]


# ---- Ctrl-C and SIGTERM


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("what", ["nothing", "idle", "flowing", "stalled", "dialing"])
def test_a_signal_ends_it_and_its_connections_with_0(
    processes: ExitStack, tmp_path: Path, what: str, number: signal.Signals
) -> None:
    def target(sock: socket.socket) -> None:
        sock.sendall(b"hello")
        if what in ("flowing", "stalled"):
            sends_zeros(sock)
        else:
            drain(sock)

    far = processes.enter_context(Listening("tcp:127.0.0.1:0", target))
    where = f"unix:{tmp_path}/nobody" if what == "dialing" else far.address
    process, address = processes.enter_context(forwarding("tcp:127.0.0.1:0", where, OPEN, "--wait", "60", "-v"))
    clients = [] if what == "nothing" else [processes.enter_context(connect(address)) for _ in range(5)]
    for client in clients if what != "dialing" else []:
        assert hear(client, 5) == b"hello"
    ends: list[str] = []
    if what == "flowing":
        for client in clients:
            assert hear(client, MIB) == bytes(MIB)
            in_thread(lambda client=client: ends.append(how_it_ends(client)))
    before = process.elapsed
    process.signal(number)
    done = process.finish()
    assert done.code == 0, done.err
    assert done.seconds - before < SOON
    assert "Traceback" not in done.err
    if what == "flowing":
        eventually(lambda: len(ends) == len(clients), what="the clients' ends")
    else:
        ends = [how_it_ends(client) for client in clients]
    assert ends == ["reset"] * len(clients)


def test_a_signal_leaves_no_socket_file(processes: ExitStack, tmp_path: Path) -> None:
    target = processes.enter_context(Listening("tcp:127.0.0.1:0", drain))
    process, address = processes.enter_context(forwarding(f"unix:{tmp_path}/near", target.address))
    client = processes.enter_context(connect(address))
    eventually(lambda: target.accepted, what="the connection")
    process.signal(signal.SIGTERM)
    assert process.finish().code == 0
    assert client.recv(1) == b""
    assert os.listdir(tmp_path) == []


# ---- what it is told, and what it tells


def test_silence_for_the_idle_timeout_ends_a_connection(tcp: Callable[..., Route]) -> None:
    route = tcp(drain, "--idle-timeout", "300ms")
    assert how_it_ends(route.client()) == "reset"
    route.process.line("nothing moved for 0.3 s")


def test_who_is_not_on_the_list_is_closed_and_the_target_never_hears_of_it(
    processes: ExitStack, tmp_path: Path
) -> None:
    route = Route(processes, tmp_path, "unix-tcp", drain, "--allow", f"unix:{os.getuid() + 1}")
    assert route.client().recv(1) == b""
    route.process.line(f"unix:{os.getuid()} is not on the list of allowed peers")
    assert route.target.accepted == 0


def test_v_tells_of_each_connection_and_q_of_none(processes: ExitStack, tmp_path: Path) -> None:
    target = processes.enter_context(Listening("tcp:127.0.0.1:0", lambda sock: sock.close()))
    process, address = processes.enter_context(forwarding(f"unix:{tmp_path}/v", target.address, "-v"))
    connect(address).close()
    process.line(r": connected\n.*: closed; 0 B there, 0 B back\n")
    with Running("forward", f"unix:{tmp_path}/q", f"unix:{tmp_path}/nobody", "-q") as quiet:
        with eventually(lambda: reached(f"unix:{tmp_path}/q"), what="a listener") as client:
            assert client.recv(1) == b""
        quiet.signal(signal.SIGINT)
        assert (quiet.finish().code, quiet.err) == (0, "")


def reached(address: str) -> socket.socket | None:
    try:
        return connect(address)
    except OSError:
        return None


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["tcp:127.0.0.1:0", "unix:far"], 2, "--open"),
        (["unix:near", "unix:near"], 2, "the same"),
        (["unix:near", "unix:./near"], 2, "lead to one place"),
        (["vsock:any:22", "vsock:local:22", "--open"], 2, "lead to one place"),
        (["tcp:0.0.0.0:22", "tcp:127.0.0.1:22", "--open"], 2, "lead to one place"),
        (["tcp:[::]:22", "tcp:[::1]:22", "--open"], 2, "lead to one place"),
        (["unix:near", "vsock:any:22"], 2, "for listening, not for connecting"),
        (["unix:near", "tcp:127.0.0.1:0"], 2, "for listening, not for connecting"),
        (["unix:near", "vsock:4711"], 2, "vsock"),
        (["unix:near"], 2, "TARGET"),
        (["unix:near", "unix:far", "--max-conns", "0"], 2, "--max-conns"),
        (["unix:near", "unix:far", "--idle-timeout", "0"], 2, "--idle-timeout"),
        (["unix:missing/near", "unix:far"], 10, "choose another path"),
        (["tcp:192.0.2.1:1", "unix:far", "--open"], 10, "name one of this machine's own"),
        (["unix:taken", "unix:far"], 10, "taken"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_is_told_before_anything_starts(
    arguments: list[str], code: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    done = run("forward", *arguments, cwd=tmp_path)
    assert done.code == code, done.err
    assert said in done.err
    assert "Traceback" not in done.err


def test_without_descriptors_for_more_the_connections_that_are_there_go_on(
    processes: ExitStack, tmp_path: Path
) -> None:
    """What fails is told, and when there are descriptors again the next clients are served."""
    few = ["sh", "-c", 'ulimit -n 24; exec "$@"', "sh"]

    def echoes(sock: socket.socket) -> None:
        while piece := sock.recv(PIECE):
            sock.sendall(piece)
        sock.close()

    target = processes.enter_context(Listening("tcp:127.0.0.1:0", echoes))
    process, address = processes.enter_context(forwarding("tcp:127.0.0.1:0", target.address, OPEN, prefix=few))

    def served(patience: float = PATIENCE) -> socket.socket | None:
        return served_by(processes, address, patience)

    there = [served()]
    while one := served(1):
        there.append(one)
    assert 2 < len(there) < 12
    content = bytes(range(256)) * 4096
    for client in there:
        sending = Flood(client, content, len(content))
        assert hear(client, len(content)) == content
        assert sending.over() == len(content)
    for client in there[1:]:
        client.close()
    assert eventually(served, what="the next client")
    assert not process.ended


@pytest.mark.parametrize(
    ("kind", "warm"), [(kind, warm) for kind in ("unix", "hybrid", "tcp") for warm in (True, False)] + [("name", True)]
)
def test_a_client_for_whose_target_no_descriptor_is_left_is_closed_and_told_in_one_line(
    processes: ExitStack, tmp_path: Path, kind: str, *, warm: bool
) -> None:
    """The first client of a process is one, too; only that the C library then takes every name for an unknown one."""

    def answers(sock: socket.socket) -> None:
        if kind == "hybrid":
            assert hear(sock, len("CONNECT 5\n")) == b"CONNECT 5\n"
            sock.sendall(b"OK 5\n")
        sock.sendall(b"yes")

    far, near = ("unix", "tcp") if kind in ("unix", "hybrid") else ("tcp", "unix")
    where = processes.enter_context(Listening(place(far, tmp_path, "far"), answers)).address
    target = {"hybrid": f"hybrid:{tmp_path}/far:5", "name": where.replace("127.0.0.1", "localhost")}.get(kind, where)
    access = () if near == "unix" else (OPEN,)
    anew = forwarding(place(near, tmp_path, "near"), target, *access, prefix=["env"])
    process, address = processes.enter_context(anew)
    idle = descriptors(process.pid)
    if warm:
        with connect(address) as first:
            assert hear(first, 3) == b"yes"
        eventually(lambda: descriptors(process.pid) <= idle, what="the end of the first one")
    limits = leave_descriptors(process.pid, 1)
    assert visited(address, b"") == ("end" if near == "unix" else "reset")
    process.line(rf"(?m)^hvcopy: {near}:.*: {target}: this machine cannot open one more connection: Too many open files$")
    assert process.err.count("\n") == 2, process.err
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
    assert hear(processes.enter_context(connect(address)), 3) == b"yes"


def leave_descriptors(pid: int, count: int) -> tuple[int, int]:
    """Let a process open *count* more, and return what it might before."""
    taken, (_, most) = descriptors(pid), resource.prlimit(pid, resource.RLIMIT_NOFILE)
    free = [number for number in range(max(taken) + count + 2) if number not in taken]
    return resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[count], most))


def descriptors(pid: int) -> set[int]:
    return {int(name) for name in os.listdir(f"/proc/{pid}/fd")}


def served_by(processes: ExitStack, address: str, patience: float) -> socket.socket | None:
    """A client that was answered by a target that echoes; None when it is closed or has waited long enough."""
    try:
        client = processes.enter_context(connect(address))
        client.settimeout(patience)
        client.sendall(b"in")
        if hear(client, 2) == b"in":
            client.settimeout(PATIENCE)
            return client
    except (ConnectionError, TimeoutError):
        pass
    return None


def test_without_memory_for_more_the_connections_that_are_there_go_on(
    processes: ExitStack, tmp_path: Path
) -> None:
    def echoes(sock: socket.socket) -> None:
        while piece := sock.recv(PIECE):
            sock.sendall(piece)

    route = Route(processes, tmp_path, "tcp-tcp", echoes)
    first = served_by(processes, route.address, PATIENCE)
    assert first
    size = int(Path(f"/proc/{route.process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.prlimit(route.process.pid, resource.RLIMIT_AS, (size + 40 * MIB, resource.RLIM_INFINITY))
    count = 1
    while served_by(processes, route.address, 2):
        count += 1
        assert count < 50
    route.process.line("no memory for another connection")
    first.sendall(b"still here")
    assert hear(first, 10) == b"still here"
    resource.prlimit(route.process.pid, resource.RLIMIT_AS, limits)
    assert served_by(processes, route.address, PATIENCE)
