"""A pack whose files cannot be written: what the next file would meet as well ends the copy, anything else that file alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[[str, str], dict[str, Any]]

PUT = """
from hvcopy.files.confined import open_directory
from hvcopy.files.sink import REFUSE, Plan, Sink
from hvcopy.wire import messages as m
from hvcopy.wire.frames import PACK_RECORD

sink = Sink(Plan(open_directory(b"."), [b""], [True], REFUSE, sync=False))
group = m.Group(0, b"", [b"a", b"b"], PACK_RECORD.pack(1, 10**18, 0o644, 0, 0, 0, 0) * 2)
try:
    done = sink.write_pack([group], memoryview(b"xy"), lambda source, path: None)
    say(failures=[(code, why) for _, code, why in done.failures], files=done.files, there=sorted(os.listdir(".")))
except OSError as error:
    say(raised=name_of(error.errno), there=sorted(os.listdir(".")))
"""


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS"])
def test_what_the_next_file_would_meet_as_well_ends_the_copy(run_faulty: Run, name: str) -> None:
    assert run_faulty(f"pwrite: {name} ok", PUT) == {"raised": name, "there": ["b"]}


def test_any_other_failure_is_of_that_file_alone(run_faulty: Run) -> None:
    facts = run_faulty("pwrite: EACCES ok", PUT)
    assert facts == {"failures": [[10, "writing failed: Permission denied"]], "files": 1, "there": ["b"]}
