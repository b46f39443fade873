"""hvcopy on both sides of a real virtio-vsock device: a guest with its own kernel, and this machine as its host."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import Finished, Running, Server, answering, eventually, run
from e2e.plumbing import Piped, feed
from findings import by_state, states

from lanes.guest import Guest
from lanes.inside import PATIENCE, answering_inside, manifest_inside, run_inside, serving_inside, start_inside
from lanes.manifest import assert_same, manifest
from lanes.material import MIB, SMALL_FILES, WHOLE, make_file, make_small_files, make_source_tree
from lanes.parts import require

PORT, OTHER_PORT = 18518, 18519
SERVED = f"vsock:any:{PORT}"
LET_IN = ("--allow", "vsock:2", "--no-fsync")  # the host, as every guest sees it
LARGE = (1024 if WHOLE else 256) * MIB
MEMORY = "2560M"  # half of it is the most that the guest's tmpfs takes
RECORD_HEAD, RECORD_BLOCK = 64, 24  # hvcopy/files/blocks.py
SILENCE = 3.0  # --timeout where it is to run out
MARGIN = 15.0

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("guest"), pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    require("guest")
    with Guest(memory=MEMORY) as running:
        yield running


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """The host's folder; too large to be kept."""
    folder = tmp_path / "here"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def light() -> Iterator[Path]:
    """The host's folder in memory, where there is enough: what is copied costs no disk; guests do not see it."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 4 * LARGE
    with tempfile.TemporaryDirectory(prefix="hvcopy-test-", dir=memory if roomy else None) as folder:
        yield Path(folder)


@pytest.fixture
def served(guest: Guest) -> Iterator[str]:
    """A folder of the guest's own memory, empty, with a server: its path there."""
    folder = f"{guest.tmpfs}/served"
    assert guest.run(["mkdir", folder], PATIENCE).returncode == 0
    with serving_inside(guest, SERVED, folder, *LET_IN):
        yield folder
    assert guest.run(["rm", "-r", folder], PATIENCE).returncode == 0


@pytest.fixture
def offered(guest: Guest, here: Path) -> Iterator[Server]:
    """A server on the host, on the socket that the guest reaches as CID 2; known by the user that the device runs as."""
    root = here / "offered"
    root.mkdir()
    address = f"hybrid:{guest.hybrid}:{OTHER_PORT}"
    with Server(address, root, "--allow", f"unix:{os.getuid()}", "--no-fsync") as server:
        yield server


def into(guest: Guest, path: str = "/", *, port: int = PORT) -> str:
    """The guest's address for the host, with a path."""
    return f"hybrid:{guest.hybrid}:{port}:{path}"


def copied(done: Finished) -> Finished:
    assert done.code == 0, done.err
    assert done.result["failed"] == 0
    return done


# ---- served in the guest


def test_host_copies_a_large_file_in_and_out(guest: Guest, served: str, light: Path) -> None:
    source = make_file(light / "large", LARGE)
    wanted = manifest(light)
    there = copied(run("cp", source, into(guest), "--no-fsync", "--json", timeout=PATIENCE))
    assert (there.result["bytes"], there.result["lanes"]) == (LARGE, 2)
    assert_same(manifest_inside(guest, served), wanted)
    source.unlink()
    copied(run("cp", into(guest, "/large"), light, "--no-fsync", "--json", timeout=PATIENCE))
    assert_same(manifest(light), wanted)


@pytest.mark.parametrize("make", [make_small_files, make_source_tree])
def test_host_copies_a_tree_in_and_out(guest: Guest, served: str, light: Path, make: Callable[[Path], Path]) -> None:
    tree = make(light / "tree")
    there = copied(run("cp", "-r", tree, into(guest), "--no-fsync", "--json", timeout=PATIENCE))
    assert make is not make_small_files or there.result["files"] == SMALL_FILES
    wanted = manifest(tree)
    assert_same(manifest_inside(guest, f"{served}/tree"), wanted)
    back = copied(run("cp", "-r", into(guest, "/tree"), light / "back", "--no-fsync", "--json", timeout=PATIENCE))
    assert back.result["files"] == there.result["files"]
    assert_same(manifest(light / "back"), wanted)


