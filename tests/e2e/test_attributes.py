"""What a file has besides contents: modes, times, links, owners, extended attributes, holes."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
from commands import Server, run, serving

from e2e.boxes import powerless
from e2e.trees import KIB, MIB, leftovers, noise, picture, plant, write

MODES = (0o600, 0o644, 0o755, 0o400, 0o777, 0o711)
TIMES = (0, 1, 1_700_000_000_123_456_789, 4_000_000_000_999_999_999, -1_000_000_007)


def push(here: Path, server: Server, name: str, *options: object) -> str:
    """Push ``here/name``; returns what was said.  The test fails unless all went well."""
    done = run("cp", "-r", *options, here / name, server.at())
    assert done.code == 0, done.err
    return done.err


@pytest.mark.parametrize("size", [5, MIB, 9 * MIB])
def test_modes_and_nanosecond_times_are_kept(size: int, server: Server, here: Path) -> None:
    for number, (mode, when) in enumerate(zip(MODES, (*TIMES, 17), strict=True)):
        path = write(here / "t" / f"{mode:o}", noise(size, number))
        path.chmod(mode)
        os.utime(path, ns=(when, when))
    push(here, server, "t")
    assert picture(server.root / "t", attributes=True) == picture(here / "t", attributes=True)
    pulled = run("cp", "-r", server.at("t"), here / "back", "--no-fsync")
    assert pulled.code == 0, pulled.err
    assert picture(here / "back", attributes=True) == picture(here / "t", attributes=True)


def test_modes_and_times_of_directories_are_kept(server: Server, here: Path) -> None:
    """Also of one that its owner may not write into, with files in it."""
    plant(here / "t", {"a/b/file": b"x", "a/empty": None, "closed/sub/file": b"x"})
    for number, name in enumerate(["closed/sub", "closed", "a/b", "a/empty", "a", "."]):
        (here / "t" / name).chmod(0o555 if "closed" in name else 0o750)
        os.utime(here / "t" / name, ns=(10**18 + number, 10**18 + number))
    push(here, server, "t")
    assert picture(server.root / "t", attributes=True) == picture(here / "t", attributes=True)
    assert (server.root / "t").stat().st_mtime_ns == (here / "t").stat().st_mtime_ns
    assert stat.S_IMODE((server.root / "t").stat().st_mode) == 0o750
    for folder in (here, server.root):
        for name in ("closed", "closed/sub"):
            (folder / "t" / name).chmod(0o755)


@pytest.mark.parametrize("seconds", [10**10, -(10**10)])
def test_times_beyond_64_bits_of_nanoseconds_become_the_nearest(seconds: int, server: Server, here: Path) -> None:
    for size in (5, MIB, 9 * MIB):
        write(here / "t/sub" / str(size), noise(size))
    (here / "t/sub/link").symlink_to("5")
    for path in (*(here / "t/sub").iterdir(), here / "t/sub"):
        os.utime(path, (seconds, seconds), follow_symlinks=False)
    for _ in range(2):  # the second finds all there
        push(here, server, "t", "--links")
    probe = write(here / "probe", b"")  # ext4 begins in 1901
    os.utime(probe, ns=(0, (1 << 63) - 1 if seconds > 0 else -(1 << 63)))
    nearest = probe.stat().st_mtime_ns
    for path in (*(server.root / "t/sub").iterdir(), server.root / "t/sub"):
        assert path.lstat().st_mtime_ns == nearest, path
    assert run("ls", server.at("t")).code == 0
    pulled = run("cp", "-r", server.at("t"), here / "back")
    assert pulled.code == 0, pulled.err


def test_set_id_bits_are_not_kept_without_ownership(server: Server, here: Path) -> None:
    for size in (5, MIB):
        write(here / "t" / str(size), noise(size)).chmod(0o6755)
    push(here, server, "t")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (server.root / "t").iterdir()} == {0o755}



@pytest.mark.parametrize("bits", [0o1000, 0o2000, 0o3000], ids=["sticky", "set-gid", "both"])
def test_a_folder_that_stands_there_keeps_its_upper_bits_unless_owners_are_kept(
    bits: int, server: Server, here: Path
) -> None:
    plant(here / "t", {"shared/f": b"x", "shared/new/f": b"x"})
    for folder in ("t", "t/shared", "t/shared/new"):
        (here / folder).chmod(0o755)
    (server.root / "t/shared").mkdir(parents=True)
    (server.root / "t/shared").chmod(bits | 0o777)
    push(here, server, "t")
    assert stat.S_IMODE((server.root / "t/shared").stat().st_mode) == bits | 0o755
    inherited = bits & stat.S_ISGID  # mkdir(2)
    assert stat.S_IMODE((server.root / "t/shared/new").stat().st_mode) == inherited | 0o755
    push(here, server, "t", "-a", "--overwrite")
    assert stat.S_IMODE((server.root / "t/shared").stat().st_mode) == 0o755
    assert stat.S_IMODE((server.root / "t/shared/new").stat().st_mode) == 0o755


def test_a_pull_into_a_folder_that_stands_there_leaves_its_sticky_bit(server: Server, here: Path) -> None:
    plant(server.root, {"f": b"x"})
    server.root.chmod(0o755)
    (here / "shared").mkdir()
    (here / "shared").chmod(0o1777)
    done = run("cp", "-r", server.at(), here / "shared", "--no-fsync")
    assert done.code == 0, done.err
    assert (here / "shared/f").read_bytes() == b"x"
    assert stat.S_IMODE((here / "shared").stat().st_mode) == 0o1755


def test_set_id_bits_of_folders_are_not_taken_without_ownership(server: Server, here: Path) -> None:
    plant(here / "t", {"d/f": b"x"})
    (here / "t/d").chmod(0o3750)
    push(here, server, "t")
    assert stat.S_IMODE((server.root / "t/d").stat().st_mode) == 0o750


# ---- links


def test_symbolic_links_are_skipped_and_said_so(server: Server, here: Path) -> None:
    plant(here / "t", {"file": b"x", "d/inner": b"y"})
    (here / "t/link").symlink_to("file")
    (here / "t/out").symlink_to("/etc")
    said = push(here, server, "t")
    assert "t/link: symbolic link skipped (--links" in said
    assert picture(server.root / "t") == {
        b"file": ("file", b"x"),
        b"d": ("directory",),
        b"d/inner": ("file", b"y"),
    }


@pytest.mark.parametrize("option", ["--links", "-a"])
def test_symbolic_links_are_recreated_on_request(option: str, server: Server, here: Path) -> None:
    plant(here / "t", {"file": b"x"})
    targets = ["file", "missing", "/etc/passwd", "../..", os.fsdecode(b"caf\xe9"), "x" * 1000]
    for number, target in enumerate(targets):
        (here / "t" / f"link{number}").symlink_to(target)
    push(here, server, "t", option)
    assert [os.readlink(server.root / f"t/link{number}") for number in range(len(targets))] == targets
    again = run("cp", "-r", option, here / "t", server.at())
    assert again.code == 0, again.err
    back = run("cp", "-r", option, server.at("t"), here / "back", "--no-fsync")
    assert back.code == 0, back.err
    assert picture(here / "back") == picture(here / "t")


def test_a_link_given_by_name_is_followed(server: Server, here: Path) -> None:
    write(here / "file", b"behind the link")
    (here / "link").symlink_to("file")
    assert run("cp", here / "link", server.at()).code == 0
    assert (server.root / "link").read_bytes() == b"behind the link"
    assert not (server.root / "link").is_symlink()


@pytest.mark.parametrize("size", [10, MIB, 9 * MIB])
def test_hard_links_are_kept(size: int, server: Server, here: Path) -> None:
    first = write(here / "t/first", noise(size))
    write(here / "t/other", b"single")
    (here / "t/sub").mkdir()
    for name in ("second", "sub/third"):
        os.link(first, here / "t" / name)
    push(here, server, "t")
    there = [(server.root / "t" / name).stat() for name in ("first", "second", "sub/third")]
    assert {found.st_ino for found in there} == {there[0].st_ino}
    assert there[0].st_nlink == 3
    assert picture(server.root / "t") == picture(here / "t")
    back = run("cp", "-r", server.at("t"), here / "back", "--no-fsync")
    assert back.code == 0, back.err
    assert (here / "back/sub/third").stat().st_nlink == 3


def test_small_files_beside_those_that_do_not_go_along_have_their_own_contents(server: Server, here: Path) -> None:
    """Of a further name nothing is sent, and what has attributes goes by itself: they are read with the others all the same."""
    contents = {f"f{number}": b"%03d of its own" % number for number in range(40)}
    plant(here / "t", contents)
    for number in range(0, 30, 3):
        os.link(here / f"t/f{number}", here / f"t/f{number}-again")
        contents[f"f{number}-again"] = contents[f"f{number}"]
        os.setxattr(here / f"t/f{number + 1}", "user.mine", b"x")
    for way in (("cp", "-r"), ("cp", "-a"), ("cp", "-r", "--update")):
        done = run(*way, here / "t", server.at(way[-1]))
        assert done.code == 0, done.err
        assert {path.name: path.read_bytes() for path in (server.root / way[-1]).iterdir()} == contents


def test_what_is_skipped_is_said_on_both_sides(server: Server, here: Path) -> None:
    """Who pulls a tree has to hear what is missing of it."""
    write(server.root / "t/sub/file", b"x")
    (server.root / "t/sub/link").symlink_to("file")
    os.mkfifo(server.root / "t/fifo")
    pulled = run("cp", "-r", server.at("t"), here / "back", "--json")
    assert (pulled.code, pulled.result["files"], pulled.result["skipped"]) == (0, 1, 2)
    assert f"{server.at('t/sub/link')}: symbolic link skipped (--links recreates links)" in pulled.err
    assert f"{server.at('t/fifo')}: skipped: no file, directory or link" in pulled.err
    pushed = run("cp", "-r", here / "back", server.at("again"), "--json")
    assert (pushed.code, pushed.result["skipped"]) == (0, 0)


@pytest.mark.parametrize("size", [10, 9 * MIB])
def test_a_name_that_fails_takes_none_of_its_hard_links_along(size: int, server: Server, here: Path) -> None:
    """Of four names of one file the first two fail, one refused and one taken; the next goes as a file, the last is linked."""
    bad = write(here / "t" / "bad\x01", noise(size))
    for name in ("sub/taken", "sub/sub/third", "sub/sub/sub/fourth"):
        (here / "t" / name).parent.mkdir(exist_ok=True)
        os.link(bad, here / "t" / name)
    write(server.root / "t/sub/taken", b"precious")
    done = run("cp", "-r", here / "t", server.at(), "--json")
    assert done.code == 3, done.err
    assert {Path(one["path"]).name for one in done.result["failures"]} == {"bad\\x01", "taken"}, done.result
    assert (done.result["files"], done.result["links"]) == (1, 1)
    assert (server.root / "t/sub/sub/third").read_bytes() == bad.read_bytes()
    assert (server.root / "t/sub/sub/sub/fourth").samefile(server.root / "t/sub/sub/third")
    assert (server.root / "t/sub/taken").read_bytes() == b"precious"


@pytest.mark.parametrize("option", [None, "--overwrite", "--update"])
@pytest.mark.parametrize("size", [10, 9 * MIB])
def test_hard_links_are_kept_by_a_second_copy(
    size: int, option: str | None, server: Server, here: Path
) -> None:
    first = write(here / "t/first", noise(size))
    os.link(first, here / "t/second")
    push(here, server, "t")
    options = [option] if option else []
    done = run("cp", "-r", *options, here / "t", server.at())
    assert done.code == 0, done.err
    assert (server.root / "t/second").samefile(server.root / "t/first")
    assert (server.root / "t/first").stat().st_nlink == 2


@pytest.mark.parametrize("size", [10, 9 * MIB])
def test_a_hard_link_does_not_replace_what_is_not_older(size: int, server: Server, here: Path) -> None:
    """Nor is what stands there, and was skipped, taken for the source's contents."""
    first = write(here / "t/a", noise(size))
    os.link(first, here / "t/b")
    for newer, older in (("a", "b"), ("b", "a")):
        there = server.root / newer / "t"
        write(there / newer, b"precious")
        os.utime(write(there / older, b"old"), (1, 1))
        run("cp", "-r", "--update", here / "t", server.at(newer))
        assert (there / newer).read_bytes() == b"precious"
        assert (there / older).read_bytes() in (b"old", first.read_bytes())


