"""Who is let in: keys, allow-lists, the server's mode, and what a server will not start without."""

from __future__ import annotations

import os
import re
import shlex
import socket
import stat
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import Finished, Running, Server, run, serving
from peers import Peer, Refused, client_of, connect
from starting import HVCOPY

from e2e.boxes import powerless
from e2e.trees import leftovers, write
from hvcopy.files.keys import load_key
from hvcopy.wire import messages as m
from hvcopy.wire.frames import MAGIC

NOBODY = 65534


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """Two different keys."""
    made = tmp_path / "key", tmp_path / "other"
    for path in made:
        assert run("key", path).code == 0
        path.chmod(0o600)  # Windows, which has no such modes, left it as a test here would refuse it
    return made


def test_key_makes_a_private_file(tmp_path: Path) -> None:
    done = run("key", tmp_path / "k")
    assert (done.code, done.out) == (0, "")
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600


def test_key_never_replaces_a_file(tmp_path: Path) -> None:
    assert run("key", tmp_path / "k").code == 0
    before = (tmp_path / "k").read_bytes()
    again = run("key", tmp_path / "k")
    assert again.code == 10
    assert (tmp_path / "k").read_bytes() == before


def test_key_tells_of_a_name_that_could_drive_a_terminal_without_doing_so(tmp_path: Path) -> None:
    done = run("key", tmp_path / "k\x1b[2J")
    assert done.code == 0
    assert r"k\x1b[2J" in done.err
    assert "\x1b" not in done.err


def test_key_in_a_missing_folder_is_10(tmp_path: Path) -> None:
    done = run("key", tmp_path / "no" / "k")
    assert done.code == 10
    assert "choose another place" in done.err


def test_the_same_key_on_both_sides_lets_in(
    serve: Callable[..., Server], keys: tuple[Path, Path], here: Path
) -> None:
    server = serve("--key-file", keys[0])
    done = run("cp", write(here / "f"), server.at(), "--key-file", keys[0])
    assert done.code == 0, done.err


def test_a_large_copy_proves_the_key_on_every_lane(
    serve: Callable[..., Server], keys: tuple[Path, Path], here: Path
) -> None:
    server = serve("--key-file", keys[0])
    source = write(here / "f", bytes(range(256)) * 4096 * 40)
    done = run("cp", source, server.at(), "--key-file", keys[0], "--lanes", 3, "--json")
    assert done.code == 0, done.err
    assert done.result["lanes"] in (2, 3)  # the third may come when the copy is over


@pytest.mark.parametrize(
    ("theirs", "ours"), [(0, 1), (0, None), (None, 0)], ids=["another key", "no key here", "no key there"]
)
def test_a_wrong_or_missing_key_is_9(
    serve: Callable[..., Server], keys: tuple[Path, Path], here: Path, theirs: int | None, ours: int | None
) -> None:
    server = serve(*([] if theirs is None else ["--key-file", keys[theirs]]))
    options = [] if ours is None else ["--key-file", keys[ours]]
    write(server.root / "secret", b"secret")
    source = write(here / "f")
    pushed = run("cp", source, server.at(), *options)
    pulled = run("cp", server.at("secret"), here, *options)
    listed = run("ls", server.address, *options)
    assert (pushed.code, pulled.code, listed.code) == (9, 9, 9), pushed.err
    for done in (pushed, pulled, listed):
        assert_says_key(done)
    assert os.listdir(server.root) == ["secret"]
    assert os.listdir(here) == ["f"]


def assert_says_key(done: Finished) -> None:
    assert done.out == ""
    assert "key" in done.err
    assert "Traceback" not in done.err


