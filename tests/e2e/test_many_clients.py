"""One server and many clients: side by side, onto the same name, and behind others that say nothing."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from commands import PATIENCE, Running, Server, eventually, run
from peers import client_of, connect

from e2e.trees import MIB, leftovers, noise, picture, plant, write
from hvcopy.wire import messages as m
from hvcopy.wire.frames import Type

SLOTS = 64
"""Connections that a server takes at once (hvcopy/server.py)."""


def test_eight_copies_at_once_all_arrive(server: Server, here: Path, processes: ExitStack) -> None:
    for number in range(8):
        plant(
            here / str(number),
            {"large": noise(9 * MIB, number), **{f"small{i}": noise(99, i) for i in range(50)}},
        )
        if number % 2:
            plant(server.root / str(number), {"large": noise(9 * MIB, number), "d/small": b"x"})
    copies = [
        processes.enter_context(
            Running("cp", "-r", server.at(number), here / f"back{number}", "--no-fsync")
            if number % 2
            else Running("cp", "-r", here / str(number), server.at(number))
        )
        for number in range(8)
    ]
    for number, copy in enumerate(copies):
        done = copy.finish(40)
        assert done.code == 0, done.err + server.err
        if number % 2:
            assert picture(here / f"back{number}") == picture(server.root / str(number))
        else:
            assert picture(server.root / str(number)) == picture(here / str(number))
    assert not leftovers(server.root)


def test_two_copies_onto_one_name_leave_one_of_them_whole(
    server: Server, here: Path, processes: ExitStack
) -> None:
    for size in (1000, 12 * MIB):
        contents = [noise(size, number) for number in range(3)]
        copies = [
            processes.enter_context(
                Running(
                    "cp", "--overwrite", write(here / f"{number}-{size}", content), server.at(f"copy{size}")
                )
            )
            for number, content in enumerate(contents)
        ]
        codes = [copy.finish().code for copy in copies]
        assert set(codes) <= {0, 10}, codes
        assert 0 in codes
        found = (server.root / f"copy{size}").read_bytes()
        assert found in [content for content, code in zip(contents, codes, strict=True) if code == 0]
    assert not leftovers(server.root)


def test_two_copies_of_one_tree_at_once_both_end_well(server: Server, here: Path, processes: ExitStack) -> None:
    plant(here / "t", {str(number): noise(1000 if number % 3 else 999_999, number) for number in range(99)})
    (server.root / "t").mkdir()
    copies = [
        processes.enter_context(Running("cp", "-r", f"{here}/t/.", server.at("t"), "--json")) for _ in range(3)
    ]
    done = [copy.finish() for copy in copies]
    assert [one.code for one in done] == [0, 0, 0], [one.err for one in done]
    assert sum(one.result["files"] for one in done) == 99
    assert picture(server.root / "t") == picture(here / "t")


def test_a_second_copy_of_a_file_under_way_is_told_so(
    server: Server, here: Path, processes: ExitStack
) -> None:
    source = write(here / "f", noise(24 * MIB))
    slow = processes.enter_context(Running("cp", source, server.at(), "--bwlimit", "8M"))
    eventually(lambda: leftovers(server.root), what="the part")
    slow.signal(signal.SIGSTOP)  # however slow this machine is, it is still under way
    second = run("cp", source, server.at())
    slow.signal(signal.SIGCONT)
    assert second.code == 10, second.err
    assert "another copy is writing" in second.err
    assert "if that one broke, it lets go within the receiver's --timeout" in second.err
    assert slow.finish().code == 0
    assert (server.root / "f").read_bytes() == source.read_bytes()


def test_silent_connections_do_not_hold_up_others(server: Server, processes: ExitStack) -> None:
    for _ in range(SLOTS - 8):
        processes.enter_context(connect(server.address))
    listed = run("ls", server.address)
    assert listed.code == 0, listed.err
    assert listed.seconds < 8  # the silent ones are given up after 10


def test_more_connections_than_the_server_takes_are_told_so_and_pass(server: Server) -> None:
    with ExitStack() as silent:
        for _ in range(SLOTS):
            silent.enter_context(connect(server.address))
        refused = run("ls", server.address)
    assert refused.code == 9, refused.err
    assert "64" in refused.err
    eventually(lambda: run("ls", server.address).code == 0, what="a place")
    assert not server.ended


def test_a_client_that_has_its_listing_and_only_lives_on_is_given_up(server: Server) -> None:
    with client_of(server.address) as lister:
        lister.send(m.Job("list", [b""], m.Options(), b"", 1))
        lister.expect(m.Ready)
        lister.expect(m.Listing)
        lister.beat()
        assert lister.error_or_end() is None


def test_a_server_hears_why_a_pull_comes_to_nothing(server: Server, here: Path) -> None:
    write(server.root / "f", b"f")
    done = run("cp", server.at("f"), here / "none" / "f")
    assert done.code == 10
    reason = done.err.splitlines()[0].removeprefix("hvcopy: ")
    eventually(lambda: reason in server.err, what="the reason")


def test_a_client_that_stays_after_the_greeting_is_given_up(serve: Callable[..., Server]) -> None:
    server = serve("--timeout", "1")
    with client_of(server.address) as idle:
        assert idle.error().code == 5
    with client_of(server.address) as pushing:
        pushing.push([b"x"], [False])
        assert pushing.error_or_end() in (5, 6, None)
    assert os.listdir(server.root) == []


def test_a_client_that_asks_for_a_listing_and_never_reads_is_given_up(serve: Callable[..., Server]) -> None:
    server = serve("--timeout", "1", "--buffer", "64k")
    for number in range(4000):
        (server.root / (f"{number:04}" + "n" * 240)).touch()
    with client_of(server.address) as peer:
        peer.send(m.Job("list", [b""], m.Options(), b"", 1))
        server.line(r"hvcopy: unix:.*for 1 s")


def test_memory_and_threads_are_given_back(server: Server, here: Path) -> None:
    """After many sessions the server has no more descriptors or threads than after one."""
    source = write(here / "f", noise(MIB))

    def held() -> tuple[int, int]:
        proc = Path(f"/proc/{server.pid}")
        return len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir()))

    assert run("cp", source, server.at()).code == 0
    first = held()
    for _ in range(4):
        run("cp", source, server.at())
        run("ls", server.at("nothing"))
        with connect(server.address) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
    eventually(lambda: held() <= first, what="descriptors and threads to be given back")


def test_sessions_that_break_in_the_middle_keep_nothing_open(server: Server, here: Path) -> None:
    """A server's limit of 1024 descriptors is far, yet some sessions that keep what they had open would reach it."""
    tree = {f"{number}/{name}": noise(50_000, number) for number in range(99) for name in "abc"}
    plant(server.root / "t", {**tree, "large": noise(9 * MIB)})

    def opened() -> int:
        return len(os.listdir(f"/proc/{server.pid}/fd"))

    def copy_both_ways(name: str) -> None:
        assert run("cp", "-r", server.at("t"), here / name, "--no-fsync").code == 0
        assert run("cp", "-r", here / name, server.at(name)).code == 0

    copy_both_ways("first")
    idle = opened()
    for _ in range(3):
        _leave_a_pull(server.address)
        _leave_a_push(server.address)
    copy_both_ways("last")
    eventually(lambda: opened() <= idle, what="descriptors to be given back")


