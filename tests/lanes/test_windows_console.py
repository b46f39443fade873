"""Ctrl-C as Windows tells it: an event of the console, not a signal that a process gives itself.

Wine 8 carries Ctrl-C from one process of a console to the others; of Ctrl-Break its server knows nothing
(propagate_console_signal in server/console.c).
"""

from __future__ import annotations

import json
from pathlib import Path

import commands
import pytest
from peers import Gate, Relay

from lanes.parts import require
from lanes.test_windows import MIB, MINOR, PYTHON, Windows
from lanes.windows import wine
from lanes.windows.built import link_package
from lanes.windows.one_file import OneFile

PRESS = Path(wine.__file__).with_name("press.py")

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("windows"), pytest.mark.timeout(300)]


class Pressed(Windows):
    """hvcopy's command line in a console, in which somebody presses Ctrl-C once it has said a pattern."""

    def press(self, pattern: str, *arguments: object) -> wine.Program:
        """Start one command."""
        words = [wine.windows_path(one) if isinstance(one, Path) else str(one) for one in arguments]
        python = wine.windows_path(PYTHON)
        argv = [PYTHON, "-P", wine.windows_path(PRESS), pattern, python, "-P", "-m", "hvcopy", *words]
        return wine.Program(argv, cwd=self._cwd, env=self._env)


@pytest.fixture
def windows(tmp_path: Path) -> Pressed:
    require("windows")
    return Pressed(link_package(MINOR), tmp_path)


@pytest.mark.parametrize("way", ["push", "pull"])
def test_ctrl_c_ends_a_copy_with_130_and_it_goes_on_where_it_was(way: str, windows: Pressed, tmp_path: Path) -> None:
    file = OneFile(way, tmp_path)
    gate = Gate(24 * MIB)
    with (
        commands.serving(f"unix:{tmp_path}/direct", file.root) as server,
        Relay("tcp:127.0.0.1:0", server.address, **{"up" if way == "push" else "down": lambda: gate}) as relay,
    ):
        command = file.command(relay.address)
        with windows.press(r'"bytes": [0-9]{8}', *command, "--progress", "json") as program:
            done = program.finish()
        assert done.returncode == 130, done.stderr
        assert "hvcopy: interrupted\n" in done.stderr
        assert "to go on, run again: hvcopy cp " in done.stderr
        assert "Traceback" not in done.stderr
        assert not file.target.exists()
        gate.open()
        again = windows.run(*command, "--json")
    assert json.loads(again.stdout)["reused_bytes"] >= 8 * MIB
    assert file.target.read_bytes() == file.source.read_bytes()


def test_ctrl_c_ends_a_server_with_0(windows: Pressed, tmp_path: Path) -> None:
    with windows.press("serving", "serve", "tcp:127.0.0.1:0", "--root", tmp_path, "--open") as program:
        done = program.finish()
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
