"""What is run on Windows and what is left out with a reason: all of it is there."""

from __future__ import annotations

from pathlib import Path

from lanes.windows import suite

TESTS = Path(__file__).resolve().parents[1]


def test_files_of_commands_are_run_there_or_left_out_with_a_reason() -> None:
    files = {path.stem.removeprefix("test_") for path in (TESTS / "e2e").glob("test_*.py")}
    run = {Path(path.partition("::")[0]).stem.removeprefix("test_") for path in suite.COMMANDS}
    assert run
    assert run <= files
    assert set(suite.COMMANDS_LEFT_OUT) <= files - run
    assert all(suite.COMMANDS_LEFT_OUT.values())


def test_commands_that_are_run_there_exist() -> None:
    for node in suite.COMMANDS:
        path, _, name = node.partition("::")
        assert f"def {name}(" in (TESTS.parent / path).read_text(encoding="utf-8")


def test_what_is_left_out_is_there() -> None:
    for path, names in suite.LEFT_OUT.items():
        text = (TESTS.parent / path).read_text(encoding="utf-8")
        assert path in suite.THERE
        for name, reason in names.items():
            assert f"def {name}" in text, f"{path}::{name}"
            assert reason
