"""What is run on Windows and what is left out with a reason: all of it is there."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import ports
from lanes.windows import suite, there

TESTS = Path(__file__).resolve().parents[1]
FOLDERS = ("core", "faults", "golden", "property", "transport", "unit")
RUN = {*there.THERE, *there.OVER_HYPERV, suite.FAULTS}
"""Files, and folders all of whose files are run."""


def test_other_files_are_run_there_or_left_out_with_a_reason() -> None:
    files = {str(path.relative_to(TESTS.parent)) for folder in FOLDERS for path in (TESTS / folder).glob("test_*.py")}
    run = {path for path in files if path in RUN or path.rpartition("/")[0] in RUN}
    assert files - run == set(there.FILES_LEFT_OUT)
    assert {path for path in RUN if not (TESTS.parent / path).exists()} == set()
    assert all(there.FILES_LEFT_OUT.values())


def test_files_of_commands_are_run_there_or_left_out_with_a_reason() -> None:
    files = {path.stem.removeprefix("test_") for path in (TESTS / "e2e").glob("test_*.py")}
    assert {*suite.COMMANDS, *suite.COMMANDS_LEFT_OUT} == files
    assert not set(suite.COMMANDS) & set(suite.COMMANDS_LEFT_OUT)
    assert all(suite.COMMANDS_LEFT_OUT.values())


def test_commands_left_out_of_a_file_are_there() -> None:
    assert set(suite.COMMANDS_TESTS_LEFT_OUT) <= set(suite.COMMANDS)
    for file, names in suite.COMMANDS_TESTS_LEFT_OUT.items():
        text = (TESTS / f"e2e/test_{file}.py").read_text(encoding="utf-8")
        for name, reason in names.items():
            assert f"def {name.partition('[')[0]}" in text, f"{file}::{name}"
            assert reason


def test_what_is_left_out_is_there() -> None:
    for path, names in {**there.LEFT_OUT, **suite.FAULTS_LEFT_OUT}.items():
        text = (TESTS.parent / path).read_text(encoding="utf-8")
        assert path in RUN or path.rpartition("/")[0] in RUN
        for name, reason in names.items():
            assert f"def {name.partition('[')[0]}" in text, f"{path}::{name}"
            assert reason


def test_a_port_that_stands_for_a_socket_is_nobody_elses() -> None:
    with ExitStack() as others:
        given = [others.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(100)]
        assert max(ports.free_port() for _ in range(100)) < min(given)
