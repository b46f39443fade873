"""Packs of small files when system calls fail: whole under its name or not at all, nothing left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[[str, str], dict[str, Any]]

WRITE = """
flags = sum(getattr(core, name) for name in {flags!r}.split())
if flags & core.REPLACE:
    open("b", "w").write("old")
before = opened()
got = write(".", {{"a": b"alpha", "b": b"beta", "c": b"gamma"}}, flags)
say(got=got, files={{n: open(n).read() for n in sorted(os.listdir("."))}},
    leaked=opened() - before)
"""
WHOLE = {"a": "alpha", "b": "beta", "c": "gamma"}
FALLBACKS = [
    "tmpfile: EOPNOTSUPP",
    "tmpfile: EISDIR",
    "tmpfile: ENOENT",
    "tmpfile: EINVAL",
    "link_tmpfile: ENOENT",
    "link_tmpfile: ok EPERM",
    "tmpfile: EOPNOTSUPP; rename_new: EINVAL*",
    "tmpfile: EOPNOTSUPP; rename_new: ENOSYS*",
    "tmpfile: EOPNOTSUPP; create: EEXIST EEXIST ok",
    "tmpfile: ok EINTR ok",
    "tmpfile: EOPNOTSUPP; create: EINTR*3; close: EINTR*",
    "pwrite: short:1* ; chmod: EINTR; utime: EINTR",
    "pwrite: EINTR*4",
]


@pytest.mark.parametrize("plan", FALLBACKS)
@pytest.mark.parametrize("flags", ["", "REPLACE", "SYNC", "REPLACE SYNC SET_OWNER"])
def test_write_files_on_a_poorer_filesystem_still_places_every_file(run_faulty: Run, plan: str, flags: str) -> None:
    facts = run_faulty(plan, WRITE.format(flags=flags))
    assert facts == {"got": dict.fromkeys("abc", "ok"), "files": WHOLE, "leaked": 0}


@pytest.mark.parametrize("tmpfile", ["", "tmpfile: EOPNOTSUPP;"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("pwrite: ok ENOSPC", "ENOSPC"),
        ("pwrite: ok short:1 EDQUOT", "EDQUOT"),
        ("pwrite: ok eof", "EIO"),
        ("chmod: ok EPERM", "EPERM"),
        ("utime: ok EROFS", "EROFS"),
    ],
)
@pytest.mark.parametrize("flags", ["", "SYNC", "SET_OWNER"])
def test_write_files_one_failing_leaves_nothing_of_it_and_all_of_the_others(
    run_faulty: Run, tmpfile: str, fault: str, error: str, flags: str
) -> None:
    facts = run_faulty(tmpfile + fault, WRITE.format(flags=flags))
    assert facts["got"] == {"a": "ok", "b": error, "c": "ok"}
    assert facts["files"] == {"a": "alpha", "c": "gamma"}
    assert facts["leaked"] == 0


@pytest.mark.parametrize(
    ("plan", "error"),
    [
        ("tmpfile: ENOSPC*", "ENOSPC"),
        ("tmpfile: EACCES*", "EACCES"),
        ("tmpfile: EMFILE*", "EMFILE"),
        ("tmpfile: EOPNOTSUPP; create: EROFS*", "EROFS"),
        ("tmpfile: EOPNOTSUPP; create: EEXIST*", "EEXIST"),
        ("link_tmpfile: ENOSPC*", "ENOSPC"),
        ("tmpfile: EOPNOTSUPP; rename_new: EIO*", "EIO"),
        ("tmpfile: EOPNOTSUPP; rename_new: EINVAL*; link: EPERM*", "EPERM"),
        ("tmpfile: EOPNOTSUPP; close: EIO*", "EIO"),
    ],
)
@pytest.mark.parametrize("flags", ["", "SYNC"], ids=["unsynced", "synced"])
def test_write_files_all_failing_leave_an_empty_directory(run_faulty: Run, plan: str, error: str, flags: str) -> None:
    facts = run_faulty(plan, WRITE.format(flags=flags))
    assert facts == {"got": dict.fromkeys("abc", error), "files": {}, "leaked": 0}


@pytest.mark.parametrize("tmpfile", ["", "tmpfile: EOPNOTSUPP;"])
def test_write_files_sync_failing_places_nothing(run_faulty: Run, tmpfile: str) -> None:
    facts = run_faulty(tmpfile + "syncfs: EIO*", WRITE.format(flags="SYNC"))
    assert facts == {"got": dict.fromkeys("abc", "EIO"), "files": {}, "leaked": 0}


def test_write_files_syncs_each_file_system_of_the_pack(run_faulty: Run) -> None:
    facts = run_faulty("fstat: ok elsewhere ok; syncfs: ok EIO", WRITE.format(flags="SYNC"))
    assert facts["got"] == {"a": "ok", "b": "EIO", "c": "ok"}
    assert facts["files"] == {"a": "alpha", "c": "gamma"}


def test_write_files_sync_interrupted_is_taken_up_again(run_faulty: Run) -> None:
    facts = run_faulty("syncfs: EINTR EINTR ok", WRITE.format(flags="SYNC"))
    assert facts == {"got": dict.fromkeys("abc", "ok"), "files": WHOLE, "leaked": 0}


def test_write_files_sync_out_of_descriptors_commits_what_waits_and_goes_on(run_faulty: Run) -> None:
    facts = run_faulty("tmpfile: ok ok EMFILE ok; syncfs: ok EIO", WRITE.format(flags="SYNC"))
    assert facts["got"] == {"a": "ok", "b": "ok", "c": "EIO"}, "a and b were synced before c began"
    assert facts["files"] == {"a": "alpha", "b": "beta"}


def test_write_files_rewritten_under_a_temporary_name_is_synced_as_well(run_faulty: Run) -> None:
    facts = run_faulty("link_tmpfile: ENOENT; syncfs: ok EIO", WRITE.format(flags="SYNC"))
    assert facts["got"] == {"a": "EIO", "b": "ok", "c": "ok"}
    assert facts["files"] == {"b": "beta", "c": "gamma"}


def test_write_files_replacing_tries_another_temporary_name_when_one_is_taken(run_faulty: Run) -> None:
    facts = run_faulty("link_tmpfile: EEXIST EEXIST ok", WRITE.format(flags="REPLACE"))
    assert facts == {"got": dict.fromkeys(WHOLE, "ok"), "files": WHOLE, "leaked": 0}


def test_write_files_set_owner_failing_leaves_nothing(run_faulty: Run) -> None:
    facts = run_faulty("chown: EPERM*", WRITE.format(flags="SET_OWNER"))
    assert facts == {"got": dict.fromkeys("abc", "EPERM"), "files": {}, "leaked": 0}


@pytest.mark.parametrize("plan", ["rename: EIO*", "tmpfile: EOPNOTSUPP; rename: EIO*"])
def test_write_files_replace_failing_keeps_the_old_file(run_faulty: Run, plan: str) -> None:
    facts = run_faulty(plan, WRITE.format(flags="REPLACE"))
    assert facts["got"]["b"] == "EIO"
    assert facts["files"]["b"] == "old"
    assert not [name for name in facts["files"] if name.startswith(".hv-")]
    assert facts["leaked"] == 0


TAKEN = """
open("b", "w").write("old")
got = write(".", {{"a": b"alpha", "b": b"beta"}}, {flags})
say(got=got, b=open("b").read(), files=sorted(os.listdir(".")))
"""


@pytest.mark.parametrize("flags", ["0", "core.SYNC"])
@pytest.mark.parametrize("rename", ["", "rename_new: EINVAL*", "rename_new: ENOSYS*"])
def test_write_files_under_temporary_names_leaves_what_is_there(run_faulty: Run, rename: str, flags: str) -> None:
    facts = run_faulty(f"tmpfile: EOPNOTSUPP; {rename}", TAKEN.format(flags=flags))
    assert facts == {"got": {"a": "ok", "b": "EEXIST"}, "b": "old", "files": ["a", "b"]}


READ = """
for name in "abc":
    open(name, "w").write(name * 5)