@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
@pytest.mark.parametrize("size", [10, 9 * MIB])
def test_nothing_is_linked_to_a_file_that_was_only_skipped(size: int, pull: bool, server: Server, here: Path) -> None:
    """It may have other contents, though its size and time are the same."""
    source, target = (server.root, here) if pull else (here, server.root)
    first = write(source / "t/a", noise(size))
    for name in ("b", "sub/c", "sub/d"):
        (source / "t" / name).parent.mkdir(exist_ok=True)
        os.link(first, source / "t" / name)
    for name in ("a", "b"):
        shutil.copystat(first, write(target / "t" / name, noise(size, 1)))
    ends = [server.at("t"), target] if pull else [source / "t", server.at()]
    done = run("cp", "-r", "--no-fsync", "--update", *ends, "--json")
    assert done.code == 0, done.err
    assert [done.result[count] for count in ("files", "links", "skipped")] == [1, 1, 2]
    assert (target / "t/a").read_bytes() == (target / "t/b").read_bytes() == noise(size, 1)
    assert (target / "t/sub/c").read_bytes() == noise(size)
    assert (target / "t/sub/c").samefile(target / "t/sub/d")


def test_a_symbolic_link_does_not_replace_what_is_not_older(server: Server, here: Path) -> None:
    (here / "t").mkdir()
    (here / "t/x").symlink_to("elsewhere")
    os.utime(here / "t/x", (1, 1), follow_symlinks=False)
    write(server.root / "t/x", b"precious")
    done = run("cp", "-r", "--links", "--update", here / "t", server.at(), "--json")
    assert (done.code, done.result["skipped"], done.result["links"]) == (0, 1, 0)
    assert (server.root / "t/x").read_bytes() == b"precious"


