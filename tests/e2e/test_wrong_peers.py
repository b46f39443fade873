"""What the client says when the port has nobody, or somebody else, or another version behind it."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import Finished, Server, run, serving
from peers import Behaviour, Listening, client_of, connect, drain, says, says_and_closes, sends_zeros

from e2e.trees import write
from hvcopy.wire import messages as m
from hvcopy.wire.frames import MAGIC

STRANGERS: dict[str, tuple[Behaviour, int]] = {
    "ssh": (says(b"SSH-2.0-OpenSSH_9.6\r\n"), 7),
    "http": (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), 7),
    "short banner": (says_and_closes(b"hi\n"), 7),
    "silence": (drain, 5),
    "zeros": (sends_zeros, 7),
    "closed at once": (says_and_closes(b""), 6),
    "half a greeting": (says_and_closes(MAGIC[:4]), 7),
    "text mode": (says(MAGIC.replace(b"\r\n", b"\n") + b"more"), 7),
    "greeting and noise": (says(MAGIC + bytes(range(1, 255))), 7),
    "greeting and a frame too long": (says(MAGIC + b"\xff\xff\xff\xff\x01" + bytes(11)), 7),
}


@pytest.mark.parametrize("transport", ["unix", "tcp"])
@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_on_the_port_is_told_apart(transport: str, stranger: str, tmp_path: Path) -> None:
    behaviour, code = STRANGERS[stranger]
    source = write(tmp_path / "f")
    address = f"unix:{tmp_path}/s" if transport == "unix" else "tcp:127.0.0.1"
    with Listening(address, behaviour) as listening:
        done = run("cp", source, f"{listening.address}:/f", "--timeout", "1" if code == 5 else "15")
    assert done.code == code, done.err
    assert listening.address in done.err
    assert done.seconds < 8
    assert_clear(done)


def assert_clear(done: Finished) -> None:
    """One message with what happened and the next step, nothing on stdout, no traceback."""
    assert done.out == ""
    assert "Traceback" not in done.err
    first, *rest = done.err.splitlines()
    assert first.startswith("hvcopy: ")
    assert rest
    assert all(line.startswith("  ") for line in rest), done.err


@pytest.mark.parametrize("command", ["cp", "ls", "send", "recv"])
def test_nobody_listening_is_4_with_the_command_to_start(command: str, tmp_path: Path) -> None:
    source, address = write(tmp_path / "f"), f"unix:{tmp_path}/none"
    arguments = {
        "cp": [source, f"{address}:/f"],
        "ls": [address],
        "send": [source, address],
        "recv": [address, tmp_path],
    }[command]
    done = run(command, *arguments)
    assert done.code == 4
    assert_clear(done)
    start = {"send": "hvcopy recv -l", "recv": "hvcopy send -l PATH"}.get(command, "hvcopy serve")
    assert f"{start} {address}" in done.err
    assert "--wait" in done.err
    assert done.err.count("hvcopy ") == 1, "nothing else would answer it"


def test_nobody_listening_on_tcp_is_4(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    done = run("ls", f"tcp:127.0.0.1:{port}")
    assert done.code == 4
    assert_clear(done)


def test_a_socket_file_left_by_a_dead_server_is_4(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{tmp_path}/s")
    done = run("ls", f"unix:{tmp_path}/s")
    assert done.code == 4
    assert_clear(done)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain")
    listed = run("ls", f"unix:{plain}")
    served = run("serve", f"unix:{plain}", "--root", tmp_path)
    assert listed.code == served.code == 10
    assert plain.read_bytes() == b"content\n"


def _hello(lowest: int, highest: int, role: str = "server") -> bytes:
    hello = m.Hello(lowest, highest, role, bytes(32), False, "test", [], "hvcopy 9.0", "posix")
    return MAGIC + m.encode(hello)


def test_a_server_of_another_version_is_7_and_names_both(tmp_path: Path) -> None:
    with Listening(f"unix:{tmp_path}/s", says(_hello(2, 3))) as listening:
        done = run("ls", listening.address)
    assert done.code == 7
    assert_clear(done)
    assert "2 to 3" in done.err
    assert "same release" in done.err


def test_a_client_of_another_version_is_told_why(server: Server) -> None:
    with connect(server.address) as sock:
        sock.sendall(_hello(2, 3, "client"))
        answer = b""
        while piece := sock.recv(4096):
            answer += piece
    assert answer.startswith(MAGIC)
    assert b"versions 2 to 3" in answer
    assert not server.ended


def test_two_clients_or_two_servers_are_7(tmp_path: Path, server: Server) -> None:
    with Listening(f"unix:{tmp_path}/x", says(_hello(1, 1, "client"))) as listening:
        done = run("ls", listening.address)
    assert done.code == 7
    received = run("recv", server.address, tmp_path)
    assert received.code == 7
    for one in (done, received):
        assert_clear(one)


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        bytes(1 << 20),
        MAGIC + bytes(64),
        MAGIC + b"\xff" * 64,
        _hello(1, 1, "client"),
    ],
    ids=["http", "zeros", "greeting and zeros", "greeting and ones", "hello and nothing more"],
)
def test_a_server_survives_strangers(server: Server, content: bytes, processes: ExitStack) -> None:
    sock = processes.enter_context(connect(server.address))
    try:
        sock.sendall(content)
    except OSError:
        pass  # it has heard enough
    assert run("ls", server.address).code == 0
    assert not server.ended


@pytest.mark.parametrize("said", [b"", MAGIC + b"\x50", _hello(1, 1, "client")], ids=["nothing", "half a frame", "no job"])
def test_a_client_that_goes_no_further_is_told_what_was_missing(said: bytes, root: Path, tmp_path: Path) -> None:
    """It is who connected: the words for a server that is silent would be wrong."""
    with serving(f"unix:{tmp_path}/s", root, "--timeout", "0.5") as server:
        with connect(server.address) as sock:
            sock.sendall(said)
            answer = b""
            while piece := sock.recv(4096):
                answer += piece
        server.line("what it was to say did not come in time")
    assert b"did not come in time" in answer


def test_a_job_of_unknown_kind_is_refused(server: Server) -> None:
    with client_of(server.address) as peer:
        peer.send(m.Job("format", [b""], m.Options(), b"", 1))
        assert peer.error().code in (2, 7)
    assert run("ls", server.address).code == 0
