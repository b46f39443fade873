"""Who ends when: `hvcopy nc` beside OpenBSD's nc and ncat, row by row of the table in docs/nc.md.

tests/lanes/test_kernel_streams.py runs this file once more where AF_VSOCK may be opened; OpenBSD's nc has no part in that.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import PATIENCE, eventually
from starting import HVCOPY
from talkers import Talker, hear, hear_end, need, quiet

SOON = 0.7
"""Seconds that a tool which ends does not take, so that one which is alive after them goes on."""
ANSWER = os.urandom(1 << 20)
IN_KERNEL = os.environ.get("HVCOPY_LANE") == "kernel"
VSOCK_LOCAL = 1


@dataclass
class Tool:
    """How one of the tools is started; *listen* and *dial* get the transport, the path and the port."""

    listen: Callable[[str, str, int], list[str]]
    dial: Callable[[str, str, int], list[str]]


def _hvcopy(transport: str, path: str, port: int) -> list[str]:
    return [{"unix": f"unix:{path}", "tcp": f"tcp:127.0.0.1:{port}", "vsock": f"vsock:local:{port}"}[transport]]


def _classic(transport: str, path: str, port: int) -> list[str]:
    return ["-U", path] if transport == "unix" else ["127.0.0.1", str(port)]


def _ncat(transport: str, path: str, port: int) -> list[str]:
    return ["--vsock", str(VSOCK_LOCAL), str(port)] if transport == "vsock" else _classic(transport, path, port)


def tool(name: str) -> Tool:
    """The tool, or a skip that says what is missing."""
    if name == "hvcopy":
        return Tool(
            lambda *at: [*HVCOPY, "nc", "-l", "--open", *_hvcopy(*at)], lambda *at: [*HVCOPY, "nc", *_hvcopy(*at)]
        )
    if name == "nc":
        program = need("nc", "netcat-openbsd")
        if "OpenBSD" not in subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stderr:
            pytest.skip("nc is not OpenBSD's: apt-get install netcat-openbsd")
    else:
        program = need("ncat", "ncat")
        return Tool(lambda *at: [program, "-l", *_ncat(*at)], lambda *at: [program, *_ncat(*at)])
    return Tool(lambda *at: [program, "-l", *_classic(*at)], lambda *at: [program, *_classic(*at)])


class Scene:
    """One tool connected to a socket of the test's."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._path = str(folder / "s")
        self._transport, self._port = "", 0

    def begin(self, name: str, role: str, transport: str, *options: str) -> tuple[Talker, socket.socket]:
        """Start the tool with its listener or as one; returns it with the peer's socket."""
        if (name, transport) == ("nc", "vsock"):
            pytest.skip("OpenBSD's nc has no vsock")
        chosen, self._transport = tool(name), transport
        if role == "listens":
            port = self._port = _free_port(transport)
            argv = chosen.listen(transport, self._path, port)
            talker = self._stack.enter_context(Talker(*argv, *options))
            return talker, self.another()
        listener = self._listener(transport)
        port = 0 if transport == "unix" else listener.getsockname()[1]
        talker = self._stack.enter_context(Talker(*chosen.dial(transport, self._path, port), *options))
        peer, _ = listener.accept()
        peer.settimeout(PATIENCE)
        self._stack.callback(peer.close)
        return talker, peer

    def another(self) -> socket.socket:
        """One more socket that is connected to the tool's listener."""
        peer = eventually(lambda: self._dialed(self._transport, self._port), what="a listener")
        peer.settimeout(PATIENCE)
        self._stack.callback(peer.close)
        return peer

    def _listener(self, transport: str) -> socket.socket:
        listener = self._stack.enter_context(_socket(transport))
        listener.bind(_at(transport, self._path, socket.VMADDR_PORT_ANY if transport == "vsock" else 0))
        listener.listen()
        listener.settimeout(PATIENCE)
        return listener

    def _dialed(self, transport: str, port: int) -> socket.socket | None:
        peer = _socket(transport)
        try:
            peer.connect(_at(transport, self._path, port))
        except OSError:
            peer.close()
            return None
        return peer