@pytest.mark.usefixtures("served")
def test_host_finds_the_guest_and_the_address_it_finds_is_good(guest: Guest) -> None:
    listed = run("vms", "--json")
    assert listed.code == 0, listed.err
    address = f"hybrid:{guest.hybrid}:{PORT}"
    (found,) = (one for one in listed.result["vms"] if one["address"] == address)
    assert (found["kind"], found["name"], found["state"]) == ("vhost-device-vsock", "cid-3", "running")
    assert run("ls", found["address"]).code == 0


def test_host_waits_for_the_server_in_the_guest(guest: Guest, here: Path) -> None:
    source = make_file(here / "source", 1000)
    early = run("cp", source, into(guest))
    assert early.code == 4
    assert f"nobody listens on port {PORT} in the guest" in early.err
    assert f"hvcopy serve vsock:any:{PORT} --root DIR --allow vsock:host" in early.err
    folder = f"{guest.tmpfs}/late"
    guest.run(["mkdir", folder], PATIENCE)
    with (
        Running("cp", source, into(guest), "--no-fsync", "--json", "--wait", "30") as waiting,
        serving_inside(guest, SERVED, folder, *LET_IN),
    ):
        copied(waiting.finish(PATIENCE))
        assert_same(manifest_inside(guest, folder), manifest(here))


def test_only_the_right_key_opens_the_guest(guest: Guest, here: Path) -> None:
    key, other = here / "key", here / "other"
    for path in (key, other):
        assert run("key", path).code == 0
    folder = f"{guest.tmpfs}/locked"
    guest.run(["mkdir", folder], PATIENCE)
    with serving_inside(guest, SERVED, folder, "--key-file", key):  # the guest sees the host's file
        pushed = copied(run("cp", key, into(guest), "--no-fsync", "--json", "--key-file", key))
        assert pushed.result["files"] == 1
        wrong = run("cp", into(guest, "/key"), here / "stolen", "--key-file", other)
        none = run("ls", into(guest))
    assert (wrong.code, none.code) == (9, 9), wrong.err + none.err
    assert "key" in wrong.err
    assert "key" in none.err
    assert not (here / "stolen").exists()


def test_guest_refuses_a_host_that_is_not_on_its_list(guest: Guest, here: Path) -> None:
    source = make_file(here / "source", 1000)
    with serving_inside(guest, SERVED, guest.tmpfs, "--allow", "vsock:5") as server:
        refused = run("cp", source, into(guest))
        assert refused.code == 9, refused.err
        assert "--allow vsock:2" in refused.err
        eventually(lambda: "vsock:2 is not on the list" in server.output(), what="the server's word of it")


def test_host_measures_the_boundary_both_ways(guest: Guest) -> None:
    options = ["-m", "send,recv,latency,connections", "-t", "300ms", "-P", "1", "--json"]
    with answering_inside(guest, SERVED, "--allow", "vsock:2") as server:
        done = run("bench", into(guest).removesuffix(":/"), *options, timeout=PATIENCE)
        assert done.code == 0, done.err
        assert "broke" not in server.output()
    sent, received, latency, connections = done.result["tests"]
    assert sent["start"]["test_start"]["protocol"] == "hybrid"
    for test in (sent, received):
        assert test["end"]["sum_received"]["bytes"] > MIB
        assert test["hvcopy"]["window"] > 0
        assert test["hvcopy"]["cpu_seconds_per_gib"]["there"] > 0
    assert latency["end"]["latency_us"]["p50"] > 0
    assert connections["end"]["connect_us"]["count"] > 0


def test_guest_measures_the_boundary_to_its_host(guest: Guest) -> None:
    address = f"hybrid:{guest.hybrid}:{OTHER_PORT}"
    with answering(address, "--allow", f"unix:{os.getuid()}"):
        done = run_inside(guest, "bench", f"vsock:host:{OTHER_PORT}", "--bidir", "-t", "300ms", "--json")
    assert done.code == 0, done.err
    for way in ("", "_bidir_reverse"):
        assert done.result["end"][f"sum_received{way}"]["bytes"] > MIB


# ---- served on the host


