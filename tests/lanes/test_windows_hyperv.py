"""``hyperv:`` under Wine, over the stand-in for AF_HYPERV; and with a Linux process at the other end."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import commands
import pytest
from peers import PATIENCE, Gate, Relay, unchanged

from lanes.parts import CHECKOUT, require
from lanes.test_windows import MINOR, PYTHON, Windows, contents, copy, run_tests
from lanes.windows import standin, there, wine
from lanes.windows.built import link_package
from lanes.windows.one_file import OneFile

TALK = standin.HERE / "talk.py"
SIZE = 32 << 20
MIB = 1 << 20
VM = "0aaaaaaa-1111-2222-3333-00000000000f"

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("registry"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def env() -> dict[str, str]:
    """The environment of Windows programs that have hvcopy and the stand-in."""
    require("windows")
    return standin.environment(link_package(MINOR))


class OverHyperv(Windows):
    """hvcopy's command line on a Windows that has Hyper-V sockets, to whose VMs happens what *vms* says."""

    def __init__(self, env: dict[str, str], cwd: Path, **settings: str) -> None:
        self._env = env | settings | {"COLUMNS": "100"}
        self._cwd = cwd

    def failing(self, code: int, *arguments: object) -> str:
        """Run one command, which must end with *code* and without a traceback; gives what it said."""
        with self.start(*arguments) as program:
            done = program.finish()
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr


@pytest.fixture
def windows(env: dict[str, str], tmp_path: Path) -> OverHyperv:
    return OverHyperv(env, tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Small files and one that goes in blocks."""
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    (folder / "large").write_bytes(os.urandom(10 * MIB + 7))
    for number in range(20):
        (folder / "sub" / f"file {number}").write_bytes(os.urandom(number * 1000))
    return folder


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_the_transport_conforms_and_fails_as_it_says(env: dict[str, str], tmp_path: Path) -> None:
    ran = run_tests(env, there.OVER_HYPERV, tmp_path / "report.xml")
    left_out = [name for name, did in ran.items() if not did]
    assert all("test_other_systems_say_what_it_needs" in name for name in left_out), left_out
    assert len(ran) - len(left_out) > 40


@pytest.mark.parametrize("windows", ["listen", "dial"])
def test_windows_talks_to_linux_through_its_hyperv_sockets(windows: str, env: dict[str, str]) -> None:
    port = unused_port()
    linux = "dial" if windows == "listen" else "listen"
    there = wine.start(
        [PYTHON, "-P", wine.windows_path(TALK), windows, f"hyperv:loopback:{port}", str(SIZE)], cwd=CHECKOUT, env=env
    )
    here = subprocess.Popen(
        [sys.executable, str(TALK), linux, f"tcp:127.0.0.1:{port}", str(SIZE)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with there, here:
        try:
            outputs = [process.communicate(timeout=120) for process in (here, there)]
        finally:
            for process in (here, there):
                process.kill()
    assert [here.returncode, there.returncode] == [0, 0], outputs
    ours, theirs = (json.loads(out.splitlines()[-1]) for out, _ in outputs)
    assert (ours["platform"], theirs["platform"]) == ("linux", "win32")
    assert (ours["received"], theirs["received"]) == (theirs["sent"], ours["sent"])
    assert ours["count"] == theirs["count"] == SIZE
    assert theirs["family"] == 34
    assert theirs["identity"] == "hyperv:loopback"


def test_trees_go_both_ways_over_hyperv_addresses(windows: OverHyperv, tree: Path, tmp_path: Path) -> None:
    root, back, own, again = (tmp_path / name for name in ("root", "back", "own", "again"))
    root.mkdir()
    port = unused_port()
    options = ("--root", root, "--no-fsync", "--allow", "hyperv:loopback")
    with windows.start("serve", f"hyperv:children:{port}", *options) as server:
        server.line(rf"serving .* on hyperv:children:{port}\n")
        copy(tree, f"tcp:127.0.0.1:{port}:/pushed")
        copy(f"tcp:127.0.0.1:{port}:/pushed", back)
        windows.run("cp", "-r", f"hyperv:loopback:{port}:/pushed", own, "--no-fsync")
    with commands.serving("tcp:127.0.0.1:0", root, "--open") as linux:
        address = f"hyperv:parent:{linux.address.rpartition(':')[2]}"
        windows.run("cp", "-r", tree, f"{address}:/third", "--no-fsync")
        windows.run("cp", "-r", f"{address}:/third", again, "--no-fsync")
        assert "large" in windows.run("ls", f"{address}:/third").stdout
    for folder in (root / "pushed", back, own, root / "third", again):
        assert contents(folder) == contents(tree), folder


def test_one_shot_copies_go_both_ways(windows: OverHyperv, tree: Path, tmp_path: Path) -> None:
    port, there, here = unused_port(), tmp_path / "there", tmp_path / "here"
    for folder in (there, here):
        folder.mkdir()
    with windows.start("recv", "-l", f"hyperv:loopback:{port}", there, "--open", "--no-fsync") as receiving:
        receiving.line("listening on")
        assert commands.run("send", tree / "large", f"tcp:127.0.0.1:{port}").code == 0
        assert receiving.finish().returncode == 0
    with commands.Running("recv", "-l", f"tcp:127.0.0.1:{port}", here, "--open", "--no-fsync") as listening:
        listening.line("listening on")
        windows.run("send", tree / "large", f"hyperv:parent:{port}")
        assert listening.finish().code == 0
    for folder in (there, here):
        assert (folder / "large").read_bytes() == (tree / "large").read_bytes()


@pytest.mark.parametrize("way", ["push", "pull"])
def test_a_copy_that_broke_goes_on_where_it_was(way: str, windows: OverHyperv, tmp_path: Path) -> None:
    file = OneFile(way, tmp_path, "yours & mine")
    gate = Gate(24 * MIB)
    passages = {"up" if way == "push" else "down": lambda: gate, "down" if way == "push" else "up": lambda: unchanged}
    with Relay("tcp:127.0.0.1:0", f"unix:{tmp_path}/direct", **passages) as relay:
        command = file.command(f"hyperv:parent:{relay.address.rpartition(':')[2]}")
        with (
            commands.serving(f"unix:{tmp_path}/direct", file.root) as server,
            windows.start(*command, "--timeout", 10) as program,
        ):
            assert gate.reached.wait(3 * PATIENCE)  # two interpreters start before that
            server.kill()
            broken = program.finish()
        assert broken.returncode == 6, broken.stderr
        assert "run again in PowerShell: hvcopy cp " in broken.stderr
        assert f"'{wine.windows_path(file.near)}'" in broken.stderr
        assert not file.target.exists()
        gate.open()
        with commands.serving(f"unix:{tmp_path}/direct", file.root):
            done = windows.run(*command, "--json")
    assert json.loads(done.stdout)["reused_bytes"] >= 8 * MIB
    assert file.target.read_bytes() == file.source.read_bytes()


def test_a_stream_goes_both_ways(windows: OverHyperv, tmp_path: Path) -> None:
    port, data, arrived = unused_port(), tmp_path / "data", tmp_path / "arrived"
    data.write_bytes(os.urandom(5 * MIB))
    with windows.start("pipe", "-l", f"hyperv:loopback:{port}", "--open", "-o", arrived) as listening:
        listening.line("listening on")
        assert commands.run("pipe", f"tcp:127.0.0.1:{port}", "-i", data).code == 0
        assert listening.finish().returncode == 0
    assert arrived.read_bytes() == data.read_bytes()
    with commands.Running("pipe", "-l", f"tcp:127.0.0.1:{port}", "--open", "-o", tmp_path / "back") as receiving:
        receiving.line("listening on")
        windows.run("pipe", f"hyperv:parent:{port}", "-i", data)
        assert receiving.finish().code == 0
    assert (tmp_path / "back").read_bytes() == data.read_bytes()


def test_connections_are_forwarded_out_of_and_into_hyperv_addresses(windows: OverHyperv, tree: Path, tmp_path: Path) -> None:
    """A Linux client, a Windows process from TCP to Hyper-V, another back to TCP, a Linux server."""
    root, back = tmp_path / "root", tmp_path / "back"
    root.mkdir()
    first, second = unused_port(), unused_port()
    with (
        commands.serving("tcp:127.0.0.1:0", root, "--open") as server,
        windows.start("forward", f"hyperv:loopback:{second}", server.address, "--allow", "hyperv:loopback") as inner,
        windows.start("forward", f"tcp:127.0.0.1:{first}", f"hyperv:parent:{second}", "--open") as outer,
    ):
        inner.line("forwarding")
        outer.line("forwarding")
        copy(tree, f"tcp:127.0.0.1:{first}:/pushed")
        copy(f"tcp:127.0.0.1:{first}:/pushed", back)
    assert contents(root / "pushed") == contents(back) == contents(tree)


def test_raw_bytes_go_both_ways(windows: OverHyperv, tmp_path: Path) -> None:
    port = unused_port()
    with windows.start("nc", "-l", f"hyperv:loopback:{port}", "--open", "--recv-only") as listening:
        listening.line("listening on")
        with socket.create_connection(("127.0.0.1", port), 20) as sock:
            sock.sendall(b"from Linux" * 100_000)
        assert listening.finish().stdout == "from Linux" * 100_000


def test_bench_measures_over_hyperv_addresses(windows: OverHyperv) -> None:
    port = unused_port()
    with windows.start("bench", "--serve", f"hyperv:loopback:{port}", "--open") as answering:
        answering.line("answering to bench on")
        done = windows.run("bench", f"hyperv:parent:{port}", "-m", "send", "--time", "300ms", "--json")
    assert json.loads(done.stdout)["end"]["sum_received"]["bytes"] > MIB


def test_a_vm_that_is_not_on_the_list_is_refused(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "f").write_text("x")
    windows, port = OverHyperv(env, tmp_path, HVCOPY_HV_PEER=VM.upper()), unused_port()
    for allowed, code in ((f"hyperv:{{{VM.upper()}}}", 0), ("hyperv:parent", 9)):
        options = ("--root", tmp_path / "root", "--allow", allowed)
        with windows.start("serve", f"hyperv:any:{port}", *options) as server:
            server.line("serving")
            listed = commands.run("ls", f"tcp:127.0.0.1:{port}")
            assert listed.code == code, listed.err
            if code:
                assert f"--allow hyperv:{VM}" in listed.err


def test_failures_end_with_their_code_and_the_next_command(env: dict[str, str], tmp_path: Path) -> None:
    fates = {VM: 10013, VM.replace("f", "e"): 10060, VM.replace("f", "d"): 10054}
    windows = OverHyperv(env, tmp_path, HVCOPY_HV_VMS=" ".join(f"{vm}={code}" for vm, code in fates.items()))
    port = unused_port()
    for vm, code, words in (
        ("parent", 4, f"hvcopy service register {port}"),
        ("loopback", 4, f"hvcopy serve hyperv:loopback:{port}"),
        (VM, 9, "Hyper-V Administrators"),
        (VM.replace("f", "e"), 4, f"vsock:any:{port}"),
        (VM.replace("f", "d"), 6, "hvcopy vms"),
        (VM.replace("f", "c"), 4, "hvcopy vms"),
        ("any", 2, "hvcopy vms"),
        ("ffffffff-ffff-ffff-ffff-ffffffffffff", 2, "reserve"),
    ):
        assert words in windows.failing(code, "ls", f"hyperv:{vm}:{port}", "--timeout", 1), vm
    refused = windows.failing(10, "serve", f"hyperv:{VM.replace('f', 'c')}:{port}", "--root", tmp_path, "--open")
    assert "no VM with that id" in refused
