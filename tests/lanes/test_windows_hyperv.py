"""``hyperv:`` under Wine, over the stand-in for AF_HYPERV; and with a Linux process at the other end."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lanes.parts import CHECKOUT, require
from lanes.test_windows import MINOR, PYTHON, run_tests
from lanes.windows import standin, wine
from lanes.windows.built import link_package

TALK = standin.HERE / "talk.py"
SIZE = 32 << 20

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("windows"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def env() -> dict[str, str]:
    """The environment of Windows programs that have hvcopy and the stand-in."""
    require("windows")
    return standin.environment(link_package(MINOR))


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_the_transport_conforms_and_fails_as_it_says(env: dict[str, str], tmp_path: Path) -> None:
    # cancel_ends...: the core sets the errno of another C runtime than Python's, so a cancelled call looks like a lost connection
    ran = run_tests(env, ["tests/transport/test_hyperv.py", "-k", "not cancel_ends"], tmp_path / "report.xml")
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