def test_guest_copies_out_and_in_and_lists(guest: Guest, offered: Server, here: Path) -> None:
    assert offered.address == f"hybrid:{guest.hybrid}:{OTHER_PORT}"
    host = f"vsock:host:{OTHER_PORT}"
    tree, large = make_source_tree(here / "tree"), make_file(here / "large", (200 if WHOLE else 64) * MIB)
    for path in (tree, large):
        os.utime(path, (1e9, 1e9))  # of the host's files the guest sees whole seconds only
    out = copied(run_inside(guest, "cp", "-r", tree, large, f"{host}:/", "--no-fsync", "--json"))
    assert out.result["lanes"] == 2
    assert_same(manifest(offered.root / "tree"), manifest(tree))
    listed = run_inside(guest, "ls", f"{host}:/")
    assert (listed.code, [line.split()[-1] for line in listed.out.splitlines()]) == (0, ["large", "tree/"])
    mine = f"{guest.tmpfs}/mine"
    back = copied(run_inside(guest, "cp", "-r", f"{host}:/", mine, "--no-fsync", "--json"))
    assert back.result["files"] == out.result["files"]
    assert_same(manifest_inside(guest, mine), manifest(offered.root))
    assert_same(manifest(offered.root), [line for line in manifest(here) if "'offered" not in line])
    guest.run(["rm", "-r", mine], PATIENCE)


def test_host_refuses_whom_it_did_not_allow(guest: Guest, here: Path) -> None:
    address, nobody = f"hybrid:{guest.hybrid}:{OTHER_PORT}", os.getuid() + 1
    with Server(address, here, "--allow", f"unix:{nobody}") as server:
        refused = run_inside(guest, "ls", f"vsock:host:{OTHER_PORT}")
        assert refused.code == 9, refused.err
        server.line("not on the list")


def test_nobody_on_the_host_is_4(guest: Guest) -> None:
    done = run_inside(guest, "ls", "vsock:host:4711", "--timeout", "2")
    assert done.code == 4, done.err
    assert "nobody listens on that port, or the machine there is down or paused" in done.err
    assert done.seconds < 2 + MARGIN


# ---- what doctor finds, on both sides


def examined(done: Finished, code: int) -> dict[str, dict[str, object]]:
    """The findings of `hvcopy doctor --json`, by id."""
    assert done.code == code, done.out + done.err
    return {one["id"]: one for one in done.result["findings"]}


def test_doctor_finds_what_is_true_of_the_guest(guest: Guest) -> None:
    found = examined(run_inside(guest, "doctor", "--json"), 0)
    assert found["vsock.kernel"]["what"] == "the kernel has AF_VSOCK (loaded)"
    assert found["vsock.modules"]["what"] == "vsock loaded, vmw_vsock_virtio_transport loaded"
    assert by_state(found) == {
        "ok": {
            *(f"system.{what}" for what in ("platform", "hypervisor", "container", "ports", "buffers")),
            *(f"vsock.{what}" for what in ("kernel", "modules", "socket", "device", "cid", "to-host")),
            *("unix.socket", "tcp.loopback", "way"),
        },
        "warn": {"vsock.to-itself"},
        "not-applicable": {
            *(f"system.{what}" for what in ("wsl", "seccomp", "selinux", "apparmor")),
            *("vsock.to-guests", "hyperv"),
        },
        "unknown": {"hybrid"},
    }
    assert found["vsock.cid"]["what"] == f"CID {guest.cid}"
    assert f"vsock:{guest.cid}:PORT" in str(found["vsock.cid"]["why"])
    itself = examined(run_inside(guest, "doctor", "vsock:local:4711", "--json"), 4)
    assert itself["connect"]["causes"] == ["vsock.to-itself"]


def test_doctor_in_the_guest_gets_through_to_its_host(guest: Guest, offered: Server) -> None:
    found = examined(run_inside(guest, "doctor", f"vsock:host:{OTHER_PORT}", "--json"), 0)
    assert states(found, "vsock.to-host", "connect", "greeting", "version", "access") == ["ok"] * 5
    nobody = examined(run_inside(guest, "doctor", "vsock:host:4711", "--timeout", "2", "--json"), 4)
    assert states(nobody, "vsock.to-host", "connect", "greeting") == ["ok", "fail", "unknown"]
    assert nobody["connect"]["causes"] == []
    sibling = examined(run_inside(guest, "doctor", f"vsock:{guest.cid + 1}:4711", "--timeout", "2", "--json"), 4)
    assert "no other guests" in str(sibling["connect"]["why"])


