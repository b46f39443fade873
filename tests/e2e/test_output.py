"""What commands print: results on stdout and nothing else, progress, --json, --help with examples that work."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from commands import Running, Server, run
from starting import HVCOPY

from e2e.plumbing import pipeline
from e2e.trees import MIB, noise, plant, write

COMMANDS = ("cp", "ls", "serve", "send", "recv", "bench", "key", "demo")
KEYS = {
    "schema", "command", "peer", "ok", "exit_code", "files", "directories", "links", "same", "skipped", "failed",
    "bytes", "reused_bytes", "seconds", "bytes_per_second", "durability", "lanes", "window", "failures",
}  # fmt: skip
PROGRESS_KEYS = {
    "event", "bytes", "total_bytes", "files", "total_files", "links", "same", "skipped", "reused_bytes", "failed", "seconds",
    "current",
}  # fmt: skip


def test_json_has_stable_keys_whatever_happens(server: Server, here: Path) -> None:
    source = write(here / "f", noise(3 * MIB))
    good = run("cp", source, server.at(), "--json").result
    assert set(good) == KEYS
    assert good["schema"] == 1
    assert (good["ok"], good["exit_code"], good["files"], good["bytes"]) == (True, 0, 1, 3 * MIB)
    assert (good["command"], good["peer"], good["failures"]) == ("cp", server.address, [])
    write(here / "g", b"other")
    failed = run("cp", here / "g", server.at("f"), "--json").result
    assert set(failed) == KEYS
    assert (failed["ok"], failed["exit_code"]) == (False, 10)
    assert set(failed["failures"][0]) == {"path", "code", "message"}
    broken = run("cp", source, f"{server.address}x:/", "--json")
    assert (broken.code, broken.result["exit_code"]) == (4, 4)
    assert set(broken.result) == KEYS | {"error"}
    assert set(broken.result["error"]) == {"message", "hint"}
    pulled = run("cp", server.at("f"), here / "h", "--no-fsync", "--json").result
    assert set(pulled) == KEYS


def test_json_of_a_usage_error_is_still_an_object() -> None:
    done = run("cp", "--json", "a", "b")
    assert done.code == 2
    assert done.result["exit_code"] == 2


def test_ls_json_is_one_object_a_line(server: Server) -> None:
    plant(server.root, {"d/x": b"", "f": b"12345"})
    listed = run("ls", "--json", server.address)
    assert listed.code == 0
    lines = [json.loads(line) for line in listed.out.splitlines()]
    assert [(line["name"], line["kind"]) for line in lines] == [("d", "d"), ("f", "f")]
    assert all(set(line) == {"name", "kind", "size", "mtime_ns", "mode"} for line in lines)
    assert lines[1]["size"] == 5
    assert lines[1]["mtime_ns"] == (server.root / "f").stat().st_mtime_ns


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-1", "utf-8"])
def test_a_name_that_the_locale_lacks_is_escaped(encoding: str, server: Server) -> None:
    write(server.root / "\u017c")
    listed = run("ls", server.address, env={"PYTHONIOENCODING": encoding})
    assert (listed.code, listed.err) == (0, "")
    assert listed.out.split()[-1] == ("\u017c" if encoding == "utf-8" else r"\u017c")


def test_only_results_are_on_stdout(server: Server, here: Path) -> None:
    source = write(here / "f", noise(MIB))
    for options in ([], ["-v"], ["--progress", "plain"], ["--progress", "bar"], ["--progress", "json"]):
        done = run("cp", "--overwrite", *options, source, server.at())
        assert (done.code, done.out) == (0, ""), done.err
        assert "verified" in done.err
    assert run("key", here / "k").out == ""


def test_quiet_says_nothing_but_errors(server: Server, here: Path) -> None:
    plant(here / "t", {"a": b"a"})
    (here / "t/link").symlink_to("a")
    done = run("cp", "-r", "-q", here / "t", server.at())
    assert (done.code, done.out, done.err) == (0, "", "")
    write(here / "t/a", b"other")
    again = run("cp", "-r", "-q", here / "t", server.at())
    assert again.code == 3
    assert "t/a: it exists already" in again.err


def test_verbose_tells_the_connection_and_its_window(server: Server, here: Path) -> None:
    done = run("cp", "-v", write(here / "f"), server.at())
    assert re.search(rf"connected to {re.escape(server.address)}.*window [1-9]", done.err)


def test_progress_json_tells_a_running_copy(server: Server, here: Path) -> None:
    source = write(here / "f", noise(12 * MIB))
    done = run("cp", "--progress", "json", "--bwlimit", "5M", source, server.at())
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    assert events
    assert all(set(event) == PROGRESS_KEYS for event in events)
    assert [event["bytes"] for event in events] == sorted(event["bytes"] for event in events)
    assert events[-1]["total_bytes"] == 12 * MIB
    assert events[-1]["bytes"] <= 12 * MIB
    assert events[-1]["current"] == "f"


def test_progress_bar_ends_at_the_last_byte(server: Server, here: Path) -> None:
    source = write(here / "f", noise(6 * MIB))
    done = run("cp", "--progress", "bar", "--bwlimit", "6M", source, server.at())
    assert done.code == 0, done.err
    assert "100%" in done.err
    assert "6.00M/6.00M" in done.err
    assert "f" in done.err


def test_a_bar_is_shown_on_a_terminal_without_a_size(server: Server, here: Path) -> None:
    """A serial console's has none, until somebody tells it."""
    pty = pytest.importorskip("pty", reason="needs a terminal")
    leader, follower = pty.openpty()
    with open(leader, "rb", buffering=0) as screen, open(follower, "wb") as terminal:
        assert os.get_terminal_size(follower).columns == 0
        words = [*HVCOPY, "cp", "--bwlimit", "6M", str(write(here / "f", noise(6 * MIB))), server.at()]
        with subprocess.Popen(words, stderr=terminal) as running:
            terminal.close()
            shown = b""
            while b"verified" not in shown:
                shown += screen.read(4096)
        assert running.returncode == 0
    assert b"6.00M/6.00M" in shown


