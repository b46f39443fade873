"""Names and paths that Windows has its own rules for: forbidden, too long, different in case alone."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import commands
import pytest

from lanes.parts import require
from lanes.test_windows import MIB, MINOR, Windows
from lanes.windows.built import link_package

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("windows"), pytest.mark.timeout(300)]


@pytest.fixture
def windows(tmp_path: Path) -> Windows:
    require("windows")
    return Windows(link_package(MINOR), tmp_path)


def test_names_that_windows_cannot_have_fail_alone(windows: Windows, tmp_path: Path) -> None:
    tree, root = tmp_path / "names", tmp_path / "root"
    bad = ["CON", "aux.txt", "a:b", "back\\slash", "dot.", "space ", "que?"]
    for folder in (tree, root):
        folder.mkdir()
    for name in ["good", *bad, "Twice", "tWICE"]:
        (tree / name).write_text(name)
    with windows.serving(root, "--open") as address:
        done = commands.run("cp", "-r", tree, f"{address}:/", "--no-fsync", "--overwrite")
    assert done.code == 11, done.err
    arrived = {path.name: path.read_text() for path in (root / "names").iterdir()}
    twice = [name for name in arrived if name.lower() == "twice"]
    assert (len(arrived), arrived["good"], arrived[twice[0]]) == (2, "good", twice[0])
    for name in bad:
        assert f"names/{name}: " in done.err, done.err
    assert "the same name was sent twice (of two names that differ only in case rename one)" in done.err


def test_a_second_name_that_differs_only_in_case_fails_with_what_to_do(windows: Windows, tmp_path: Path) -> None:
    tree, root = tmp_path / "names", tmp_path / "root"
    for folder in (tree, root):
        folder.mkdir()
    for name in ["Twice", "tWICE"]:
        (tree / name).write_text(name)
    with windows.serving(root, "--open") as address:
        done = commands.run("cp", "-r", tree, f"{address}:/", "--no-fsync")
    assert done.code == 3, done.err
    assert len(list((root / "names").iterdir())) == 1
    assert "of two names that differ only in case rename one; else say --overwrite" in done.err


def test_names_that_differ_only_in_case_are_not_laid_over_each_other_by_who_pulls(windows: Windows, tmp_path: Path) -> None:
    root, here = tmp_path / "root", tmp_path / "here"
    (root / "names").mkdir(parents=True)
    here.mkdir()
    for name in ["good", "Twice", "tWICE"]:
        (root / "names" / name).write_text(name)
    with commands.serving("tcp:127.0.0.1:0", root, "--open") as server:
        for option, code, words in (
            ("--no-fsync", 3, "of two names that differ only in case rename one; else say --overwrite"),
            ("--overwrite", 11, "the same name was sent twice (of two names that differ only in case rename one)"),
        ):
            with windows.start("cp", "-r", server.at("names"), here / option[2:], option) as program:
                done = program.finish()
            assert (done.returncode, words in done.stderr) == (code, True), done.stderr
            arrived = {path.name: path.read_text() for path in (here / option[2:]).iterdir()}
            (twice,) = arrived.keys() - {"good"}
            assert (arrived["good"], arrived[twice], twice.lower()) == ("good", twice, "twice")


@pytest.mark.parametrize("size", [1, 9 * MIB])
@pytest.mark.parametrize("way", ["push", "pull"])
def test_a_file_that_stands_there_in_another_case_is_replaced_only_with_overwrite(
    windows: Windows, way: str, size: int, tmp_path: Path
) -> None:
    source, there = tmp_path / "source", tmp_path / "there"
    for folder in (source, there):
        folder.mkdir()
    (source / "name").write_bytes(b"new" * size)
    (there / "NAME").write_bytes(b"old")
    with ExitStack() as stack:
        if way == "push":
            ends: tuple[object, object] = (source / "name", stack.enter_context(windows.serving(there, "--open")) + ":/")
        else:
            ends = (stack.enter_context(commands.serving("tcp:127.0.0.1:0", source, "--open")).at("name"), there)
        for options, code, contents in (([], 10, b"old"), (["--overwrite"], 0, b"new" * size)):
            if way == "push":
                done = commands.run("cp", *ends, "--no-fsync", *options, timeout=60)
                status, said = done.code, done.err
            else:
                with windows.start("cp", *ends, "--no-fsync", *options) as program:
                    ended = program.finish()
                status, said = ended.returncode, ended.stderr
            assert (status, "it exists already" in said) == (code, code != 0), said
            (path,) = there.iterdir()
            assert (path.name.lower(), path.read_bytes()) == ("name", contents)


def test_a_name_longer_than_any_is_told_as_such(windows: Windows, tmp_path: Path) -> None:
    name, root, here = "n" * 300, tmp_path / "root", tmp_path / "here"
    for folder in (root, here):
        folder.mkdir()
        (folder / "f").write_text("x")
    with windows.serving(root, "--open") as address:
        for source, target in ((here / "f", f"{address}:/{name}"), (f"{address}:/{name}", here)):
            refused = commands.run("cp", source, target)
            assert (refused.code, f"{name}: the name is longer than 255 UTF-16 units" in refused.err) == (11, True), refused.err
    with commands.serving("tcp:127.0.0.1:0", root, "--open") as server:
        for ends, code, words in (
            ((here / name, server.at()), 11, "type its name as it is"),
            ((server.at("f"), here / name), 11, "choose another name"),
            ((here / "f", server.at(name)), 11, "choose another name"),
        ):
            with windows.start("cp", *ends, "--no-fsync") as program:
                done = program.finish()
            assert (done.returncode, f"{name}: " in done.stderr, words in done.stderr) == (code, True, True), done.stderr
            assert "Traceback" not in done.stderr
    assert (os.listdir(root), os.listdir(here)) == (["f"], ["f"])


def test_a_path_of_any_length_is_reached(windows: Windows, tmp_path: Path) -> None:
    deep = tmp_path / "deep" / "/".join(["d" * 100] * 4)
    deep.mkdir(parents=True)
    (deep / "file").write_text("far down")
    root, back = tmp_path / "root", tmp_path / "back"
    for folder in (root, back):
        folder.mkdir()
    with windows.serving(root, "--open") as address:
        windows.run("cp", "-r", tmp_path / "deep", f"{address}:/", "--no-fsync")
        windows.run("cp", f"{address}:/" + "/".join(["deep", *["d" * 100] * 4, "file"]), back, "--no-fsync")
        windows.run("cp", deep / "file", f"{address}:/alone", "--no-fsync")
    with windows.serving(deep, "--open") as address:
        assert "file" in commands.run("ls", address).out
    assert (back / "file").read_text() == (root / "alone").read_text() == "far down"
    assert (root / deep.relative_to(tmp_path) / "file").read_text() == "far down"


def test_a_path_to_be_taken_to_the_letter_is_so_at_any_length(windows: Windows, tmp_path: Path) -> None:
    deep = tmp_path / "deep" / "/".join(["d" * 100] * 4)
    deep.mkdir(parents=True)
    (deep / "file").write_text("far down")
    letter = "\\\\?\\Z:" + str(deep).replace("/", "\\")
    root = tmp_path / "root"
    root.mkdir()
    with windows.serving(root, "--open") as address:
        windows.run("cp", f"{letter}\\file", f"{address}:/", "--no-fsync")
        windows.run("cp", f"{address}:/file", f"{letter}\\again", "--no-fsync")
        windows.run("cp", f"{address}:/file", f"{letter[:-101]}", "--no-fsync")
    for path in (root / "file", deep / "again", deep.parent / "file"):
        assert path.read_text() == "far down"
