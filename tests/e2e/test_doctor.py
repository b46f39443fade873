"""``hvcopy doctor`` as a process on the machine that runs the tests, whose AF_VSOCK it may not open.

What an address with vsock needs is seen in the lanes; here the kernel refuses AF_VSOCK, or ends the process that tries.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from commands import Running, Server, eventually, run
from findings import by_state, states
from peers import Behaviour, Listening, drain, says, says_and_closes
from starting import HVCOPY
from transport.muxer import Behaviour as MuxerBehaviour
from transport.muxer import Muxer, answering, hang_up, silent

from e2e.without_vsock import SUPPORTED
from hvcopy.wire import messages as m
from hvcopy.wire.frames import MAGIC

NO_PERMISSION, NOBODY = 1, 65534
FIELDS = {"id", "state", "what", "why", "fix", "exit_code", "causes"}
STATES = {"ok", "warn", "fail", "unknown", "not-applicable"}
OF_THE_MACHINE = {
    *(f"system.{what}" for what in ("hypervisor", "wsl", "container", "selinux", "apparmor", "ports", "buffers")),
    *(f"vsock.{what}" for what in ("kernel", "modules", "device", "to-host", "to-guests", "to-itself")),
    "hybrid",
}
"""What the tests do not know of the machine that runs them."""
WITHOUT_VSOCK = str(Path(__file__).with_name("without_vsock.py"))

needs_filter = pytest.mark.skipif(not SUPPORTED, reason="system calls are filtered here on x86-64 and arm64 Linux only")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as another user")


def refused(*how: object) -> list[str]:
    """The prefix of a command that may not open AF_VSOCK."""
    return [sys.executable, WITHOUT_VSOCK, *map(str, how)]


def doctor(*arguments: object, code: int, prefix: Sequence[str] = ()) -> dict[str, dict[str, object]]:
    """Run it with --json, check what holds for every run, and return the findings by id."""
    done = run("doctor", *arguments, "--json", prefix=prefix)
    assert done.code == code, done.out + done.err
    assert "Traceback" not in done.err
    result = done.result
    assert (result["schema"], result["command"], result["ok"], result["exit_code"]) == (1, "doctor", code == 0, code)
    found = {one["id"]: one for one in result["findings"]}
    assert len(found) == len(result["findings"])
    for one in found.values():
        assert set(one) == FIELDS
        assert one["state"] in STATES
        assert (one["state"] == "fail") == bool(one["exit_code"])
    if code:
        first = next(one for one in result["findings"] if one["exit_code"] == code and one["state"] == "fail")
        assert done.err.startswith("hvcopy: ")
        assert first["fix"].split("\n")[0] in done.err
    else:
        assert done.err == ""
    return found


# ---- this machine


@needs_filter
def test_a_filter_that_refuses_vsock_is_named() -> None:
    found = doctor(code=9, prefix=refused(NO_PERMISSION))
    found_here = {name: one for name, one in found.items() if name not in OF_THE_MACHINE}
    assert by_state(found_here) == {
        "ok": {"system.platform", "system.seccomp", "unix.socket", "tcp.loopback"},
        "fail": {"vsock.socket", "way"},
        "not-applicable": {"hyperv"},
        "unknown": {"vsock.cid"},
    }
    assert {*found} == {*found_here, *OF_THE_MACHINE}
    assert "system.seccomp" in found["vsock.socket"]["causes"]
    assert found["way"]["causes"] == ["vsock.socket"]


@needs_filter
@pytest.mark.parametrize(
    ("arguments", "step"), [(["vsock:host:18518"], "connect"), (["-l", "vsock:any:18518"], "listen")]
)
def test_a_vsock_address_fails_for_the_filter(arguments: list[str], step: str) -> None:
    found = doctor(*arguments, code=9, prefix=refused(NO_PERMISSION))
    assert states(found, "vsock.socket", step) == ["fail", "fail"]
    assert "vsock.socket" in found[step]["causes"]  # type: ignore[operator]
    assert found[step]["fix"] == found["vsock.socket"]["fix"]


@needs_filter
def test_any_is_for_listening() -> None:
    found = doctor("vsock:any:18518", code=2, prefix=refused(NO_PERMISSION))
    assert states(found, "address", "connect") == ["fail", "unknown"]


@needs_filter
@as_root
def test_it_answers_in_lines_for_people() -> None:
    done = run("doctor", prefix=refused(NO_PERMISSION, "-c"))
    assert "those below need CAP_NET_BIND_SERVICE" in done.out
    lines = done.out.splitlines()
    assert lines[0].startswith("ok    system.platform")
    assert any(line.startswith("fail  vsock.socket") for line in lines)
    assert any(line.startswith("      fix ") for line in lines)
    assert not any(line.startswith("-") for line in lines)


@needs_filter
@pytest.mark.parametrize("address", ["unix:{}/none", "tcp:127.0.0.1:1", "hybrid:{}/none:5000"])
def test_addresses_of_other_families_touch_no_vsock(tmp_path: Path, address: str) -> None:
    done = run("doctor", address.format(tmp_path), "-v", prefix=refused("kill"))
    assert done.code == 4, done.err
    assert "vsock.socket" not in {line.split()[1] for line in done.out.splitlines()}
    assert any(line.startswith("-") for line in done.out.splitlines())


@pytest.mark.parametrize("options", [["-l"], ["--key-file", "k"], ["--timeout", "0"], ["--timeout", "soon"]])
def test_options_without_sense_are_2(options: list[str]) -> None:
    done = run("doctor", *options)
    assert (done.code, done.out) == (2, "")


# ---- an address: where it ends


def test_a_server_that_lets_in_is_0(server: Server) -> None:
    found = doctor(server.address, code=0)
    assert states(found, "address", "socket-file", "connect", "greeting", "version", "access", "jobs") == ["ok"] * 7
    assert "hvcopy" in str(found["greeting"]["what"])
    assert not server.ended
    assert run("ls", server.address).code == 0


@pytest.mark.parametrize(
    ("option", "works", "not_works"),
    [
        ("--read-only", ["cp ADDRESS:/FILE .", "ls ADDRESS"], "FILE ADDRESS:/"),
        ("--write-only", ["cp FILE ADDRESS:/"], "ls ADDRESS"),
    ],
)
def test_a_server_of_one_direction_says_which(
    serve: Callable[..., Server], option: str, works: list[str], not_works: str
) -> None:
    found = doctor(serve(option).address, code=0)
    assert states(found, "access", "jobs") == ["ok", "warn"]
    assert all(one in str(found["jobs"]["why"]) for one in works)
    assert not_works not in str(found["jobs"]["why"])


@pytest.mark.parametrize(
    ("listener", "command"),
    [(["recv", "-l"], "cp FILE ADDRESS:/"), (["pipe", "-l"], "pipe ADDRESS"), (["bench", "--serve"], "bench ADDRESS")],
)
def test_other_listeners_say_what_they_take(tmp_path: Path, listener: list[str], command: str) -> None:
    address = f"unix:{tmp_path}/s"
    with Running(*listener, address, cwd=tmp_path) as running:
        running.line(r"\bon unix:")
        found = doctor(address, code=0)
    assert found["jobs"]["state"] == "warn"
    assert str(found["jobs"]["why"]).split(": ")[1] == f"`hvcopy {command}`"


def test_tcp_has_its_name_looked_up(root: Path) -> None:
    with Server("tcp:127.0.0.1:0", root, "--open") as server:
        port = server.address.rpartition(":")[2]
        found = doctor(f"tcp:localhost:{port}", code=0)
    assert states(found, "lookup", "connect", "access") == ["ok"] * 3
    assert "127.0.0.1" in str(found["lookup"]["what"])


@pytest.mark.parametrize("address", ["vsock:4711", "nonsense", "tcp:127.0.0.1", "hyperv:parent:0"])
def test_what_is_no_address_is_2(address: str) -> None:
    found = doctor(address, code=2)
    assert list(found) == ["address"]


def test_hyperv_is_not_of_this_system() -> None:
    found = doctor("hyperv:parent:18518", code=2)
    assert "vsock:host" in str(found["address"]["fix"])


def test_an_unknown_name_fails_its_lookup() -> None:
    found = doctor("tcp:no-such-host.invalid:1", code=4)
    assert states(found, "lookup", "connect", "access") == ["fail", "unknown", "unknown"]


def test_a_host_of_the_configuration_file_may_be_asked_for(server: Server, home: Path) -> None:
    config = home / ".config/hvcopy/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f"[hosts.box]\naddress = '{server.address}'\n")
    found = doctor("box", code=0)
    assert found["address"]["what"] == server.address


def test_nobody_listens_on_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    found = doctor(f"tcp:127.0.0.1:{port}", code=4)
    assert states(found, "lookup", "connect", "greeting") == ["ok", "fail", "unknown"]


def test_no_socket_file(tmp_path: Path) -> None:
    found = doctor(f"unix:{tmp_path}/none", code=4)
    assert states(found, "socket-file", "connect") == ["fail", "unknown"]
    assert "hvcopy serve" in str(found["socket-file"]["fix"])


def test_a_socket_file_left_by_a_dead_process(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{tmp_path}/s")
    found = doctor(f"unix:{tmp_path}/s", code=4)
    assert states(found, "socket-file", "connect") == ["ok", "fail"]
    assert "left by a process that has ended" in str(found["connect"]["what"])


@pytest.mark.parametrize("scheme", ["unix:{}/f", "hybrid:{}/f:5000"])
def test_a_file_where_the_socket_should_be(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "f").write_text("content")
    found = doctor(scheme.format(tmp_path), code=10)
    assert found["socket-file"]["state"] == "fail"
    assert (tmp_path / "f").read_text() == "content"


@needs_filter
@as_root
@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_socket_that_is_another_users(server: Server, closed: str) -> None:
    path = Path(server.address.removeprefix("unix:"))
    if closed == "folder":
        path.parent.chmod(0o700)
        os.chown(path.parent, NOBODY, NOBODY)
    os.chown(path, NOBODY, NOBODY)
    found = doctor(server.address, code=9, prefix=refused("kill", "-c"))
    assert found["socket-file"]["state"] == "fail"
    assert {"file": "sudo -u", "folder": "namei -l"}[closed] in str(found["socket-file"]["fix"])


STRANGERS: dict[str, tuple[Behaviour, int]] = {
    "ssh": (says(b"SSH-2.0-OpenSSH_9.6\r\n"), 7),
    "silence": (drain, 5),
    "closed at once": (says_and_closes(b""), 6),
    "half a greeting": (says_and_closes(MAGIC[:4]), 7),
    "greeting and noise": (says(MAGIC + bytes(range(1, 255))), 7),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_who_is_not_hvcopy_fails_the_greeting(tmp_path: Path, stranger: str) -> None:
    behaviour, code = STRANGERS[stranger]
    with Listening(f"unix:{tmp_path}/s", behaviour) as listening:
        found = doctor(listening.address, "--timeout", "1" if code == 5 else "15", code=code)
    assert states(found, "connect", "greeting", "version", "access") == ["ok", "fail", "unknown", "unknown"]
    assert "does not behave as hvcopy" in str(found["greeting"]["why"])


def _hello(lowest: int, highest: int, role: str = "server", *, keyed: bool = False) -> bytes:
    hello = m.Hello(lowest, highest, role, bytes(32), keyed, "test", [], "hvcopy 9.0\x1b[2J", "posix")
    return MAGIC + m.encode(hello)


@pytest.mark.parametrize("hello", [_hello(2, 3), _hello(1, 1, "client")], ids=["version", "role"])
def test_two_that_do_not_fit_fail_the_version(tmp_path: Path, hello: bytes) -> None:
    with Listening(f"unix:{tmp_path}/s", says(hello)) as listening:
        found = doctor(listening.address, code=7)
    assert states(found, "connect", "greeting", "version", "access") == ["ok", "ok", "fail", "unknown"]
    assert "hvcopy 9.0\\x1b[2J" in str(found["greeting"]["what"])


def test_one_that_says_who_it_is_and_then_nonsense_fails_the_greeting(tmp_path: Path, here: Path) -> None:
    assert run("key", here / "key").code == 0
    with Listening(f"unix:{tmp_path}/s", says(_hello(1, 1, keyed=True) + bytes(64))) as listening:
        found = doctor(listening.address, "--key-file", here / "key", code=7)
    assert states(found, "connect", "greeting", "version", "access") == ["ok", "fail", "unknown", "unknown"]


def test_keys_right_wrong_and_missing(serve: Callable[..., Server], here: Path) -> None:
    key, other = here / "key", here / "other"
    for path in (key, other):
        assert run("key", path).code == 0
    server = serve("--key-file", key)
    right = doctor(server.address, "--key-file", key, code=0)
    assert "proven both ways" in str(right["access"]["what"])
    for options in (["--key-file", other], []):
        found = doctor(server.address, *options, code=9)
        assert states(found, "connect", "greeting", "access") == ["ok", "ok", "fail"]
        assert "key" in str(found["access"]["fix"])


def test_a_key_that_the_server_does_not_ask_for(server: Server, here: Path) -> None:
    assert run("key", here / "key").code == 0
    found = doctor(server.address, "--key-file", here / "key", code=9)
    assert found["access"]["state"] == "fail"


@pytest.mark.parametrize(("mode", "text", "code"), [(0o644, "x", 9), (0o600, "x", 10), (None, "", 10)])
def test_a_key_file_that_is_none(server: Server, here: Path, mode: int | None, text: str, code: int) -> None:
    if mode:
        (here / "key").write_text(text)
        (here / "key").chmod(mode)
    for asked in ([server.address], ["-l", f"{server.address}2"]):
        found = doctor(*asked, "--key-file", here / "key", code=code)
        assert list(found) == ["address", "key-file"]


def test_who_is_not_on_the_list_fails_its_access(serve: Callable[..., Server]) -> None:
    server = serve("--allow", f"unix:{os.getuid() + 1}")
    found = doctor(server.address, code=9)
    assert states(found, "connect", "greeting", "version", "access") == ["ok", "ok", "unknown", "fail"]
    assert "--allow" in str(found["access"]["fix"])


# ---- a VMM's socket


def test_no_vmm(tmp_path: Path) -> None:
    found = doctor(f"hybrid:{tmp_path}/v.sock:5000", code=4)
    assert states(found, "socket-file", "connect", "muxer") == ["fail", "unknown", "unknown"]
    assert "no VMM" in str(found["socket-file"]["what"])


@pytest.mark.parametrize(
    ("behaviour", "code"), [(hang_up, 4), (silent, 5), (answering(b"HTTP/1.1 400 Bad Request\r\n"), 7)]
)
def test_a_vmm_that_refuses(tmp_path: Path, behaviour: MuxerBehaviour, code: int) -> None:
    with Muxer(f"{tmp_path}/v.sock", behaviour):
        found = doctor(f"hybrid:{tmp_path}/v.sock:5000", "--timeout", "1" if code == 5 else "15", code=code)
    assert states(found, "socket-file", "connect", "muxer", "greeting") == ["ok", "ok", "fail", "unknown"]


def test_a_guest_that_speaks_something_else(tmp_path: Path) -> None:
    with Muxer(f"{tmp_path}/v.sock", answering(b"OK 5\nSSH-2.0-OpenSSH_9.6\r\n")):
        found = doctor(f"hybrid:{tmp_path}/v.sock:5000", code=7)
    assert states(found, "muxer", "greeting") == ["ok", "fail"]


# ---- listening


@pytest.mark.parametrize("address", ["unix:{}/s", "tcp:127.0.0.1:0", "hybrid:{}/v.sock:5000"])
def test_listening_works_and_leaves_nothing(tmp_path: Path, address: str) -> None:
    found = doctor("-l", address.format(tmp_path), code=0)
    assert found["listen"]["state"] == "ok"
    assert ("socket-file" in found) == address.startswith("hybrid")  # that there is no VMM yet
    assert os.listdir(tmp_path) == []


def test_listening_where_somebody_does_is_10_and_leaves_him_alone(server: Server) -> None:
    found = doctor("-l", server.address, code=10)
    assert "listens there already" in str(found["listen"]["what"])
    assert run("ls", server.address).code == 0


def test_listening_in_no_folder_is_10(tmp_path: Path) -> None:
    assert doctor("-l", f"unix:{tmp_path}/none/s", code=10)["listen"]["state"] == "fail"


@needs_filter
@as_root
def test_listening_on_a_low_port_is_9_and_the_right_is_named() -> None:
    found = doctor("-l", "tcp:127.0.0.1:81", code=9, prefix=refused("kill", "-c"))
    assert states(found, "system.ports", "listen") == ["fail", "fail"]
    assert found["listen"]["causes"] == ["system.ports"]


# ---- what ends it


def test_ctrl_c_ends_it_with_what_is_known(tmp_path: Path) -> None:
    with (
        Listening(f"unix:{tmp_path}/s", drain) as listening,
        Running("doctor", listening.address, "--json", "--timeout", "60") as running,
    ):
        eventually(lambda: listening.accepted, what="a connection")
        running.signal(signal.SIGINT)
        done = running.finish()
    assert done.code == 130
    assert json.loads(done.out)["exit_code"] == 130


@pytest.mark.parametrize(("output", "code", "said"), [("full", 10, "No space left"), ("pipe", 4, "nobody listens")])
def test_nobody_takes_what_it_prints(tmp_path: Path, output: str, code: int, said: str) -> None:
    """The verdict of a visit holds though its reader has left, but not when the findings could not be kept."""
    if output == "full":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, descriptor = os.pipe()
        os.close(reader)
    with Running("doctor", f"unix:{tmp_path}/none", "-v", stdout=descriptor) as running:
        os.close(descriptor)
        assert running.process.wait(20) == code
        assert said in running.err
        assert "Traceback" not in running.err


@pytest.mark.parametrize("both", [True, False])
def test_on_a_terminal_the_failure_is_told_once(tmp_path: Path, both: bool) -> None:
    """Where findings and messages go apart each has it."""
    leader, follower = pty.openpty()
    command = [*HVCOPY, "doctor", f"unix:{tmp_path}/none"]
    with (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(command, stdout=follower, stderr=follower if both else err)
    os.close(follower)
    said = (tmp_path / "err").read_bytes() if process.wait(20) == 4 else b""
    with open(leader, "rb", buffering=0) as screen:
        shown = screen.read(1 << 16)  # the kernel keeps it for the leader
    assert shown.count(b"nobody listens there") == 1
    assert said.count(b"nobody listens there") == (0 if both else 1)


# ---- what it leaves behind


@pytest.mark.parametrize("command", ["recv", "send", "pipe", "bench"])
def test_a_listener_that_was_looked_at_serves_its_peer_afterwards(
    socket_address: str, here: Path, root: Path, command: str
) -> None:
    source = here / "f"
    source.write_text("content")
    listening = {
        "recv": ["recv", "-l", socket_address, root],
        "send": ["send", "-l", source, socket_address],
        "pipe": ["pipe", "-l", socket_address, "-o", root / "f"],
        "bench": ["bench", "--serve", socket_address],
    }[command]
    peer = {
        "recv": ["send", source, socket_address],
        "send": ["recv", socket_address, root],
        "pipe": ["pipe", socket_address, "-i", source],
        "bench": ["bench", socket_address, "-t", "100ms", "-m", "send"],
    }[command]
    with Running(*listening) as listener:
        listener.line(f"on {socket_address}\n")
        found = doctor(socket_address, code=7 if command == "send" else 0)
        assert states(found, "connect", "greeting") == ["ok", "ok"]
        if command == "send":  # it waits for a receiver and for nobody else
            assert "hvcopy recv" in str(found["version"]["fix"])
        assert not listener.ended, listener.err
        assert run(*peer).code == 0
        if command != "bench":
            assert listener.finish().code == 0
            assert (root / "f").read_text() == "content"