def _socket(transport: str) -> socket.socket:
    assert IN_KERNEL or transport != "vsock", "AF_VSOCK is opened only in a kernel that the tests booted"
    return socket.socket(getattr(socket, {"unix": "AF_UNIX", "tcp": "AF_INET", "vsock": "AF_VSOCK"}[transport]))


def _at(transport: str, path: str, port: int) -> object:
    return {"unix": path, "tcp": ("127.0.0.1", port), "vsock": (VSOCK_LOCAL, port)}[transport]


def _free_port(transport: str) -> int:
    if transport == "unix":
        return 0
    with _socket(transport) as sock:
        sock.bind(_at(transport, "", socket.VMADDR_PORT_ANY if transport == "vsock" else 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(stack, tmp_path)


def goes_on_receiving(talker: Talker, peer: socket.socket) -> None:
    """It still passes on what the peer says; twice, so that it has looked at everything in between."""
    for word in (b"one", b"two"):
        peer.sendall(word)
        assert talker.hear(3) == word


def goes_on_sending(talker: Talker, peer: socket.socket) -> None:
    talker.say(b"three")
    assert hear(peer, 5) == b"three"


def ends(talker: Talker, status: int = 0) -> None:
    assert talker.finish() == status, talker.err


def goes_on(talker: Talker) -> None:
    with pytest.raises(AssertionError, match="still running"):
        talker.finish(SOON)


ALL = ("hvcopy", "nc", "ncat")
ROLES = ("dials", "listens")
TRANSPORTS = ("vsock",) if IN_KERNEL else ("unix", "tcp")
here = pytest.mark.parametrize("transport", ["unix", "tcp"])
everywhere = pytest.mark.parametrize(("role", "transport"), list(itertools.product(ROLES, TRANSPORTS)))


@everywhere
@pytest.mark.parametrize(
    ("name", "options", "fin"),
    [("hvcopy", [], False), ("nc", [], False), ("hvcopy", ["-N"], True), ("nc", ["-N"], True), ("ncat", [], True)],
    ids=str,
)
def test_standard_input_ends(scene: Scene, name: str, role: str, transport: str, options: list[str], fin: bool) -> None:
    talker, peer = scene.begin(name, role, transport, *options)
    talker.say(b"question")
    talker.end_input()
    assert hear(peer, 8) == b"question"
    if fin:
        assert hear(peer, 1) == b""
    goes_on_receiving(talker, peer)
    if not fin:
        assert quiet(peer)
    peer.close()
    ends(talker)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("name", "role"),  # Debian's nc 1.219 counts from the peer's end when it connects
    [("hvcopy", "dials"), ("hvcopy", "listens"), ("nc", "listens")],
)
def test_standard_input_ends_with_q(scene: Scene, name: str, role: str, transport: str) -> None:
    talker, peer = scene.begin(name, role, transport, "-q", "1")
    began = time.monotonic()
    talker.end_input()
    assert hear(peer, 1) == b""
    ends(talker)
    assert time.monotonic() - began > SOON


@everywhere
@pytest.mark.parametrize("name", ["hvcopy", "ncat"])
def test_send_only_ends_when_standard_input_does_and_not_when_the_peer_does(
    scene: Scene, name: str, role: str, transport: str
) -> None:
    talker, peer = scene.begin(name, role, transport, "--send-only")
    peer.sendall(b"not heard")
    peer.shutdown(socket.SHUT_WR)
    goes_on_sending(talker, peer)
    talker.end_input()
    ends(talker)
    assert talker.hear_end() == b""


@everywhere
@pytest.mark.parametrize("name", ["hvcopy", "ncat"])
def test_recv_only_ends_when_the_peer_does_and_not_when_standard_input_does(
    scene: Scene, name: str, role: str, transport: str
) -> None:
    talker, peer = scene.begin(name, role, transport, "--recv-only")
    talker.say(b"not sent")
    goes_on_receiving(talker, peer)
    assert quiet(peer)
    talker.end_input()
    if (name, role) == ("ncat", "listens"):
        assert hear(peer, 1) == b""
    goes_on_receiving(talker, peer)
    if (name, role) != ("ncat", "listens"):
        assert quiet(peer)
    peer.shutdown(socket.SHUT_WR)
    ends(talker)
    assert hear_end(peer) == b""


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("name", "closes"), [("hvcopy", True), ("nc", False), ("ncat", True)])
def test_the_peer_ends_its_direction_and_who_connected_goes_on_sending(
    scene: Scene, name: str, closes: bool, transport: str
) -> None:
    talker, peer = scene.begin(name, "dials", transport)
    peer.sendall(b"last words")
    peer.shutdown(socket.SHUT_WR)
    assert talker.hear(10) == b"last words"
    if closes:
        assert talker.hear_end() == b""
    goes_on_sending(talker, peer)
    talker.end_input()
    ends(talker)
    assert hear_end(peer) == b""


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("name", "answers"), [("hvcopy", True), ("nc", False), ("ncat", False)])
def test_the_peer_ends_its_direction_and_who_listened_sends_its_answer(
    scene: Scene, name: str, answers: bool, transport: str
) -> None:
    talker, peer = scene.begin(name, "listens", transport)

    def answer() -> None:
        try:
            talker.say(ANSWER)
            talker.end_input()
        except BrokenPipeError:
            pass

    peer.sendall(b"question")
    assert talker.hear(8) == b"question"
    peer.shutdown(socket.SHUT_WR)
    if not answers:  # it ends without looking whether there is an answer
        ends(talker)
        return
    assert talker.hear_end() == b""
    teller = threading.Thread(target=answer)
    teller.start()
    assert hear_end(peer) == ANSWER
    teller.join()
    ends(talker)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", ALL)
