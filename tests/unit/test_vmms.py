"""VMs found by processes that look like QEMU, Firecracker, Cloud Hypervisor and vhost-device-vsock to /proc."""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from commands import eventually
from programs import process_called, vmm_called

from hvcopy.machines import qemu, vmms
from hvcopy.machines.machine import Machine
from hvcopy.machines.processes import all_processes, fields

ID = "aaaaaaaa-1111-2222-3333-444455556666"
SECONDS = 20.0


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what a test started."""
    with ExitStack() as entered:
        yield entered


@pytest.fixture
def short(stack: ExitStack) -> Path:
    """A folder with a name short enough for sockets."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vm", dir="/tmp")))


@pytest.fixture
def vmm(stack: ExitStack, tmp_path: Path) -> Callable[..., Machine]:
    """Start a process that looks like a VMM, with a plan when it has an API; return what is found of it."""

    def start(*words: object, cwd: Path | None = None, seconds: float = SECONDS, **plan: Any) -> Machine:
        if plan:
            (tmp_path / "plan").write_text(json.dumps(plan))
            pid = stack.enter_context(vmm_called(*words, plan=tmp_path / "plan", cwd=cwd))
        else:
            pid = stack.enter_context(process_called(*words, cwd=cwd))
        (found,) = (one for one in vmms.find(all_processes(), seconds) if one.pid == pid)
        return found

    return start


def of(pid: int) -> Machine:
    """Return the QEMU that is process *pid*."""
    (found,) = (one for one in qemu.find(all_processes()) if one.pid == pid)
    return found


# ---- QEMU


@pytest.mark.parametrize(
    ("words", "name", "address"),
    [
        (
            ["-name", "guest=web,debug-threads=on", "-device", "vhost-vsock-pci,id=v,guest-cid=7"],
            "web",
            "vsock:7:18518",
        ),
        (["-name", "web", "-device", "vhost-vsock-pci,guest-cid=0x10"], "web", "vsock:16:18518"),
        (["-name", "a,,b,process=x", "--device", "driver=vhost-vsock-device,guest-cid=3"], "a,b", "vsock:3:18518"),
        (["-device", '{"driver":"vhost-vsock-ccw","guest-cid":9,"id":"v"}'], "", "vsock:9:18518"),
        (
            ["-device", "virtio-net", "-device", "vhost-vsock-pci-non-transitional,guest-cid=4294967294"],
            "",
            "vsock:4294967294:18518",
        ),
    ],
)
@pytest.mark.parametrize("program", ["/usr/bin/qemu-system-x86_64", "qemu-kvm", "kvm"])
def test_qemu_tells_its_name_and_cid_in_each_way_of_writing(
    program: str, words: list[str], name: str, address: str
) -> None:
    with process_called(program, *words) as pid:
        found = of(pid)
    assert (found.kind, found.name, found.state, str(found.address)) == (
        "qemu",
        name or f"qemu-{pid}",
        "running",
        address,
    )
    assert found.note == ""


@pytest.mark.parametrize(
    ("words", "note"),
    [
        ([], "no vsock device"),
        (["-device"], "no vsock device"),
        (["-device", "{"], "no vsock device"),
        (["-device", "[" * 5000], "no vsock device"),
        (["-device", "vhost-vsock-pci"], "no guest can have its CID"),
        (["-device", "vhost-vsock-pci,guest-cid=x"], "no guest can have its CID 'x'"),
        (["-device", "vhost-vsock-pci,guest-cid=2"], "no guest can have its CID '2'"),
        (["-device", "vhost-vsock-pci,guest-cid=4294967295"], "no guest can have its CID 'any'"),
        (["-device", "vhost-vsock-pci,guest-cid=0xffffffff"], "no guest can have its CID 'any'"),
        (["-device", "{\"driver\": \"vhost-vsock-pci\", \"guest-cid\": 4294967295}"], "no guest can have its CID 'any'"),
        (["-device", "vhost-user-vsock-pci,chardev=c"], "vhost-device-vsock"),
    ],
)
def test_qemu_without_a_cid_says_what_it_lacks(words: list[str], note: str) -> None:
    with process_called("qemu-system-x86_64", *words, "-uuid", ID.upper()) as pid:
        found = of(pid)
    assert found.address is None
    assert note in found.note
    assert found.id == ID
    assert "4294967295" not in found.note


def test_a_stopped_process_is_stopped() -> None:
    with process_called("qemu-system-x86_64") as pid:
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: of(pid).state == "stopped", what="the process to be stopped")


def test_what_is_not_qemu_is_none_of_its_vms(stack: ExitStack) -> None:
    pids = {stack.enter_context(process_called(name)) for name in ("qemu-img", "qemu-system-x86_64-not", "sh", " ")}
    assert not pids & {one.pid for one in qemu.find(all_processes())}


def test_fields_are_read_as_qemu_does() -> None:
    assert fields("a=1,b,c=x,,y=z") == {"a": "1", "b": "", "c": "x,y=z"}
    assert fields("") == {"": ""}