def test_progress_none_and_unknown(server: Server, here: Path) -> None:
    source = write(here / "f", noise(MIB))
    done = run("cp", "--progress", "none", source, server.at())
    assert done.code == 0
    assert len(done.err.splitlines()) == 1
    wrong = run("cp", "--progress", "colourful", source, server.at("g"))
    assert wrong.code == 2
    assert "auto, bar, plain, json, none" in wrong.err
    assert not (server.root / "g").exists()


def test_the_rate_limit_is_kept(server: Server, here: Path) -> None:
    done = run("cp", "--bwlimit", "4M", write(here / "f", noise(8 * MIB)), server.at(), "--json")
    assert done.code == 0, done.err
    assert 1.5 < done.result["seconds"] < 6


# ---- usage


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["cp"],
        ["cp", "only-one"],
        ["cp", "a", "b"],
        ["cp", "unix:/x:/a", "unix:/y:/b"],
        ["cp", "unix:/x:/a", "unix:/y:/b", "."],
        ["cp", "--no-such-option", "a", "unix:/x:/"],
        ["cp", "a", "vsock:4711:/b"],
        ["cp", "--lanes", "0", "a", "unix:/x:/"],
        ["cp", "--lanes", "99", "a", "unix:/x:/"],
        ["cp", "--bwlimit", "fast", "SOURCE", "unix:/x:/"],
        ["cp", "--timeout", "0", "SOURCE", "unix:/x:/"],
        ["cp", "--timeout", "never", "SOURCE", "unix:/x:/"],
        ["cp", "--buffer", "-1", "SOURCE", "unix:/x:/"],
        ["serve", "unix:/x"],
        ["serve", "tcp:18518", "--root", ".", "--open"],
        ["serve", "unix:/x", "--root", ".", "--allow", "everybody"],
        ["send", "unix:/x"],
        ["recv"],
        ["ls"],
        ["ls", "gopher:7"],
        ["key"],
    ],
    ids=" ".join,
)
def test_nonsense_is_2_with_words(arguments: list[str], here: Path) -> None:
    source = str(write(here / "source"))
    done = run(*[source if one == "SOURCE" else one for one in arguments], cwd=here)
    assert done.code == 2, done.err
    assert done.out == "" or not arguments
    assert "Traceback" not in done.err
    assert (done.err + done.out).strip()


