"""No call on names, nor a wait for room in a socket, keeps a descriptor or a handle of Windows, whether it works or fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[[str, str], dict[str, Any]]

KEPT = """
ROUNDS = 10
top = folder(".")

def make(name):
    os.close(core.open_at(top, name, core.OPEN_WRITE | core.OPEN_NEW))

def kept(call):
    outcome(call)
    before = opened()
    for _ in range(ROUNDS):
        outcome(call)
    return (opened() - before) // ROUNDS  # others of the process come and go, but not one for each call
"""

COME_AND_GO = """
def come_and_go():
    make(b"file")
    core.link_at(top, b"file", top, b"link")
    core.rename_new(top, b"link", b"new")
    core.replace_at(top, b"new", b"moved")
    core.make_directory_at(top, b"sub")
    os.rmdir("sub")
    for name in (b"file", b"moved"):
        core.remove_at(top, name)

say(kept=kept(come_and_go), left=os.listdir("."))
"""


def test_names_that_come_and_go_keep_nothing_open(run_faulty: Run) -> None:
    assert run_faulty("", KEPT + COME_AND_GO) == {"kept": 0, "left": []}


REFUSED = """
make(b"file")
core.make_directory_at(top, b"sub")
say(got=outcome({call}), kept=kept({call}))
"""


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("lambda: make(b'file')", "EEXIST"),
        ("lambda: core.make_directory_at(top, b'sub')", "EEXIST"),
        ("lambda: core.link_at(top, b'file', top, b'sub')", "EEXIST"),
        ("lambda: core.rename_new(top, b'file', b'sub')", "EEXIST"),
        ("lambda: core.replace_at(top, b'file', b'sub')", "EISDIR"),
        ("lambda: core.remove_at(top, b'sub')", "EISDIR"),
        ("lambda: core.open_at(top, b'file', core.OPEN_DIRECTORY)", "ENOTDIR"),
        ("lambda: core.open_folder(b'file')", "ENOTDIR"),
        ("lambda: core.open_folder(b'missing')", "ENOENT"),
    ],
)
def test_a_name_that_is_refused_keeps_nothing_open(run_faulty: Run, call: str, error: str) -> None:
    assert run_faulty("", KEPT + REFUSED.format(call=call)) == {"got": error, "kept": 0}


WAIT = """
near, far = socket.socketpair()
near.setblocking(False)
kept_open = kept(lambda: core.send_all(near.fileno(), [bytes(64 << 20)], core.Meter(), 1))
near.setblocking(True)  # Windows refuses that as long as the socket has an event to select
say(kept=kept_open, blocks=near.getblocking())
"""


def test_a_wait_for_room_keeps_nothing_open_and_leaves_the_socket_as_it_was(run_faulty: Run) -> None:
    assert run_faulty("", KEPT + WAIT) == {"kept": 0, "blocks": True}
