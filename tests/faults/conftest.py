"""Runs a few lines against the faults build of the core, in a process of work.py, with a plan of faults.

Skips loudly when that build is missing; with CI=true that fails: a test that never runs proves nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TREE = Path(__file__).resolve().parents[2] / "build" / "faults"
HOW = "the faults build is missing: run python tests/faults/build.py faults"
ELSEWHERE: dict[str, Any] | None = json.loads(os.environ.get("HVCOPY_TEST_FAULTS", "null"))
"""Of a lane whose Python is another one: {"argv": [...], "env": {...}}, with the build on its path."""
WORK = Path(__file__).with_name("work.py")
PATIENCE = 30.0


class Worker:
    """A process of work.py."""

    def __init__(self) -> None:
        python = ELSEWHERE or {"argv": [sys.executable, "-P"], "env": {"PYTHONPATH": str(TREE)}}
        self.process = subprocess.Popen(
            [*python["argv"], "-c", WORK.read_text()],  # not by its path, which is another over there
            env=os.environ | python["env"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # no file, which Wine gives Python for none of these three
            text=True,
        )

    def run(self, **job: str) -> dict[str, Any]:
        """Have one piece of code done; return the facts that it said."""
        assert self.process.stdin
        assert self.process.stdout
        kill = threading.Timer(PATIENCE, self.process.kill)
        kill.start()
        try:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline() or "{}")
        finally:
            kill.cancel()
        if "facts" not in answer:
            notes = self.end()
            raise AssertionError(f"status {self.process.returncode}\n{answer.get('error')}\n{notes}")
        facts: dict[str, Any] = answer["facts"]
        return facts

    def end(self) -> str:
        """Wait for the end of the process, which is killed when it has something left to do; return what it noted."""
        try:
            return self.process.communicate(timeout=PATIENCE)[1]
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.communicate()[1]


@pytest.fixture(scope="session")
def workers() -> Iterator[list[Worker]]:
    """The one that is idle, if there is one."""
    idle: list[Worker] = []
    yield idle
    for worker in idle:
        worker.end()


@pytest.fixture
def run_faulty(workers: list[Worker], tmp_path: Path) -> Callable[[str, str], dict[str, Any]]:
    """Return run(plan, code): the facts that *code* said under *plan*; its working directory is tmp_path."""
    if not ELSEWHERE and not list(TREE.glob("hvcopy/_core*.so")):
        if os.environ.get("CI") == "true":
            pytest.fail(HOW)
        pytest.skip(HOW)

    def run(plan: str, code: str) -> dict[str, Any]:
        worker = workers.pop() if workers else Worker()
        facts = worker.run(plan=plan, code=textwrap.dedent(code), folder=str(tmp_path))
        workers.append(worker)
        return facts

    return run
