"""bench/run.py, the comparison with other tools: one small scenario, and what is written of it."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).resolve().parents[2] / "bench" / "run.py"
SIZE, ROUNDS = 1 << 20, 2

pytestmark = pytest.mark.timeout(300)  # a compiler and some 30 programs, one after the other


@dataclass(frozen=True)
class Measured:
    """What one run left behind."""

    folder: Path
    said: str

    def __getitem__(self, name: str) -> Any:
        return json.loads((self.folder / "r.json").read_text())[name]

    @property
    def tables(self) -> str:
        return (self.folder / "latest.md").read_text()


def bench(folder: Path, *arguments: object) -> str:
    """Run it, which must end well, with its files in *folder*; returns what it said meanwhile."""
    command = [sys.executable, str(RUN), *map(str, arguments), "--out", str(folder / "r.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    if not (shutil.which("cc") or shutil.which("gcc")):
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("bench")
    return Measured(folder, bench(folder, "pipe-file", "--size", SIZE, "--rounds", ROUNDS))


def test_every_tool_is_measured_in_every_round(measured: Measured) -> None:
    (scenario,) = measured["scenarios"]
    assert (scenario["name"], scenario["skipped"]) == ("pipe-file", None)
    names = [one["name"] for one in scenario["series"]]
    assert names[0] == "hvcopy pipe"
    assert "floor" in names
    for one in scenario["series"]:
        assert (one["error"], one["bytes"]) == (None, SIZE), one
        assert len(one["samples"]) == len(one["one_byte_seconds"]) == ROUNDS
        assert all(0 < sample["seconds"] < 60 for sample in one["samples"])


def test_tools_take_turns_and_every_other_round_is_in_reversed_order(measured: Measured) -> None:
    order = [one["name"] for one in measured["scenarios"][0]["series"]]
    turns = re.findall(r"^pipe-file: (warm-up|round \d)\S*: (.+?): \d", measured.said, re.MULTILINE)
    assert turns == [
        *(("warm-up", name) for name in order),
        *(("round 1", name) for name in order),
        *(("round 2", name) for name in reversed(order)),
    ]


def test_results_name_the_machine_and_every_version_and_nobody(measured: Measured) -> None:
    facts, text = measured["machine"], measured.tables
    assert re.fullmatch(r"\d+ x .+", facts["cpu"])
    assert re.fullmatch(r"Linux \d+\.\d+.*", facts["kernel"])
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    for name, version in {"hvcopy": facts["hvcopy"], **facts["peers"]}.items():
        assert re.fullmatch(r"\d+(\.\d+)+.*", version), name
    for fact in ("cpu", "kernel", "python", "hvcopy", "memory", "date"):
        assert f"- {fact}: {facts[fact]}\n" in text
    assert str(measured.folder) not in text + json.dumps(facts)


def test_tables_have_medians_and_spreads_of_the_times_that_are_stored(measured: Measured) -> None:
    for one in measured["scenarios"][0]["series"]:
        times = [sample["seconds"] for sample in one["samples"]]
        spread = f"{statistics.median(times):.3f} ({min(times):.3f}-{max(times):.3f})"
        assert f"| {one['name']} | 1.0 | {spread} |" in measured.tables
    ratio = r"\| hvcopy pipe \| floor \| \d+\.\d\d \(\d+\.\d\d-\d+\.\d\d\) \|.*\| >= 0\.9 \|"
    assert re.search(ratio, measured.tables)


def test_ratios_are_drawn(measured: Measured) -> None:
    pytest.importorskip("matplotlib")
    assert "(latest.svg)" in measured.tables
    picture = ElementTree.parse(measured.folder / "latest.svg").getroot()
    assert picture.tag.endswith("svg")
    assert len(picture.findall(".//{*}path")) > 10


def test_tables_can_be_written_again_without_measuring(measured: Measured) -> None:
    before = measured.tables
    (measured.folder / "latest.md").unlink()
    assert "round" not in bench(measured.folder, "--report")
    assert measured.tables == before
