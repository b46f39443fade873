"""hvcopy over real AF_VSOCK, both ends inside one kernel that was booted for it (vsock:local, CID 1)."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from findings import by_state, states
from starting import HVCOPY

from lanes.inside import PATIENCE, answering_inside, pytest_inside, run_inside, serving_inside, start_inside
from lanes.kernel import MODULES, booted
from lanes.manifest import assert_same, manifest
from lanes.material import MIB, make_file, make_source_tree
from lanes.parts import CHECKOUT, require
from lanes.uml import Kernel

PORT = 18518
SERVED, DIALED = f"vsock:any:{PORT}", f"vsock:local:{PORT}"
LET_IN = ("--allow", "vsock:1", "--no-fsync")
ROOTS = {
    *(f"system.{what}" for what in ("platform", "hypervisor", "container", "ports", "buffers")),
    *("unix.socket", "tcp.loopback"),
}
NOT_HERE = {*(f"system.{what}" for what in ("wsl", "seccomp", "selinux", "apparmor")), "vsock.to-guests", "hyperv"}
NET_BIND_SERVICE, PR_CAPBSET_DROP = 10, 24  # capabilities(7), prctl(2)
WITHOUT_LOW_PORTS = f"""
import ctypes, os, sys
assert ctypes.CDLL(None).prctl({PR_CAPBSET_DROP}, {NET_BIND_SERVICE}, 0, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("kernel"), pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    require("kernel")
    with booted(CHECKOUT, "1G") as running:
        yield running


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """A folder on the machine's own file system, which the kernel sees as well; too large to be kept."""
    folder = tmp_path / "here"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def root(here: Path) -> Path:
    folder = here / "root"
    folder.mkdir()
    return folder


def test_transport_passes_its_tests_on_real_vsock(kernel: Kernel, tmp_path: Path) -> None:
    passed = pytest_inside(kernel, tmp_path, "tests/transport/test_vsock.py")
    assert all(passed.values()), [name for name, did in passed.items() if not did]
    assert sum("test_vsock_channel_conforms" in name for name in passed) >= 10
    assert "test_vsock_port_0_becomes_the_real_port" in passed


def test_a_tree_and_a_large_file_go_there_and_back(kernel: Kernel, here: Path, root: Path) -> None:
    tree = make_source_tree(here / "tree")
    large = make_file(here / "large", 64 * MIB)
    with serving_inside(kernel, SERVED, root, *LET_IN):
        pushed = run_inside(kernel, "cp", "-r", tree, large, f"{DIALED}:/", "--no-fsync", "--json")
        assert pushed.code == 0, pushed.err
        assert pushed.result["failed"] == 0
        assert pushed.result["lanes"] == 2
        assert pushed.result["window"] >= 1 * MIB
        listed = run_inside(kernel, "ls", DIALED)
        assert [line.split()[-1] for line in listed.out.splitlines()] == ["large", "tree/"]
        back = here / "back"
        pulled = run_inside(kernel, "cp", "-r", f"{DIALED}:/", back, "--no-fsync", "--json")
        assert pulled.code == 0, pulled.err
        assert pulled.result["files"] == pushed.result["files"]
    kernel.sync()
    for folder in (root, back):
        assert_same(manifest(folder / "tree"), manifest(tree))
        assert (folder / "large").read_bytes() == large.read_bytes()


@pytest.mark.parametrize("listener", ["send", "recv"])
def test_either_end_of_a_one_shot_copy_may_listen(kernel: Kernel, here: Path, root: Path, listener: str) -> None:
    source = make_file(here / "source", 20 * MIB)
    commands = {"send": ["send", source], "recv": ["recv"]}
    ends = {"send": ["--no-fsync"], "recv": [root, "--no-fsync"]}
    dialer = "recv" if listener == "send" else "send"
    listening = start_inside(kernel, *commands[listener], "-l", SERVED, *ends[listener], "--allow", "vsock:local")
    listening.wait_output("listening on", PATIENCE)
    dialed = run_inside(kernel, *commands[dialer], DIALED, *ends[dialer])
    assert (dialed.code, listening.wait(PATIENCE)) == (0, 0), dialed.err + listening.output()
    kernel.sync()
    assert (root / "source").read_bytes() == source.read_bytes()


def test_only_the_right_key_opens(kernel: Kernel, here: Path, root: Path) -> None:
    key, other = here / "key", here / "other"
    for path in (key, other):
        assert run_inside(kernel, "key", path).code == 0
    (root / "file").write_bytes(b"secret")
    with serving_inside(kernel, SERVED, root, "--key-file", key):
        right = run_inside(kernel, "cp", f"{DIALED}:/file", here / "got", "--no-fsync", "--key-file", key)
        assert right.code == 0, right.err
        wrong = run_inside(kernel, "cp", f"{DIALED}:/file", here / "stolen", "--key-file", other)
        none = run_inside(kernel, "ls", DIALED)
    assert (wrong.code, none.code) == (9, 9), wrong.err + none.err
    assert "key" in wrong.err
    assert "key" in none.err
    kernel.sync()
    assert (here / "got").read_bytes() == b"secret"
    assert not (here / "stolen").exists()


def test_who_is_not_on_the_list_is_refused(kernel: Kernel, root: Path) -> None:
    with serving_inside(kernel, SERVED, root, "--allow", "vsock:2") as server:
        refused = run_inside(kernel, "ls", DIALED)
        assert refused.code == 9
        assert "--allow vsock:1" in refused.err
        server.wait_output("vsock:1 is not on the list", PATIENCE)


def test_nobody_listens_is_4(kernel: Kernel) -> None:
    done = run_inside(kernel, "ls", "vsock:local:4711")
    assert done.code == 4
    assert "nobody listens on that port" in done.err
    assert "hvcopy serve vsock:local:4711 --root DIR --allow vsock:local" in done.err


def test_a_port_below_1024_needs_a_right(kernel: Kernel, root: Path) -> None:
    hvcopy = [sys.executable, "-m", "hvcopy", "serve", "vsock:any:1000", "--root", str(root), "--open"]
    done = kernel.run([sys.executable, "-c", WITHOUT_LOW_PORTS, *hvcopy], PATIENCE)
    assert done.returncode == 9, done.stderr
    assert "ports below 1024 need root or CAP_NET_BIND_SERVICE" in done.stderr


def test_wait_finds_the_server_that_comes_later(kernel: Kernel, here: Path, root: Path) -> None:
    source = make_file(here / "source", 1000)
    waiting = start_inside(kernel, "cp", source, f"{DIALED}:/", "--no-fsync", "--wait", "30")
    with serving_inside(kernel, SERVED, root, *LET_IN):
        assert waiting.wait(PATIENCE) == 0, waiting.output()
    kernel.sync()
    assert (root / "source").read_bytes() == source.read_bytes()


def test_a_benchmark_measures_vsock_and_its_buffers(kernel: Kernel) -> None:
    options = ["-m", "both,files,latency,connections,sweep", "-t", "100ms", "--lengths", "16k,256k", "--buffers", "64k"]
    with answering_inside(kernel, SERVED, "--allow", "vsock:1") as server:
        done = run_inside(kernel, "bench", DIALED, *options, "--json")
        assert done.code == 0, done.err
        assert "broke" not in server.output()
    both, files, latency, connections = done.result["tests"]
    assert both["start"]["test_start"]["protocol"] == "vsock"
    for way in ("", "_bidir_reverse"):
        assert both["end"][f"sum_received{way}"]["bytes"] > 0
    assert (both["hvcopy"]["window_here"], both["hvcopy"]["window_there"]) == (4 * MIB, 4 * MIB)
    assert files["end"]["files"]["count"] > 0
    assert latency["end"]["latency_us"]["p50"] > 0
    assert connections["end"]["connect_us"]["count"] > 0
    windows = {one["buffer"]: one["window"] for one in done.result["sweep"]}
    assert windows == {0: 4 * MIB, 64 * 1024: 64 * 1024}
    rates = {(one["length"], one["buffer"]): one["bits_per_second"] for one in done.result["sweep"] if one["streams"] == 1}
    assert rates.keys() >= {(16 * 1024, 0), (256 * 1024, 0)}
    assert all(rate > 0 for rate in rates.values())


def test_streams_go_both_ways_at_once(kernel: Kernel, here: Path) -> None:
    there, back = make_file(here / "there", 20 * MIB + 1), make_file(here / "back", 9 * MIB)
    left = start_inside(kernel, "pipe", "-l", SERVED, "-i", back, "-o", here / "left", *LET_IN)
    left.wait_output("listening on", PATIENCE)
    right = run_inside(kernel, "pipe", DIALED, "-i", there, "-o", here / "right", "--no-fsync", "--json")
    assert (right.code, left.wait(PATIENCE)) == (0, 0), right.err + left.output()
    assert (right.result["sent_bytes"], right.result["received_bytes"]) == (20 * MIB + 1, 9 * MIB)
    kernel.sync()
    assert (here / "left").read_bytes() == there.read_bytes()
    assert (here / "right").read_bytes() == back.read_bytes()


@pytest.mark.parametrize(("producer", "reader", "status"), [("tiny", "cat", 0), ("yes", "head -c 10", 141)])
def test_tiny_writes_arrive_and_a_reader_may_leave(
    kernel: Kernel, here: Path, producer: str, reader: str, status: int
) -> None:
    """Each tiny write as a packet of its own would be reset by some kernels (libkrun#795)."""
    tiny = f"{sys.executable} -c 'import os\nfor _ in range(5000): os.write(1, b\"tiny.\")'"
    hvcopy, sends = shlex.join(HVCOPY), {"tiny": tiny, "yes": "yes"}[producer]
    listening = f"{hvcopy} pipe -l {SERVED} --allow vsock:1 | {reader} > {here}/got; exit ${{PIPESTATUS[0]}}"
    left = kernel.start(listening)
    left.wait_output("listening on", PATIENCE)
    right = kernel.run(f"{sends} | {hvcopy} pipe {DIALED}; exit ${{PIPESTATUS[1]}}", PATIENCE)
    assert (right.returncode, left.wait(PATIENCE)) == (status, status), right.stderr + left.output()
    kernel.sync()
    assert (here / "got").read_bytes() == (b"tiny." * 5000 if producer == "tiny" else b"y\n" * 5)


# ---- what doctor finds in there


def examined(machine: Kernel, *arguments: object, code: int) -> dict[str, dict[str, object]]:
    """The findings of `hvcopy doctor` in there, by id."""
    done = run_inside(machine, "doctor", *arguments, "--json")
    assert done.code == code, done.out + done.err
    return {one["id"]: one for one in done.result["findings"]}


def test_doctor_finds_what_is_true_of_this_kernel(kernel: Kernel) -> None:
    found = examined(kernel, code=4)  # it reaches itself and nobody else
    assert by_state(found) == {
        "ok": ROOTS | {f"vsock.{what}" for what in ("kernel", "modules", "socket", "device", "cid", "to-itself")},
        "fail": {"vsock.to-host", "way"},
        "not-applicable": NOT_HERE,
        "unknown": {"hybrid"},
    }
    assert found["system.hypervisor"]["what"] == "a guest of User-Mode Linux"
    assert found["vsock.kernel"]["what"] == "the kernel has AF_VSOCK (loaded)"
    assert found["vsock.modules"]["what"] == "vsock loaded, vsock_loopback loaded"
    assert str(found["vsock.cid"]["what"]).startswith("CID 1:")
    assert found["way"]["causes"] == ["vsock.to-host"]


def test_doctor_gets_through_to_a_server(kernel: Kernel, root: Path) -> None:
    nobody = examined(kernel, DIALED, code=4)
    assert states(nobody, "vsock.to-itself", "connect", "greeting") == ["ok", "fail", "unknown"]
    assert nobody["connect"]["causes"] == []
    with serving_inside(kernel, SERVED, root, *LET_IN):
        assert states(examined(kernel, DIALED, code=0), "connect", "greeting", "version", "access") == ["ok"] * 4
        taken = examined(kernel, "-l", SERVED, code=10)
        assert "listens there already" in str(taken["listen"]["what"])
    assert states(examined(kernel, "-l", SERVED, code=0), "listen") == ["ok"]
    with serving_inside(kernel, SERVED, root, "--allow", "vsock:2"):
        assert states(examined(kernel, DIALED, code=9), "greeting", "access") == ["ok", "fail"]


@pytest.mark.parametrize(("address", "way"), [("vsock:host:18518", "to-host"), ("vsock:3:18518", "to-guests")])
def test_doctor_names_the_way_that_this_kernel_lacks(kernel: Kernel, address: str, way: str) -> None:
    found = examined(kernel, address, code=4)
    assert states(found, "vsock.socket", f"vsock.{way}", "connect") == ["ok", "fail", "fail"]
    assert found["connect"]["causes"] == [f"vsock.{way}"]
    assert found["connect"]["fix"] == found[f"vsock.{way}"]["fix"] != ""


def test_doctor_names_the_right_that_a_low_port_needs(kernel: Kernel) -> None:
    hvcopy = [sys.executable, "-m", "hvcopy", "doctor", "-l", "vsock:any:1000"]
    done = kernel.run([sys.executable, "-c", WITHOUT_LOW_PORTS, *hvcopy], PATIENCE)
    assert done.returncode == 9, done.stderr
    assert "fail  system.ports" in done.stdout
    assert "likely: system.ports" in done.stdout


def test_doctor_misses_each_module_that_is_taken_away(tmp_path: Path) -> None:
    """In a kernel of its own, where nothing is loaded, and then one after the other."""
    require("kernel")
    with booted(CHECKOUT, "1G", modules=()) as bare:
        none = examined(bare, code=9)
        assert by_state(none) == {
            "ok": ROOTS,
            "warn": {"vsock.device", "vsock.to-itself"},
            "fail": {"vsock.socket", "vsock.to-host", "way"},
            "not-applicable": NOT_HERE,
            "unknown": {"hybrid", "vsock.kernel", "vsock.modules", "vsock.cid"},
        }
        assert none["vsock.socket"]["causes"] == ["vsock.kernel"]
        assert none["vsock.socket"]["fix"].endswith("sudo modprobe vsock")  # type: ignore[attr-defined]
        refused = examined(bare, DIALED, code=9)
        assert states(refused, "connect", "greeting") == ["fail", "unknown"]
        assert "vsock.socket" in refused["connect"]["causes"]  # type: ignore[operator]
    with booted(CHECKOUT, "1G", modules=MODULES[:1]) as alone:
        family = examined(alone, code=4)
        assert by_state(family) == {
            "ok": ROOTS | {f"vsock.{what}" for what in ("kernel", "modules", "socket", "device", "cid")},
            "warn": {"vsock.to-itself"},
            "fail": {"vsock.to-host", "way"},
            "not-applicable": NOT_HERE,
            "unknown": {"hybrid"},
        }
        lost = examined(alone, DIALED, code=4)
        assert states(lost, "vsock.to-itself", "connect") == ["fail", "fail"]
        assert lost["connect"]["causes"] == ["vsock.to-itself"]