@pytest.mark.parametrize(
    "arguments",
    [
        ["cp", "--overwrite", "--update", "SOURCE", "unix:/x:/"],
        ["cp", "unix:/x:/a", "SOURCE", "unix:/y:/b"],
        ["serve", "unix:/x", "--root", ".", "--read-only", "--write-only"],
        ["cp", "--progress", "colourful", "SOURCE", "unix:/x:/"],
        ["nc", "--send-only", "--recv-only", "unix:/x"],
        ["nc", "-l", "-z", "unix:/x"],
        ["nc", "-z", "-N", "unix:/x"],
        ["nc", "-z", "-q", "1", "unix:/x"],
        ["nc", "-z", "--send-only", "unix:/x"],
        ["nc", "-z", "--recv-only", "unix:/x"],
        ["nc", "-z", "--buffer", "1M", "unix:/x"],
        ["nc", "--recv-only", "-N", "unix:/x"],
        ["nc", "--recv-only", "-q", "1", "unix:/x"],
        ["nc", "--send-only", "-q", "1", "unix:/x"],
        ["bench", "-R", "--bidir"],
        ["bench", "--allow", "unix:0", "unix:/x"],
        ["bench", "-m", "nonsense"],
        ["bench", "-m", "sweep", "--plot", "a.txt"],
        ["bench", "--lengths", "0"],
        ["pipe", "-l", "--wait", "5", "unix:/x"],
        ["nc", "-l", "--wait", "5", "unix:/x"],
        ["send", "-l", "--wait", "5", "SOURCE", "unix:/x"],
        ["recv", "-l", "--wait", "5", "unix:/x"],
        ["bench", "--serve", "--wait", "5", "unix:/x"],
        ["bench", "--serve", "-m", "send", "unix:/x"],
        ["bench", "--serve", "--plot", "a.svg", "unix:/x"],
        ["bench", "--serve", "--bidir", "unix:/x"],
        ["bench", "--serve", "-R", "unix:/x"],
    ],
    ids=" ".join,
)
def test_what_goes_together_wrongly_is_2_with_what_to_type(arguments: list[str], here: Path) -> None:
    source = str(write(here / "source"))
    done = run(*[source if one == "SOURCE" else one for one in arguments], cwd=here)
    assert done.code == 2, done.err
    assert done.out == ""
    message, hint = done.err.splitlines()
    assert message.startswith("hvcopy: ")
    assert hint.startswith("  ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["cp", "", "unix:/x:/"],
        ["cp", "SOURCE", "", "unix:/x:/"],
        ["cp", "unix:/x:/a", ""],
        ["send", "", "unix:/x"],
        ["recv", "unix:/x", ""],
        ["serve", "unix:/x", "--root", ""],
        ["key", ""],
    ],
    ids=" ".join,
)
def test_an_empty_path_is_2_and_not_a_file_without_a_name(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.code == 2, done.err
    assert re.search("a path is empty|it is empty", done.err)
    assert "a variable that is not set" in done.err


def test_a_two_field_vsock_address_is_refused_with_both_meanings() -> None:
    done = run("ls", "vsock:4711")
    assert done.code == 2
    assert len(set(re.findall(r"vsock:\w+:\w+", done.err))) >= 2, done.err


# ---- help


def example_of(command: str) -> str:
    """Return the example that ``--help`` of *command* begins with."""
    done = run(command, "--help")
    assert (done.code, done.err) == (0, "")
    usage, _what, example, *_ = done.out.strip().split("\n\n")
    assert usage.startswith("Usage:")
    assert example.strip().startswith(f"hvcopy {command}"), "help does not begin with an example"
    return example.strip()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_begins_with_an_example(command: str) -> None:
    example_of(command)


@contextmanager
def partner(command: str, folder: Path) -> Iterator[Running | None]:
    """Run what the example of *command* needs at the other end of ``folder/s``."""
    address = f"unix:{folder}/s"
    partners: dict[str, list[object]] = {
        "cp": ["serve", address, "--root", folder / "root"],
        "ls": ["serve", address, "--root", folder / "root"],
        "send": ["recv", "-l", address, folder / "root"],
    }
    if command not in partners:
        yield None
        return
    with Running(*partners[command], anew=True) as running:
        running.line("(serving|listening)")
        yield running


@pytest.mark.parametrize("command", ["cp", "ls", "send", "key", "serve", "recv"])
def test_the_example_in_help_works(command: str, tmp_path: Path, processes: ExitStack) -> None:
    """With a socket that this machine has in place of the vsock address, folders of the test, a new interpreter each."""
    plant(
        tmp_path,
        {"project/f": b"f", "image.raw": b"raw", "top/srv": None, "root/images/a": b"a", "incoming": None},
    )
    example = re.sub(r"vsock:(\w+):(\d+)", f"unix:{tmp_path}/s", example_of(command))
    example = example.replace("--root /srv", f"--root {tmp_path}/top/srv").replace(
        "--allow vsock:2", "--allow unix:0"
    )
    arguments = [one.replace("~", str(tmp_path)) for one in shlex.split(example)[1:]]
    with partner(command, tmp_path) as other:
        running = processes.enter_context(Running(*arguments, cwd=tmp_path, anew=True))
        if command in ("serve", "recv"):
            running.line("(serving|listening)")
            return
        done = running.finish()
        assert done.code == 0, done.err
        if command == "send":
            assert other
            assert other.finish().code == 0


def test_version_is_printed() -> None:
    done = run("--version", anew=True)
    assert re.fullmatch(r"hvcopy \d+\.\d+\S*\n", done.out)


# ---- descriptors that nobody takes anything from


@pytest.mark.parametrize("errors", ["2>&-", "2>/dev/full"])
def test_what_cannot_be_told_changes_neither_bytes_nor_exit_code(errors: str, tmp_path: Path) -> None:
    """With descriptor 2 closed Python prints messages on standard output: among the data that is there."""
    content = noise(MIB)
    write(tmp_path / "f", content)
    hvcopy = shlex.join(HVCOPY)
    for listen, dial in (("nc -l -v", "nc -N -v"), ("pipe -l", "pipe --progress plain --digest")):
        done = pipeline(
            f"{hvcopy} {listen} unix:s </dev/null >there {errors} & {hvcopy} {dial} --wait 20 unix:s <f >here {errors}"
            " && wait $!",
            tmp_path,
        )
        assert done.code == 0, dial
        assert (tmp_path / "there").read_bytes() == content
        assert (tmp_path / "here").read_bytes() == b""


@pytest.mark.parametrize("words", ["-h", "cp --help", "service -h", "--version"])
def test_help_for_which_there_is_no_room_is_10(words: str, tmp_path: Path) -> None:
    done = pipeline(f"{shlex.join(HVCOPY)} {words} >/dev/full", tmp_path)
    assert done.code == 10
    assert "standard output: No space left" in done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) == 2


