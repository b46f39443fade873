"""Copying files and trees to a server and back, over every transport."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from commands import Server, run

from e2e.trees import KIB, MIB, leftovers, noise, picture, plant, write

TREE: dict[str, bytes | None] = {
    "empty file": b"",
    "empty directory": None,
    "small": b"x",
    "pack limit": noise(128 * KIB, 1),
    "above the pack limit": noise(128 * KIB + 1, 2),
    "one block": noise(MIB, 3),
    "short last block": noise(2 * MIB + 1, 4),
    "resumable": noise(9 * MIB, 5),
    "/".join("abcdefghijklmnopqrstuvwxyz") + "/deep": b"deep\n",
    "with spaces, 'quotes' and \u00fcml\u00e4ute": b"names\n",
    "sub/.hidden": b"hidden\n",
    "sub/-dash": b"dash\n",
    "sub/only/directories/below": None,
}


def test_push_of_a_tree_delivers_all_of_it(any_server: Server, here: Path) -> None:
    plant(here / "tree", TREE)
    done = run("cp", "-r", here / "tree", any_server.at(), "--json")
    assert done.code == 0, done.err
    assert picture(any_server.root / "tree", attributes=True) == picture(here / "tree", attributes=True)
    assert done.result["files"] == sum(content is not None for content in TREE.values())
    assert not leftovers(any_server.root)


def test_pull_of_a_tree_delivers_all_of_it(any_server: Server, here: Path) -> None:
    plant(any_server.root / "tree", TREE)
    done = run("cp", "-r", any_server.at("tree"), here, "--no-fsync", "--json")
    assert done.code == 0, done.err
    assert picture(here / "tree", attributes=True) == picture(any_server.root / "tree", attributes=True)
    assert done.result["bytes"] == sum(len(content) for content in TREE.values() if content)
    assert not leftovers(here)


@pytest.mark.parametrize("size", [0, 1, 128 * KIB, 128 * KIB + 1, MIB - 1, MIB, 8 * MIB, 8 * MIB + 1])
def test_one_file_of_any_size_goes_there_and_back(server: Server, here: Path, size: int) -> None:
    source = write(here / "source", noise(size, size))
    there = run("cp", source, server.at("there"), "--json")
    back = run("cp", server.at("there"), here / "back", "--no-fsync", "--json")
    assert (there.code, back.code) == (0, 0), there.err + back.err
    assert (here / "back").read_bytes() == source.read_bytes() == (server.root / "there").read_bytes()
    assert there.result["bytes"] == back.result["bytes"] == size


def test_what_was_confirmed_with_fsync_says_so(server: Server, here: Path) -> None:
    source = write(here / "source")
    assert (
        run("cp", source, server.at(), "--json").result["durability"] == "cached"
    )  # the server does not want it
    pulled = run("cp", server.at("source"), here / "back", "--json")
    assert pulled.result["durability"] == "synced"
    assert "on disk" in pulled.err


def test_two_thousand_small_files_go_there_and_back(server: Server, here: Path) -> None:
    plant(here / "many", {f"{i % 40}/{i}": b"%d\n" % i * (i % 50) for i in range(2000)})
    there = run("cp", "-r", here / "many", server.at(), "--json", timeout=40)
    assert there.code == 0, there.err
    assert there.result["files"] == 2000
    back = run("cp", "-r", server.at("many"), here / "back", "--no-fsync", "--json", timeout=40)
    assert back.code == 0, back.err
    assert picture(here / "back") == picture(here / "many")


def test_medium_files_share_the_lanes(server: Server, here: Path) -> None:
    plant(here / "medium", {f"{i}": noise(3 * MIB + i, i) for i in range(16)})
    there = run("cp", "-r", here / "medium", server.at(), "--lanes", 3, "--bwlimit", "24M", "--json")  # so that they join in time
    assert there.code == 0, there.err
    assert there.result["lanes"] in (2, 3)  # the third may come when the copy is over
    assert picture(server.root / "medium") == picture(here / "medium")


@pytest.mark.parametrize("lanes", [1, 4])
def test_one_large_file_is_the_same_however_many_lanes(server: Server, here: Path, lanes: int) -> None:
    source = write(here / "large", noise(72 * MIB, lanes))
    there = run("cp", source, server.at(), "--lanes", lanes, "--json")
    assert there.code == 0, there.err
    assert min(lanes, 2) <= there.result["lanes"] <= lanes  # the last may come when the copy is over
    back = run("cp", server.at("large"), here / "back", "--lanes", lanes, "--no-fsync", "--json")
    assert back.code == 0, back.err
    assert min(lanes, 2) <= back.result["lanes"] <= lanes
    assert (here / "back").read_bytes() == source.read_bytes()


def test_names_that_are_not_utf8_survive(server: Server, here: Path) -> None:
    names = [b"caf\xe9", b"\xff\xfe", b"\xc3(", b"latin\xa0space", "\u65e5\u672c".encode()]
    tree = os.fsencode(here) + b"/t"
    os.makedirs(tree + b"/dir\xe9")
    for name in names:
        for path in (tree + b"/" + name, tree + b"/dir\xe9/" + name):
            with open(path, "wb") as file:
                file.write(name)
    with open(tree + b"/dir\xe9/large\xe9", "wb") as file:
        file.write(noise(MIB))
    there = run("cp", "-r", here / "t", server.at())
    assert there.code == 0, there.err
    assert picture(server.root / "t") == picture(here / "t")
    back = run("cp", "-r", server.at("t"), here / "back", "--no-fsync")
    assert back.code == 0, back.err
    assert picture(here / "back") == picture(here / "t")


def test_names_that_only_windows_forbids_survive(server: Server, here: Path) -> None:
    """Each as a small file, one in a folder of that name, and one that is large enough to be asked about."""
    names = [b"NUL", b"com1.txt", b"a:stream", b'<>"|?*', b"back\\slash", b"dot.", b"space ", b"Case", b"case", b"C:"]
    tree = {os.fsdecode(name): noise(100, seed) for seed, name in enumerate(names)}
    tree |= {os.fsdecode(b"in/" + name + b"/" + name): noise(200 * 1024, seed) for seed, name in enumerate(names)}
    plant(here / "names", tree)
    assert run("cp", "-r", here / "names", server.at()).code == 0
    assert run("cp", "-r", server.at("names"), here / "back").code == 0
    for copy in (server.root / "names", here / "back"):
        assert picture(copy) == picture(here / "names")


def test_a_name_that_is_not_utf8_can_be_given_on_the_command_line(server: Server, here: Path) -> None:
    write(here / os.fsdecode(b"caf\xe9"))
    assert run("cp", here / os.fsdecode(b"caf\xe9"), server.at()).code == 0
    assert run("cp", server.at(os.fsdecode(b"caf\xe9")), here / os.fsdecode(b"\xe9t"), "--no-fsync").code == 0
    assert (here / os.fsdecode(b"\xe9t")).read_bytes() == b"content\n"


def test_several_sources_go_into_a_directory(server: Server, here: Path) -> None:
    plant(here, {"a": b"a", "d/b": b"b", "d/e/c": b"c"})
    (server.root / "in").mkdir()
    assert run("cp", "-r", here / "a", here / "d", server.at("in")).code == 0
    assert picture(server.root / "in") == picture(here)
    (here / "back").mkdir()
    assert run("cp", "-r", server.at("in/a"), server.at("in/d"), here / "back", "--no-fsync").code == 0
    assert picture(here / "back") == picture(server.root / "in")


def test_a_source_with_an_unsafe_name_is_refused_alone(server: Server, here: Path) -> None:
    for name in ("good", "bad\tname", ".hvcopy-mine"):
        write(here / name)
    done = run("cp", *sorted(here.iterdir()), server.at())
    assert done.code == 11
    assert r"bad\tname: the name contains a control character" in done.err
    assert ".hvcopy-mine: the name is one that hvcopy keeps" in done.err
    assert [path.name for path in server.root.iterdir()] == ["good"]
    alone = run("cp", here / "bad\tname", server.at())
    assert (alone.code, r"bad\tname: the name contains" in alone.err) == (11, True)
    assert run("cp", here / "bad\tname", server.at("renamed")).code == 0


def test_a_whole_served_root_can_be_pulled(server: Server, here: Path) -> None:
    plant(server.root, {"a": b"a", "d/b": b"b"})
    assert run("cp", "-r", server.at(), here / "all", "--no-fsync").code == 0
    assert picture(here / "all") == picture(server.root)


def test_a_directory_without_r_is_refused(server: Server, here: Path) -> None:
    plant(here / "d", {"a": b"a"})
    plant(server.root / "d", {"a": b"a"})
    pushed = run("cp", here / "d", server.at("x"))
    pulled = run("cp", server.at("d"), here / "x")
    assert pushed.code == pulled.code == 2
    assert "-r" in pushed.err
    assert "-r" in pulled.err
    assert not (server.root / "x").exists()
    assert not (here / "x").exists()


@pytest.mark.parametrize("command", ["ls", "pull", "push"])
def test_a_path_that_no_server_takes_is_refused_as_such(command: str, server: Server, here: Path) -> None:
    remote = server.at("/".join(["a" * 200] * 21))
    arguments = {"ls": ["ls", remote], "pull": ["cp", remote, here], "push": ["cp", write(here / "f"), remote]}
    done = run(*arguments[command])
    assert done.code == 2
    assert "is longer than 4096 bytes" in done.err


def test_more_sources_than_one_job_holds_are_refused_as_such(server: Server, here: Path) -> None:
    done = run("cp", *[server.at("/".join(["a" * 200] * 6 + [str(number)])) for number in range(900)], here)
    assert done.code == 2
    assert "too long for so many at once" in done.err


def test_more_sources_than_may_be_open_at_once_are_refused_as_such(server: Server, here: Path) -> None:
    """Each is a descriptor, but what no job holds fails for that, whatever may be open."""
    few = ["sh", "-c", 'ulimit -n 100; exec "$@"', "sh"]
    file = write(here / "f")
    too_many = run("cp", *[file] * 1025, server.at(), prefix=few)
    assert (too_many.code, "more than 1024 sources at once" in too_many.err) == (2, True), too_many.err
    too_few = run("cp", *[file] * 1024, server.at(), prefix=few)
    assert (too_few.code, "raise the limit of open files (ulimit -n)" in too_few.err) == (10, True), too_few.err


def test_ls_lists_kind_size_and_name(any_server: Server) -> None:
    plant(any_server.root, {"dir/inner": b"12", "file": b"12345"})
    (any_server.root / "link").symlink_to("file")
    listed = run("ls", any_server.address)
    assert listed.code == 0, listed.err
    lines = [line.split() for line in listed.out.splitlines()]
    assert [line[-1] for line in lines] == ["dir/", "file", "link@"]
    assert lines[1][1] == "5"
    assert run("ls", any_server.at("dir")).out.split()[-1] == "inner"
    assert run("ls", any_server.at("file")).out.split()[-1] == "file"


def test_ls_of_an_empty_folder_prints_nothing(server: Server) -> None:
    listed = run("ls", server.address)
    assert (listed.code, listed.out, listed.err) == (0, "", "")


def test_ls_of_a_large_folder_lists_every_name(server: Server) -> None:
    plant(server.root, {f"{i:04}": b"" for i in range(1500)})
    listed = run("ls", server.address)
    assert [line.split()[-1] for line in listed.out.splitlines()] == [f"{i:04}" for i in range(1500)]


def test_ls_of_what_is_not_there_names_it(server: Server) -> None:
    listed = run("ls", server.at("nothing"))
    assert (listed.code, listed.out) == (10, "")
    assert "/nothing" in listed.err


@pytest.mark.parametrize("end", ["/", "/."])
def test_ls_of_a_file_as_a_folder_is_refused_as_cp_refuses_it(server: Server, end: str) -> None:
    plant(server.root, {"file": b"", "folder/file": b""})
    listed = run("ls", server.at(f"file{end}"))
    assert (listed.code, listed.out) == (10, "")
    assert "/file: Not a directory" in listed.err
    assert run("ls", server.at(f"folder{end}")).out.endswith(" file\n")


def test_ls_escapes_what_could_drive_a_terminal(server: Server) -> None:
    write(server.root / "red\x1b[31m")
    write(server.root / os.fsdecode(b"raw\xff"))
    listed = run("ls", server.address)
    assert "\x1b" not in listed.out
    assert "\\x1b[31m" in listed.out
    assert "raw\\xff" in listed.out
