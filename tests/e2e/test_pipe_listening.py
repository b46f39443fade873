"""hvcopy pipe -l: who is let in, and with -k one peer after the other."""

from __future__ import annotations

import json
import os
import shutil
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import PATIENCE, Running, eventually, run, serving
from peers import Peer, connect
from xxhash import xxh3_128_hexdigest

from e2e.plumbing import Piped, joined, listening
from e2e.trees import MIB, noise, write
from hvcopy.wire import messages as m

# ---- who is let in


def test_keys_and_lists_decide_who_is_let_in_and_others_do_not_end_it(tmp_path: Path, processes: ExitStack) -> None:
    key, other = tmp_path / "key", tmp_path / "other"
    for path in (key, other):
        assert run("key", path).code == 0
    where = f"unix:{tmp_path}/s"
    left = processes.enter_context(listening(where, "--key-file", key))
    left.end()
    tap = left.tap()
    wrong, none = run("pipe", where, "--key-file", other), run("pipe", where)
    assert (wrong.code, none.code) == (9, 9), wrong.err + none.err
    done = run("pipe", where, "--key-file", key, "-i", write(tmp_path / "f"))
    assert (done.code, left.finish().code) == (0, 0), done.err
    assert tap.all() == b"content\n"
    refusing = processes.enter_context(listening(f"unix:{tmp_path}/t", "--allow", f"unix:{os.getuid() + 1}"))
    refused = run("pipe", f"unix:{tmp_path}/t")
    assert refused.code == 9
    assert f"--allow unix:{os.getuid()}" in refused.err
    refusing.line("is not on the list")
    assert not refusing.ended


def test_listening_on_tcp_needs_a_decision(tmp_path: Path) -> None:
    done = run("pipe", "-l", "tcp:127.0.0.1:0")
    assert done.code == 2
    assert "--open" in done.err
    assert run("pipe", "-k", f"unix:{tmp_path}/s").code == 2


@pytest.mark.parametrize("options", [["--open"], ["--allow", "unix:0"]], ids=" ".join)
def test_who_connects_lets_nobody_in(options: list[str], tmp_path: Path) -> None:
    """It would look like a check of the peer, and is none."""
    done = run("pipe", *options, f"unix:{tmp_path}/s")
    assert done.code == 2
    assert "add -l" in done.err


def test_who_comes_second_finds_nobody(tmp_path: Path) -> None:
    """Without -k one peer is served, and the place is given up at once, as with nc."""
    with joined(f"unix:{tmp_path}/s") as (left, right):
        left.send(b"x")
        assert os.read(right.reads, 1) == b"x"
        assert run("pipe", f"unix:{tmp_path}/s").code == 4


def test_a_listener_for_something_else_says_what_to_start(tmp_path: Path, root: Path, processes: ExitStack) -> None:
    serving_files = processes.enter_context(serving(f"unix:{tmp_path}/f", root))
    streamed = run("pipe", serving_files.address)
    assert streamed.code == 2
    assert "start `hvcopy pipe -l` there" in streamed.err
    listener = processes.enter_context(listening(f"unix:{tmp_path}/s"))
    listener.end()
    sent = run("send", write(tmp_path / "x"), f"unix:{tmp_path}/s")
    assert sent.code == 2
    assert "`hvcopy recv -l`" in sent.err


# ---- many peers


def test_ten_peers_at_once_are_taken_one_after_the_other(tmp_path: Path, processes: ExitStack) -> None:
    left = processes.enter_context(listening(f"unix:{tmp_path}/s", "-k", "--digest"))
    left.end()
    tap = left.tap()
    contents = [bytes([65 + number]) * (300_000 + number) for number in range(10)]
    peers = [
        processes.enter_context(
            Running("pipe", "-q", f"unix:{tmp_path}/s", "-i", write(tmp_path / str(number), content))
        )
        for number, content in enumerate(contents)
    ]
    for peer in peers:
        done = peer.finish(PATIENCE)
        assert done.code == 0, done.err
    assert not left.ended
    eventually(lambda: left.err.count("  received") == len(contents), what="the listener's word on the last of them")
    left.signal(signal.SIGINT)
    done = left.finish()
    assert done.code == 0, done.err
    found = tap.all()
    assert sorted(found) == sorted(b"".join(contents))
    assert sum(found[at] != found[at - 1] for at in range(1, len(found))) == 9, "streams were mixed"
    assert all(f"{xxh3_128_hexdigest(content)}  received" in done.err for content in contents)


def test_a_peer_whose_turn_does_not_come_is_told_what_it_waited_for(tmp_path: Path, processes: ExitStack) -> None:
    left = processes.enter_context(listening(f"unix:{tmp_path}/s", "-k"))
    first = processes.enter_context(Piped(f"unix:{tmp_path}/s", "-v"))
    first.line("connected to")
    second = run("pipe", f"unix:{tmp_path}/s", "--timeout", "1", "-i", write(tmp_path / "f"))
    assert second.code == 5
    assert "the peer talks to another one, whose end did not come within 1 s" in second.err
    assert not left.ended