@pytest.mark.parametrize("size", [10, 2 * MIB, 9 * MIB + 1])
def test_files_that_are_no_links_but_the_same_are_left_alone(size: int, server: Server, here: Path) -> None:
    first = write(here / "t/a", noise(size))
    os.link(first, here / "t/b")
    for name in ("a", "b"):
        shutil.copy2(first, write(server.root / "t" / name))
    done = run("cp", "-r", here / "t", server.at())
    assert done.code == 0, done.err
    (server.root / "t/b").write_bytes(noise(size, 1))
    done = run("cp", "-r", here / "t", server.at(), "--json")
    assert (done.code, done.result["same"]) == (3, 1), "only the one that differs is refused, whichever of the two is read first"


def test_a_small_file_with_an_extended_attribute_is_compared_whatever_its_time(server: Server, here: Path) -> None:
    os.setxattr(write(here / "t/f", b"same"), "user.a", b"1")
    push(here, server, "t", "-a")
    os.utime(server.root / "t/f", (1, 1))
    push(here, server, "t", "-a")
    (server.root / "t/f").write_bytes(b"else")
    assert run("cp", "-a", here / "t", server.at()).code == 10


# ---- owners and extended attributes


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("size", [5, 9 * MIB])
def test_owners_are_kept_by_archive_and_only_then(size: int, server: Server, here: Path) -> None:
    path = write(here / "t/sub/file", noise(size))
    for number, one in enumerate((path, path.parent, path.parent.parent)):
        os.chown(one, 1000 + number, 2000 + number)
    path.chmod(0o4750)
    (here / "t/link").symlink_to("sub/file")
    os.chown(here / "t/link", 1234, 1234, follow_symlinks=False)
    push(here, server, "t")
    assert (server.root / "t/sub/file").stat().st_uid == 0
    (here / "a").mkdir()
    done = run("cp", "-a", here / "t", server.at("archive"))
    assert done.code == 0, done.err
    there = server.root / "archive"
    for name in ("sub/file", "sub", "."):
        found, wanted = (there / name).stat(), (here / "t" / name).stat()
        assert (found.st_uid, found.st_gid, found.st_mode) == (
            wanted.st_uid,
            wanted.st_gid,
            wanted.st_mode,
        ), name
    assert (there / "link").lstat().st_uid == 1234


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_owners_that_cannot_be_kept_fail_with_their_reason(tmp_path: Path, root: Path, here: Path) -> None:
    plant(here / "t", {"f": b"x", "sub/large": noise(MIB)})
    (here / "t/link").symlink_to("f")
    for path in (here / "t/f", here / "t/sub/large", here / "t/link"):
        os.chown(path, 1234, 2345, follow_symlinks=False)
    with serving(f"unix:{tmp_path}/s", root, prefix=powerless()) as server:
        done = run("cp", "-a", here / "t", server.at())
    assert done.code == 10, done.err
    assert done.err.count("its owner 1234:2345 cannot be kept there: Operation not permitted; without -a") == 3
    assert not leftovers(root)


