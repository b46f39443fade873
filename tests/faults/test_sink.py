"""A pack whose files cannot be written: what the next file would meet as well ends the copy, anything else that file alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[[str, str], dict[str, Any]]

def put(*, existing: str = "REFUSE", sync: bool = False) -> str:
    """Return a program that writes a pack of two files."""
    return PUT.replace("EXISTING", existing).replace("SYNC", str(sync))


PUT = """
from hvcopy.files.confined import open_directory
from hvcopy.files.sink import OVERWRITE, REFUSE, Plan, Sink
from hvcopy.wire import messages as m
from hvcopy.wire.frames import PACK_RECORD

sink = Sink(Plan(open_directory(b"."), [b""], [True], EXISTING, sync=SYNC))
group = m.Group(0, b"", [b"a", b"b"], PACK_RECORD.pack(1, 10**18, 0o644, 0, 0, 0, 0) * 2)
try:
    done = sink.write_pack([group], memoryview(b"xy"), lambda source, path: None)
    say(failures=[(code, why) for _, code, why in done.failures], files=done.files, there=sorted(os.listdir(".")))
except OSError as error:
    say(raised=name_of(error.errno), there=sorted(os.listdir(".")))
"""


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS"])
def test_what_the_next_file_would_meet_as_well_ends_the_copy(run_faulty: Run, name: str) -> None:
    assert run_faulty(f"pwrite: {name} ok", put()) == {"raised": name, "there": ["b"]}


def test_any_other_failure_is_of_that_file_alone(run_faulty: Run) -> None:
    facts = run_faulty("pwrite: EACCES ok", put())
    assert facts == {"failures": [[10, "writing failed: Permission denied"]], "files": 1, "there": ["b"]}


@pytest.mark.parametrize("sync", [False, True])
def test_a_small_file_has_its_name_only_once_it_is_on_disk(run_faulty: Run, sync: bool) -> None:
    facts = run_faulty("syncfs: EIO*", put(sync=sync))
    assert facts["there"] == ([] if sync else ["a", "b"])


def test_a_full_disk_is_told_as_such_where_a_file_is_replaced(run_faulty: Run) -> None:
    facts = run_faulty("pwrite: ENOSPC", 'open("a", "w").close()\n' + put(existing="OVERWRITE"))
    assert facts == {"raised": "ENOSPC", "there": ["a", "b"]}
