"""send and recv: one copy without a server, with either side listening."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import Finished, Running, Server, run
from peers import Peer, client_of, connect

from e2e.hostile import finish, send_file
from e2e.trees import MIB, leftovers, noise, picture, plant, write
from hvcopy.wire import messages as m


def one_shot(
    processes: ExitStack, listening: list[object], connecting: list[object], *, timeout: float = 20
) -> tuple[Finished, Finished]:
    """Start the listening side, then the connecting one at the address it really has; returns both, in this order."""
    listener = processes.enter_context(Running(*listening))
    address = listener.line(r"listening on (\S+)\n")[1]
    connector = run(*[address if one == "ADDRESS" else one for one in connecting], timeout=timeout)
    return listener.finish(), connector


@pytest.mark.parametrize("sender_listens", [False, True], ids=["recv -l", "send -l"])
@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_either_side_may_listen(
    transport: str, sender_listens: bool, tmp_path: Path, here: Path, root: Path, processes: ExitStack
) -> None:
    plant(here / "t", {"a": b"a", "d/b": noise(9 * MIB), "large": noise(70 * MIB), "empty": None})
    address = f"unix:{tmp_path}/s" if transport == "unix" else "tcp:127.0.0.1:0"
    open_ = ["--open"] if transport == "tcp" else []
    send = ["send", "-r", here / "t", "--json", "--lanes", "2"]
    recv = ["recv", "--no-fsync", "--json"]
    if sender_listens:
        sent, received = one_shot(processes, [*send, "-l", *open_, address], [*recv, "ADDRESS", root])
    else:
        received, sent = one_shot(processes, [*recv, "-l", *open_, address, root], [*send, "ADDRESS"])
    assert (sent.code, received.code) == (0, 0), sent.err + received.err
    assert picture(root / "t", attributes=True) == picture(here / "t", attributes=True)
    for done in (sent, received):
        assert done.result["files"] == 3
        assert done.result["lanes"] == 2
    assert not (tmp_path / "s").exists()
    assert not leftovers(root)


@pytest.mark.parametrize("sender_listens", [False, True], ids=["recv -l", "send -l"])
def test_failures_are_told_on_both_sides(
    sender_listens: bool, tmp_path: Path, here: Path, root: Path, processes: ExitStack
) -> None:
    plant(here / "t", {"a": b"new", "b": b"b"})
    plant(root / "t", {"a": b"old"})
    address = f"unix:{tmp_path}/s"
    send, recv = ["send", "-r", here / "t"], ["recv", "--no-fsync"]
    if sender_listens:
        sent, received = one_shot(processes, [*send, "-l", address], [*recv, "ADDRESS", root])
    else:
        received, sent = one_shot(processes, [*recv, "-l", address, root], [*send, "ADDRESS"])
    assert (sent.code, received.code) == (3, 3), sent.err + received.err
    for done in (sent, received):
        assert "t/a: it exists already" in done.err
    assert (root / "t/a").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("listening", "connecting", "instead"),
    [(["recv", "-l"], ["recv"], "hvcopy send"), (["send", "-l", "SOURCE"], ["send", "SOURCE"], "hvcopy recv")],
    ids=["two receive", "two send"],
)
def test_two_of_one_kind_are_7_with_what_one_of_them_is_to_run(
    listening: list[str], connecting: list[str], instead: str, socket_address: str, here: Path, processes: ExitStack
) -> None:
    source = str(write(here / "f"))
    first, second = ([source if one == "SOURCE" else one for one in words] for words in (listening, connecting))
    waiting = processes.enter_context(Running(*first, socket_address))
    waiting.line("listening on")
    done = run(*second, socket_address)
    assert done.code == 7, done.err
    assert "both sides want to" in done.err
    assert instead in done.err
    waiting.line("both sides want to")


def test_who_wants_to_receive_from_a_server_is_told_to_fetch(server: Server, here: Path) -> None:
    write(server.root / "f", b"f")
    done = run("recv", server.address, here)
    assert done.code == 7, done.err
    assert "fetch with `hvcopy cp ADDRESS:PATH DIR`" in done.err
    assert run("cp", server.at("f"), here).code == 0


def test_a_key_is_proven_whoever_listens(
    tmp_path: Path, here: Path, root: Path, processes: ExitStack
) -> None:
    source, key, other = write(here / "f"), tmp_path / "key", tmp_path / "other"
    for path in (key, other):
        assert run("key", path).code == 0
    listening = ["send", "-l", source, f"unix:{tmp_path}/s", "--key-file", key]
    sender = processes.enter_context(Running(*listening))
    sender.line("listening on")
    assert run("recv", f"unix:{tmp_path}/s", root, "--key-file", other).code == 9
    assert run("recv", f"unix:{tmp_path}/s", root).code == 9
    assert not sender.ended, "one who is refused must not end it for the right one"
    done = run("recv", f"unix:{tmp_path}/s", root, "--key-file", key, "--no-fsync")
    assert (done.code, sender.finish().code) == (0, 0), done.err
    assert os.listdir(root) == ["f"]


def test_recv_takes_no_other_job_and_goes_on_waiting_for_its_own(
    tmp_path: Path, here: Path, root: Path, processes: ExitStack
) -> None:
    write(root / "f")
    receiver = processes.enter_context(Running("recv", "-l", f"unix:{tmp_path}/s", root, "--no-fsync", "--json"))
    receiver.line("listening on")
    listed = run("ls", f"unix:{tmp_path}/s")
    assert listed.code == 2, listed.err
    assert "only takes push" in listed.err
    assert listed.out == ""
    pulled = run("cp", f"unix:{tmp_path}/s:/f", tmp_path / "got")
    assert pulled.code == 2, pulled.err
    assert not (tmp_path / "got").exists()
    sent = run("send", write(here / "wanted"), f"unix:{tmp_path}/s")
    received = receiver.finish()
    assert (sent.code, received.code) == (0, 0), sent.err + received.err
    assert received.result["files"] == 1
    assert sorted(os.listdir(root)) == ["f", "wanted"]


def test_a_second_sender_is_refused_and_the_copy_under_way_goes_on(
    tmp_path: Path, here: Path, root: Path, processes: ExitStack
) -> None:
    address, content = f"unix:{tmp_path}/s", noise(3 * MIB)
    receiver = processes.enter_context(Running("recv", "-l", address, root, "--no-fsync", "--json"))
    receiver.line("listening on")
    with client_of(address) as first:
        first.push([b"first"], [False])
        second = run("send", write(here / "second"), address)
        assert second.code == 9, second.err
        assert "another copy is under way" in second.err
        assert "hvcopy recv -l" in second.err
        send_file(first, 1, b"", content)
        assert first.expect(m.Acks).acks[0].state == m.DONE
        assert finish(first).failed == 0
    received = receiver.finish()
    assert received.code == 0, received.err
    assert "another copy is under way" in received.err
    assert (received.result["files"], received.result["bytes"]) == (1, len(content))
    assert os.listdir(root) == ["first"]
    assert (root / "first").read_bytes() == content


def test_a_stranger_is_named_once_by_a_sender_that_listens_and_does_not_end_it(
    socket_address: str, here: Path, root: Path, processes: ExitStack
) -> None:
    sender = processes.enter_context(Running("send", "-l", write(here / "f"), socket_address))
    sender.line("listening on")
    with connect(socket_address) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        told = sender.line("hvcopy: (.*the peer .*hvcopy.*)\n")[1]
    assert told.count(told.partition(": ")[0]) == 1, told
    assert (run("recv", socket_address, root, "--no-fsync").code, sender.finish().code) == (0, 0)


def test_a_silent_stranger_keeps_nobody_from_a_sender_that_listens(
    socket_address: str, here: Path, root: Path, processes: ExitStack
) -> None:
    sender = processes.enter_context(Running("send", "-l", write(here / "f"), socket_address))
    sender.line("listening on")
    with connect(socket_address), connect(socket_address):
        received = run("recv", socket_address, root, "--no-fsync", "--timeout", "5")  # half of a handshake's time
        assert (received.code, sender.finish().code) == (0, 0), received.err


def test_a_second_receiver_is_told_that_there_is_another(
    tmp_path: Path, here: Path, root: Path, processes: ExitStack
) -> None:
    address = f"unix:{tmp_path}/s"
    sender = processes.enter_context(Running("send", "-l", write(here / "f"), address))
    sender.line("listening on")
    with Peer(connect(address)).shake(connector=True, role="server") as first:
        first.expect(m.Job)
        second = run("recv", address, root)
        assert second.code == 9, second.err
        assert "another receiver" in second.err
        assert not sender.ended
        first.send(m.Error(10, "no room", ""))
    assert sender.finish().code == 10
    assert os.listdir(root) == []


def test_recv_waits_for_a_sender_that_starts_later(
    tmp_path: Path, here: Path, root: Path, processes: ExitStack
) -> None:
    receiver = processes.enter_context(Running("recv", "--wait", "15", f"unix:{tmp_path}/s", root))
    sender = processes.enter_context(Running("send", "-l", write(here / "f"), f"unix:{tmp_path}/s"))
    assert (receiver.finish().code, sender.finish().code) == (0, 0)
    assert (root / "f").read_bytes() == b"content\n"


def test_a_missing_source_is_told_before_listening(tmp_path: Path, here: Path) -> None:
    done = run("send", "-l", here / "no", f"unix:{tmp_path}/s")
    assert done.code == 10
    assert "listening" not in done.err


def test_recv_into_a_missing_folder_is_10(tmp_path: Path) -> None:
    done = run("recv", "-l", f"unix:{tmp_path}/s", tmp_path / "no")
    assert done.code == 10
    assert str(tmp_path / "no") in done.err


@pytest.mark.parametrize("option", [("--open",), ("--allow", "unix:0")], ids=["open", "allow"])
def test_who_may_connect_is_only_said_by_who_listens(option: tuple[str, ...], here: Path, tmp_path: Path) -> None:
    for words in (("send", write(here / "f"), f"unix:{tmp_path}/s"), ("recv", f"unix:{tmp_path}/s", here)):
        done = run(*words, *option)
        assert done.code == 2
        assert "add -l" in done.err
