"""``hvcopy vms`` as a process, among processes that look like VMMs and beside a program that is called virsh."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from commands import Finished, Running, eventually, run
from programs import HANGS, is_over, process_called, program, says

WEB = "aaaaaaaa-1111-2222-3333-444455556666"
DOMAIN = f"<domain><name>web</name><uuid>{WEB}</uuid><devices><vsock><cid address='700001'/></vsock></devices></domain>"
STATS = "Domain: 'web'\n  state.state=1\n  state.reason=1\n\n"
KEYS = {"schema", "command", "ok", "exit_code", "vms", "failures"}
ENTRY = {"kind", "name", "id", "pid", "state", "address", "note"}
Vms = Callable[..., Finished]


@pytest.fixture
def vms(tmp_path: Path) -> Vms:
    """Run ``hvcopy vms`` with nothing on its PATH but what the test puts into ``bin``."""
    (tmp_path / "bin").mkdir()
    return lambda *options: run("vms", *options, env={"PATH": str(tmp_path / "bin"), "LIBVIRT_DEFAULT_URI": ""})


@pytest.fixture
def virsh(tmp_path: Path) -> Callable[[str], Path]:
    return lambda body: program(tmp_path / "bin/virsh", body)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a name short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="vm", dir="/tmp") as name:
        yield Path(name)


def mine(found: Finished, *pids: int) -> list[dict[str, Any]]:
    """Return of the VMs in the object only libvirt's and those of *pids*: the machine may run others."""
    return [one for one in found.result["vms"] if one["kind"] == "libvirt" or one["pid"] in pids]


def test_every_kind_is_listed_with_its_address(
    vms: Vms, virsh: Callable[[str], Path], folder: Path, processes: ExitStack
) -> None:
    virsh(f'case "$*" in *domstats*) {says(STATS)};; *list*) {says(WEB)};; *) {says(DOMAIN)};; esac')
    (folder / "c").write_text(json.dumps({"vsock": {"uds_path": "v.sock"}}))
    same, qemu, fire, cloud, lacking = (
        processes.enter_context(process_called(*words, cwd=folder))
        for words in (
            ["qemu-system-x86_64", "-uuid", WEB, "-device", "vhost-vsock-pci,guest-cid=700001"],
            ["qemu-system-aarch64", "-name", "guest=db\x1b[2J", "-device", "vhost-vsock-pci,guest-cid=700002"],
            ["firecracker", "--id", "fc-1", "--no-api", "--config-file", "c"],
            ["cloud-hypervisor", "--vsock", "cid=3,socket=/run/ch.sock"],
            ["kvm"],
        )
    )
    done = vms("--json")
    assert (done.code, done.err) == (0, "")
    assert set(done.result) == KEYS
    assert (done.result["command"], done.result["schema"], done.result["ok"]) == ("vms", 1, True)
    found = mine(done, same, qemu, fire, cloud, lacking)
    assert all(set(one) == ENTRY for one in found)
    assert [(one["kind"], one["name"], one["id"], one["pid"], one["state"], one["address"]) for one in found] == [
        ("libvirt", "web", WEB, None, "running", "vsock:700001:18518"),
        ("qemu", "db\\x1b[2J", "", qemu, "running", "vsock:700002:18518"),
        ("qemu", f"qemu-{lacking}", "", lacking, "running", None),
        ("firecracker", "fc-1", "", fire, "running", f"hybrid:{folder}/v.sock:18518"),
        ("cloud-hypervisor", f"cloud-hypervisor-{cloud}", "", cloud, "running", "hybrid:/run/ch.sock:18518"),
    ]
    text = vms()
    assert (text.code, text.err) == (0, "")
    assert "\x1b" not in text.out
    lines = [line.split() for line in text.out.splitlines()]
    assert ["web", "running", "vsock:700001:18518", WEB, "libvirt"] in lines
    assert ["db\\x1b[2J", "running", "vsock:700002:18518", "-", "QEMU,", "process", str(qemu)] in lines
    after = text.out.splitlines()[
        lines.index([f"qemu-{lacking}", "running", "-", "-", "QEMU,", "process", str(lacking)]) + 1
    ]
    assert "-device vhost-vsock-pci,guest-cid=3" in after


@pytest.mark.parametrize(
    ("body", "options", "code", "words"),
    [
        (
            HANGS,
            ["--timeout", "0.3"],
            5,
            "virsh did not answer within 0.3 s; try again, or allow it more: --timeout 60",
        ),
        (
            says("", code=1, err="error: authentication failed"),
            [],
            9,
            "see what it says: virsh" if os.geteuid() == 0 else "sudo hvcopy vms",
        ),
        (says("junk"), [], 10, "virsh's answer makes no sense: junk; see what it says: virsh domstats --state"),
    ],
)
def test_a_source_that_fails_is_told_and_the_others_are_listed(
    vms: Vms, virsh: Callable[[str], Path], body: str, options: list[str], code: int, words: str
) -> None:
    virsh(body)
    with process_called("qemu-system-x86_64", "-device", "vhost-vsock-pci,guest-cid=700003") as pid:
        done = vms("--json", *options)
        assert done.code == code
        assert words in done.err
        assert [one["address"] for one in mine(done, pid)] == ["vsock:700003:18518"]
        assert (done.result["ok"], [one["code"] for one in done.result["failures"]]) == (False, [code])
        assert "vsock:700003:18518" in vms(*options).out


def test_nothing_is_remembered(vms: Vms) -> None:
    with process_called("kvm", "-device", "vhost-vsock-pci,guest-cid=700004") as pid:
        assert [one["pid"] for one in mine(vms("--json"), pid)] == [pid]
    assert mine(vms("--json"), pid) == []


@pytest.mark.parametrize("options", [["--timeout", "0"], ["--timeout", "x"], ["more"]])
def test_nonsense_is_2(vms: Vms, options: list[str]) -> None:
    done = vms(*options)
    assert (done.code, done.out) == (2, "")
    assert done.err.strip()


def test_a_ctrl_c_while_a_program_is_being_started_ends_that_too(virsh: Callable[[str], Path], tmp_path: Path) -> None:
    preloaded, started = tmp_path / "interrupted_exec.so", tmp_path / "started"
    source = Path(__file__).with_name("interrupted_exec.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", preloaded, source, "-ldl"], check=True, timeout=60)
    virsh(HANGS)
    env = {"PATH": str(tmp_path / "bin"), "LD_PRELOAD": str(preloaded), "STARTED": str(started)}
    done = run("vms", env=env)
    assert done.code == 130
    eventually(lambda: is_over(int(started.read_text())), what="the end of virsh")


def test_a_ctrl_c_ends_it_and_what_it_asks(vms: Vms, virsh: Callable[[str], Path], tmp_path: Path) -> None:
    virsh(f"echo $$ > {tmp_path}/pid.new; /bin/mv {tmp_path}/pid.new {tmp_path}/pid; {HANGS}")
    with Running("vms", env={"PATH": str(tmp_path / "bin")}) as running:
        eventually((tmp_path / "pid").exists, what="virsh to be asked")
        running.signal(signal.SIGINT)
        done = running.finish()
    assert done.code == 130
    pid = int((tmp_path / "pid").read_text())
    eventually(lambda: is_over(pid), what="the end of virsh")
