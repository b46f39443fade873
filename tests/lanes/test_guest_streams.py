"""Raw streams across a real virtio-vsock device: `hvcopy forward` and `hvcopy nc` on both sides, other programs behind them."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
import sshd
from commands import Running, eventually, forwarding, run
from peers import Listening, connect
from starting import HVCOPY
from talkers import Talker, hear, hear_end, need
from webstore import Store, contents

from lanes.guest import Guest
from lanes.inside import PATIENCE, forwarding_inside
from lanes.material import MIB, make_file
from lanes.parts import require

PORT, OTHER_PORT, SSH_PORT, PROXY_PORT = 18518, 18519, 2222, 3128
SERVED = f"vsock:any:{PORT}"
NC = shlex.join([*HVCOPY, "nc"])
PEER = [sys.executable, str(Path(__file__).resolve().with_name("vsock_peer.py"))]

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("guest-streams"), pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    require("guest")
    with Guest(memory="1G") as running:
        yield running


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """The host's folder, which the guest sees as well; too large to be kept."""
    folder = tmp_path / "here"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def into(guest: Guest, port: int = PORT) -> str:
    """The guest's port, for the host."""
    return f"hybrid:{guest.hybrid}:{port}"


# ---- programs of the guest, for the host


@pytest.fixture
def ssh(guest: Guest, here: Path) -> Iterator[sshd.Ssh]:
    """A log-in on the guest's sshd, which listens on its loopback alone; the guest's PORT leads there."""
    keys = here / "ssh"
    keys.mkdir(mode=0o700)
    login = sshd.prepare(keys, user="root")
    made = guest.run(["mkdir", "-p", "-m", "755", sshd.PRIVILEGE_SEPARATION], PATIENCE)  # /run is the guest's own
    assert made.returncode == 0, made.stderr
    server = guest.start(login.daemon(SSH_PORT))
    server.wait_output("listening on", PATIENCE)
    with forwarding_inside(guest, SERVED, f"tcp:127.0.0.1:{SSH_PORT}", "--allow", "vsock:2"):
        yield login
    server.signal("TERM")
    server.wait(PATIENCE)


