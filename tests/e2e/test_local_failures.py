"""Disks that are full, forbidden or read-only, sources that cannot be read, destinations of the wrong kind."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import PATIENCE, Finished, Running, Server, eventually, run, serving

from e2e.boxes import powerless, read_only_disk, seen_by, small_disk, without_proc
from e2e.trees import KIB, MIB, leftovers, noise, picture, plant, resumable, write

TREE = {"s": b"small", "d/s": noise(100 * KIB, 1), "d/m": noise(200 * KIB, 2), "l": noise(9 * MIB, 3), "empty": b""}
"""Files of each size that is dealt with in a way of its own."""


def assert_told(done: Finished, code: int, *words: object) -> None:
    """The exit code, the words, and no traceback."""
    assert done.code == code, done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    for word in words:
        assert str(word) in done.err, done.err


# ---- no room


@pytest.mark.parametrize("large", [True, False], ids=["one large file", "many small files"])
def test_a_full_disk_of_the_server_is_10(
    large: bool, tmp_path: Path, root: Path, here: Path, processes: ExitStack
) -> None:
    box = small_disk(root, "4M")
    server = processes.enter_context(serving(f"unix:{tmp_path}/s", root, prefix=box))
    there = seen_by(server.pid, root)
    write(there / "copy", b"old")
    if large:
        source = write(here / "large", noise(9 * MIB))
        done = run("cp", "--overwrite", source, server.at("copy"))
    else:
        plant(here / "t", {str(number): noise(100 * KIB, number) for number in range(60)})
        done = run("cp", "-r", here / "t", server.at("t"))
    assert_told(done, 10, "copy: writing failed: No space left" if large else "says: t/", "make room")
    assert (there / "copy").read_bytes() == b"old"
    assert leftovers(there) == resumable(there)
    if not large:
        for path in (there / "t").iterdir():
            assert path.read_bytes() == (here / "t" / path.name).read_bytes()
    assert run("ls", server.address).code == 0


def test_a_full_disk_leaves_no_key_and_the_same_command_makes_one_when_there_is_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f'head -c 4096 /dev/zero >{disk}/full; "$@"; code=$?; ls {disk}; rm {disk}/full; "$@" >&2 || exit; exit $code'
    done = run("key", disk / "k", prefix=[*small_disk(disk, "4k"), "sh", "-c", script, "sh"])
    assert done.code == 10, done.err
    assert done.out == "full\n"
    failed, hint, *again = done.err.splitlines()
    assert failed == f"hvcopy: {disk}/k: No space left on device"
    assert "make room" in hint
    assert "wrote a new key" in again[-1]


def test_a_log_goes_on_when_its_full_disk_has_room_again(tmp_path: Path, root: Path, processes: ExitStack) -> None:
    disk, address = tmp_path / "disk", f"unix:{tmp_path}/s"
    disk.mkdir()
    script = f'head -c 4096 /dev/zero >{disk}/full; head -c 4096 /dev/zero >{disk}/log; exec "$@" 2>>{disk}/log'
    box = [*small_disk(disk, "8k"), "sh", "-c", script, "sh"]
    server = processes.enter_context(Running("serve", address, "--root", root, "--read-only", prefix=box))
    there = seen_by(server.pid, disk)
    assert run("ls", address, "--wait", "20").code == 0
    assert (there / "log").stat().st_size == 4096
    (there / "full").unlink()
    assert run("cp", __file__, f"{address}:x").code == 9
    eventually(lambda: b"read-only" in (there / "log").read_bytes(), what="what the server tells")


def test_a_full_disk_of_the_puller_is_10_and_goes_on_where_there_is_room(
    tmp_path: Path, server: Server, here: Path
) -> None:
    source = write(server.root / "large", noise(9 * MIB))
    done = run("cp", server.at("large"), here / "copy", "--no-fsync", prefix=small_disk(here, "4M"))
    assert_told(done, 10, "copy: writing failed: No space left", "make room")
    done = run("cp", server.at("large"), here / "copy", "--no-fsync")
    assert done.code == 0
    assert (here / "copy").read_bytes() == source.read_bytes()


def test_a_full_disk_keeps_what_a_resume_can_use(
    tmp_path: Path, root: Path, here: Path, processes: ExitStack
) -> None:
    server = processes.enter_context(serving(f"unix:{tmp_path}/s", root, prefix=small_disk(root, "28M")))
    there = seen_by(server.pid, root)
    write(there / "in the way", noise(6 * MIB))
    source = write(here / "large", noise(24 * MIB))
    assert run("cp", source, server.at()).code == 10
    (there / "in the way").unlink()
    done = run("cp", source, server.at(), "--json")
    assert done.code == 0, done.err
    assert done.result["reused_bytes"] >= 16 * MIB
    assert (there / "large").read_bytes() == source.read_bytes()


def test_a_full_disk_that_takes_no_record_is_left_as_it_was(
    tmp_path: Path, root: Path, here: Path, processes: ExitStack
) -> None:
    server = processes.enter_context(serving(f"unix:{tmp_path}/s", root, prefix=small_disk(root, "4M")))
    there = seen_by(server.pid, root)
    write(there / "full", noise(4 * MIB))
    source = write(here / "large", noise(9 * MIB))
    assert_told(run("cp", source, server.at()), 10, "No space left", "make room")
    assert os.listdir(there) == ["full"]


# ---- no /proc


def test_files_of_every_size_arrive_where_there_is_no_proc(tmp_path: Path, root: Path, here: Path) -> None:
    plant(here / "t", TREE)
    with serving(f"unix:{tmp_path}/s", root, prefix=without_proc()) as server:
        for options in ([], ["--overwrite"]):
            done = run("cp", "-r", *options, f"{here}/t/.", server.at("t"))
            assert done.code == 0, done.err
    assert picture(root / "t") == picture(here / "t")
    assert not leftovers(root)


@pytest.mark.parametrize("old", [True, False])
def test_the_file_of_a_pipe_is_whole_where_there_is_no_proc(old: bool, tmp_path: Path, here: Path) -> None:
    source = write(here / "f", noise(MIB))
    if old:
        write(here / "out", b"old")
    with Running("pipe", "-l", f"unix:{tmp_path}/p", "-o", here / "out", prefix=without_proc()) as listening:
        listening.line("listening")
        assert run("pipe", f"unix:{tmp_path}/p", "-i", source).code == 0
        assert listening.finish().code == 0
    assert (here / "out").read_bytes() == source.read_bytes()
    assert sorted(os.listdir(here)) == ["f", "out"]


# ---- no permission


def test_an_unreadable_source_is_10(here: Path, server: Server) -> None:
    source = write(here / "secret")
    source.chmod(0)
    done = run("cp", source, server.at(), prefix=powerless())
    assert_told(done, 10, "secret", "Permission denied")
    assert os.listdir(server.root) == []


def test_an_unreadable_file_or_directory_in_a_tree_fails_alone(here: Path, server: Server) -> None:
    plant(
        here / "t",
        {"good": b"good", "secret": b"x", "large": noise(MIB), "d/good": b"good", "locked/x": b"x"},
    )
    for name in ("secret", "large", "locked"):
        (here / "t" / name).chmod(0)
    try:
        done = run("cp", "-r", here / "t", server.at(), prefix=powerless())
    finally:
        (here / "t/locked").chmod(0o755)
    assert_told(
        done,
        3,
        "t/secret: reading failed: Permission denied",
        "t/large: reading failed: Permission denied",
        "t/locked: reading failed: Permission denied",
    )
    assert {name for name, entry in picture(server.root / "t").items() if entry[0] == "file"} == {
        b"good",
        b"d/good",
    }


@pytest.mark.parametrize("name", ["secret", "large"])
def test_an_unreadable_file_of_the_server_fails_alone_and_by_its_name_there(
    name: str, tmp_path: Path, root: Path, here: Path
) -> None:
    plant(root / "t/d", {"good": b"good", "secret": b"x", "large": noise(9 * MIB)})
    (root / "t/d" / name).chmod(0)
    with serving(f"unix:{tmp_path}/s", root, prefix=powerless()) as server:
        done = run("cp", "-r", server.at("t/./"), here / "mine", "--no-fsync", "--json")
        assert (done.code, "Traceback" in done.err) == (3, False)
        assert f"hvcopy: {server.at('t/d')}/{name}: reading failed: Permission denied\n" in done.err
        assert [one["path"] for one in done.result["failures"]] == [f"{server.at('t/d')}/{name}"]
        assert sorted(os.listdir(here / "mine/d")) == sorted({"good", "secret", "large"} - {name})
        alone = run("cp", server.at(f"t/d/{name}"), here / "s")
        assert_told(alone, 10, f"{server.at('t/d')}/{name}: reading failed: Permission denied")
    assert not (here / "s").exists()


@pytest.mark.parametrize("command", ["cp", "ls"])
def test_a_closed_folder_of_the_server_is_told_with_whose_right_is_missing(
    command: str, tmp_path: Path, root: Path, here: Path
) -> None:
    (root / "closed").mkdir(mode=0)
    with serving(f"unix:{tmp_path}/s", root, prefix=powerless()) as server:
        words = ["cp", "-r", server.at("closed"), here / "copy"] if command == "cp" else ["ls", server.at("closed")]
        assert_told(run(*words), 10, "/closed: Permission denied", "whoever runs the server has no right")


@pytest.mark.parametrize("size", [0, 10, 200 * KIB, 9 * MIB])
@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_a_file_of_the_destination_that_may_not_be_read_fails_alone(
    pull: bool, size: int, tmp_path: Path, root: Path, here: Path
) -> None:
    source, target = (root / "t", here / "t") if pull else (here / "t", root / "t")
    plant(source, {"a": noise(MIB, 1), "secret": noise(size, 2), "z/z": noise(300 * KIB, 3)})
    with serving(f"unix:{tmp_path}/s", root, prefix=powerless()) as server:
        ends = [server.at("t/."), target] if pull else [f"{source}/.", server.at("t")]
        assert run("cp", "-r", *ends, "--no-fsync").code == 0
        (target / "secret").chmod(0)
        (target / "a").unlink()
        done = run("cp", "-r", *ends, "--no-fsync", "--json", prefix=powerless())
    assert (done.code, done.result["files"], done.result["same"]) == (3, 1, 1), done.err
    exists = "secret: it exists already (say --overwrite or --update to replace it)"
    assert f"{exists}; comparing the two failed: Permission denied" in done.err
    (failure,) = done.result["failures"]
    assert (failure["code"], failure["path"].endswith("secret")) == (10, True)


@pytest.mark.parametrize("size", [10, 9 * MIB])
def test_a_destination_without_permission_is_10(size: int, tmp_path: Path, root: Path, here: Path) -> None:
    source = write(here / "f", noise(size))
    (root / "locked").mkdir(mode=0o555)
    with serving(f"unix:{tmp_path}/s", root, prefix=powerless()) as server:
        assert_told(run("cp", source, server.at("locked")), 10, "f: writing failed: Permission denied")
        write(server.root / "f2")
    assert os.listdir(root / "locked") == []


def test_a_pull_into_a_folder_without_permission_is_10(server: Server, here: Path) -> None:
    write(server.root / "f")
    here.chmod(0o555)
    try:
        done = run("cp", server.at("f"), here / "f", prefix=powerless())
    finally:
        here.chmod(0o755)
    assert_told(done, 10, "f: writing failed: Permission denied")


@pytest.mark.parametrize("size", [10, 9 * MIB])
def test_a_read_only_file_system_is_10(size: int, tmp_path: Path, root: Path, here: Path) -> None:
    source = write(here / "f", noise(size))
    with serving(f"unix:{tmp_path}/s", root, prefix=read_only_disk(root)) as server:
        assert_told(run("cp", source, server.at()), 10, "f: writing failed: Read-only file system", "choose a folder")
        assert run("ls", server.address).code == 0
    assert os.listdir(root) == []


@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_what_a_read_only_file_system_does_not_take_of_a_tree_is_named(what: str, server: Server, here: Path) -> None:
    plant(server.root / "t", {"d/f": b"f"} if what == "file" else {})
    if what == "folder":
        (server.root / "t" / "d").mkdir(parents=True)
    elif what == "link":
        (server.root / "t" / "d").symlink_to("f")
    target = here / "there"
    target.mkdir()
    done = run("cp", "-r", "--links", server.at("t"), target, prefix=read_only_disk(target))
    named = {"file": "t/d/f", "folder": "t/d", "link": "t/d"}[what]
    assert_told(done, 10, f"{named}: writing failed: Read-only file system", "choose a folder")


def test_a_read_only_file_is_replaced_only_with_overwrite(server: Server, here: Path) -> None:
    """As with any atomic replacement, the folder's permission counts, not the file's."""
    write(server.root / "f", b"old").chmod(0o444)
    source = write(here / "f", b"new")
    assert run("cp", source, server.at()).code == 10
    assert (server.root / "f").read_bytes() == b"old"
    assert run("cp", "--overwrite", source, server.at()).code == 0
    assert (server.root / "f").read_bytes() == b"new"


# ---- nothing to write


def assert_done_twice(done: Finished) -> None:
    """Everything stood there, and was found to be so."""
    assert (done.code, done.result["same"], done.result["files"]) == (0, len(TREE), 0), done.err


def test_a_copy_is_done_twice_into_folders_that_take_nothing_new(tmp_path: Path, root: Path, here: Path) -> None:
    plant(here / "t", TREE)
    with serving(f"unix:{tmp_path}/s", root, prefix=powerless()) as server:
        for folder in ("t/d", "t"):
            (here / folder).chmod(0o555)
        assert run("cp", "-r", here / "t", server.at()).code == 0
        assert_done_twice(run("cp", "-r", here / "t", server.at(), "--json"))
        (root / "t/s").chmod(0o644)
        (root / "t/s").write_bytes(b"other")
        other = run("cp", "-r", here / "t", server.at(), "--json")
        assert (other.code, other.result["same"]) == (3, len(TREE) - 1), other.err
        assert "t/s: it exists already" in other.err


def test_a_copy_is_done_twice_onto_a_disk_that_is_full(
    tmp_path: Path, root: Path, here: Path, processes: ExitStack
) -> None:
    plant(here / "t", TREE)
    server = processes.enter_context(serving(f"unix:{tmp_path}/s", root, prefix=small_disk(root, "12M")))
    assert run("cp", "-r", here / "t", server.at()).code == 0
    with open(seen_by(server.pid, root) / "full", "wb", buffering=0) as file:
        while file.write(bytes(MIB)) == MIB:  # a write that meets the end of the disk is short
            pass
    assert_done_twice(run("cp", "-r", here / "t", server.at(), "--json"))


def test_a_copy_is_done_twice_onto_a_file_system_that_became_read_only(tmp_path: Path, root: Path, here: Path) -> None:
    plant(here / "t", TREE)
    with serving(f"unix:{tmp_path}/s", root) as server:
        assert run("cp", "-r", here / "t", server.at()).code == 0
    with serving(f"unix:{tmp_path}/s", root, prefix=read_only_disk(root)) as server:
        assert_done_twice(run("cp", "-r", here / "t", server.at(), "--json"))
        write(here / "t/d/new")
        assert_told(run("cp", "-r", here / "t", server.at()), 10, "Read-only file system")


# ---- the wrong kind


def test_a_missing_source_is_10_before_anything_is_sent(server: Server, here: Path) -> None:
    write(here / "there")
    assert_told(run("cp", here / "there", here / "not", server.at()), 10, here / "not", "nothing was sent; check the path")
    assert os.listdir(server.root) == []
    assert_told(run("cp", server.at("not"), here), 10, "/not", "No such file", "hvcopy ls")


def test_a_folder_that_is_there_is_not_to_be_made_first(tmp_path: Path, root: Path, here: Path) -> None:
    for place in (root, here):
        write(place / "f")
        (place / "closed").mkdir(mode=0)
    with serving(f"unix:{tmp_path}/s", root, prefix=powerless()) as server:
        for source, target in ((here / "f", server.at("{}")), (server.at("f"), f"{here}/{{}}")):
            for name, words in (("f/g", "Not a directory"), ("closed/f", "Permission denied")):
                done = run("cp", source, target.format(name), prefix=powerless())
                assert_told(done, 10, words, "choose another folder")
                assert "make the folder" not in done.err


def test_a_missing_parent_of_the_destination_is_10(server: Server, here: Path) -> None:
    source = write(here / "f")
    write(server.root / "g")
    assert_told(run("cp", source, server.at("no/such/f")), 10, "/no/such", "make the folder first")
    assert_told(run("cp", server.at("g"), here / "no/such/f"), 10, here / "no/such", "make the folder first")
    assert os.listdir(server.root) == ["g"]


@pytest.mark.parametrize("size", [10, 9 * MIB])
def test_a_directory_in_place_of_the_file_is_10(size: int, server: Server, here: Path) -> None:
    source = write(here / "f", noise(size))
    plant(server.root, {"f/inner": b"inner"})
    for option in ([], ["--overwrite"], ["--update"]):
        done = run("cp", *option, source, server.at())
        assert_told(done, 10, "f: ")
        assert "directory" in done.err
    assert (server.root / "f/inner").read_bytes() == b"inner"
    assert not leftovers(server.root)


def test_a_file_in_place_of_a_directory_fails_what_is_below_it(server: Server, here: Path) -> None:
    plant(here / "t", {"d/x": b"x", "good": b"good"})
    plant(server.root / "t", {"d": b"file"})
    done = run("cp", "-r", "--overwrite", here / "t", server.at())
    assert_told(done, 3, "t/d")
    assert (server.root / "t/d").read_bytes() == b"file"
    assert (server.root / "t/good").read_bytes() == b"good"


@pytest.mark.parametrize("pulled", [False, True], ids=["push", "pull"])
def test_a_path_too_long_for_the_protocol_fails_alone(pulled: bool, server: Server, here: Path) -> None:
    """And once, with all that is below it: each of those paths is longer still."""
    tree = (server.root if pulled else here) / "t"
    write(tree / "near", b"near")
    before, depth = os.getcwd(), 0
    try:
        os.chdir(tree)
        for depth in range(40):  # deeper than any path may be (PATH_MAX), so step by step
            os.mkdir("d" * 215)
            os.chdir("d" * 215)
            write(Path("f"), b"%d" % depth)
    finally:
        os.chdir(before)
    done = run("cp", "-r", *((server.at("t"), here / "back") if pulled else (tree, server.at())), "--json")
    assert (done.code, done.result["files"], done.result["failed"]) == (11, 19, 1), done.err
    assert "its path is longer than 4096 bytes" in done.err
    assert ((here / "back" if pulled else server.root / "t") / "near").read_bytes() == b"near"


@pytest.mark.parametrize("pulled", [False, True], ids=["push", "pull"])
def test_a_file_too_large_for_the_protocol_fails_alone(pulled: bool, tmp_path: Path, here: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as light:  # tmpfs takes a size that few disks do
        tree = Path(light) / "t"
        plant(tree, {"a": b"a", "d/medium": noise(300_000), "huge": b""})
        os.truncate(tree / "huge", 20 << 40)
        with serving(f"unix:{tmp_path}/s", tree.parent if pulled else here) as server:
            done = run("cp", "-r", *((server.at("t"), here / "t") if pulled else (tree, server.at())), "--json")
    assert (done.code, done.result["files"], done.result["failed"]) == (3, 2, 1), done.err
    assert "huge: it has 21990232555520 bytes, and hvcopy sends 17592186044416 at most" in done.err
    assert sorted(picture(here / "t")) == [b"a", b"d", b"d/medium"]


def test_what_is_no_regular_file_is_refused_by_name_and_skipped_in_a_tree(server: Server, here: Path) -> None:
    plant(here / "t", {"good": b"good"})
    os.mkfifo(here / "t/fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(here / "t/socket"))
    assert_told(run("cp", here / "t/fifo", server.at()), 10, "neither a regular file")
    done = run("cp", "-r", here / "t", server.at())
    assert_told(done, 0, "t/fifo: skipped", "t/socket: skipped")
    assert os.listdir(server.root / "t") == ["good"]


def test_a_fifo_in_place_of_the_file_blocks_nobody(server: Server, here: Path) -> None:
    source = write(here / "f", noise(9 * MIB))
    os.mkfifo(server.root / "f")
    os.mkfifo(server.root / ".g.hvcopy-part")
    assert run("cp", source, server.at()).code == 10
    assert run("cp", source, server.at("g")).code == 0
    assert (server.root / "g").read_bytes() == source.read_bytes()
    assert run("cp", "--overwrite", source, server.at()).code == 10


def test_pulling_a_device_is_refused(tmp_path: Path, here: Path) -> None:
    with serving(f"unix:{tmp_path}/s", Path("/dev"), "--read-only") as server:
        assert_told(run("cp", server.at("zero"), here / "zero"), 10, "neither a regular file")
    assert os.listdir(here) == []


@pytest.mark.parametrize("end", ["input", "output"])
@pytest.mark.parametrize("command", ["nc", "pipe"])
def test_a_standard_input_or_output_that_has_vanished_is_told_by_its_name(command: str, end: str, tmp_path: Path) -> None:
    """As on a network file system whose server has forgotten it (ESTALE); here the files of a process that is over."""
    with subprocess.Popen(["sleep", str(PATIENCE)]) as passing:
        gone = os.open(f"/proc/{passing.pid}/fd", os.O_RDONLY)
        passing.kill()
    try:
        os.fstat(gone)
        pytest.skip("this system still knows what it was (before Linux 6.2)")
    except FileNotFoundError:
        pass
    ends = {"stdin": gone} if end == "input" else {"stdout": gone}
    with Running(command, "-l", f"unix:{tmp_path}/s", **ends) as running:
        assert_told(running.finish(), 10, f"standard {end}: No such file or directory")
    os.close(gone)


@pytest.mark.parametrize("job", ["push", "pull", "list"])
def test_a_served_folder_that_was_deleted_is_10(
    job: str, tmp_path: Path, root: Path, here: Path, processes: ExitStack
) -> None:
    """One made anew in its place is another folder, which nobody said is to be served."""
    server = processes.enter_context(serving(f"unix:{tmp_path}/s", root))
    root.rmdir()
    root.mkdir()
    source = write(here / "f", b"f")
    write(root / "new", b"new")
    commands = {
        "push": ("cp", source, server.at("f")),
        "pull": ("cp", server.at("new"), here),
        "list": ("ls", server.address),
    }
    assert_told(run(*commands[job]), 10, "the folder that is served was deleted", "start the server again")
