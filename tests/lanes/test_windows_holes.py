"""Files with holes on Windows, as NTFS has them: by the stand-in of holes.c, since Wine makes none and tells of none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import commands
import pytest

from lanes.parts import require
from lanes.test_windows import MINOR, PYTHON
from lanes.test_windows_hyperv import MIB, OverHyperv
from lanes.windows import standin, wine
from lanes.windows.built import link_package

PIECES = [(2 * MIB, MIB), (20 * MIB, 3 * MIB + 7)]
SIZE = 40 * MIB
ASK = """
import json, os, sys
from hvcopy import _core as core
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_BINARY)
core.set_size(fd, 7, False)
core.set_size(fd, int(sys.argv[2]), True)
print(json.dumps([core.next_piece(fd, int(at), int(sys.argv[2])) for at in sys.argv[3:]]))
"""

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("windows"), pytest.mark.timeout(300)]


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """The file that the stand-in writes down in what it was asked."""
    return tmp_path / "asked"


@pytest.fixture
def holes(asked: Path) -> dict[str, str]:
    """What has every file of a Windows program consist of PIECES."""
    require("windows")
    told = " ".join(f"{offset}+{length}" for offset, length in PIECES)
    env = standin.environment(link_package(MINOR))
    return env | {"HVCOPY_HV_HOLES": told, "HVCOPY_HV_HOLES_ASKED": wine.windows_path(asked)}


def test_the_core_asks_windows_for_holes_and_where_they_are(holes: dict[str, str], asked: Path, tmp_path: Path) -> None:
    (first, length), (second, rest) = PIECES
    places = [0, first + 5, first + length, second + rest, SIZE]
    argv = [PYTHON, "-P", "-c", ASK, wine.windows_path(tmp_path / "f"), str(SIZE), *map(str, places)]
    done = wine.run(argv, env=holes)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        [first, first + length],
        [first + 5, first + length],
        [second, second + rest],
        [SIZE, SIZE],
        [SIZE, SIZE],
    ]
    assert asked.read_text().splitlines() == ["set sparse", *(f"query {at} {SIZE}" for at in places)]
    assert (tmp_path / "f").stat().st_size == SIZE


def test_what_windows_says_is_a_hole_is_neither_read_nor_sent(holes: dict[str, str], asked: Path, tmp_path: Path) -> None:
    source, root = tmp_path / "disk", tmp_path / "root"
    root.mkdir()
    written = os.urandom(SIZE)  # NTFS would give zeros; that these bytes do not arrive shows that nobody looked
    source.write_bytes(written)
    with commands.serving("tcp:127.0.0.1:0", root, "--open") as server:
        port = server.address.rpartition(":")[2]
        OverHyperv(holes, tmp_path).run("cp", source, f"hyperv:parent:{port}", "--no-fsync")
    arrived = (root / "disk").read_bytes()
    assert len(arrived) == SIZE
    for offset, length in PIECES:
        first, last = -(-offset // MIB), (offset + length) // MIB  # of whole blocks it is known
        assert arrived[first * MIB : last * MIB] == written[first * MIB : last * MIB]
    assert not any(arrived[3 * MIB : 20 * MIB])
    assert not any(arrived[24 * MIB :])
    assert (root / "disk").stat().st_blocks * 512 <= 8 * MIB
    assert f"query 0 {SIZE}" in asked.read_text()


def test_a_file_that_is_sparse_on_linux_is_made_so_on_windows(holes: dict[str, str], asked: Path, tmp_path: Path) -> None:
    root, got = tmp_path / "root", tmp_path / "got"
    root.mkdir()
    with (root / "disk").open("wb") as file:
        file.truncate(SIZE)
        for offset, length in PIECES:
            file.seek(offset)
            file.write(os.urandom(length))
    with commands.serving("tcp:127.0.0.1:0", root, "--open") as server:
        port = server.address.rpartition(":")[2]
        OverHyperv(holes, tmp_path).run("cp", f"hyperv:parent:{port}:/disk", got, "--no-fsync")
    assert got.read_bytes() == (root / "disk").read_bytes()
    assert "set sparse" in asked.read_text()
    assert got.stat().st_blocks * 512 <= 8 * MIB  # nothing was written where the holes are