def test_a_client_that_proves_no_key_gets_no_job(
    serve: Callable[..., Server], keys: tuple[Path, Path]
) -> None:
    server = serve("--key-file", keys[0])
    for wrong in (None, bytes(32)):
        with pytest.raises(Refused) as refused, client_of(server.address, key=wrong):
            pass
        assert refused.value.error.code == 9
    with Peer(connect(server.address)) as peer:  # one that takes no notice of the server's wish for a key
        hello = m.Hello(1, 1, "client", bytes(32), True, "test", [], "scripted", "posix")
        peer.raw(MAGIC + m.encode(hello) + m.encode(m.Job("list", [b""], m.Options(), b"", 1), 1))
        peer.greeting()
        assert peer.error().code in (7, 9)
    with client_of(server.address, key=load_key(str(keys[0]))) as peer:
        assert isinstance(peer.push([b"x"], [False]), m.Ready)


@pytest.mark.parametrize(
    "words",
    [
        ["serve", "unix:s", "--root", ".", "--open", "--key-file", ""],
        ["serve", "unix:s", "--root", ".", "--open", "--allow", ""],
        ["ls", "unix:s", "--key-file="],
        ["cp", "here", "unix:s:/", "--bwlimit", ""],
        ["pipe", "unix:s", "-i", ""],
        ["pipe", "unix:s", "-o", ""],
        ["bench", ""],
        ["doctor", ""],
        ["service", "register", "1", "--name", ""],
    ],
    ids=" ".join,
)
def test_an_empty_value_as_of_a_variable_that_is_not_set_is_2(words: list[str], tmp_path: Path) -> None:
    """Taken for "not given" it would serve without the key, or measure and examine this machine instead of the peer."""
    done = run(*words, cwd=tmp_path)
    assert done.code == 2
    assert "it is empty, as of a variable that is not set" in done.err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601], ids=oct)
def test_a_key_file_that_others_can_use_is_9(mode: int, keys: tuple[Path, Path], server: Server) -> None:
    keys[0].chmod(mode)
    done = run("ls", server.address, "--key-file", keys[0])
    assert done.code == 9
    assert "chmod 600" in done.err


def test_the_command_that_makes_a_key_file_private_can_be_typed(tmp_path: Path, server: Server) -> None:
    key = tmp_path / "it's mine"
    assert run("key", key).code == 0
    key.chmod(0o644)
    assert f"chmod 600 {shlex.quote(str(key))}\n" in run("ls", server.address, "--key-file", key).err


def test_the_command_to_start_where_nobody_listens_lets_this_side_in(tmp_path: Path, root: Path) -> None:
    write(root / "f")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    for address in (f"unix:{tmp_path}/it's $here", f"tcp:127.0.0.1:{port}"):
        nobody = run("ls", address)
        typed = re.search(r"\(hvcopy (serve .*)\), or", nobody.err)
        assert typed, nobody.err
        words = [str(root) if one == "DIR" else one for one in shlex.split(typed[1])]
        with Running(*words) as server:
            server.line("serving")
            assert run("ls", address).code == 0


def test_a_key_file_that_may_not_be_read_is_10_and_no_other_is_to_be_made(keys: tuple[Path, Path], server: Server) -> None:
    keys[0].chmod(0)
    done = run("ls", server.address, "--key-file", keys[0], prefix=powerless())
    assert done.code == 10
    assert "Permission denied" in done.err
    assert "owner" in done.err
    assert "hvcopy key " not in done.err