@pytest.mark.parametrize("size", [5, 9 * MIB])
def test_extended_attributes_are_kept_by_archive_and_only_then(size: int, server: Server, here: Path) -> None:
    path = write(here / "t/sub/file", noise(size))
    values = {"user.plain": b"value", "user.binary": bytes(range(256)), "user.empty": b""}
    try:
        for name, value in values.items():
            os.setxattr(path, name, value)
            os.setxattr(path.parent, name, value)
    except OSError as error:
        pytest.skip(f"this file system has no user attributes: {error}")
    push(here, server, "t")
    assert os.listxattr(server.root / "t/sub/file") == []
    done = run("cp", "-a", here / "t", server.at("archive"))
    assert done.code == 0, done.err
    for there in (server.root / "archive/sub/file", server.root / "archive/sub"):
        assert {name: os.getxattr(there, name) for name in os.listxattr(there)} == values
    assert (server.root / "archive/sub/file").read_bytes() == path.read_bytes()


# ---- holes


def blocks(path: Path) -> int:
    """Return how many bytes of disk a file takes."""
    return path.stat().st_blocks * 512


def sparse(path: Path, size: int, pieces: dict[int, bytes]) -> Path:
    """Make a file of *size* bytes that only has *pieces* on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
        for offset, piece in pieces.items():
            file.seek(offset)
            file.write(piece)
    return path


def same_where(left: Path, right: Path, offsets: list[int], length: int) -> bool:
    """Compare two files in places only."""
    with left.open("rb") as one, right.open("rb") as two:
        for offset in offsets:
            one.seek(offset)
            two.seek(offset)
            if one.read(length) != two.read(length):
                return False
    return True


@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_a_sparse_file_of_100_gib_takes_seconds_and_no_more_disk(
    pull: bool, server: Server, here: Path
) -> None:
    size, at = 100 << 30, [0, (50 << 30) + MIB // 2, (100 << 30) - 4096]
    pieces = {at[0]: noise(4096, 1), at[1]: noise(MIB, 2), at[2]: noise(4096, 3)}
    source = sparse((server.root if pull else here) / "disk", size, pieces)
    if blocks(source) > 16 * MIB:
        pytest.skip("this file system has no holes")
    target = (here if pull else server.root) / "copy"
    ends = [server.at("disk"), target] if pull else [source, server.at("copy")]
    done = run("cp", *ends, "--no-fsync", "--json", timeout=15)
    assert done.code == 0, done.err
    assert done.result["bytes"] == size
    assert target.stat().st_size == size
    assert same_where(source, target, [*at, 30 << 30, at[1] - MIB], MIB)
    assert blocks(target) <= blocks(source) + 3 * MIB
    again = run("cp", *ends, "--no-fsync", "--json", timeout=15)
    assert (again.code, again.result["same"]) == (0, 1), again.err


HOLED = pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (10 * MIB, {}),
        (10 * MIB + 1, {10 * MIB: b"x"}),
        (10 * MIB + 1, {0: b"x"}),
        (32 * MIB, {number * 2 * MIB: noise(MIB, number) for number in range(16)}),
        (9 * MIB + 100, {MIB // 2: noise(4096), 8 * MIB: noise(4096)}),
    ],
    ids=["all hole", "data at the end", "hole at the end", "every other block", "within blocks"],
)


@HOLED
def test_a_file_with_holes_arrives_whole(size: int, pieces: dict[int, bytes], server: Server, here: Path) -> None:
    source = sparse(here / "disk", size, pieces)
    done = run("cp", source, server.at())
    assert done.code == 0, done.err
    assert (server.root / "disk").read_bytes() == source.read_bytes()


@HOLED
def test_holes_stay_holes(size: int, pieces: dict[int, bytes], server: Server, here: Path) -> None:
    source = sparse(here / "disk", size, pieces)
    assert run("cp", source, server.at()).code == 0
    assert blocks(server.root / "disk") <= blocks(source) + 64 * KIB  # the file system's own book-keeping


def test_zeros_on_disk_arrive_as_zeros(server: Server, here: Path) -> None:
    source = write(here / "zeros", bytes(9 * MIB) + b"end")
    assert run("cp", source, server.at()).code == 0
    assert (server.root / "zeros").read_bytes() == source.read_bytes()