def _leave_a_pull(address: str) -> None:
    """Order the tree, take small files and the first block of the large one, and go."""
    with client_of(address) as peer:
        peer.send(m.Job("pull", [b"t"], m.Options(recursive=True), b"", 1))
        peer.expect(m.Ready)
        while (frame := peer.receive()).type is not Type.DATA:
            if frame.type is Type.ENTRIES:
                entries = m.decode(frame.type, frame.body)
                assert isinstance(entries, m.Entries)
                peer.send(m.Answers([m.Answer(one.id, m.ALL) for one in entries.entries if one.id]))


def _leave_a_push(address: str) -> None:
    """Announce files in many folders, of which one is under way, and go."""
    with client_of(address) as peer:
        peer.push([b"pushed"], [True], existing="overwrite")
        peer.send(m.Entries([m.Entry(m.FILE, 1 + i, 0, b"%d/f" % i, 0o644, 9 * MIB, 10**18) for i in range(40)]))
        assert len(peer.expect(m.Answers).answers) == 40
        peer.data(1, 0, bytes(MIB))


def test_a_lane_that_comes_too_late_to_be_wanted_is_no_failure_of_the_server(server: Server) -> None:
    with client_of(server.address) as client, client_of(server.address) as late:
        ready = client.push([b"x"], [False])
        late.sock.shutdown(socket.SHUT_RD)  # as if it had gone when its READY leaves
        late.send(m.Lane(ready.token, 1))
        late.sock.shutdown(socket.SHUT_WR)
    server.signal(signal.SIGTERM)
    done = server.finish()
    assert done.code == 0
    assert [line for line in done.err.splitlines() if "Broken pipe" in line] == []


def test_no_more_lanes_join_than_are_granted(server: Server, processes: ExitStack) -> None:
    with client_of(server.address) as peer:
        peer.send(m.Job("push", [b""], m.Options(names=[b"t"], dirs=[True]), b"", 1000))
        ready = peer.expect(m.Ready)
        assert ready.lanes == 16
        lanes = [processes.enter_context(client_of(server.address)) for _ in range(16)]
        for index, lane in enumerate(lanes, 1):
            lane.send(m.Lane(ready.token, index))
            assert lane.expect(m.Ready).lanes == 16
        over = select.poll()
        for lane in lanes:
            over.register(lane.sock, select.POLLRDHUP)
        assert len(over.poll(PATIENCE * 1000)) == 1
