"""``hvcopy bench`` against its own server: every mode, both ways, who is let in, what is printed, how it fails."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from commands import Finished, Running, answering, eventually, run
from peers import Refused, client_of

from e2e.boxes import HEEDING_HANG_UP
from e2e.conftest import TRANSPORTS
from hvcopy.files.keys import new_key
from hvcopy.wire import messages as m

SHORT = ("-t", "100ms")
LONG = ("-t", "60")
KIB, MIB = 1 << 10, 1 << 20
SOON = 4.0
"""Seconds: a second or so on an idle machine, with room for a busy one."""


@pytest.fixture
def answer(socket_address: str) -> Iterator[tuple[Running, str]]:
    """A server of benchmarks on a unix socket, and its address."""
    with answering(socket_address) as (server, address):
        yield server, address


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where one answers that no test ends."""
    with answering(f"unix:{tmp_path_factory.mktemp('s')}/s") as (_, address):
        yield address


@pytest.fixture(scope="module", params=TRANSPORTS)
def any_address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of benchmarks over each transport in turn."""
    folder = tmp_path_factory.mktemp("s")
    where = [f"unix:{folder}/s"] if request.param == "unix" else ["tcp:127.0.0.1:0", "--allow", "127.0.0.1"]
    with answering(*where) as (_, address):
        yield address


def measured(*arguments: object) -> dict[str, Any]:
    """Run to the end, which must be good; return the object."""
    done = run("bench", *arguments, "--json")
    assert done.code == 0, done.err
    assert done.result["ok"] is True
    return done.result


def clear(done: Finished) -> Finished:
    """One message and what to do next, no traceback."""
    assert "Traceback" not in done.err
    assert re.search(r"(?m)^hvcopy: ", done.err)
    return done


# ---- what is measured


@pytest.mark.parametrize(
    ("options", "lanes"), [(["-m", "send"], 1), (["-R"], 3), (["--bidir"], 2)], ids=["send", "recv", "both"]
)
def test_a_stream_is_counted_at_both_ends(any_address: str, options: list[str], lanes: int) -> None:
    found = measured(any_address, *options, "-P", lanes, *SHORT)
    test, end = found["start"]["test_start"], found["end"]
    reverse, bidir = options == ["-R"], options == ["--bidir"]
    assert (test["reverse"], test["bidir"], test["num_streams"]) == (reverse, bidir, lanes)
    for suffix in ["", "_bidir_reverse"] if bidir else [""]:
        sent, received = end[f"sum_sent{suffix}"], end[f"sum_received{suffix}"]
        assert sent["bytes"] > 0
        assert 0 <= abs(received["bytes"] - sent["bytes"]) <= 4096  # heartbeats and the last words
        assert 0.1 <= sent["seconds"] < 5
        assert received["bits_per_second"] > 0
    assert ("sum_sent_bidir_reverse" in end) is bidir
    streams = [one for one in found["intervals"][0]["streams"] if one["sender"] is not reverse]
    assert len(streams) == lanes
    assert all(one["bytes"] for one in streams)
    totals = [one["receiver" if reverse else "sender"] for one in end["streams"][:lanes]]
    assert [one["socket"] for one in totals] == [*range(lanes)]
    ours = end["sum_received" if reverse else "sum_sent"]["bytes"]
    assert sum(one["bytes"] for one in totals) == ours
    for suffix, way in [("", "sum"), ("_bidir_reverse", "sum_bidir_reverse")] if bidir else [("", "sum")]:
        seconds = [one[way] for one in found["intervals"]]
        total = end[f"sum_{'sent' if seconds[0]['sender'] else 'received'}{suffix}"]["bytes"]
        assert sum(one["bytes"] for one in seconds) == total
    assert found["hvcopy"]["window"] > 0
    used = end["cpu_utilization_percent"]
    assert used["host_total"] > 0
    assert used["remote_total"] > 0
    assert min(found["hvcopy"]["cpu_seconds_per_gib"].values()) > 0


@pytest.mark.parametrize("length", ["1", "16", "17", "64k"])
def test_messages_may_be_of_any_size(address: str, length: str) -> None:
    found = measured(address, "-m", "send,recv", "-l", length, "-t", "30ms")
    assert len(found["tests"]) == 2
    for test in found["tests"]:
        assert test["end"]["sum_received"]["bytes"] > 0


@pytest.mark.parametrize(("length", "options"), [("1", []), ("2k", ["-P", "3"]), ("128k", ["-R"])])
def test_files_are_acknowledged_and_counted(address: str, length: str, options: list[str]) -> None:
    end = measured(address, "-m", "files", "-l", length, *options, "-t", "60ms")["end"]
    size = int(length.replace("k", "000"))
    assert end["files"]["count"] > 0
    assert end["sum_received"]["bytes"] >= end["files"]["count"] * size


def test_round_trips_are_timed(any_address: str) -> None:
    end = measured(any_address, "-m", "latency", *SHORT)["end"]
    trips = end["latency_us"]
    assert trips["count"] >= 1
    assert 0 < trips["min"] <= trips["p50"] <= trips["p90"] <= trips["p99"] <= trips["p99.9"] <= trips["max"]
    assert trips["count"] * trips["mean"] < 5e6  # all of them fit in the time


@pytest.mark.parametrize("length", ["1M"])
def test_round_trips_may_be_of_any_size(address: str, length: str) -> None:
    assert measured(address, "-m", "latency", "-l", length, "-t", "30ms")["end"]["latency_us"]["count"] > 0


def test_connections_are_counted(any_address: str) -> None:
    found = measured(any_address, "-m", "connections", *SHORT)["end"]["connect_us"]
    assert found["count"] >= 1
    assert 0 < found["per_second"] <= 10 * found["count"]  # of the tenth of a second or more that it took


def test_a_longer_run_is_told_second_by_second(address: str) -> None:
    done = run("bench", address, "-m", "send", "-t", "1200ms", "--json")
    assert done.code == 0, done.err
    first, last = done.result["intervals"]
    assert (first["sum"]["start"], round(first["sum"]["end"])) == (0, 1)
    assert last["sum"]["end"] >= 1.2
    total = first["sum"]["bytes"] + last["sum"]["bytes"]
    assert abs(total - done.result["end"]["sum_sent"]["bytes"]) <= 4096
    assert re.search(r"(?m)^ +0\.00-1\.\d\d s  sent .*/s$", done.err)


def test_against_itself_it_measures_everything_and_ends_with_advice(tmp_path: Path) -> None:
    done = run(
        "bench", "-t", "20ms", "--lengths", "16k,1M", "--buffers", "64k", env={"TMPDIR": str(tmp_path)}, timeout=40
    )
    assert done.code == 0, done.err
    for mode in ("send", "recv", "latency", "connections"):
        assert re.search(rf"(?m)^{mode} ", done.out)
    *_, last = done.out.split("sweep, sending:")
    assert re.search(r"buffer +default +64k\n", last)
    assert re.search(r"(?m)^(Best on this link|The default buffer|--\w+ \S+ does)", last)
    assert os.listdir(tmp_path) == []


def test_against_itself_with_a_long_folder_for_temporary_files(tmp_path: Path) -> None:
    """The path of a unix socket has at most 107 bytes."""
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    done = run("bench", "-m", "send", "-t", "20ms", env={"TMPDIR": str(folder)})
    assert done.code == 0, done.err


def test_a_sweep_measures_each_window_once_and_names_the_best(address: str) -> None:
    found = measured(
        address, "-m", "sweep", "-t", "10ms", "--lengths", "4k,1M", "--buffers", "64k,64k,1M"
    )
    sweep, advice = found["sweep"], found["advice"]
    assert all(len(one["samples"]) == 3 for one in sweep)
    grid = [(one["length"], one["window"]) for one in sweep if one["streams"] == 1]
    assert len(grid) == len(set(grid))
    assert {length for length, _ in grid} == {4 * KIB, MIB}
    assert len({window for _, window in grid}) >= 2
    assert [one["streams"] for one in sweep if one["streams"] > 1] == [2, 4]
    best = max(one["bits_per_second"] for one in sweep if one["length"] == MIB)
    assert advice["bits_per_second"] >= 0.94 * best
    assert advice["gain"] >= 1


def test_a_sweep_is_drawn(address: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.svg"
    options = ["-R", "-t", "5ms", "--lengths", "64k", "--buffers", "64k"]
    done = run("bench", address, "-m", "sweep", *options, "--plot", path, timeout=50)  # matplotlib loads slowly
    assert done.code == 0, done.err
    assert path.read_bytes().startswith(b"<?xml")


def test_a_picture_without_matplotlib_says_how_to_get_it(address: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'matplotlib' else find(name, *more)\n"
    )
    done = run(
        "bench", address, "-m", "sweep", "--plot", tmp_path / "a.svg", env={"PYTHONPATH": f"{tmp_path}:{os.getcwd()}"}
    )
    assert done.code == 2, done.err
    assert "pip install 'hvcopy[plot]'" in done.err


def test_a_smaller_buffer_is_set_at_both_ends(address: str) -> None:
    usual = measured(address, "-m", "send", "-t", "20ms")["hvcopy"]
    small = measured(address, "-m", "send", "-t", "20ms", "--buffer", "64k")["hvcopy"]
    assert small["window_here"] < usual["window_here"]
    assert small["window_there"] < usual["window_there"]


def test_a_server_takes_no_larger_buffer_than_its_own(socket_address: str) -> None:
    with answering(socket_address, "--buffer", "64k") as (_, address):
        small = measured(address, "-m", "send", "-t", "20ms")["hvcopy"]
        wished = measured(address, "-m", "send", "-t", "20ms", "--buffer", "1M")["hvcopy"]
    assert wished["window_there"] == small["window_there"]
    assert wished["window_here"] > small["window_there"]


# ---- who is let in, and who answers


def test_the_key_must_be_the_same_on_every_connection(tmp_path: Path, socket_address: str) -> None:
    for name in ("key", "other"):
        new_key(str(tmp_path / name))
    with answering(socket_address, "--key-file", tmp_path / "key") as (_, address):
        found = measured(address, "-t", "20ms", "-P", 2, "-m", "send,recv", "--key-file", tmp_path / "key")
        assert [one["start"]["test_start"]["num_streams"] for one in found["tests"]] == [2, 2]
        for options in (["--key-file", tmp_path / "other"], []):
            refused = clear(run("bench", address, "-m", "send", *SHORT, *options))
            assert refused.code == 9
            assert "key" in refused.err


def test_who_is_not_on_the_list_is_9() -> None:
    with answering("tcp:127.0.0.1:0", "--allow", "127.0.0.2") as (server, address):
        refused = clear(run("bench", address, "-m", "send", *SHORT))
        assert refused.code == 9
        server.line("not on the list")


def test_listening_on_tcp_needs_a_decision_who_may_connect() -> None:
    done = clear(run("bench", "--serve", "tcp:127.0.0.1:0"))
    assert done.code == 2
    assert "--allow" in done.err


def test_nobody_listening_is_4_with_the_command_to_start(tmp_path: Path) -> None:
    done = clear(run("bench", f"unix:{tmp_path}/none"))
    assert done.code == 4
    assert f"hvcopy bench --serve unix:{tmp_path}/none" in done.err


def test_wait_finds_the_server_that_comes_later(socket_address: str, processes: ExitStack) -> None:
    waiting = processes.enter_context(Running("bench", socket_address, "-m", "send", *SHORT, "--wait", "30"))
    with answering(socket_address):
        done = waiting.finish()
    assert done.code == 0, done.err


def test_a_server_of_files_does_not_measure(tmp_path: Path, socket_address: str, processes: ExitStack) -> None:
    serving = processes.enter_context(Running("serve", socket_address, "--root", tmp_path))
    serving.line("serving")
    done = clear(run("bench", socket_address, "-m", "send", *SHORT))
    assert done.code == 2
    assert "bench --serve" in done.err


def test_a_server_of_benchmarks_takes_no_files(address: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"f")
    assert clear(run("cp", tmp_path / "f", f"{address}:/f")).code == 2
    assert clear(run("ls", address)).code == 2


def test_a_second_client_is_told_to_come_back(address: str, processes: ExitStack) -> None:
    first = processes.enter_context(Running("bench", address, "-m", "send", *LONG))
    first.line("measuring")
    eventually(lambda: busy(address), what="the first measurement under way")
    done = clear(run("bench", address, "-m", "send", *SHORT))
    assert done.code == 9
    assert "another measurement" in done.err
    assert "again" in done.err


def busy(address: str) -> bool:
    with client_of(address) as peer:
        peer.send(m.Job("bench", [], m.Options(), b"", 1))
        try:
            peer.expect(m.Ready)
        except Refused:
            return True
        return False


def test_a_client_may_begin_while_the_measurement_before_is_being_closed(address: str) -> None:
    with client_of(address) as first, client_of(address) as second:
        first.send(m.Job("bench", [], m.Options(), b"", 1))
        first.expect(m.Ready)
        first.send(m.Measure("flood", "up", 60_000, MIB, 1, 0))
        first.expect(m.Measure)
        first.send(m.Lull())
        first.expect(m.Figures)
        second.send(m.Job("bench", [], m.Options(), b"", 1))
        select.select([second.sock], [], [], 1.0)  # longer than somebody else's measurement is waited for
        first.send(m.Bye())
        second.expect(m.Ready)


# ---- how it is refused, and how it ends


@pytest.mark.parametrize(
    "options",
    [
        ["-m", "send,"],
        ["-R", "--bidir"],
        ["-m", "send", "--bidir"],
        ["-t", "2h"],
        ["-P", "0"],
        ["-P", "99"],
        ["--lengths", "64k,0"],
        ["--buffers", "4G"],
        ["-m", "send", "--lengths", "16k,64k,256k,1M"],
        ["-R", "--buffers", "1M"],
        ["-m", "send", "--plot", "a.svg"],
        ["--allow", "unix:0"],
        ["--raw", "-m", "files"],
        ["--raw", "--key-file", "k"],
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense_are_2_before_anything_is_measured(options: list[str], tmp_path: Path) -> None:
    done = run("bench", f"unix:{tmp_path}/none", *options)
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    for program in (run("bench", f"unix:{tmp_path}/none", *options, "--json"), run("bench", *options, "nonsense", "--json")):
        assert (program.code, program.result["exit_code"], program.result["ok"]) == (2, 2, False)
        assert program.result["error"] in program.err


@pytest.mark.parametrize(
    "options",
    [
        ["--json"],
        ["-m", "send"],
        ["-R"],
        ["-P", 4],
        ["-t", 1],
        ["-l", "64k"],
        ["--lengths", "64k"],
        ["--raw", "-R", "--json"],
        ["--raw", "-t", 1],
    ],
    ids=lambda options: " ".join(map(str, options)),
)
def test_who_answers_takes_no_options_of_who_measures(options: list[object], tmp_path: Path) -> None:
    done = run("bench", "--serve", f"unix:{tmp_path}/s", *options)
    assert done.code == 2, done.err
    assert "--serve only answers" in done.err
    assert "on the other side: hvcopy bench " in done.err


@pytest.mark.parametrize("options", [["--serve"], ["--raw"], ["--raw", "--serve"], ["--key-file", "key"]])
def test_a_missing_address_is_2_and_the_hint_is_of_the_same_kind(options: list[str]) -> None:
    done = clear(run("bench", *options))
    assert done.code == 2
    assert "ADDRESS is missing" in done.err
    hint = done.err.splitlines()[1].split()
    assert {one for one in hint if one in ("--raw", "--serve", "--key-file")} == {*options} - {"key"}


@pytest.mark.parametrize("mode", ["send", "recv", "both", "files", "latency", "connections"])
def test_an_interrupted_client_ends_soon_with_130_and_what_it_has(mode: str, address: str) -> None:
    number = signal.SIGTERM if mode == "send" else signal.SIGINT
    with Running("bench", address, "-m", mode, *LONG, "--json") as client:
        client.line("measuring against")
        eventually(lambda: busy(address), what="the measurement under way")
        before = client.elapsed
        client.signal(number)
        done = client.finish()
    assert done.code == 130, done.err
    assert done.seconds - before < SOON
    assert "Traceback" not in done.err
    result = done.result
    assert (result["ok"], result["exit_code"], result["error"]) == (False, 130, "interrupted")
    assert result["hvcopy"]["mode"] == mode
    assert result["intervals"]
    eventually(lambda: not busy(address), what="the server ready for others")


def test_an_interrupted_client_prints_what_it_has_for_people_too(address: str) -> None:
    with Running("bench", address, "-m", "send", *LONG) as client:
        client.line(r"0\.00-1")
        client.signal(signal.SIGINT)
        done = client.finish()
    assert done.code == 130
    assert re.search(r"send +not finished; until then:\n +sent .* in \d+\.\d\d s", done.out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_sweep_shows_what_it_has(number: signal.Signals, tmp_path: Path) -> None:
    with Running("bench", "-m", "sweep", "-t", "30ms", env={"TMPDIR": str(tmp_path)}, prefix=HEEDING_HANG_UP) as client:
        client.line("round 2 of 3")
        client.signal(number)
        done = client.finish()
    assert done.code == 130
    assert "sweep, not finished" in done.out
    assert "Best" not in done.out
    assert os.listdir(tmp_path) == []


def test_the_second_process_ends_with_the_first_one(tmp_path: Path) -> None:
    with Running("bench", "-m", "send", *LONG, env={"TMPDIR": str(tmp_path)}) as client:
        client.line(r"0\.00-1")
        (folder,) = tmp_path.iterdir()
        pids = [pid for pid in os.listdir("/proc") if pid.isdecimal() and _runs_in(pid, folder)]
        assert len(pids) == 1
        client.kill()
    eventually(lambda: not os.path.exists(f"/proc/{pids[0]}"), what="the end of the second process")


def _runs_in(pid: str, folder: Path) -> bool:
    try:
        return f"{folder}/socket".encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("mode", ["send", "latency"])
def test_a_killed_server_is_6(mode: str, answer: tuple[Running, str]) -> None:
    server, address = answer
    with Running("bench", address, "-m", mode, *LONG, "--json") as client:
        eventually(lambda: busy(address), what="the measurement under way")
        server.kill()
        done = clear(client.finish())
    assert done.code == 6, done.err
    assert done.result["exit_code"] == 6
    assert done.result["intervals"]
    assert "run the same command again" in done.err


def test_a_stopped_server_is_noticed(answer: tuple[Running, str]) -> None:
    """Nothing at all is heard of it, as of a guest that was paused or killed."""
    server, address = answer
    with Running("bench", address, "-m", "latency", *LONG, "--timeout", "2") as client:
        eventually(lambda: busy(address), what="the measurement under way")
        server.signal(signal.SIGSTOP)
        try:
            done = clear(client.finish())
        finally:
            server.signal(signal.SIGCONT)
    assert done.code == 6, done.err


def test_a_killed_client_leaves_the_server_ready(answer: tuple[Running, str]) -> None:
    server, address = answer
    with Running("bench", address, "-m", "both", "-P", 2, *LONG) as client:
        eventually(lambda: busy(address), what="the measurement under way")
        client.kill()
    eventually(lambda: not busy(address), what="the server ready for others")
    assert not server.ended


def test_a_server_stops_cleanly_and_tells_its_client(answer: tuple[Running, str]) -> None:
    server, address = answer
    with Running("bench", address, "-m", "send", *LONG) as client:
        eventually(lambda: busy(address), what="the measurement under way")
        server.signal(signal.SIGTERM)
        stopped, done = server.finish(), client.finish()
    assert stopped.code == 0, stopped.err
    assert "Traceback" not in stopped.err
    assert done.code == 6
    assert "the server was stopped" in done.err
    assert not os.path.exists(address.removeprefix("unix:"))


def test_a_server_tells_of_its_measurements_if_asked(socket_address: str) -> None:
    with answering(socket_address, "-v") as (server, address):
        measured(address, "-R", *SHORT)
        server.line(r"recv for \d+\.\d\d s, sent .*/s, \d+\.\d\d s/GiB of processor time")


def test_start_up_of_other_commands_does_not_load_the_measuring() -> None:
    code = "import sys; import hvcopy.cli.app as a; a.build(['cp']); sys.exit('hvcopy.measuring' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
