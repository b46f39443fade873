"""docs/python.md: its examples do what they say, and it tells of every public name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import hvcopy

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
PROGRAM = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


def test_the_examples_run(tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "LICENSE").write_bytes(b"MIT")
    program = PROGRAM.replace("unix:/run", f"unix:{tmp_path}").replace('"/srv"', repr(str(tmp_path / "srv")))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=40, check=False
    )
    assert done.returncode == 0, done.stderr
    first, listed, failure, answer = done.stdout.splitlines()
    assert first == "1 files, 3 bytes, 0 failed"
    assert listed == "LICENSE f 3"
    assert "/none" in failure
    assert failure.endswith(" 10")
    assert answer == "b'QUESTION'"
    assert done.stderr == ""
    assert (tmp_path / "copy").read_bytes() == b"MIT"


def test_the_examples_use_public_names_only() -> None:
    assert set(re.findall(r"hvcopy\.(\w+)", PROGRAM)) <= set(hvcopy.__all__)
    assert set(re.findall(r"^(?:import|from) (\w+)", PROGRAM, re.MULTILINE)) == {"hvcopy", "os", "threading"}


@pytest.mark.parametrize("name", hvcopy.__all__)
def test_every_public_name_is_there_and_told_of(name: str) -> None:
    assert getattr(hvcopy, name) is not None
    assert name in dir(hvcopy)
    assert re.search(rf"`{name}\b|→ `{name}\b", PAGE)
