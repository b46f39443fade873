"""With which flags a process receives: AF_VSOCK fails MSG_WAITALL of a length that reaches the buffer (docs/transports.md)."""

from __future__ import annotations

import socket
import struct
import subprocess
from pathlib import Path

import pytest
from commands import Running, Server, run
from peers import connect

from e2e.trees import MIB, noise, write


@pytest.fixture
def preloaded(tmp_path: Path) -> dict[str, str]:
    """An environment whose processes tell of their receives in ``FLAGS``."""
    library, flags = tmp_path / "receive_flags.so", tmp_path / "flags"
    source = Path(__file__).with_name("receive_flags.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source, "-ldl"], check=True, timeout=60)
    flags.write_bytes(bytes(8))
    return {"LD_PRELOAD": str(library), "FLAGS": str(flags)}


def test_nothing_that_hvcopy_receives_is_asked_for_with_waitall(
    preloaded: dict[str, str], tmp_path: Path, root: Path, here: Path
) -> None:
    large = write(here / "large", noise(4 * MIB))
    with Server(f"unix:{tmp_path}/s", root, "--no-fsync", env=preloaded):
        assert run("cp", "--no-fsync", large, f"unix:{tmp_path}/s:/large", env=preloaded).code == 0
        assert run("cp", "--no-fsync", f"unix:{tmp_path}/s:/large", here / "back", env=preloaded).code == 0
    with Running("pipe", "-l", f"unix:{tmp_path}/p", "-o", here / "out", env=preloaded) as listening:
        listening.line("listening on")
        assert run("pipe", f"unix:{tmp_path}/p", "-i", large, env=preloaded).code == 0
        assert listening.finish().code == 0
    with Running("nc", "-l", f"unix:{tmp_path}/n", "--recv-only", env=preloaded) as listening:
        listening.line("listening on")
        with connect(f"unix:{tmp_path}/n") as sock:
            sock.sendall(b"raw" * 1000)
        assert listening.finish().code == 0
    calls, flags = struct.unpack("=II", (tmp_path / "flags").read_bytes())
    assert calls > 20
    assert flags & socket.MSG_DONTWAIT  # it is the core's receives that were heard
    assert not flags & socket.MSG_WAITALL