while time.time_ns() - os.stat("c").st_ctime_ns < 40_000_000:
    pass  # what is younger is waited for
before = opened()
got = read(".", "abc")
say(got=got, leaked=opened() - before)
"""


@pytest.mark.parametrize("plan", ["pread: short:1*", "pread: EINTR short:2 EINTR ok", "open: EINTR*3; fstat: EINTR"])
def test_read_files_cut_short_or_interrupted_reads_every_file(run_faulty: Run, plan: str) -> None:
    assert run_faulty(plan, READ) == {"got": [[0, "aaaaa"], [0, "bbbbb"], [0, "ccccc"]], "leaked": 0}


@pytest.mark.parametrize(
    ("plan", "status"),
    [("pread: ok EIO", 5), ("open: ok EACCES", 13), ("open: ok EMFILE", 24), ("fstat: ok ok EIO", 5),
     ("fstat: ok ok ok EIO", 5), ("open: ok ENXIO", -4)],
)  # fmt: skip
def test_read_files_one_failing_gives_its_errno_and_all_of_the_others(run_faulty: Run, plan: str, status: int) -> None:
    facts = run_faulty(plan, READ)
    assert facts == {"got": [[0, "aaaaa"], [status, None], [0, "ccccc"]], "leaked": 0}


def test_read_files_shorter_than_its_size_once_is_read_again(run_faulty: Run) -> None:
    assert run_faulty("pread: eof ok", READ)["got"] == [[0, "aaaaa"], [0, "bbbbb"], [0, "ccccc"]]


def test_read_files_shorter_than_its_size_twice_is_changed(run_faulty: Run) -> None:
    assert run_faulty("pread: ok eof eof ok", READ)["got"] == [[0, "aaaaa"], [-3, None], [0, "ccccc"]]


def test_read_files_touched_once_while_it_is_read_is_read_again(run_faulty: Run) -> None:
    assert run_faulty("fstat: ok touched touched", READ)["got"][0] == [0, "aaaaa"]


def test_read_files_touched_twice_while_it_is_read_is_changed(run_faulty: Run) -> None:
    assert run_faulty("fstat: ok touched ok", READ)["got"] == [[-3, None], [0, "bbbbb"], [0, "ccccc"]]


@pytest.mark.parametrize(
    ("plan", "contents"),
    [("fresh ok", "aaaaa"), ("fresh fresh ok", "aaaaa"), ("ok fresh ok", "aaaaa"), ("fresh*5", None)],
)
def test_read_files_written_to_just_now_is_read_when_a_write_would_show_in_its_times(
    run_faulty: Run, plan: str, contents: str | None
) -> None:
    facts = run_faulty(f"fstat: {plan}", READ)
    assert facts["got"] == [[0 if contents else -3, contents], [0, "bbbbb"], [0, "ccccc"]]


def test_read_files_of_which_the_ctime_alone_changes_is_changed(run_faulty: Run) -> None:
    """Who writes in place and sets the mtime back, as some programs do."""
    assert run_faulty("fstat: ok fresh*", READ)["got"][0] == [-3, None]


def test_read_files_interrupted_while_it_waits_reads_every_file(run_faulty: Run) -> None:
    facts = run_faulty("fstat: fresh*2; pause: EINTR ok", READ)
    assert facts == {"got": [[0, "aaaaa"], [0, "bbbbb"], [0, "ccccc"]], "leaked": 0}


ENDS = """
for name in ("one", "one/below", "two", "two/below"):
    os.mkdir(name)
