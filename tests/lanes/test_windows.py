"""hvcopy on Windows: a genuine Windows CPython under Wine, the core cross-compiled, see windows/."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from lanes.parts import CHECKOUT, require
from lanes.windows import wine
from lanes.windows.built import build_wheel, link_package
from lanes.windows.made import RECIPES

MINOR = "3.12"
PYTHON = RECIPES[MINOR].python
PURE = ["tests/golden", "tests/property/test_address.py", "tests/property/test_names.py", "tests/property/test_units.py"]
PURE += [f"tests/unit/test_{name}.py" for name in ("address", "digests", "errors", "frames", "messages", "names", "units")]

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("windows"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def package() -> Path:
    """The folder with hvcopy as Windows has it."""
    require("windows")
    return link_package(MINOR)


def run_tests(env: Mapping[str, str], tests: Sequence[str], report: Path) -> dict[str, bool]:
    """Runs tests there, which must all pass or say why they are skipped; gives for each whether it ran."""
    options = ["-q", "-p", "no:cacheprovider", f"--junitxml={wine.windows_path(report)}"]
    argv = [PYTHON, "-P", "-m", "pytest", *options, *tests]
    done = wine.run(argv, cwd=CHECKOUT, env=env, timeout=280)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    cases = ElementTree.parse(report).getroot().iter("testcase")
    return {f"{case.get('classname')}.{case.get('name')}": case.find("skipped") is None for case in cases}


def test_the_core_is_a_windows_module_of_the_stable_abi(package: Path) -> None:
    script = "import sys; from hvcopy import _core; print(sys.platform, _core.__file__, _core.Meter().moved)"
    done = wine.run([PYTHON, "-P", "-c", script], env={"PYTHONPATH": wine.windows_path(package)})
    assert (done.returncode, done.stdout.split()) == (0, ["win32", wine.windows_path(package / "hvcopy/_core.pyd"), "0"])
    imported = (package / "hvcopy/_core.pyd").read_bytes()
    assert b"python3.dll" in imported
    assert b"python312.dll" not in imported
    assert b"libgcc" not in imported


def test_what_is_pure_is_the_same_there(package: Path, tmp_path: Path) -> None:
    ran = run_tests({"PYTHONPATH": wine.windows_path(package)}, PURE, tmp_path / "report.xml")
    assert all(ran.values()), [name for name, did in ran.items() if not did]
    assert len(ran) > 300


def test_the_wheel_installs_and_its_command_runs(tmp_path: Path) -> None:
    wheel = build_wheel(MINOR)
    assert wheel.name.endswith("-cp311-abi3-win_amd64.whl")
    target = tmp_path / "installed"
    pip = [PYTHON, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", wine.windows_path(target)]
    installed = wine.run([*pip, wine.windows_path(wheel)], timeout=120)
    assert installed.returncode == 0, installed.stderr
    env = {"PYTHONPATH": wine.windows_path(target), "PYTHONUTF8": "1"}
    done = wine.run([target / "bin" / "hvcopy.exe", "--version"], env=env, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.split()[-1] in wheel.name