def test_a_listener_whose_input_nobody_uses_ends_with_its_peer(scene: Scene, name: str, transport: str) -> None:
    talker, peer = scene.begin(name, "listens", transport)
    peer.sendall(b"all of it")
    peer.shutdown(socket.SHUT_WR)
    assert talker.hear_end() == b"all of it"
    ends(talker)


@pytest.mark.parametrize(("name", "transport"), [("hvcopy", "vsock")] if IN_KERNEL else [("hvcopy", "unix"), ("nc", "unix")])
def test_the_peer_closes_and_who_connected_knows_it(scene: Scene, name: str, transport: str) -> None:
    talker, peer = scene.begin(name, "dials", transport)
    peer.close()
    ends(talker)


@pytest.mark.parametrize("name", ALL)
def test_the_peer_closes_over_tcp_and_who_connected_finds_out_by_writing(scene: Scene, name: str) -> None:
    talker, peer = scene.begin(name, "dials", "tcp")
    peer.close()

    def write() -> bool:
        try:
            talker.say(b"is somebody there\n")
        except BrokenPipeError:
            pass
        return talker.process.poll() is not None

    eventually(write, what="the end")
    assert talker.finish() == {"hvcopy": 6, "nc": 0, "ncat": 1}[name], talker.err


@pytest.mark.parametrize(("transport", "writes"), [("unix", 1), ("tcp", 2)])
def test_the_peer_closes_and_ncat_ends_when_a_write_fails(scene: Scene, transport: str, writes: int) -> None:
    talker, peer = scene.begin("ncat", "dials", transport)
    peer.close()
    for _ in range(writes):
        goes_on(talker)
        talker.say(b"is somebody there\n")
    ends(talker, 1)


@here
@pytest.mark.parametrize(
    ("name", "role", "status"),
    [("hvcopy", "dials", 141), ("hvcopy", "listens", 141), ("nc", "listens", 0)],
)
def test_nobody_reads_standard_output_any_more_and_it_ends_at_once(
    scene: Scene, name: str, role: str, status: int, transport: str
) -> None:
    talker, peer = scene.begin(name, role, transport)
    goes_on_receiving(talker, peer)
    talker.stop_hearing()
    ends(talker, status)


@here
def test_nobody_reads_standard_output_any_more_and_nc_goes_on_sending_where_it_connected(
    scene: Scene, transport: str
) -> None:
    talker, peer = scene.begin("nc", "dials", transport)
    goes_on_receiving(talker, peer)
    talker.stop_hearing()
    for _ in range(3):
        try:
            peer.sendall(b"not heard")
        except BrokenPipeError:  # over unix it has said that it hears nothing more
            pass
        goes_on_sending(talker, peer)