@pytest.mark.parametrize("leaves", ["without a word", "with one", "with nonsense"])
def test_who_leaves_before_its_turn_gives_its_place_to_the_next(
    leaves: str, tmp_path: Path, processes: ExitStack
) -> None:
    """At most 16 wait."""
    address = f"unix:{tmp_path}/s"
    left = processes.enter_context(listening(address, "-k"))
    left.end()
    tap = left.tap()
    first = processes.enter_context(Piped(address, "-v"))
    first.line("connected to")
    for _ in range(20):
        with Peer(connect(address)).shake(connector=True, role="client") as waiting:
            waiting.send(m.Job("stream", [], m.Options(), b"", 1))
            if leaves == "with one":
                waiting.send(m.Error(130, "its user had enough", ""))
            elif leaves == "with nonsense":
                waiting.send(m.Bye())
                assert waiting.error().code == 7
        left.line({"without a word": "left before", "with one": "had enough", "with nonsense": "sent BYE out"}[leaves])
    last = processes.enter_context(Running("pipe", address, "-i", write(tmp_path / "f", b"last")))
    first.send(b"first, ")
    first.end()
    assert (first.finish().code, last.finish().code) == (0, 0), last.err
    left.signal(signal.SIGINT)
    assert left.finish().code == 0
    assert tap.all() == b"first, last"


def test_silent_strangers_beyond_those_that_may_wait_keep_nobody_from_being_told_so(
    socket_address: str, processes: ExitStack
) -> None:
    processes.enter_context(listening(socket_address))
    for _ in range(16 + 15):
        processes.enter_context(connect(socket_address))
    told = run("pipe", socket_address, "--timeout", "5")
    assert told.code == 9, told.err
    assert "16 others wait there already" in told.err


def test_who_waits_for_its_turn_hears_that_there_will_be_none(tmp_path: Path, processes: ExitStack) -> None:
    address = f"unix:{tmp_path}/s"
    left = processes.enter_context(listening(address, "-k"))
    first = processes.enter_context(Piped(address, "-v"))
    first.line("connected to")
    with Peer(connect(address)).shake(connector=True, role="client") as waiting:
        waiting.send(m.Job("stream", [], m.Options(), b"", 1))
        run("ls", address)  # when that is answered, the other one waits
        left.signal(signal.SIGINT)
        assert waiting.error().code == 9
    assert left.finish().code == 0


def test_a_failure_does_not_end_a_listener_that_goes_on(tmp_path: Path, processes: ExitStack) -> None:
    target = write(tmp_path / "out", b"old")
    left = processes.enter_context(listening(f"unix:{tmp_path}/s", "-k", "-o", target, "--json"))
    with Piped(f"unix:{tmp_path}/s", "-v") as broken:
        broken.send(b"half")
        broken.line("connected to")
        broken.kill()
    left.line("the connection")
    assert target.read_bytes() == b"old"
    for content in (b"one", b"two"):
        assert run("pipe", f"unix:{tmp_path}/s", "-i", write(tmp_path / "f", content)).code == 0
        assert eventually(lambda: target.read_bytes() in (b"one", b"two"), what="the file")
        assert target.read_bytes() == content
    left.signal(signal.SIGTERM)
    assert left.finish().code == 0
    results = [json.loads(line) for line in left.tap().all().splitlines()]
    assert [one["exit_code"] for one in results] == [6, 0, 0]


def test_a_file_is_served_to_many(tmp_path: Path, processes: ExitStack) -> None:
    source = write(tmp_path / "f", noise(MIB))
    left = processes.enter_context(listening(f"unix:{tmp_path}/s", "-k", "-i", source))
    for number in range(3):
        done = run("pipe", f"unix:{tmp_path}/s", "-o", tmp_path / str(number))
        assert done.code == 0, done.err
        assert (tmp_path / str(number)).read_bytes() == source.read_bytes()
    assert not left.ended


def test_a_listener_that_goes_on_ends_when_its_own_reader_does(tmp_path: Path, processes: ExitStack) -> None:
    left = processes.enter_context(listening(f"unix:{tmp_path}/s", "-k"))
    left.leave()
    done = run("pipe", f"unix:{tmp_path}/s", "-i", write(tmp_path / "f"))
    ended = left.finish()
    assert (done.code, ended.code) == (141, 141), done.err
    assert ended.err.count("closed it after") == 1, ended.err


def test_a_session_whose_output_cannot_be_opened_keeps_no_descriptor(tmp_path: Path) -> None:
    source, folder = write(tmp_path / "source", b"x"), tmp_path / "folder"
    folder.mkdir()
    with listening(f"unix:{tmp_path}/s", "-k", "-i", str(source), "-o", str(folder / "x")) as left:
        assert run("pipe", "-i", source, f"unix:{tmp_path}/s").code == 0
        shutil.rmtree(folder)
        for _ in range(3):
            assert run("pipe", "-i", source, f"unix:{tmp_path}/s").code != 0
        opened = Path(f"/proc/{left.pid}/fd")
        eventually(
            lambda: str(source) not in [os.readlink(one) for one in opened.iterdir()], what="the input let go of"
        )
