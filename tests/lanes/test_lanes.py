"""The lanes themselves: what other tests rely on when they run in a kernel or against a guest."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from lanes.guest import Guest, KernelDied
from lanes.kernel import DIED, TIMED_OUT, run_in_kernel
from lanes.parts import require

HERE = Path(__file__).resolve().parent
PEER = [sys.executable, str(HERE / "vsock_peer.py")]
QUIET_SECONDS = 0.5  # how long a connection is watched to see that nothing comes
PATIENCE = 30.0

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("kernel"), pytest.mark.timeout(400)]


def dial(guest: Guest, port: int) -> socket.socket:
    """A connection to a port of the guest through the hybrid socket; the daemon must answer OK."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    connection.connect(str(guest.hybrid))
    connection.sendall(f"CONNECT {port}\n".encode())
    answer = b""
    while not answer.endswith(b"\n"):
        byte = connection.recv(1)
        assert byte, f"refused after {answer!r}"
        answer += byte
    assert answer.startswith(b"OK ")
    return connection


@contextmanager
def dialling(guest: Guest, port: int) -> Iterator[None]:
    """Somebody asks for a port of the guest again and again for the time of a `with`."""
    over = threading.Event()

    def dial_on() -> None:
        while not over.wait(0.001):
            with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(0.05)
                connection.connect(str(guest.hybrid))
                connection.sendall(f"CONNECT {port}\n".encode())
                connection.recv(1)

    dialler = threading.Thread(target=dial_on)
    dialler.start()
    try:
        yield
    finally:
        over.set()
        dialler.join()


def exchange(connection: socket.socket, data: bytes) -> bytes:
    """Sends `data` and takes as many bytes back."""
    connection.sendall(data)
    received = b""
    while len(received) < len(data) and (more := connection.recv(len(data))):
        received += more
    return received


def serve_echo(guest: Guest, port: int) -> None:
    guest.start([*PEER, "echo", str(port)]).wait_output("listening", PATIENCE)


def listen(guest: Guest, port: int) -> socket.socket:
    """Listens on the host for what the guest sends to CID 2 at `port`."""
    listener = socket.socket(socket.AF_UNIX)
    listener.settimeout(PATIENCE)
    listener.bind(f"{guest.hybrid}_{port}")
    listener.listen()
    return listener