@here
@pytest.mark.parametrize("role", ROLES)
def test_nobody_reads_standard_output_any_more_and_ncat_ends_at_the_next_write(
    scene: Scene, role: str, transport: str
) -> None:
    talker, peer = scene.begin("ncat", role, transport)
    goes_on_receiving(talker, peer)
    talker.stop_hearing()
    goes_on_sending(talker, peer)
    peer.sendall(b"not heard")
    ends(talker, 2)


@here
@pytest.mark.parametrize("ended", [False, True], ids=["input open", "input ended"])
@pytest.mark.parametrize(
    ("name", "at_once", "status"),
    [("hvcopy", False, 0), ("nc", False, -signal.SIGINT), ("ncat", True, -signal.SIGINT)],
    ids=ALL,
)
def test_k_goes_on_whatever_ends_until_it_is_interrupted(
    scene: Scene, name: str, at_once: bool, status: int, ended: bool, transport: str
) -> None:
    talker, first = scene.begin(name, "listens", transport, "-k")
    goes_on_receiving(talker, first)
    if ended:
        talker.end_input()
    if ended and name == "ncat":
        assert hear(first, 1) == b""
    second = scene.another()
    second.sendall(b"2nd")
    if at_once:
        assert talker.hear(3) == b"2nd"
    goes_on_receiving(talker, first)
    if not (ended and name == "ncat"):
        assert quiet(first)
    first.close()
    if not at_once:
        assert talker.hear(3) == b"2nd"
    if not ended:
        goes_on_sending(talker, second)
    second.close()
    goes_on_receiving(talker, scene.another())
    talker.signal(signal.SIGINT)
    ends(talker, status)


@pytest.mark.parametrize(("name", "status"), [("hvcopy", 5), ("nc", 0)])
def test_w_ends_a_connection_on_which_nothing_moves(scene: Scene, name: str, status: int) -> None:
    talker, peer = scene.begin(name, "dials", "unix", "-w", "1")
    goes_on_receiving(talker, peer)
    goes_on(talker)
    ends(talker, status)


@pytest.mark.parametrize(("name", "nobody"), [("hvcopy", 4), ("nc", 1), ("ncat", 1)])
def test_z_says_by_its_status_whether_somebody_listens(name: str, nobody: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        argv = [*tool(name).dial("tcp", "", listener.getsockname()[1]), "-z"]
        with Talker(*argv) as talker:
            ends(talker)
    with Talker(*argv) as talker:
        ends(talker, nobody)


@here
@pytest.mark.parametrize(("listens", "dials"), [("hvcopy", "ncat"), ("ncat", "hvcopy")])
def test_all_bytes_pass_both_ways_between_hvcopy_and_ncat(
    tmp_path: Path, listens: str, dials: str, transport: str
) -> None:
    at = transport, str(tmp_path / "s"), _free_port(transport)
    there, back = ANSWER * 4 + b"\x1a", ANSWER[::-1] * 3 + b"\n"
    with ExitStack() as stack:
        listener = stack.enter_context(Talker(*tool(listens).listen(*at), "-v"))
        listener.line("(?i)listening on")
        dialer = stack.enter_context(Talker(*tool(dials).dial(*at)))
        tellers = [
            threading.Thread(target=dialer.say, args=(there,), daemon=True),
            threading.Thread(target=listener.say, args=(back,), daemon=True),
        ]
        for teller in tellers:
            teller.start()
        heard: dict[str, bytes] = {}
        reader = threading.Thread(target=lambda: heard.update(there=listener.hear(len(there))), daemon=True)
        reader.start()
        assert dialer.hear(len(back)) == back
        reader.join(PATIENCE)
        assert heard["there"] == there
        first, last = (dialer, listener) if dials == "ncat" else (listener, dialer)
        first.end_input()  # ncat's, which tells it to the peer
        assert last.hear_end() == b""
        last.end_input()
        assert first.hear_end() == b""
        ends(first)
        ends(last)