def test_doctor_on_the_host_gets_through_to_the_guest(guest: Guest, here: Path) -> None:
    address = into(guest).removesuffix(":/")
    key, other = here / "key", here / "other"
    for path in (key, other):
        assert run("key", path).code == 0
    nobody = examined(run("doctor", address, "--json"), 4)
    assert states(nobody, "socket-file", "connect", "muxer", "greeting") == ["ok", "ok", "fail", "unknown"]
    assert "what is missing is in its guest" in str(nobody["muxer"]["why"])
    with serving_inside(guest, SERVED, guest.tmpfs, "--key-file", key):
        right = examined(run("doctor", address, "--key-file", key, "--json"), 0)
        assert states(right, "socket-file", "connect", "muxer", "greeting", "version", "access") == ["ok"] * 6
        for options in (["--key-file", other], []):
            found = examined(run("doctor", address, *options, "--json"), 9)
            assert states(found, "muxer", "greeting", "access") == ["ok", "ok", "fail"]


def test_doctor_tells_a_paused_guest_from_an_absent_one(guest: Guest) -> None:
    guest.pause()
    try:
        found = examined(run("doctor", into(guest).removesuffix(":/"), "--timeout", "1", "--json"), 5)
    finally:
        guest.resume()
    assert states(found, "connect", "muxer") == ["ok", "fail"]
    assert "paused" in str(found["muxer"]["fix"])


def test_doctor_says_whether_the_host_may_listen_for_the_guest(guest: Guest) -> None:
    address = f"hybrid:{guest.hybrid}:{OTHER_PORT}"
    assert states(examined(run("doctor", "-l", address, "--json"), 0), "listen") == ["ok"]
    with answering(address, "--open"):
        assert states(examined(run("doctor", "-l", address, "--json"), 10), "listen") == ["fail"]


# ---- streams


@pytest.mark.parametrize("listener", ["guest", "host"])
def test_streams_go_both_ways_at_once_where_nobody_can_half_close(guest: Guest, here: Path, listener: str) -> None:
    there, back = make_file(here / "there", 40 * MIB + 1), make_file(here / "back", 9 * MIB)
    inside = ["-i", back, "-o", f"{guest.tmpfs}/got", "--no-fsync"]
    if listener == "guest":
        process = start_inside(guest, "pipe", "-l", SERVED, "--allow", "vsock:2", *inside)
        process.wait_output("listening on", PATIENCE)
        right = Piped(f"hybrid:{guest.hybrid}:{PORT}", "--json")
    else:
        right = Piped("-l", f"hybrid:{guest.hybrid}:{OTHER_PORT}", "--open", "--json")
        right.line("listening on")
        process = start_inside(guest, "pipe", f"vsock:host:{OTHER_PORT}", *inside)
    with right:
        tap = right.tap()
        feed(right, there.read_bytes())
        assert (right.finish(PATIENCE).code, process.wait(PATIENCE)) == (0, 0), right.err + process.output()
        assert tap.all() == back.read_bytes()
    assert guest.run(f"cmp {guest.tmpfs}/got {there}; rm {guest.tmpfs}/got", PATIENCE).stdout == ""


def test_a_stream_outlasts_a_pause_of_the_guest(guest: Guest, here: Path) -> None:
    source = make_file(here / "source", 64 * MIB)
    process = start_inside(guest, "pipe", "-l", SERVED, "--allow", "vsock:2", "-o", f"{guest.tmpfs}/got", "--no-fsync")
    process.wait_output("listening on", PATIENCE)
    options = ["--progress", "json", "--timeout", "20", "--bwlimit", "20M"]
    with Running("pipe", f"hybrid:{guest.hybrid}:{PORT}", "-i", source, *options) as sending:
        sending.line('"event": "progress"')
        guest.pause()
        time.sleep(3)  # what is tested: longer than six heartbeats, shorter than the timeout
        assert not sending.ended
        guest.resume()
        assert (sending.finish(PATIENCE).code, process.wait(PATIENCE)) == (0, 0), sending.err + process.output()
    assert guest.run(f"cmp {guest.tmpfs}/got {source}; rm {guest.tmpfs}/got", PATIENCE).stdout == ""


# ---- a guest that stops


@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_a_copy_outlasts_a_pause_of_the_guest(guest: Guest, served: str, here: Path, pull: bool) -> None:
    source = make_file(here / "source", 256 * MIB)
    options = ["--no-fsync", "--json", "--progress", "json", "--timeout", "20"]
    ends = [str(source), into(guest)]
    if pull:
        copied(run("cp", *ends, *options, timeout=PATIENCE))
        ends = [into(guest, "/source"), str(here / "back")]
    with Running("cp", *ends, *options, *([] if pull else ["--bwlimit", "80M"])) as copying:
        if pull:
            eventually(lambda: recorded(here, "back") >= 32, what="the first blocks")
        else:
            copying.line('"event": "progress"')
        guest.pause()
        assert not copying.ended
        before = recorded(here, "back")
        time.sleep(4)  # what is tested: longer than eight heartbeats, shorter than the timeout
        assert not copying.ended
        assert recorded(here, "back") <= before + 32  # what was under way in the device
        guest.resume()
        done = copied(copying.finish(PATIENCE))
    assert done.result["bytes"] == 256 * MIB
    assert done.seconds > 4
    if pull:
        assert (here / "back").read_bytes() == source.read_bytes()
    else:
        assert_same(manifest_inside(guest, served), manifest(here))