def states(group: int) -> list[str]:
    """The states (R, S, T, ...) of a process group's living members."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = path.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(pgrp) == group and state not in "ZX":
            found.append(state)
    return found


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    require("guest")
    with Guest(memory="512M") as running:
        yield running


@pytest.fixture
def kernel_lane() -> None:
    require("kernel")


@pytest.mark.usefixtures("kernel_lane")
def test_kernel_has_vsock_loopback(tmp_path: Path) -> None:
    result = run_in_kernel([*PEER, "loop", "5000"], cwd=tmp_path, memory="512M", timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "the same bytes came back\n", "")


@pytest.mark.usefixtures("kernel_lane")
def test_kernel_passes_status_outputs_environment_and_files_on(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, socket, sys\n"
        "os.getrandom(1, os.GRND_NONBLOCK)\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(server.getsockname())\n"
        "pathlib.Path('here').write_text(os.environ['HV_WORD'])\n"
        "print(os.environ['TMPDIR']); sys.exit('aside')\n"
    )
    result = run_in_kernel(
        ["python3", "-c", script], cwd=tmp_path, env={"HV_WORD": "passed"}, memory="512M", timeout=60
    )
    assert (result.returncode, result.stdout, result.stderr) == (1, "/run/tmp\n", "aside\n")
    assert (tmp_path / "here").read_text() == "passed"


@pytest.mark.usefixtures("kernel_lane")
@pytest.mark.parametrize(
    ("seconds", "command", "status", "words"),
    [
        ("40", "echo o > /proc/sysrq-trigger; sleep 60", DIED, "kernel.py: the kernel lane's kernel ended"),
        ("1", "sleep 60", TIMED_OUT, "kernel.py: ended after 1 s"),
        ("40", "kill -TERM $$", 128 + signal.SIGTERM, ""),
    ],
)
def test_kernel_command_says_how_it_ended(seconds: str, command: str, status: int, words: str) -> None:
    lane = [sys.executable, str(HERE / "kernel.py"), "-m", "512M", "-t", seconds, "sh", "-c", command]
    result = subprocess.run(lane, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, words in result.stderr) == (status, True), result.stderr


def test_host_reaches_guest(guest: Guest) -> None:
    serve_echo(guest, 5001)
    with dial(guest, 5001) as connection:
        assert exchange(connection, b"in and out" * 10000) == b"in and out" * 10000


def test_guest_reaches_host(guest: Guest) -> None:
    with listen(guest, 5002) as listener:
        asking = guest.start([*PEER, "ask", "5002", "who is there?"])
        connection, _ = listener.accept()
        with connection, connection.makefile("rw") as stream:
            assert stream.readline() == "who is there?\n"
            stream.write("the host\n")
            stream.flush()
            assert asking.wait(PATIENCE) == 0
    assert asking.output() == "the host\n"


def test_commands_run_while_vsock_is_saturated(guest: Guest) -> None:
    with listen(guest, 5003) as listener:
        flooding = guest.start([*PEER, "flood", "5003"])
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)  # then no more: the guest's buffers fill up
            result = guest.run("echo out; echo err >&2; exit 3", PATIENCE)
            assert (result.returncode, result.stdout, result.stderr) == (3, "out\n", "err\n")
            flooding.signal("KILL")
            assert flooding.wait(PATIENCE) == -signal.SIGKILL


def test_run_gives_up_after_its_time(guest: Guest) -> None:
    with pytest.raises(subprocess.TimeoutExpired) as expired:
        guest.run("echo so far; exec sleep 60", 1)
    assert expired.value.output == "so far\n"


def test_scratch_is_shared_and_tmpfs_is_not(guest: Guest) -> None:
    (guest.scratch / "from-host").write_text("a")
    script = f"cat {guest.scratch}/from-host > {guest.scratch}/from-guest; stat -f -c %T {guest.tmpfs}"
    assert guest.run(script, PATIENCE).stdout == "tmpfs\n"
    assert (guest.scratch / "from-guest").read_text() == "a"


def test_paused_guest_goes_on_where_it_was(guest: Guest) -> None:
    serve_echo(guest, 5004)
    with dial(guest, 5004) as connection:
        assert exchange(connection, b"before") == b"before"
        guest.pause()
        assert Path(f"/proc/{guest.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        connection.sendall(b"during")
        connection.settimeout(QUIET_SECONDS)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        guest.resume()
        connection.settimeout(PATIENCE)
        assert connection.recv(6, socket.MSG_WAITALL) == b"during"
        assert exchange(connection, b"after") == b"after"


def test_killed_guest_is_silent_and_boots_again() -> None:
    require("guest")
    with Guest(memory="512M") as guest:
        hybrid, group = guest.hybrid, guest.pid
        serve_echo(guest, 5005)
        waiting = guest.start("exec sleep 600")
        with dial(guest, 5005) as connection:
            assert exchange(connection, b"before") == b"before"
            guest.kill()
            with pytest.raises(KernelDied):
                waiting.wait(PATIENCE)
            connection.sendall(b"into the void")
            connection.settimeout(QUIET_SECONDS)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            assert states(group) == []
            guest.boot()
            assert guest.hybrid == hybrid
            serve_echo(guest, 5005)
            with dial(guest, 5005) as again:
                assert exchange(again, b"after") == b"after"


def test_a_guest_that_is_dialled_while_it_boots_answers_afterwards() -> None:
    require("guest")
    guest = Guest(memory="512M")
    with ExitStack() as running:
        with dialling(guest, 5006):
            running.enter_context(guest)
        serve_echo(guest, 5006)
        with dial(guest, 5006) as connection:
            assert exchange(connection, b"after") == b"after"


def test_nothing_outlives_a_killed_owner() -> None:
    require("guest")
    script = (
        "import os, signal\nfrom lanes.guest import Guest\n"
        "guest = Guest(memory='512M'); guest.boot()\n"
        "print(guest.hybrid.parent, guest.pid, guest._daemon.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    owner = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert owner.returncode == -signal.SIGKILL, owner.stderr
    folder, *groups = owner.stdout.split()
    deadline = time.monotonic() + PATIENCE
    while any(states(int(group)) for group in groups):
        assert time.monotonic() < deadline, "processes of the lane still run"
    shutil.rmtree(folder)