# ---- Firecracker


def test_firecracker_tells_its_id_state_and_socket(vmm: Callable[..., Machine], short: Path) -> None:
    answers = {"/": {"id": "x", "state": "Paused"}, "/vm/config": {"vsock": {"guest_cid": 3, "uds_path": "./v.sock"}}}
    found = vmm("/opt/firecracker", "--api-sock", "a.sock", "--id=fc-1", cwd=short, socket="a.sock", answers=answers)
    assert (found.kind, found.name, found.state, found.note) == ("firecracker", "fc-1", "paused", "")
    assert str(found.address) == f"hybrid:{short}/v.sock:18518"


def test_firecracker_without_an_api_is_known_by_its_configuration(vmm: Callable[..., Machine], short: Path) -> None:
    (short / "c.json").write_text(json.dumps({"vsock": {"guest_cid": 3, "uds_path": str(short / "v.sock")}}))
    found = vmm("firecracker-v1.7.0-x86_64", "--no-api", "--config-file", "c.json", cwd=short)
    assert (found.state, str(found.address)) == ("running", f"hybrid:{short}/v.sock:18518")
    assert found.name == f"firecracker-{found.pid}"


@pytest.mark.parametrize(
    "content", [None, "", "{", "[]", '{"vsock": 5}', '{"vsock": {"uds_path": 5}}', '{"vsock": null}', "[" * 100_000]
)
@pytest.mark.parametrize("user", [0, 1000])
def test_a_configuration_without_a_socket_says_what_it_lacks(
    vmm: Callable[..., Machine], short: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, user: int
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    if content is not None:
        (short / "c.json").write_text(content)
    found = vmm("firecracker", "--no-api", "--config-file", short / "c.json")
    assert found.address is None
    assert ("uds_path" if content is not None else "neither its API nor its configuration") in found.note
    assert ("sudo hvcopy vms" in found.note) == (content is None and user != 0)


def test_a_configuration_that_is_no_file_is_not_opened(vmm: Callable[..., Machine], short: Path) -> None:
    os.mkfifo(short / "fifo")
    assert vmm("firecracker", "--no-api", "--config-file", short / "fifo").address is None
    assert vmm("firecracker", "--no-api", "--config-file", "/dev/zero").address is None


@pytest.mark.parametrize(
    "plan",
    [
        {"answers": {"/": "junk"}},
        {"answers": {"/": []}},
        {"answers": {"/": "[" * 100_000}},
        {"answers": {"/": "x" * (2 << 20)}},
        {"answers": {}},
        {"answers": {"/": {"state": "Running"}}, "status": 500},
    ],
)
def test_an_api_that_answers_nonsense_is_passed_over(
    vmm: Callable[..., Machine], short: Path, plan: dict[str, Any]
) -> None:
    (short / "c.json").write_text(json.dumps({"vsock": {"uds_path": "/v.sock"}}))
    words = ["firecracker", "--api-sock", short / "a", "--config-file", short / "c.json"]
    assert str(vmm(*words, socket=str(short / "a"), **plan).address) == "hybrid:/v.sock:18518"


def test_an_api_that_is_silent_is_passed_over_in_time(vmm: Callable[..., Machine], short: Path) -> None:
    found = vmm("firecracker", "--api-sock", short / "a", seconds=0.3, socket=str(short / "a"), silent=True)
    assert (found.state, found.address) == ("running", None)
    assert "neither its API nor its configuration" in found.note
    found = vmm("cloud-hypervisor", f"--api-socket={short}/b", seconds=0.3, socket=str(short / "b"), silent=True)
    assert "neither its API nor its configuration" in found.note


def test_an_api_that_drips_its_answer_is_passed_over_in_time(vmm: Callable[..., Machine], short: Path) -> None:
    """Each byte comes long before one wait is over; the head of the answer would take half a minute."""
    plan = {"socket": str(short / "a"), "drip": 0.3, "answers": {"/": {"state": "Paused"}}}
    began = time.monotonic()
    found = vmm("firecracker", "--api-sock", short / "a", seconds=1, **plan)
    assert time.monotonic() - began < 10
    assert (found.state, found.address) == ("running", None)
    assert "neither its API nor its configuration" in found.note


def test_nothing_is_sent_to_the_socket_of_another_process(vmm: Callable[..., Machine], short: Path) -> None:
    """Whoever starts a process that is called firecracker could have root's hvcopy talk to any socket."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(short / "a"))
        other.listen()
        vmm("firecracker", "--api-sock", short / "a")
        other.settimeout(SECONDS)
        accepted, _ = other.accept()
        with accepted:
            accepted.settimeout(SECONDS)
            assert accepted.recv(1) == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the root of a process")
def test_a_jailed_firecracker_is_reached_by_the_path_from_here(vmm: Callable[..., Machine], short: Path) -> None:
    answers = {"/": {"state": "Running"}, "/vm/config": {"vsock": {"uds_path": "/run/v.sock"}}}
    found = vmm("firecracker", "--api-sock", "/a", chroot=str(short), socket="/a", answers=answers)
    assert str(found.address) == f"hybrid:{short}/run/v.sock:18518"


def test_a_socket_with_too_long_a_path_has_no_address(vmm: Callable[..., Machine], short: Path) -> None:
    (short / "c.json").write_text(json.dumps({"vsock": {"uds_path": "/" + "x" * 200}}))
    found = vmm("firecracker", "--no-api", "--config-file", short / "c.json")
    assert found.address is None
    assert "shorter path" in found.note


# ---- Cloud Hypervisor, vhost-device-vsock


@pytest.mark.parametrize("option", ["path={}", "{}"])
def test_cloud_hypervisor_tells_its_state_and_socket(vmm: Callable[..., Machine], short: Path, option: str) -> None:
    answers = {"/api/v1/vm.info": {"state": "Shutdown", "config": {"vsock": {"cid": 3, "socket": "/run/ch.sock"}}}}
    words = ["cloud-hypervisor", "--api-socket", option.format(short / "a")]
    found = vmm(*words, socket=str(short / "a"), answers=answers)
    assert (found.kind, found.state, str(found.address)) == ("cloud-hypervisor", "off", "hybrid:/run/ch.sock:18518")


def test_cloud_hypervisor_without_an_api_is_known_by_its_command_line(vmm: Callable[..., Machine], short: Path) -> None:
    found = vmm("cloud-hypervisor", "--vsock", "cid=3,socket=ch.sock", "--api-socket", "fd=3", cwd=short)
    assert str(found.address) == f"hybrid:{short}/ch.sock:18518"
    none = vmm("cloud-hypervisor-static")
    assert "--vsock cid=3,socket=PATH" in none.note


def test_vhost_device_vsock_serves_several_guests() -> None:
    words = [
        "--vm",
        "guest-cid=4,uds-path=/a,socket=/b",
        "--vm=guest-cid=5,uds-path=/c",
        "--vm",
        "guest-cid=6,forward-cid=1",
    ]
    with process_called("vhost-device-vsock", *words) as pid:
        found = [one for one in vmms.find(all_processes(), SECONDS) if one.pid == pid]
    assert [(one.name, str(one.address or "-")) for one in found] == [
        ("cid-4", "hybrid:/a:18518"),
        ("cid-6", "-"),
        ("cid-5", "hybrid:/c:18518"),
    ]
    with process_called("vhost-device-vsock", "--guest-cid=4294967295", "--uds-path", "/d", "--socket", "/e") as pid:
        (one,) = (one for one in vmms.find(all_processes(), SECONDS) if one.pid == pid)
    assert (one.name, str(one.address)) == ("cid-any", "hybrid:/d:18518")
    with process_called("vhost-device-vsock", "--guest-cid=8", "--uds-path", "/d", "--socket", "/e") as pid:
        (one,) = (one for one in vmms.find(all_processes(), SECONDS) if one.pid == pid)
    assert (one.name, str(one.address)) == ("cid-8", "hybrid:/d:18518")


@pytest.mark.parametrize(
    ("words", "name", "note"),
    [
        (["--guest-cid=8", "--forward-cid=1", "--socket=/e"], "cid-8", "forwards to AF_VSOCK"),
        (["--config", "/etc/guests.yaml"], "vhost-device-vsock-", "uds_path of each, stand in /etc/guests.yaml"),
    ],
)
def test_vhost_device_vsock_without_a_socket_says_why(words: list[str], name: str, note: str) -> None:
    with process_called("vhost-device-vsock", *words) as pid:
        (one,) = (one for one in vmms.find(all_processes(), SECONDS) if one.pid == pid)
    assert one.name.startswith(name)
    assert one.address is None
    assert note in one.note


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look with another user's eyes")
def test_what_belongs_to_another_user_is_listed_without_guesses(short: Path, stack: ExitStack) -> None:
    (short / "c.json").write_text("{}")
    short.chmod(0o755)
    pids = [
        stack.enter_context(process_called(*words, cwd=short))
        for words in (
            ["firecracker", "--no-api", "--config-file", "c.json"],
            ["cloud-hypervisor", "--vsock", "cid=3,socket=ch.sock"],
            ["cloud-hypervisor", "--vsock", f"cid=3,socket={short}/c.json"],
            ["qemu-kvm", "-device", "vhost-vsock-pci,guest-cid=9"],
        )
    ]

    os.seteuid(65534)
    try:
        processes = [one for one in all_processes() if one.pid in pids]
        found = [(str(one.address or "-"), one.note) for one in (*vmms.find(processes, SECONDS), *qemu.find(processes))]
    finally:
        os.seteuid(0)
    (fire, relative, absolute, qemu_pci) = found
    assert (fire[0], "sudo hvcopy vms" in fire[1]) == ("-", True)
    assert (relative[0], "sudo hvcopy vms" in relative[1]) == ("-", True)
    assert absolute == (f"hybrid:{short}/c.json:18518", "")
    assert qemu_pci == ("vsock:9:18518", "")