@pytest.mark.parametrize("way", ["forward", "nc"])
def test_ssh_scp_and_sftp_reach_an_sshd_in_the_guest(
    guest: Guest, ssh: sshd.Ssh, here: Path, processes: ExitStack, way: str
) -> None:
    if way == "nc":
        options = [*ssh.options(), ssh.through("nc", into(guest))]
    else:
        _, address = processes.enter_context(forwarding("tcp:127.0.0.1:0", into(guest), "--open"))
        options = [*ssh.options(), f"-oPort={address.rpartition(':')[2]}"]
    source = make_file(here / "source", 2 * MIB + 1)
    there = f"{guest.tmpfs}/copy"
    (here / "batch").write_text(f"put {source} {there}2\nget {there}2 {here}/back2\n")

    def client(program: str, *arguments: object, said: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [need(program, "openssh-client"), *options, *map(str, arguments)]
        return subprocess.run(command, input=said, capture_output=True, timeout=PATIENCE, check=False)

    said = source.read_bytes()[:MIB]
    done = client("ssh", "127.0.0.1", "echo $HVCOPY_LANE $(uname -r); cat; exit 7", said=said)
    assert done.returncode == 7, done.stderr
    kernel, _, heard = done.stdout.partition(b"\n")
    assert (kernel.split()[-1].decode(), heard) == (guest.run(["uname", "-r"], PATIENCE).stdout.strip(), said)
    for arguments in (
        ("scp", source, f"127.0.0.1:{there}1"),
        ("scp", f"127.0.0.1:{there}1", here / "back1"),
        ("sftp", "-b", here / "batch", "127.0.0.1"),
    ):
        done = client(*map(str, arguments))
        assert done.returncode == 0, done.stderr
    compared = guest.run(f"cmp {there}1 {source} && cmp {there}2 {source}; rm {there}1 {there}2", PATIENCE)
    assert compared.stdout + compared.stderr == ""
    for back in (here / "back1", here / "back2"):
        assert back.read_bytes() == source.read_bytes()


def test_a_client_that_has_ended_still_hears_a_guest_that_cannot_be_told_of_it(
    guest: Guest, here: Path, processes: ExitStack
) -> None:
    """Behind this device the host's end of one direction ends both; the forwarder keeps that from its client's answer."""
    peer = guest.start([*PEER, "answer", str(PORT)])
    peer.wait_output("listening", PATIENCE)
    _, address = processes.enter_context(forwarding(f"unix:{here}/near", into(guest)))
    for number in range(3):
        with connect(address) as client:
            client.sendall(b"%d\n" % number)
            client.shutdown(1)
            assert hear_end(client) == b"%d\n" % number * 100_000
    peer.signal("TERM")
    peer.wait(PATIENCE)


@pytest.mark.parametrize("client", ["guest", "host"])
def test_a_forwarder_in_the_guest_leads_to_a_program_of_the_host(
    guest: Guest, here: Path, processes: ExitStack, client: str
) -> None:
    """From the guest's own unix socket, and from the vsock port that the host itself dials: the same bytes both ways."""
    there, back = make_file(here / "there", 5 * MIB + 3), make_file(here / "back", 4 * MIB + 1)
    heard: list[bytes] = []

    def answers(sock: socket.socket) -> None:
        heard.append(hear(sock, there.stat().st_size))  # never an end: the guest's half-close does not cross
        sock.sendall(back.read_bytes())
        sock.close()

    far = Path(f"{guest.hybrid}_{OTHER_PORT}")
    processes.callback(far.unlink)
    processes.enter_context(Listening(f"unix:{far}", answers))
    near, *access = [f"unix:{guest.tmpfs}/near"] if client == "guest" else [SERVED, "--allow", "vsock:2"]
    processes.enter_context(forwarding_inside(guest, near, f"vsock:host:{OTHER_PORT}", *access))
    if client == "guest":
        got = f"{guest.tmpfs}/got"
        done = guest.run(f"{NC} {near} < {there} > {got} && cmp {got} {back}; rm {got}", PATIENCE)
        assert done.stdout + done.stderr == ""
    else:
        with there.open("rb") as sent, (here / "got").open("wb") as taken:
            nc = processes.enter_context(Talker(*HVCOPY, "nc", into(guest), stdin=sent.fileno(), stdout=taken.fileno()))
            assert nc.finish(PATIENCE) == 0, nc.err
        assert (here / "got").read_bytes() == back.read_bytes()
    assert heard == [there.read_bytes()]


# ---- programs of the host, for the guest

GET = """
import hashlib, sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": sys.argv[1]}))
for url in sys.argv[2:]:
    with opener.open(url) as answer:
        print(hashlib.sha256(answer.read()).hexdigest())
"""


@pytest.fixture
def proxy(guest: Guest, processes: ExitStack) -> Iterator[Running]:
    """The host's HTTP proxy on the guest's PROXY_PORT: the forwarder on the host."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        target = f"tcp:127.0.0.1:{server.server_port}"
        device = f"unix:{os.getuid()}"  # whose process the device is
        process, _ = processes.enter_context(forwarding(into(guest, OTHER_PORT), target, "-v", "--allow", device))
        with forwarding_inside(guest, f"tcp:127.0.0.1:{PROXY_PORT}", f"vsock:host:{OTHER_PORT}", "--open"):
            yield process
        server.shutdown()


@pytest.mark.parametrize("client", ["urllib", "curl"])
def test_http_clients_of_the_guest_use_the_hosts_proxy(guest: Guest, proxy: Running, client: str) -> None:
    sizes = [20 * MIB + 1, 0, 1000]
    url, through = "http://files.example/{}", f"http://127.0.0.1:{PROXY_PORT}"
    urls = [url.format(size) for size in sizes]
    if client == "urllib":
        done = guest.run([sys.executable, "-c", GET, through, *urls], PATIENCE)
    else:
        curl = [need("curl", "curl"), "-sS", "--fail", "-x", through]
        gets = [f"{shlex.join([*curl, one])} | sha256sum | cut -c-64" for one in urls]
        done = guest.run("set -o pipefail; " + " && ".join(gets), PATIENCE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [contents(size) for size in sizes]
    eventually(lambda: proxy.err.count(": closed") == len(sizes), what="the ends of all connections")


# ---- nc


class Partner:
    """Command lines in the guest, of hvcopy or another tool, for one end of a connection with the host."""

    def __init__(self, name: str) -> None:
        if name == "hvcopy":
            sends, takes = f"{NC} --send-only", f"{NC} --recv-only"
            listens, dials = f"-l {SERVED} --allow vsock:2", f"--wait 30 vsock:host:{OTHER_PORT}"
        elif name == "ncat":
            ncat = f"{need('ncat', 'ncat')} --vsock"
            sends, takes = f"{ncat} --send-only", f"{ncat} --recv-only"
            listens, dials = f"-l {PORT}", f"2 {OTHER_PORT}"
        else:
            socat = need("socat", "socat")
            sends, takes = f"{socat} -u -", f"{socat} -U -"
            listens, dials = f"VSOCK-LISTEN:{PORT}", f"VSOCK-CONNECT:2:{OTHER_PORT}"
        self.sends, self.takes, self.listens, self.dials = sends, takes, listens, dials


@pytest.mark.parametrize("who", ["host", "guest"])
@pytest.mark.parametrize("listener", ["host", "guest"])
@pytest.mark.parametrize("partner", ["hvcopy", "socat", "ncat"])
def test_nc_sends_and_takes_across_the_boundary(
    guest: Guest, here: Path, processes: ExitStack, partner: str, listener: str, who: str
) -> None:
    """*who* sends and then closes: what the other side takes is all of it."""
    source, got = make_file(here / "source", 5 * MIB + 3), here / "got"
    tool = Partner(partner)
    inside = f"exec {tool.sends if who == 'guest' else tool.takes} {tool.listens if listener == 'guest' else tool.dials}"
    inside += f" < {source}" if who == "guest" else f" > {guest.tmpfs}/got"
    outside = [*HVCOPY, "nc", "--send-only" if who == "host" else "--recv-only"]
    outside += ["--wait", "30", into(guest)] if listener == "guest" else ["-l", "--open", into(guest, OTHER_PORT)]
    with source.open("rb") as sent, got.open("wb") as taken:
        if listener == "guest":
            process = guest.start(inside)
        host = processes.enter_context(Talker(*outside, stdin=sent.fileno(), stdout=taken.fileno()))
        if listener == "host":
            host.line("listening on")
            process = guest.start(inside)
        assert (host.finish(PATIENCE), process.wait(PATIENCE)) == (0, 0), host.err + process.output()
    if who == "guest":
        assert got.read_bytes() == source.read_bytes()
    else:
        compared = guest.run(f"cmp {guest.tmpfs}/got {source}; rm {guest.tmpfs}/got", PATIENCE)
        assert compared.stdout + compared.stderr == ""


def test_streams_of_nc_go_both_ways_when_the_guest_ends_the_connection(
    guest: Guest, here: Path, processes: ExitStack
) -> None:
    """The guest's end of one direction never arrives, so it is -q that ends it, as docs/nc.md says."""
    there, back = make_file(here / "there", 5 * MIB + 3), make_file(here / "back", 4 * MIB + 1)
    process = guest.start(f"exec {NC} -l {SERVED} --allow vsock:2 -q 4 < {back} > {guest.tmpfs}/got")
    with there.open("rb") as sent, (here / "got").open("wb") as taken:
        host = processes.enter_context(
            Talker(*HVCOPY, "nc", "--wait", "30", into(guest), stdin=sent.fileno(), stdout=taken.fileno())
        )
        assert (host.finish(PATIENCE), process.wait(PATIENCE)) == (0, 0), host.err + process.output()
    assert (here / "got").read_bytes() == back.read_bytes()
    compared = guest.run(f"cmp {guest.tmpfs}/got {there}; rm {guest.tmpfs}/got", PATIENCE)
    assert compared.stdout + compared.stderr == ""


def test_a_slow_reader_on_the_host_gets_all_of_it(guest: Guest, here: Path, processes: ExitStack) -> None:
    """GhostVM#152, virtio-win#865, vhost-device#494: a window that fills must open again."""
    source = make_file(here / "source", 16 * MIB + 1)
    process = guest.start(f"exec {NC} -l {SERVED} --allow vsock:2 --send-only < {source}")
    host = processes.enter_context(Talker(*HVCOPY, "nc", "--recv-only", "--wait", "30", into(guest)))
    digest = hashlib.sha256()
    while piece := host.hear(50_021):  # through a pipe, so never more than 64 KiB ahead
        digest.update(piece)
    assert (host.finish(PATIENCE), process.wait(PATIENCE)) == (0, 0), host.err + process.output()
    assert digest.digest() == hashlib.sha256(source.read_bytes()).digest()


@pytest.mark.parametrize("by", ["nc", "forward"])
def test_a_pause_of_the_guest_costs_time_and_no_bytes(guest: Guest, here: Path, processes: ExitStack, by: str) -> None:
    size = 64 * MIB
    source, got = make_file(here / "source", size), f"{guest.tmpfs}/got"
    process = guest.start(f"exec {NC} -l {SERVED} --allow vsock:2 --recv-only > {got}")
    process.wait_output("listening on", PATIENCE)
    target = into(guest)
    if by == "forward":
        _, target = processes.enter_context(forwarding(f"unix:{here}/near", target))
    host = processes.enter_context(Talker(*HVCOPY, "nc", "--send-only", target))
    content = memoryview(source.read_bytes())
    host.say(bytes(content[: size // 2]))
    guest.pause()
    progress = [0]

    def send() -> None:
        for at in range(size // 2, size, MIB // 4):
            host.say(bytes(content[at : at + MIB // 4]))
            progress.append(at)
        host.end_input()

    sending = threading.Thread(target=send)
    sending.start()
    assert not eventually_still(progress, sending)
    guest.resume()
    sending.join()
    assert (host.finish(PATIENCE), process.wait(PATIENCE)) == (0, 0), host.err + process.output()
    compared = guest.run(f"cmp {got} {source}; rm {got}", PATIENCE)
    assert compared.stdout + compared.stderr == ""


def eventually_still(progress: list[int], sending: threading.Thread) -> bool:
    """Wait until nothing more is taken from a sender for two seconds; returns whether it has ended."""

    def still() -> bool:
        before = progress[-1]
        sending.join(2)
        return progress[-1] == before

    eventually(still, what="a sender that has to wait", seconds=PATIENCE)
    return not sending.is_alive()


def test_silence_of_a_paused_guest_is_5_for_nc_with_w(guest: Guest, processes: ExitStack) -> None:
    process = guest.start([*HVCOPY, "nc", "-l", SERVED, "--allow", "vsock:2"])
    process.wait_output("listening on", PATIENCE)
    host = processes.enter_context(Talker(*HVCOPY, "nc", "-w", "2", into(guest)))
    host.say(b"hello")
    process.wait_output("hello", PATIENCE)
    guest.pause()
    try:
        assert host.finish(PATIENCE) == 5
    finally:
        guest.resume()
    assert "nothing moved for 2 s" in host.err
    process.wait(PATIENCE)


def test_the_hosts_half_close_ends_both_directions_and_nc_warns_of_that(guest: Guest, processes: ExitStack) -> None:
    got = f"{guest.tmpfs}/got"
    answering = f"(until grep -q question {got}; do sleep 0.1; done; echo too late)"
    process = guest.start(f"{answering} | {NC} -l {SERVED} --allow vsock:2 > {got}; cat {got}; rm {got}")
    host = processes.enter_context(Talker(*HVCOPY, "nc", "-N", "--wait", "30", into(guest)))
    host.say(b"question\n")
    host.end_input()
    assert (host.hear_end(), host.finish(PATIENCE)) == (b"", 0), host.err
    assert "an answer after that is lost (-N)" in host.err
    process.wait(PATIENCE)
    assert "question\n" in process.output()


def test_probes_say_whether_somebody_listens_across_the_boundary(guest: Guest) -> None:
    assert run("nc", "-z", into(guest, 4711)).code == 4
    process = guest.start([*HVCOPY, "nc", "-l", SERVED, "--allow", "vsock:2"])
    process.wait_output("listening on", PATIENCE)
    assert run("nc", "-z", into(guest)).code == 0
    assert process.wait(PATIENCE) == 0, process.output()
    nobody = guest.run([*HVCOPY, "nc", "-z", f"vsock:host:{OTHER_PORT}"], PATIENCE)
    assert nobody.returncode == 4, nobody.stderr
    assert eventually(lambda: nobody.stderr, what="why")