def recorded(folder: Path, name: str) -> int:
    """How many blocks of an unfinished file on the host could be gone on with."""
    record = folder / f".{name}.hvcopy-blocks"
    return (record.stat().st_size - RECORD_HEAD) // RECORD_BLOCK if record.exists() else 0


def sent(copying: Running) -> int:
    """What the last line of progress says."""
    lines = [line for line in copying.err.split("\n")[:-1] if line.startswith("{")]
    return int(json.loads(lines[-1])["bytes"]) if lines else 0


class PowerCut:
    """A copy between the host and a guest whose files outlive it, cut at 60 % and completed after the next boot."""

    SIZE = 256 * MIB

    def __init__(self, guest: Guest, here: Path, *, pull: bool) -> None:
        self._guest = guest
        self._pull = pull
        self.root = guest.scratch / "root"
        self.root.mkdir()
        self.source = make_file((self.root if pull else here) / "source", self.SIZE)
        self.target = here / "copy" if pull else self.root / "copy"
        remote = into(guest, "/source" if pull else "/copy")
        self.command = ["cp", *([remote, str(self.target)] if pull else [str(self.source), remote])]
        self.command += ["--timeout", f"{SILENCE:g}", "--json", "--progress", "json"]
        self.command += ["--no-fsync"] if pull else ["--bwlimit", "64M"]

    def under_way(self, copying: Running) -> bool:
        """Whether 60 % are through."""
        assert not copying.ended, copying.err
        done = recorded(self.target.parent, "copy") * MIB if self._pull else sent(copying)
        return done >= self.SIZE * 0.6

    def cut(self) -> Finished:
        """Copies, kills the guest on the way, and gives what the host's command said."""
        with (
            serving_inside(self._guest, SERVED, self.root, "--allow", "vsock:2", "--timeout", "10"),
            Running(*self.command) as copying,
        ):
            eventually(lambda: self.under_way(copying), what="60 %", seconds=PATIENCE)
            self._guest.kill()
            return copying.finish(SILENCE + MARGIN)

    def complete(self, command: list[str]) -> Finished:
        """Boots the guest and runs the command of the message."""
        with Running(*command, "--wait", "60") as going_on:  # before there is a guest
            self._guest.boot()
            with serving_inside(self._guest, SERVED, self.root, *LET_IN):
                return copied(going_on.finish(PATIENCE))


@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_a_copy_is_completed_after_a_power_cut_of_the_guest(here: Path, pull: bool) -> None:
    require("guest")
    with Guest(memory="1G") as guest:
        copy = PowerCut(guest, here, pull=pull)
        first = copy.cut()
        assert first.code == 6, first.err
        assert first.result["ok"] is False
        assert first.resume_command == copy.command
        assert not copy.target.exists()
        done = copy.complete(first.resume_command)
        assert copy.target.read_bytes() == copy.source.read_bytes()
        assert copy.SIZE // 4 <= done.result["reused_bytes"] < copy.SIZE
        assert "reused" in done.err
        assert [path.name for path in copy.target.parent.glob(".*hvcopy*")] == []
        if not pull:
            assert_a_stream_notices_a_power_cut(guest)


def assert_a_stream_notices_a_power_cut(guest: Guest) -> None:
    """The host's end hears nothing more, ever, and an idle input is no reason to wait for it."""
    process = start_inside(guest, "pipe", "-l", SERVED, "--allow", "vsock:2")
    process.wait_output("listening on", PATIENCE)
    with Piped(f"hybrid:{guest.hybrid}:{PORT}", "-v", "--timeout", f"{SILENCE:g}") as idle:
        idle.send(b"the only line")
        idle.line("connected to")
        guest.kill()
        done = idle.finish(SILENCE + MARGIN)
    assert done.code == 6, done.err
    assert "nothing was heard from the peer for 3 s" in done.err
