"""ssh, scp and sftp to a real sshd, through `hvcopy forward` and by way of `hvcopy nc`."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import eventually, forwarding
from sshd import Ssh, listening, prepare
from talkers import Talker, need

from e2e.trees import noise, write

MIB = 1 << 20
LARGE = 20 * MIB + 1
WAYS = ("forward", "forward twice", "nc tcp", "nc unix")
PATIENCE = 40

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def ssh(tmp_path: Path) -> Ssh:
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    return prepare(folder)


@pytest.fixture
def sshd(ssh: Ssh, processes: ExitStack) -> str:
    """The address of a server."""
    return f"tcp:127.0.0.1:{listening(processes, ssh)}"


@pytest.fixture
def options(ssh: Ssh, sshd: str, way: str, processes: ExitStack, tmp_path: Path) -> list[str]:
    """What a client needs to come to the server on its way."""
    middle = f"unix:{tmp_path}/middle"
    if way in ("forward twice", "nc unix"):
        processes.enter_context(forwarding(middle, sshd))
    if way.startswith("nc"):
        return [*ssh.options(), ssh.through("nc", middle if way == "nc unix" else sshd)]
    target = middle if way == "forward twice" else sshd
    _, address = processes.enter_context(forwarding("tcp:127.0.0.1:0", target, "--open"))
    return [*ssh.options(), f"-oPort={address.rpartition(':')[2]}"]


def run(program: str, *arguments: object, said: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [need(program, "openssh-client"), *map(str, arguments)]
    return subprocess.run(command, input=said, capture_output=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize("way", WAYS)
def test_a_command_has_its_input_and_its_status_comes_back(options: list[str]) -> None:
    said = noise(3 * MIB) + bytes(range(256))
    done = run("ssh", *options, "127.0.0.1", "cat; echo to stderr >&2; exit 7", said=said)
    assert done.returncode == 7, done.stderr
    assert done.stdout == said
    assert done.stderr == b"to stderr\n"


@pytest.mark.parametrize("way", WAYS)
def test_scp_and_sftp_copy_a_file_there_and_back(options: list[str], tmp_path: Path, here: Path, root: Path) -> None:
    source = write(here / "source", noise(LARGE))
    for arguments in (
        ["scp", *options, source, f"127.0.0.1:{root}/scp"],
        ["scp", *options, f"127.0.0.1:{root}/scp", here / "scp"],
    ):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
    batch = write(tmp_path / "batch", f"put {source} {root}/sftp\nget {root}/sftp {here}/sftp\n".encode())
    done = run("sftp", *options, "-b", batch, "127.0.0.1")
    assert done.returncode == 0, done.stderr
    for copy in (root / "scp", here / "scp", root / "sftp", here / "sftp"):
        assert copy.read_bytes() == noise(LARGE)


@pytest.mark.parametrize("way", ["forward"])
def test_ten_sessions_at_once_have_their_own_bytes(options: list[str]) -> None:
    def session(number: int) -> bytes:
        done = run("ssh", *options, "127.0.0.1", f"echo {number}; cat", said=noise(MIB, number))
        assert done.returncode == 0, done.stderr
        return done.stdout

    with ThreadPoolExecutor(10) as pool:
        for number, heard in enumerate(pool.map(session, range(10))):
            assert heard == b"%d\n" % number + noise(MIB, number)


@pytest.mark.parametrize("way", ["forward", "nc unix"])
def test_a_client_that_is_killed_ends_its_command_there(options: list[str], here: Path, processes: ExitStack) -> None:
    client = processes.enter_context(
        Talker(need("ssh", "openssh-client"), *options, "127.0.0.1", f"cat > {here}/got; echo over > {here}/over")
    )
    client.say(b"some of it")
    eventually(lambda: (here / "got").exists() and (here / "got").read_bytes(), what="some of it")
    client.process.kill()
    eventually(lambda: (here / "over").exists(), what="the end of the command")


def test_the_address_of_nc_may_be_the_name_of_the_host(ssh: Ssh, sshd: str) -> None:
    """As in docs/nc.md: ssh -o ProxyCommand='hvcopy nc %h' vsock:3:22."""
    for _ in range(5):
        done = run("ssh", *ssh.options(), ssh.through("nc", "%h"), sshd, "exit 7")
        assert (done.returncode, done.stderr) == (7, b"")