@pytest.mark.parametrize("transport", ["unix", "tcp"])
@pytest.mark.parametrize(
    "command", [["ls"], ["send", "KEY"], ["recv"], ["pipe"], ["bench", "-m", "latency", "-t", "99ms"]], ids=lambda words: words[0]
)
def test_the_command_to_start_asks_for_the_key_that_this_side_proves(
    command: list[str], transport: str, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    """Without it it would let in nobody who proves one; --open in its place would let in everybody else."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    address = f"unix:{tmp_path}/s" if transport == "unix" else f"tcp:127.0.0.1:{port}"
    words = [str(keys[0]) if one == "KEY" else one for one in command]
    (there := tmp_path / "there").mkdir()
    nobody = run(*words, address, "--key-file", keys[0], cwd=there)
    typed = re.search(r"\(hvcopy (.*)\), or", nobody.err)
    assert typed, nobody.err
    assert "--open" not in typed[1]
    stands = {"DIR": there, "FILE": keys[0], "PATH": keys[0]}
    with Running(*(stands.get(one, one) for one in shlex.split(typed[1])), cwd=there) as listener:
        listener.line(address)
        done = run(*words, address, "--key-file", keys[0], cwd=there)
        assert done.code == 0, done.err


NO_KEYS = [
    b"",
    b"hvcopy-key-1 00ff\n",
    b"hvcopy-key-1 " + b"00" * 33,
    b"00" * 32,
    b"hvcopy-key-2 " + b"00" * 32,
    b"\xff" * 100,
    b"x" * 10_000,
]


@pytest.mark.parametrize("content", NO_KEYS, ids=range(len(NO_KEYS)))
def test_a_key_file_that_is_none_is_10(tmp_path: Path, server: Server, content: bytes) -> None:
    path = write(tmp_path / "k", content)
    path.chmod(0o600)
    done = run("ls", server.address, "--key-file", path)
    assert done.code == 10
    assert "hvcopy key" in done.err


def test_a_fifo_is_no_key_file_and_is_not_waited_for(tmp_path: Path, server: Server) -> None:
    os.mkfifo(tmp_path / "k", 0o600)
    done = run("ls", server.address, "--key-file", tmp_path / "k")
    assert done.code == 10
    assert "is no hvcopy key file" in done.err


def test_a_program_may_give_the_key(tmp_path: Path, root: Path) -> None:
    assert run("key", tmp_path / "k").code == 0
    with serving(f"unix:{tmp_path}/s", root, "--key-file", tmp_path / "k") as server:
        words = f"exec {shlex.join(HVCOPY)} ls {server.address} --key-file <(cat {tmp_path}/k)"
        done = subprocess.run(["bash", "-c", words], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def test_a_program_that_takes_its_time_for_the_key_is_waited_for(tmp_path: Path) -> None:
    assert run("key", tmp_path / "k").code == 0
    os.mkfifo(tmp_path / "fifo", 0o600)
    writer = os.open(tmp_path / "fifo", os.O_RDWR)
    with ThreadPoolExecutor(1) as pool, os.fdopen(writer, "wb", buffering=0) as program:
        loading = pool.submit(load_key, str(tmp_path / "fifo"))
        program.write((tmp_path / "k").read_bytes())
        assert loading.result(20) == load_key(str(tmp_path / "k"))


def test_allow_lets_in_and_refuses_by_user(serve: Callable[..., Server], root: Path, tmp_path: Path) -> None:
    assert run("ls", serve("--allow", f"unix:{os.getuid()}").address).code == 0
    with serving(f"unix:{tmp_path}/other", root, "--allow", f"unix:{os.getuid() + 1}") as other:
        refused = run("ls", other.address)
        assert refused.code == 9
        assert f"--allow unix:{os.getuid()}" in refused.err
        other.line("not on the list")


def test_allow_lets_in_and_refuses_by_ip_address(root: Path, here: Path) -> None:
    with serving("tcp:127.0.0.1:0", root, "--allow", "127.0.0.1") as server:
        assert run("ls", server.address).code == 0
    with serving("tcp:127.0.0.1:0", root, "--allow", "127.0.0.2") as server:
        pushed = run("cp", write(here / "f"), server.at())
        assert pushed.code == 9, pushed.err
    assert not os.listdir(root)


def test_owners_are_taken_over_tcp_only_from_who_proves_a_key(keys: tuple[Path, Path], root: Path, here: Path) -> None:
    write(here / "f").chmod(0o4755)
    with serving("tcp:127.0.0.1:0", root, "--allow", "127.0.0.1") as server:
        refused = run("cp", "-a", here / "f", server.at())
        assert refused.code == 9, refused.err
        assert "needs a proven key or a unix socket" in refused.err
        assert os.listdir(root) == []
        assert run("cp", "-r", here / "f", server.at()).code == 0
        assert (root / "f").stat().st_mode & 0o7000 == 0
    with serving("tcp:127.0.0.1:0", root, "--key-file", keys[0]) as server:
        done = run("cp", "-a", here / "f", server.at("g"), "--key-file", keys[0])
        assert done.code == 0, done.err
        assert (root / "g").stat().st_mode & 0o7000 == 0o4000


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("unix:{}/s", "vsock:3"),
        ("unix:{}/s", "127.0.0.1"),
        ("hybrid:{}/s:1234", "vsock:3"),
        ("tcp:127.0.0.1:0", "unix:0"),
    ],
)
def test_allowing_who_can_never_come_is_2(address: str, rule: str, tmp_path: Path) -> None:
    done = run("serve", address.format(tmp_path), "--root", tmp_path, "--allow", rule)
    assert done.code == 2
    assert f"--allow {rule}: no such peer can reach {address.format(tmp_path)}" in done.err
    assert "named like this: --allow" in done.err
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("command", ["serve", "recv", "send"])
def test_listening_on_tcp_needs_a_decision_who_may_connect(command: str, here: Path) -> None:
    address = "tcp:127.0.0.1:0"
    arguments = {
        "serve": [address, "--root", here],
        "recv": ["-l", address, here],
        "send": ["-l", write(here / "f"), address],
    }[command]
    done = run(command, *arguments)
    assert done.code == 2
    for option in ("--key-file", "--allow", "--open"):
        assert option in done.err


def test_a_unix_socket_is_private(server: Server) -> None:
    assert stat.S_IMODE(os.stat(server.address.removeprefix("unix:")).st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a socket to another user")
def test_a_socket_of_another_user_is_9_with_what_to_do(server: Server) -> None:
    os.chown(server.address.removeprefix("unix:"), NOBODY, NOBODY)
    done = run("ls", server.address, prefix=powerless())
    assert done.code == 9, done.err
    assert "belongs to another user" in done.err
    assert "sudo -u USER hvcopy" in done.err
    assert f"hvcopy doctor {server.address}" in done.err


def test_a_port_that_needs_a_right_is_9_with_what_to_choose(root: Path) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 81:
        pytest.skip("every user may listen on every port here")
    done = run("serve", "tcp:127.0.0.1:81", "--root", root, "--open", prefix=powerless())
    assert done.code == 9, done.err
    assert "a port from 1024 on" in done.err


def test_read_only_sends_and_accepts_nothing(serve: Callable[..., Server], here: Path) -> None:
    server = serve("--read-only")
    write(server.root / "f")
    assert run("cp", server.at("f"), here / "f", "--no-fsync").code == 0
    pushed = run("cp", here / "f", server.at("g"))
    assert pushed.code == 9
    assert "read-only" in pushed.err
    assert os.listdir(server.root) == ["f"]


def test_write_only_accepts_and_tells_nothing(serve: Callable[..., Server], here: Path) -> None:
    server = serve("--write-only")
    assert run("cp", write(here / "f"), server.at()).code == 0
    listed, pulled = run("ls", server.address), run("cp", server.at("f"), here / "g")
    assert (listed.code, pulled.code) == (9, 9)
    assert listed.out == ""
    assert not (here / "g").exists()
    assert not leftovers(here)


def test_read_only_and_write_only_exclude_each_other(root: Path, socket_address: str) -> None:
    assert run("serve", socket_address, "--root", root, "--read-only", "--write-only").code == 2


def test_serving_what_is_not_there_is_10(tmp_path: Path, socket_address: str) -> None:
    done = run("serve", socket_address, "--root", tmp_path / "no")
    assert done.code == 10
    assert str(tmp_path / "no") in done.err


def test_serving_where_another_listens_is_10(server: Server, tmp_path: Path, processes: ExitStack) -> None:
    done = run("serve", server.address, "--root", tmp_path)
    assert done.code == 10
    assert "listens there already" in done.err
    assert run("ls", server.address).code == 0
