"""``hvcopy doctor`` on a genuine Windows CPython under Wine, with Wine's registry and the stand-in for AF_HYPERV."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from commands import Server
from findings import by_state, states
from peers import Listening, says

from hvcopy.address import port_to_service
from lanes.parts import CHECKOUT, require
from lanes.test_windows import MINOR, PYTHON
from lanes.windows import standin, wine
from lanes.windows.built import link_package

VMMS = r"SYSTEM\CurrentControlSet\Services\vmms"
GUEST = r"SOFTWARE\Microsoft\Virtual Machine\Guest\Parameters"
REGISTERED = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\Virtualization\GuestCommunicationServices"
WRITE = """
import sys, winreg
path, name, text = sys.argv[1:]
with winreg.CreateKeyEx(winreg.HKEY_LOCAL_MACHINE, path, 0, winreg.KEY_WRITE | winreg.KEY_WOW64_64KEY) as key:
    kind = winreg.REG_DWORD if text.isdigit() else winreg.REG_SZ
    winreg.SetValueEx(key, name, 0, kind, int(text) if text.isdigit() else text)
"""
REMOVE = """
import sys, winreg
winreg.DeleteKeyEx(winreg.HKEY_LOCAL_MACHINE, sys.argv[1], winreg.KEY_WOW64_64KEY)
"""
PORT = 18521
OF_WINDOWS = {"system.platform", "hyperv.build", "hyperv.python", "hyperv.rights", "tcp.loopback"}
OF_LINUX = {
    *(f"vsock.{what}" for what in ("kernel", "modules", "socket", "device", "cid", "to-host", "to-guests", "to-itself")),
    *("unix.socket", "hybrid"),
}

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("registry"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def bare() -> dict[str, str]:
    """The environment of Windows programs that have hvcopy."""
    require("windows")
    return {"PYTHONPATH": wine.windows_path(link_package(MINOR)), "PYTHONUTF8": "1"}


@pytest.fixture(scope="module")
def env(bare: dict[str, str]) -> dict[str, str]:
    """The same with AF_HYPERV."""
    return {**bare, **standin.environment(link_package(MINOR))}


@pytest.fixture
def host(bare: dict[str, str]) -> Iterator[None]:
    """A registry in which this is a host of Hyper-V."""
    yield from _keys(bare, [(VMMS, "Start", "3")])  # on demand, or Wine would try to start it


@pytest.fixture
def guest(bare: dict[str, str]) -> Iterator[None]:
    """A registry in which this is a guest of Hyper-V."""
    yield from _keys(bare, [(GUEST, "HostName", "HOST-7")])


def _keys(env: Mapping[str, str], keys: list[tuple[str, str, str]]) -> Iterator[None]:
    for key in keys:
        _python(env, WRITE, *key)
    yield
    for path, _, _ in keys:
        _python(env, REMOVE, path)


def _python(env: Mapping[str, str], script: str, *arguments: str) -> None:
    done = wine.run([PYTHON, "-P", "-c", script, *arguments], env=env)
    assert done.returncode == 0, done.stderr


def doctor(env: Mapping[str, str], *arguments: str, code: int) -> dict[str, dict[str, object]]:
    """The findings there, by id."""
    done: subprocess.CompletedProcess[str] = wine.run(
        [PYTHON, "-P", "-m", "hvcopy", "doctor", *arguments, "--json"], cwd=CHECKOUT, env=env
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return {one["id"]: one for one in json.loads(done.stdout)["findings"]}


def test_it_finds_what_wine_lacks(bare: dict[str, str]) -> None:
    found = doctor(bare, code=9)
    assert str(found["system.platform"]["what"]).startswith("Windows ")
    assert by_state(found) == {
        "ok": {"hyperv.services", *OF_WINDOWS},
        "fail": {"hyperv.socket", "hyperv.role", "way"},
        "not-applicable": {"hyperv.wsl", "hyperv.guest-services", *OF_LINUX},
    }
    assert "WSAEAFNOSUPPORT" in str(found["hyperv.socket"]["what"])


@pytest.mark.usefixtures("host")
def test_a_host_by_its_registry(env: dict[str, str]) -> None:
    found = doctor(env, code=0)
    assert found["hyperv.role"]["what"] == "a host of Hyper-V"
    assert by_state(found) == {
        "ok": {"hyperv.socket", "hyperv.role", "hyperv.services", "way", *OF_WINDOWS},
        "not-applicable": {"hyperv.wsl", "hyperv.guest-services", *OF_LINUX},
    }


@pytest.mark.usefixtures("guest")
def test_a_guest_by_its_registry(env: dict[str, str]) -> None:
    found = doctor(env, code=0)
    assert found["hyperv.role"]["what"] == "a guest of the Hyper-V host HOST-7"
    assert by_state(found) == {
        "ok": {"hyperv.socket", "hyperv.role", "hyperv.services", "hyperv.guest-services", "way", *OF_WINDOWS},
        "not-applicable": {"hyperv.wsl", *OF_LINUX},
    }


@pytest.mark.usefixtures("host")
def test_listening_for_vms_needs_the_registration(env: dict[str, str]) -> None:
    missing = doctor(env, "-l", f"hyperv:children:{PORT}", code=9)
    assert states(missing, "hyperv.services", "listen") == ["fail", "ok"]
    assert f"hvcopy service register {PORT}" in str(missing["hyperv.services"]["fix"])
    key = f"{REGISTERED}\\{port_to_service(PORT)}"
    _python(env, WRITE, key, "ElementName", "hvcopy test")
    try:
        found = doctor(env, "-l", f"hyperv:children:{PORT}", code=0)
    finally:
        _python(env, REMOVE, key)
    assert "hvcopy test" in str(found["hyperv.services"]["what"])


def test_listening_for_vms_where_there_can_be_none(env: dict[str, str]) -> None:
    found = doctor(env, "-l", f"hyperv:children:{PORT}", code=9)
    assert states(found, "hyperv.role", "listen") == ["fail", "ok"]


def test_what_was_not_needed_is_no_failure(env: dict[str, str], tmp_path: Path) -> None:
    with Server("tcp:127.0.0.1:0", tmp_path, "--open") as server:
        found = doctor(env, f"hyperv:parent:{server.address.rpartition(':')[2]}", code=0)
    assert states(found, "hyperv.role", "access") == ["warn", "ok"]


def test_it_gets_through_to_a_server_on_linux(env: dict[str, str], tmp_path: Path) -> None:
    with Server("tcp:127.0.0.1:0", tmp_path, "--open") as server:
        port = server.address.rpartition(":")[2]
        found = doctor(env, f"hyperv:loopback:{port}", code=0)
    assert states(found, "lookup", "connect", "greeting", "version", "access") == ["ok"] * 5
    assert port_to_service(int(port)) in str(found["lookup"]["what"])


def test_nobody_and_a_stranger(env: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    nobody = doctor(env, f"hyperv:loopback:{port}", code=4)
    assert states(nobody, "lookup", "connect", "greeting") == ["ok", "fail", "unknown"]
    with Listening("tcp:127.0.0.1:0", says(b"SSH-2.0-OpenSSH_9.6\r\n")) as stranger:
        port = stranger.address.rpartition(":")[2]
        found = doctor(env, f"hyperv:loopback:{port}", code=7)
    assert states(found, "connect", "greeting", "version") == ["ok", "fail", "unknown"]


@pytest.mark.parametrize("address", ["unix:C%3A/s", "vsock:host:18518", "hyperv:children:18518"])
def test_addresses_that_are_not_for_this_are_2(env: dict[str, str], address: str) -> None:
    found = doctor(env, address, code=2)
    assert "fail" in states(found, *found)