folders = [folder(name) for name in ("one", "two")]
record = struct.pack(core.END_RECORD, 10**18, 0o755)
ended = core.end_directories(array.array("i", folders), [b"below"] * 2, record * 2)
for fd in folders:
    os.close(fd)
say(ended=ended, set=[os.stat(name + "/below").st_mtime_ns == 10**18 for name in ("one", "two")])
"""


@pytest.mark.parametrize(
    ("plan", "ended"),
    [
        ("fstat: ok*4", 2),
        ("fstat: ok elsewhere", 0),
        ("fstat: ok*3 elsewhere", 1),
        ("fstat: ok*2 elsewhere*2", 2),
        ("fstat: ok*2 EIO", 1),
        ("fstat: ok*3 EIO", 1),
        ("chmod: ok EPERM", 1),
        ("utime: EIO", 0),
    ],
)
def test_end_directories_stops_at_one_that_fails_or_lies_in_another_file_system_than_its_folder(
    run_faulty: Run, plan: str, ended: int
) -> None:
    assert run_faulty(plan, ENDS) == {"ended": ended, "set": [ended > 0, ended > 1]}


def test_attributes_of_which_the_mode_cannot_be_set_are_a_failure(run_faulty: Run) -> None:
    code = """
    fd = os.open("file", os.O_CREAT | os.O_RDWR | BINARY)
    say(got=outcome(core.set_attributes, fd, 0o600, 10**18))
    """
    assert run_faulty("chmod: EPERM", code) == {"got": "EPERM"}