@pytest.mark.parametrize("words", ["-h", "--version"])
def test_a_reader_of_help_may_leave(words: str, tmp_path: Path) -> None:
    done = pipeline(f"mkfifo f; {{ : <f & exec 3>f; wait; {shlex.join(HVCOPY)} {words} >&3; }}", tmp_path)
    assert (done.code, done.err) == (0, "")


def test_a_usage_error_that_cannot_be_told_is_2(tmp_path: Path) -> None:
    assert pipeline(f"{shlex.join(HVCOPY)} nonsense 2>/dev/full", tmp_path).code == 2
    assert pipeline(f"{shlex.join(HVCOPY)} 2>/dev/full", tmp_path).code == 2


@pytest.mark.parametrize("words", ["ls ADDRESS", "ls --json ADDRESS", "cp --json ADDRESS:f g", "service guid 18518"])
def test_a_result_that_goes_nowhere_is_10(server: Server, words: str, tmp_path: Path) -> None:
    write(server.root / "f")
    done = pipeline(f"{shlex.join(HVCOPY)} {words.replace('ADDRESS', server.address)} >&-", tmp_path)
    assert done.code == 10
    assert "standard output is closed" in done.err
    assert ">/dev/null" in done.err
    assert "Traceback" not in done.err


def test_who_has_no_results_needs_no_standard_output(server: Server, tmp_path: Path) -> None:
    write(tmp_path / "f", b"all")
    assert pipeline(f"{shlex.join(HVCOPY)} cp f {server.at()} >&-", tmp_path).code == 0
    assert (server.root / "f").read_bytes() == b"all"


@pytest.mark.parametrize("options", [["--digest"], ["--json"]])
def test_a_result_for_which_there_is_no_room_is_10(options: list[str], tmp_path: Path) -> None:
    write(tmp_path / "f", noise(1000))
    with Running("pipe", "-l", f"unix:{tmp_path}/s", "-i", tmp_path / "f") as left:
        left.line("listening")
        words = ["pipe", f"unix:{tmp_path}/s", "-o", tmp_path / "g", *options]
        with open("/dev/full", "wb") as full, Running(*words, stdout=full.fileno()) as right:
            done = right.finish()
        assert left.finish().code == 0
    assert done.code == 10
    assert "standard output: No space left" in done.err
    assert "make room there" in done.err
    assert "Traceback" not in done.err
    assert (tmp_path / "g").read_bytes() == (tmp_path / "f").read_bytes()
