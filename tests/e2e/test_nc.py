"""`hvcopy nc`: raw bytes both ways, also the wrong way: what it is given as standard input and output, and how it ends."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pty
import signal
import socket
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import PATIENCE, eventually, run
from ports import is_free
from starting import ELSEWHERE
from talkers import Talker, hear, hear_end, need

from e2e.netcats import NC, Stage
from e2e.trees import noise
from hvcopy.netcat import LISTENER_PAUSE

KIB, MIB = 1 << 10, 1 << 20
SOON = 4.0
"""Seconds: a second or so on an idle machine, with room for a busy one."""
# ---- bytes


@pytest.mark.parametrize("size", [0, 255 * KIB, 256 * KIB, 257 * KIB, 16 * MIB + 1])
def test_streams_of_every_size_arrive_at_a_slow_reader_both_ways(stage: Stage, size: int) -> None:
    there, back = noise(size), noise(size)[::-1]
    listener = stage.listen("-N")
    dialer = stage.dial("-N")
    digests: dict[str, bytes] = {}

    def read_slowly(name: str, talker: Talker) -> None:
        digest = hashlib.sha256()
        while piece := talker.hear(100_000):  # a pipe's worth at a time, with a digest in between
            digest.update(piece)
        digests[name] = digest.digest()

    def write(talker: Talker, data: bytes) -> None:
        talker.say(data)
        talker.end_input()

    threads = [
        threading.Thread(target=read_slowly, args=("there", listener)),
        threading.Thread(target=read_slowly, args=("back", dialer)),
        threading.Thread(target=write, args=(dialer, there)),
        threading.Thread(target=write, args=(listener, back)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (listener.finish(), dialer.finish()) == (0, 0), listener.err + dialer.err
    assert digests == {"there": hashlib.sha256(there).digest(), "back": hashlib.sha256(back).digest()}


def test_every_byte_goes_on_at_once_one_at_a_time(stage: Stage) -> None:
    talker, peer = stage.accepted()
    for byte in range(256):
        talker.say(bytes([byte]))
        assert hear(peer, 1) == bytes([byte])
        peer.sendall(bytes([byte]))
        assert talker.hear(1) == bytes([byte])


def test_a_sender_that_ends_right_after_its_last_write_loses_nothing(stage: Stage) -> None:
    data = noise(3 * MIB)
    talker, peer = stage.accepted("--send-only")
    peer.sendall(b"never read")
    writer = threading.Thread(target=lambda: (talker.say(data), talker.end_input()))
    writer.start()
    got = hear(peer, 1 * MIB)
    writer.join(1)  # it stands until there is room; what follows is read when the sender may be gone
    assert got + hear_end(peer) == data
    writer.join()
    assert talker.finish() == 0, talker.err


def test_a_file_arrives_as_it_was_though_it_is_changed_once_the_sender_has_ended(stage: Stage, tmp_path: Path) -> None:
    data = noise(24 * MIB)
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("r+b") as file:
        talker, peer = stage.accepted("--send-only", stdin=file.fileno())
        got = hear(peer, len(data) - 256 * KIB)  # the rest fits the socket's buffer
        assert talker.finish() == 0, talker.err
        file.seek(0)
        file.write(bytes(len(data)))
        file.flush()
    assert got + hear_end(peer) == data


@pytest.mark.parametrize("kind", ["file", "append", "pipe"])
def test_what_comes_is_written_to_whatever_standard_output_is(stage: Stage, tmp_path: Path, kind: str) -> None:
    data = noise(2 * MIB)
    target = tmp_path / "target"
    target.write_bytes(b"before " if kind == "append" else b"")
    with target.open("ab" if kind == "append" else "wb") as file:
        talker = stage.listen("--recv-only", stdout=None if kind == "pipe" else file.fileno())
        peer = stage.peer()
        writer = threading.Thread(target=lambda: (peer.sendall(data), peer.shutdown(socket.SHUT_WR)))
        writer.start()
        got = talker.hear_end() if kind == "pipe" else b""
        writer.join()
        assert talker.finish() == 0, talker.err
    assert got + target.read_bytes() == (b"before " if kind == "append" else b"") + data


@pytest.mark.parametrize("how", ["/dev/null", "closed"])
def test_a_standard_input_that_has_nothing_is_an_end(stage: Stage, how: str) -> None:
    listener = stage.socket()
    redirection = "<&-" if how == "closed" else "</dev/null"
    talker = stage.start("sh", "-c", f'exec "$@" {redirection}', "sh", *NC, "-N", stage.address)
    peer, _ = listener.accept()
    with peer:
        peer.settimeout(PATIENCE)
        assert hear_end(peer) == b""
        peer.sendall(b"answer")
    assert talker.hear_end() == b"answer"
    assert talker.finish() == 0, talker.err


def test_a_closed_standard_output_is_10(stage: Stage) -> None:
    stage.socket()
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *NC, stage.address],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 10
    assert b"standard output is closed" in done.stderr


def test_a_full_disk_is_10_and_ends_the_connection(stage: Stage) -> None:
    with open("/dev/full", "wb") as full:
        talker = stage.listen(stdout=full.fileno())
        peer = stage.peer()
        peer.sendall(b"x")
        assert talker.finish() == 10
    assert "standard output: No space left on device" in talker.err
    assert hear_end(peer) == b""


def test_a_terminal_is_read_by_lines_and_ended_with_the_peer(stage: Stage) -> None:
    master, slave = pty.openpty()
    talker, peer = stage.accepted(stdin=slave)
    os.write(master, b"hello\n")
    assert hear(peer, 6) == b"hello\n"
    peer.shutdown(socket.SHUT_WR)
    assert talker.finish() == 0, talker.err
    os.close(slave)
    os.close(master)


def test_a_device_that_says_nothing_keeps_nobody_from_the_end(stage: Stage) -> None:
    """Its reader waits until the kernel has a message; others of its kind, /dev/zero, never keep one waiting."""
    try:
        kmsg = os.open("/dev/kmsg", os.O_RDONLY)
    except OSError as error:
        pytest.skip(f"/dev/kmsg: {error.strerror}")
    os.lseek(kmsg, 0, os.SEEK_END)
    talker, peer = stage.accepted(stdin=kmsg)
    os.close(kmsg)
    peer.sendall(b"hello")
    assert talker.hear(5) == b"hello"
    peer.close()
    assert talker.finish(SOON) in (0, 6), talker.err  # 6: the kernel had something to say


def test_the_modes_of_shared_pipes_stay_as_they_are(stage: Stage) -> None:
    out, into = os.pipe()
    talker, peer = stage.accepted(stdin=out, stdout=into)
    os.write(into, b"round")
    assert hear(peer, 5) == b"round"
    assert os.get_blocking(out)
    assert os.get_blocking(into)
    talker.signal(signal.SIGTERM)
    assert talker.finish() == 130
    os.close(out)
    os.close(into)


# ---- ends


@pytest.mark.parametrize("listens", [False, True], ids=["connecting", "listening"])
@pytest.mark.parametrize("sending", [False, True])
def test_a_reader_of_standard_output_that_goes_ends_both_sides(stage: Stage, sending: bool, listens: bool) -> None:
    talker, peer = stage.either(listens)
    peer.sendall(b"0123456789")
    assert talker.hear(10) == b"0123456789"
    talker.stop_hearing()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while sending:
            peer.sendall(bytes(MIB))
    assert talker.finish(SOON) == 141
    assert "the reader of standard output closed it after" in talker.err


def test_who_closes_both_ends_of_it_wants_nothing_more(stage: Stage) -> None:
    """ssh does that to its ProxyCommand, on whose terminal a word of it would stand."""
    talker, peer = stage.accepted()
    talker.say(b"all of it")
    assert hear(peer, 9) == b"all of it"
    talker.end_input()
    talker.stop_hearing()
    assert talker.finish(SOON) == 0
    assert talker.err == ""


def test_a_peer_that_closes_before_everything_was_sent_is_6(stage: Stage) -> None:
    talker, peer = stage.accepted()
    talker.say(b"x" * 100)
    assert hear(peer, 10) == b"x" * 10
    peer.close()
    assert talker.finish(SOON) == 6
    assert f"{stage.address}: the connection broke" in talker.err


@pytest.mark.parametrize("options", [["-N"], ["--send-only"]])
def test_a_peer_that_closes_while_standard_input_goes_on_is_6(stage: Stage, options: list[str]) -> None:
    """Also when just then nothing was on its way: what the program behind the pipe goes on to say is lost."""
    talker, peer = stage.accepted(*options)
    talker.say(b"x")
    assert hear(peer, 1) == b"x"
    stopped = threading.Event()

    def trickle() -> None:
        with contextlib.suppress(OSError):
            while not stopped.wait(0.01):
                talker.say(b"x")

    writer = threading.Thread(target=trickle)
    writer.start()
    peer.close()
    assert talker.finish() == 6
    stopped.set()
    writer.join()
    assert "before everything was sent" in talker.err


def test_a_peer_that_closes_when_all_was_said_is_0(stage: Stage) -> None:
    talker, peer = stage.accepted("-N")
    talker.say(b"x")
    assert hear(peer, 1) == b"x"
    peer.close()
    assert talker.finish() == 0, talker.err


def test_a_killed_peer_ends_a_transfer_with_6(stage: Stage, tmp_path: Path) -> None:
    with open("/dev/zero", "rb") as zero:
        listener = stage.listen()
        dialer = stage.dial(stdin=zero.fileno())
        assert listener.hear(MIB) == bytes(MIB)
        listener.process.kill()
        listener.process.wait()
        assert dialer.finish(SOON) == 6, dialer.err
    assert "run the same commands again" in dialer.err


@pytest.mark.parametrize(
    ("what", "number"),
    [
        ("listening", signal.SIGINT),
        ("waiting", signal.SIGINT),
        ("idle", signal.SIGINT),
        ("sending", signal.SIGTERM),
        ("stalled", signal.SIGINT),
    ],
)
def test_ctrl_c_ends_at_once_with_130(stage: Stage, what: str, number: signal.Signals) -> None:
    if what == "listening":
        talker = stage.listen()
    elif what == "waiting":
        talker = stage.dial("--wait", "60")
        eventually(lambda: _handles(talker.process.pid, number), what="its handlers")
    else:
        talker, peer = stage.accepted()
        threading.Thread(target=_say, args=(talker, 1 if what == "idle" else 64 * MIB), daemon=True).start()
        assert hear(peer, MIB if what == "sending" else 1)
    began = talker.elapsed
    talker.signal(number)
    assert talker.finish(SOON) == 130
    assert talker.elapsed - began < SOON
    assert what != "listening" or is_free(stage.address), "the socket file is left"


@pytest.mark.parametrize(("options", "status"), [([], 130), (["-k"], 0)], ids=["once", "-k"])
def test_ctrl_c_ends_a_listener_at_once_while_somebody_is_connected(
    stage: Stage, options: list[str], status: int
) -> None:
    talker = stage.listen(*options)
    peer = stage.peer()
    peer.sendall(b"x")
    assert talker.hear(1) == b"x"
    talker.signal(signal.SIGINT)
    assert talker.finish(SOON) == status
    assert hear_end(peer) == b""
    assert is_free(stage.address)


def _say(talker: Talker, size: int) -> None:
    with contextlib.suppress(OSError, ValueError):
        talker.say(bytes(size))


def _handles(pid: int, number: signal.Signals) -> bool:
    if ELSEWHERE:  # workers wait for that themselves
        return True
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1 and caught >> (number - 1) & 1)


def test_w_ends_a_connection_on_which_nothing_moves_with_5(stage: Stage) -> None:
    talker, peer = stage.accepted("-w", "300ms")
    peer.sendall(b"x")
    assert talker.hear(1) == b"x"
    assert talker.finish(SOON) == 5
    assert "nothing moved for 0.3 s" in talker.err
    assert "a longer -w waits longer" in talker.err


# ---- listening


def test_a_listener_waits_for_a_peer_that_has_ended_and_reads_slowly(stage: Stage) -> None:
    """What stands still then is the peer; only a pause of standard input ends it."""
    data = noise(16 * MIB)
    talker = stage.listen()
    peer = stage.peer()
    peer.shutdown(socket.SHUT_WR)
    writer = threading.Thread(target=lambda: (talker.say(data), talker.end_input()))
    writer.start()
    got = hear(peer, MIB)
    with pytest.raises(AssertionError, match="still running"):
        talker.finish(2.5 * LISTENER_PAUSE)
    got += hear_end(peer)
    writer.join()
    assert talker.finish() == 0, talker.err
    assert got == data


def test_w_ends_a_listener_whose_peer_has_ended_and_does_not_read_with_5(stage: Stage) -> None:
    talker = stage.listen("-w", "1500ms")
    peer = stage.peer()
    peer.shutdown(socket.SHUT_WR)
    threading.Thread(target=_say, args=(talker, 16 * MIB), daemon=True).start()
    assert hear(peer, MIB) == bytes(MIB)
    assert talker.finish(SOON + 2) == 5
    assert "nothing moved for" in talker.err
    assert "a longer -w waits longer" in talker.err


def test_k_serves_ten_clients_one_after_another_and_outlives_a_broken_one(stage: Stage, tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("wb") as file:
        talker = stage.listen("-k", "-v", stdout=file.fileno())
        peers = [stage.peer() for _ in range(10)]
        for number, peer in enumerate(peers):
            peer.sendall(b"%d\n" % number)
            talker.line(rf"(?s)(connected.*){{{number + 1}}}")
            if number == 4:  # leaves something unread behind, so that the other side sees a reset
                talker.say(b"unread")
                eventually(lambda peer=peer: peer.recv(1, socket.MSG_PEEK), what="something unread")
            peer.close()
        talker.line(r"(?s)(bytes sent.*){10}")
        assert output.read_bytes() == b"".join(b"%d\n" % number for number in range(10))
        talker.signal(signal.SIGINT)
        assert talker.finish(SOON) == 0
    assert is_free(stage.address)


def test_without_k_nobody_else_can_connect(stage: Stage) -> None:
    talker = stage.listen("-v")
    first = stage.peer()
    talker.line("connected")
    with pytest.raises(OSError, match=r"No such file|refused"):
        stage.peer()
    first.close()
    assert talker.finish() == 0


def test_who_is_not_on_the_list_is_closed_and_the_next_one_may_come(stage: Stage) -> None:
    talker = stage.listen("--allow", f"unix:{os.getuid() + 1}")
    assert hear_end(stage.peer()) == b""
    talker.line(rf"unix:{os.getuid()} is not on the list of allowed peers")
    assert hear_end(stage.peer()) == b""


def test_a_listener_that_anybody_reaches_must_say_who_may_connect() -> None:
    done = run("nc", "-l", "tcp:127.0.0.1:0")
    assert done.code == 2
    assert "--allow PEER (as tcp:127.0.0.1), or --open" in done.err
    assert "key" not in done.err


# ---- connecting


def test_z_says_whether_somebody_listens(stage: Stage) -> None:
    assert run("nc", "-z", stage.address).code == 4
    talker = stage.listen()
    found = run("nc", "-z", "-v", stage.address)
    assert (found.code, found.out) == (0, "")
    assert "somebody listens" in found.err
    assert talker.finish() == 0


def test_wait_finds_the_listener_that_comes_later(stage: Stage) -> None:
    dialer = stage.dial("--wait", "30", "-N")
    dialer.say(b"early")
    dialer.end_input()
    listener = stage.listen()
    assert listener.hear_end() == b"early"
    listener.end_input()
    assert (dialer.finish(), listener.finish()) == (0, 0), dialer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["vsock:4711"],
        ["nonsense"],
        ["--send-only", "--recv-only", "unix:s"],
        ["-l", "-z", "unix:s"],
        ["-k", "unix:s"],
        ["-w", "0", "unix:s"],
        ["-q", "soon", "unix:s"],
        ["-q", "-N", "unix:s"],
        ["--open", "unix:s"],
        ["-z", "--allow", "unix:0", "unix:s"],
        ["--buffer", "much", "unix:s"],
        [],
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_2(arguments: list[str]) -> None:
    done = run("nc", *arguments)
    assert done.code == 2, done.err
    assert done.out == ""
    assert "Traceback" not in done.err


def test_nobody_listens_is_4(tmp_path: Path) -> None:
    done = run("nc", f"unix:{tmp_path}/nobody")
    assert done.code == 4
    assert "--wait" in done.err
    assert "hvcopy nc -l unix:" in done.err
    assert "serve" not in done.err, "what nc talks to is no hvcopy"


# ---- other tools


@pytest.mark.parametrize("hvcopy_listens", [True, False])
@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_socat_understands_it_both_ways(stage: Stage, tmp_path: Path, transport: str, hvcopy_listens: bool) -> None:
    socat = need("socat", "socat")
    there, back = noise(5 * MIB + 3), noise(4 * MIB + 1)[::-1]
    (tmp_path / "there").write_bytes(there)
    (tmp_path / "back").write_bytes(back)
    with ExitStack() as stack:
        source, target = stack.enter_context(open(tmp_path / "there", "rb")), tmp_path / "got"
        into = stack.enter_context(target.open("wb"))
        if hvcopy_listens:
            talker = stack.enter_context(
                Talker(*NC, "-l", "-N", stage.address if transport == "unix" else "tcp:127.0.0.1:0", "--open",
                       stdin=source.fileno(), stdout=into.fileno())
            )  # fmt: skip
            where = talker.line(r"listening on (unix|tcp:127.0.0.1):(\S+)")[2]
            target_of = f"UNIX-CONNECT:{where}" if transport == "unix" else f"TCP:127.0.0.1:{where}"
            other = stack.enter_context(Talker(socat, "-t", "20", "-", target_of))
        else:
            port = "0"
            other = stack.enter_context(
                Talker(socat, "-d", "-d", "-t", "20", "-",
                       f"UNIX-LISTEN:{stage.path}" if transport == "unix" else "TCP-LISTEN:0,bind=127.0.0.1")
            )  # fmt: skip
            said = other.line(r"listening on \S+ \S*?([^:\s]+)\n")[1]
            port = said if transport == "tcp" else port
            address = stage.address if transport == "unix" else f"tcp:127.0.0.1:{port}"
            talker = stack.enter_context(Talker(*NC, "-N", address, stdin=source.fileno(), stdout=into.fileno()))
        writer = threading.Thread(target=lambda: (other.say(back), other.end_input()))
        writer.start()
        assert other.hear_end() == there
        writer.join()
        assert (talker.finish(), other.finish()) == (0, 0), talker.err + other.err
        assert target.read_bytes() == back
