"""What happens to files that exist: refused, found the same, replaced, updated, or only asked about."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from commands import Server, run

from e2e.trees import KIB, MIB, leftovers, noise, picture, plant, write

SIZES = (10, 200 * KIB, 9 * MIB)
OLD, NEW = 10**18, 2 * 10**18


def dated(path: Path, content: bytes, when: int) -> Path:
    """Write a file with a modification time."""
    write(path, content)
    os.utime(path, ns=(when, when))
    return path


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_an_existing_file_is_refused_by_default(size: int, pull: bool, server: Server, here: Path) -> None:
    source = write((server.root if pull else here) / "f", noise(size))
    target = write((here if pull else server.root) / "g", b"old")
    ends = [server.at("f"), target] if pull else [source, server.at("g")]
    done = run("cp", *ends, "--no-fsync")
    assert done.code == 10, done.err
    assert "--overwrite" in done.err
    assert target.read_bytes() == b"old"
    done = run("cp", *ends, "--no-fsync", "--overwrite")
    assert done.code == 0, done.err
    assert target.read_bytes() == source.read_bytes()
    assert not leftovers(target.parent)


def test_brackets_and_dollars_in_a_name_are_parts_of_it(server: Server, here: Path) -> None:
    plant(here, {"photo[1].jpg": b"right", "photo1.jpg": b"wrong", "$HOME": b"dollar", "%PATH%": b"percent"})
    for name in ("photo[1].jpg", "$HOME", "%PATH%"):
        done = run("cp", here / name, server.at(f"to {name}"), "--no-fsync")
        assert done.code == 0, done.err
        assert (server.root / f"to {name}").read_bytes() == (here / name).read_bytes()
    plant(here, {"back1.txt": b"precious"})
    done = run("cp", "--overwrite", server.at("to photo[1].jpg"), here / "back[1].txt", "--no-fsync")
    assert done.code == 0, done.err
    assert (here / "back[1].txt").read_bytes() == b"right"
    assert (here / "back1.txt").read_bytes() == b"precious"


@pytest.mark.parametrize("command", ["cp", "send"])
def test_a_pattern_that_fits_nothing_names_no_file(command: str, server: Server, here: Path) -> None:
    done = run(command, here / "*.none", server.at("") if command == "cp" else server.address)
    assert done.code == 10
    assert "*.none" in done.err


def test_refused_files_among_others_are_3_and_listed(server: Server, here: Path) -> None:
    plant(here / "t", {"a": b"new", "large": noise(MIB), "b": b"b", "c": b"c"})
    plant(server.root / "t", {"a": b"old", "large": b"old"})
    done = run("cp", "-r", here / "t", server.at(), "--json")
    assert done.code == 3
    assert sorted(failure["path"] for failure in done.result["failures"]) == ["t/a", "t/large"]
    assert done.result["failed"] == 2
    assert done.result["files"] == 2
    for name in ("t/a", "t/large"):
        assert f"{name}: it exists already" in done.err
        assert (server.root / name).read_bytes() == b"old"
    assert (server.root / "t/b").read_bytes() == b"b"


def test_identical_files_count_as_same(server: Server, here: Path) -> None:
    plant(here / "t", {str(size): noise(size) for size in SIZES} | {"empty": b"", "d/e": None})
    assert run("cp", "-r", here / "t", server.at()).code == 0
    before = {path: path.stat().st_ino for path in (server.root / "t").rglob("*")}
    again = run("cp", "-r", here / "t", server.at(), "--json")
    assert again.code == 0, again.err
    assert (again.result["files"], again.result["same"], again.result["failed"]) == (0, 4, 0)
    assert "there already" in again.err
    assert {path: path.stat().st_ino for path in (server.root / "t").rglob("*")} == before
    pulled = run("cp", "-r", server.at("t"), here, "--no-fsync", "--json")
    assert (pulled.code, pulled.result["same"]) == (0, 4), pulled.err


@pytest.mark.parametrize("grain", [100, 1000, 10**7, 10**9, 2 * 10**9], ids=["NTFS", "UDF", "exFAT", "ext3", "FAT"])
def test_a_file_system_that_cuts_times_off_has_the_same_file_after_a_second_copy(
    grain: int, server: Server, here: Path
) -> None:
    source = dated(here / "f", noise(200 * KIB), NEW + 1_987_654_321)
    assert run("cp", source, server.at(), "--no-fsync").code == 0
    stands = (server.root / "f").stat().st_mtime_ns // grain * grain
    os.utime(server.root / "f", ns=(stands, stands))
    seen = run("cp", "-n", source, server.at(), "--json")
    assert (seen.code, seen.result["skipped"]) == (0, 1), seen.err
    again = run("cp", source, server.at(), "--no-fsync", "--json")
    assert (again.code, again.result["same"]) == (0, 1), again.err


@pytest.mark.parametrize("size", SIZES)
def test_update_leaves_a_file_alone_whose_time_was_cut_off_as_on_windows(size: int, server: Server, here: Path) -> None:
    source = dated(here / "f", noise(size), NEW + 1_987_654_321)
    dated(server.root / "f", noise(size), NEW + 1_987_654_300)
    done = run("cp", "--update", source, server.at(), "--no-fsync", "--json")
    assert (done.code, done.result["skipped"], done.result["files"]) == (0, 1, 0), done.err


@pytest.mark.parametrize("size", [200 * KIB, 9 * MIB])
def test_a_file_of_same_size_and_time_but_other_contents_is_not_same(
    size: int, server: Server, here: Path
) -> None:
    source = dated(here / "f", noise(size), OLD)
    other = bytearray(noise(size))
    other[size // 2] ^= 1
    dated(server.root / "f", bytes(other), OLD)
    done = run("cp", source, server.at())
    assert done.code == 10
    assert (server.root / "f").read_bytes() == bytes(other)


@pytest.mark.parametrize("size", SIZES)
def test_update_replaces_only_what_is_older(size: int, server: Server, here: Path) -> None:
    plant(here / "t", {})
    for name, ours, theirs in (("older", NEW, OLD), ("newer", OLD, NEW), ("as old", OLD, OLD)):
        dated(here / "t" / name, noise(size), ours)
        dated(server.root / "t" / name, b"theirs", theirs)
    dated(here / "t/missing", noise(size), OLD)
    done = run("cp", "-r", "--update", here / "t", server.at(), "--json")
    assert done.code == 0, done.err
    found = {path.name for path in (server.root / "t").iterdir() if path.read_bytes() == noise(size)}
    assert found == {"older", "missing"}
    assert (done.result["files"], done.result["skipped"]) == (2, 2)


@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_nothing_has_moved_of_a_large_file_that_is_skipped(pull: bool, server: Server, here: Path) -> None:
    source, target = (server.root, here) if pull else (here, server.root)
    for folder, when in ((source, OLD), (target, NEW)):
        dated(folder / "t/f", noise(2 * MIB), when)
    ends = [server.at("t"), target] if pull else [source / "t", server.at()]
    done = run("cp", "-r", "--update", "--json", *ends)
    assert [done.result[count] for count in ("exit_code", "files", "skipped", "bytes")] == [0, 0, 1, 0]
    assert "0 files, 0 B, 1 skipped" in done.err
    assert "verified" not in done.err


def test_overwrite_and_update_exclude_each_other(server: Server, here: Path) -> None:
    assert run("cp", "--overwrite", "--update", write(here / "f"), server.at()).code == 2


def test_a_dry_run_sees_a_file_where_a_folder_would_go(server: Server, here: Path) -> None:
    write(here / "t/d/f")
    write(server.root / "t/d", b"a file")
    for options in (["-n"], []):
        assert run("cp", "-r", *options, here / "t", server.at()).code == 10


@pytest.mark.parametrize("option", [None, "--overwrite", "--update"])
@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_a_dry_run_writes_nothing_and_says_what_would_be(
    pull: bool, option: str | None, server: Server, here: Path
) -> None:
    source = plant(
        (server.root if pull else here) / "t", {"new": b"new", "large": noise(9 * MIB), "d/taken": b"ours"}
    )
    (source / "link").symlink_to("new")
    target = plant((here if pull else server.root) / "t2", {"t/d/taken": b"old"})
    os.utime(target / "t/d/taken", ns=(OLD, OLD))
    before = picture(target, attributes=True)
    ends = [server.at("t"), target] if pull else [source, server.at("t2")]
    done = run("cp", "-r", "-n", "--links", *([option] if option else []), *ends, "--json")
    assert picture(target, attributes=True) == before
    assert done.result["durability"] == "dry"
    assert "dry run" in done.err
    assert done.result["files"] == (3 if option else 2), done.result
    assert done.result["failed"] == (0 if option else 1)
    assert done.code == (0 if option else 3)
    for name in ("t/new", "t/large"):
        assert name in done.err, "the names that would be copied are not said"


@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_a_dry_run_calls_nothing_verified(pull: bool, server: Server, here: Path) -> None:
    """Not even what has the size and the time of its source, for it was not compared."""
    for place, content in ((here, b"ours"), (server.root, b"else")):
        os.utime(write(place / "f", content), ns=(OLD, OLD))
    done = run("cp", "-n", "--json", *([server.at("f"), here] if pull else [here / "f", server.at()]))
    assert (done.code, done.result["same"], done.result["skipped"]) == (0, 0, 1), done.err
    assert "verified" not in done.err


@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_a_dry_run_counts_the_links_that_would_be_made(pull: bool, server: Server, here: Path) -> None:
    source = plant((server.root if pull else here) / "t", {"f": b"f"})
    (source / "symbolic").symlink_to("f")
    os.link(source / "f", source / "hard")
    done = run("cp", "-r", "-n", "--links", "--json", *([server.at("t"), here] if pull else [source, server.at()]))
    assert (done.code, done.result["files"], done.result["links"]) == (0, 1, 2), done.result


def test_a_dry_run_over_identical_files_says_the_same_as_the_copy(server: Server, here: Path) -> None:
    plant(here / "t", {"small": b"x", "large": noise(MIB)})
    assert run("cp", "-r", here / "t", server.at()).code == 0
    dry = run("cp", "-r", "-n", here / "t", server.at(), "--json")
    assert dry.code == 0, dry.err
    assert (dry.result["files"], dry.result["failed"]) == (0, 0)


def test_a_dry_run_to_a_missing_destination_makes_nothing(server: Server, here: Path) -> None:
    plant(here / "t", {"d/small": b"x"})
    done = run("cp", "-r", "-n", here / "t", server.at("new"))
    assert done.code == 0, done.err
    assert os.listdir(server.root) == []


def test_replacing_is_atomic_for_a_reader(server: Server, here: Path) -> None:
    """Whoever has the old file open goes on reading the old one."""
    for size in SIZES:
        write(server.root / "f", b"old")
        with (server.root / "f").open("rb") as reader:
            assert run("cp", "--overwrite", write(here / "f", noise(size)), server.at()).code == 0
            assert reader.read() == b"old"
        assert (server.root / "f").read_bytes() == noise(size)


@pytest.mark.parametrize("option", [None, "--overwrite", "--update"])
@pytest.mark.parametrize("size", [10, 9 * MIB])
def test_a_device_fifo_or_socket_is_never_replaced(size: int, option: str | None, server: Server, here: Path) -> None:
    """Root would lose /dev/null by one copy to it."""
    write(here / "fifo", noise(size))
    os.mkfifo(server.root / "fifo")
    os.utime(server.root / "fifo", (1, 1))
    done = run("cp", *([option] if option else []), here / "fifo", server.at())
    assert done.code == 10
    assert "a device, FIFO or socket stands there, which is never replaced" in done.err
    assert stat.S_ISFIFO((server.root / "fifo").lstat().st_mode)


def test_a_directory_that_fails_is_named_to_the_sender_as_it_knows_it(server: Server, here: Path) -> None:
    write(here / "t/file", b"x")
    (here / "t/sub").mkdir()
    write(server.root / "t/sub", b"in the way")
    for dry in ([], ["-n"]):
        done = run("cp", "-r", *dry, here / "t", server.at(), "--json")
        assert done.code == 3 if not dry else 3, done.err
        (failure,) = done.result["failures"]
        assert (failure["path"], failure["code"]) == ("t/sub", 10), done.result


def test_a_dry_run_refuses_what_the_copy_would(server: Server, here: Path) -> None:
    for folder in ("one", "two"):
        write(here / folder / "f", folder.encode())
    write(here / "bad\nname/file", b"x")
    sources = [here / name for name in ("one/f", "two/f", "bad\nname")]
    for code, options in ((3, []), (11, ["--overwrite"])):
        told = []
        for dry in (["-n"], []):
            done = run("cp", "-r", *dry, *options, *sources, server.at(), "--json")
            assert (done.code, done.result["files"]) == (code, 1), done.err
            told.append(sorted((one["path"], one["code"]) for one in done.result["failures"]))
        assert told[0] == told[1]
        assert {path for path, _ in told[0]} == {"bad\\nname", "bad\\nname/file", "f"}
        for path in server.root.iterdir():
            path.unlink()


def test_a_fifo_is_not_replaced_by_a_link_either(server: Server, here: Path) -> None:
    write(here / "t/f", b"x")
    (here / "t/symbolic").symlink_to("f")
    os.link(here / "t/f", here / "t/g")
    (server.root / "t").mkdir()
    for name in ("f", "g", "symbolic"):
        os.mkfifo(server.root / "t" / name)
    done = run("cp", "-r", "--links", "--overwrite", here / "t", server.at(), "--json")
    assert done.code == 10
    assert sorted(os.listdir(server.root / "t")) == ["f", "g", "symbolic"]
    said = [one["message"] for one in done.result["failures"]]
    assert said == ["a device, FIFO or socket stands there, which is never replaced"] * 3
