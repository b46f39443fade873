"""Raw streams over real AF_VSOCK, in a kernel that was booted for it: `hvcopy forward` and `hvcopy nc`."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starting import HVCOPY
from talkers import need

from lanes.inside import PATIENCE, pytest_inside
from lanes.kernel import booted
from lanes.material import MIB, make_file
from lanes.parts import CHECKOUT, require
from lanes.uml import Kernel

PORT = 18518
SERVED, DIALED = f"vsock:any:{PORT}", f"vsock:local:{PORT}"
NC = shlex.join([*HVCOPY, "nc"])

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


def test_forward_passes_its_tests_on_real_vsock(kernel: Kernel, tmp_path: Path) -> None:
    passed = pytest_inside(kernel, tmp_path, "tests/e2e/test_forward.py", timeout=300)
    assert all(passed.values()), [name for name, did in passed.items() if not did]
    for route, least in {"unix-vsock": 3, "vsock-unix": 3, "tcp-vsock": 3, "vsock-tcp": 3, "vsock-vsock": 12}.items():
        assert sum(route in name for name in passed) >= least, (route, passed)


def test_nc_ends_when_its_table_says_so_on_real_vsock(kernel: Kernel, tmp_path: Path) -> None:
    need("ncat", "ncat")
    passed = pytest_inside(kernel, tmp_path, "tests/e2e/test_nc_parity.py", timeout=300)
    assert all(did for name, did in passed.items() if "[nc-" not in name), passed
    assert sum("vsock" in name and did for name, did in passed.items()) >= 20


class Partner:
    """Another tool's command lines, for one end of a vsock connection on CID 1."""

    def __init__(self, name: str) -> None:
        if name == "hvcopy":
            self.listens, self.dials = f"{NC} -N -l {SERVED} --allow vsock:1", f"{NC} --wait 30 {DIALED}"
        elif name == "ncat":
            ncat = need("ncat", "ncat")
            self.listens, self.dials = f"{ncat} --vsock -l {PORT}", f"{ncat} --vsock 1 {PORT}"
        else:
            socat = f"{need('socat', 'socat')} -t 20"  # without it, it gives up half a second after its own end
            self.listens, self.dials = f"{socat} VSOCK-LISTEN:{PORT} -", f"{socat} - VSOCK-CONNECT:1:{PORT}"


@pytest.mark.parametrize("hvcopy", ["listens", "dials"])
@pytest.mark.parametrize("partner", ["hvcopy", "socat", "ncat"])
def test_nc_and_its_partners_swap_streams(kernel: Kernel, here: Path, partner: str, hvcopy: str) -> None:
    there, back = make_file(here / "there", 5 * MIB + 3), make_file(here / "back", 4 * MIB + 1)
    ours, theirs = Partner("hvcopy"), Partner(partner)
    left = (ours if hvcopy == "listens" else theirs).listens
    right = (ours if hvcopy == "dials" else theirs).dials
    if (partner, hvcopy) != ("ncat", "dials"):  # a listening ncat ends with its peer's end, whatever it still has to say
        right = right.replace(NC, f"{NC} -N")
    listening = kernel.start(f"exec {left} < {there} > {here}/got-there")
    if hvcopy == "listens":
        listening.wait_output("listening on", PATIENCE)
    dialed = kernel.run(f"exec {right} < {back} > {here}/got-back", PATIENCE)
    assert (dialed.returncode, listening.wait(PATIENCE)) == (0, 0), dialed.stderr + listening.output()
    kernel.sync()
    assert (here / "got-there").read_bytes() == back.read_bytes()
    assert (here / "got-back").read_bytes() == there.read_bytes()


def test_tiny_writes_all_arrive(kernel: Kernel, here: Path) -> None:
    """libkrun#795: as packets of their own, enough of them make some kernels reset the connection."""
    tiny = f"{sys.executable} -c 'import os\nfor _ in range(20000): os.write(1, b\"tiny.\")'"
    listening = kernel.start(f"exec {NC} -l {SERVED} --allow vsock:1 --recv-only > {here}/got")
    listening.wait_output("listening on", PATIENCE)
    dialed = kernel.run(f"{tiny} | {NC} --send-only {DIALED}", PATIENCE)
    assert (dialed.returncode, listening.wait(PATIENCE)) == (0, 0), dialed.stderr + listening.output()
    kernel.sync()
    assert (here / "got").read_bytes() == b"tiny." * 20000
