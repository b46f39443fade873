"""What hvcopy pipe reads from and writes to: files by name, terminals, closed descriptors; its options; many peers."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import Running, eventually, run
from starting import ELSEWHERE, HVCOPY
from transport.muxer import Behaviour, Muxer, half_close_is_full_close, half_close_is_lost, hang_up, normal
from xxhash import xxh3_128_hexdigest

from e2e.boxes import small_disk
from e2e.plumbing import Piped, feed, listening, pipeline
from e2e.trees import MIB, noise, write

# ---- -i and -o


def test_files_by_name_both_ways(tmp_path: Path, here: Path, root: Path) -> None:
    there, back = write(here / "there", noise(3 * MIB)), write(root / "back", noise(MIB, 1))
    with listening(f"unix:{tmp_path}/s", "-i", back, "-o", root / "got", "--json", "--no-fsync") as left:
        right = run("pipe", f"unix:{tmp_path}/s", "-i", there, "-o", here / "got", "--json")
        done = left.finish()
        told = left.tap().all()
    assert (right.code, done.code) == (0, 0), right.err + done.err
    assert (root / "got").read_bytes() == there.read_bytes()
    assert (here / "got").read_bytes() == back.read_bytes()
    assert right.result["durability"] == "cached", "the peer was told not to wait for its disk"
    assert json.loads(told)["durability"] == "synced"


def test_the_file_of_o_has_its_name_only_when_it_is_whole(tmp_path: Path, root: Path) -> None:
    target = write(root / "f", b"old")
    target.chmod(0o640)
    with listening(f"unix:{tmp_path}/s", "-o", target) as left, Piped(f"unix:{tmp_path}/s") as right:
        left.end()
        right.send(b"half")
        left.line("listening")
        assert target.read_bytes() == b"old"
        right.send(b" and half")
        right.end()
        assert (left.finish().code, right.finish().code) == (0, 0)
    assert target.read_bytes() == b"half and half"
    assert ELSEWHERE or stat.S_IMODE(target.stat().st_mode) == 0o640
    assert os.listdir(root) == ["f"]


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "interrupted"])
def test_an_end_in_the_middle_leaves_the_old_file(killed: bool, tmp_path: Path, root: Path) -> None:
    target = write(root / "f", b"old")
    with listening(f"unix:{tmp_path}/s", "-o", target) as left, Piped(f"unix:{tmp_path}/s") as right:
        right.send(noise(MIB))
        eventually(lambda: _written(left, root) >= MIB, what="a part of it")
        left.signal(signal.SIGKILL if killed else signal.SIGTERM)
        assert left.finish().code == (-signal.SIGKILL if killed else 130)
        assert right.finish().code in (6, 130)
    assert target.read_bytes() == b"old"
    assert os.listdir(root) == ["f"]


def _written(running: Running, folder: Path) -> int:
    """Bytes a process has written by now, to anywhere (proc(5)); on Windows its file has a name, in *folder*."""
    if ELSEWHERE:
        return sum(path.stat().st_size for path in folder.iterdir())
    return int(Path(f"/proc/{running.pid}/io").read_text().split("wchar: ")[1].split()[0])


def test_a_full_disk_is_10_on_both_sides_and_leaves_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"{shlex.join(HVCOPY)} pipe -l unix:{tmp_path}/s -o {disk}/f; code=$?; ls -A {disk} >&2; exit $code"
    with Running("pipe", prefix=[*small_disk(disk, "2m"), "sh", "-c", script, "sh"]) as left:
        left.line("listening on")
        done = run("pipe", f"unix:{tmp_path}/s", "-i", write(tmp_path / "f", noise(4 * MIB)))
        received = left.finish()
    assert (done.code, received.code) == (10, 10), done.err + received.err
    assert f"{disk}/f: No space left on device" in received.err
    assert "says: " in done.err
    assert received.err.splitlines()[-1].startswith("  make room"), "something was left on the disk"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-i", "missing"], "missing: No such file"),
        (["-i", "."], ".: Is a directory"),
        (["-o", "missing/f"], "missing/f: No such file"),
        (["-o", "."], ".: Is a directory"),
    ],
)
def test_files_that_cannot_be_opened_are_told_before_anything_else(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    done = run("pipe", "-l", f"unix:{tmp_path}/s", *arguments, cwd=tmp_path)
    assert done.code == 10
    assert said in done.err
    assert "check the path" in done.err
    assert ("nothing was sent" in done.err) == ("-i" in arguments)
    assert "listening" not in done.err


def test_devices_and_fifos_are_written_to_as_they_are(tmp_path: Path, processes: ExitStack) -> None:
    os.mkfifo(tmp_path / "fifo")
    left = processes.enter_context(Running("pipe", "-l", f"unix:{tmp_path}/s", "-o", tmp_path / "fifo"))
    with open(tmp_path / "fifo", "rb") as fifo:
        left.line("listening on")
        done = run("pipe", f"unix:{tmp_path}/s", "-i", write(tmp_path / "f"), "-o", "/dev/null", "--json")
        assert fifo.read() == b"content\n"
    assert (done.code, left.finish().code) == (0, 0), done.err
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/3", "/proc/self/fd/3", "link"])
@pytest.mark.parametrize("opens", [">", ">>"])
def test_what_others_write_to_a_descriptor_that_o_names_stays(name: str, opens: str, tmp_path: Path) -> None:
    left = f"{shlex.join(HVCOPY)} pipe -q -l unix:s -o {name}"
    write(tmp_path / "out", b"before\n")
    (tmp_path / "link").symlink_to("/dev/stdout")
    around = f"{{ echo header; {left}; echo trailer; }} {opens} out 3>&1"
    with Running("--version", prefix=["bash", "-c", around, "bash"], cwd=tmp_path) as running:
        eventually((tmp_path / "s").exists, what="the listener")
        done = run("pipe", "unix:s", "-i", write(tmp_path / "f"), cwd=tmp_path)
        assert (done.code, running.finish().code) == (0, 0), done.err
    before = b"before\n" if opens == ">>" else b""
    assert (tmp_path / "out").read_bytes() == before + b"header\ncontent\ntrailer\n"


def test_a_descriptor_that_is_not_open_is_10(tmp_path: Path) -> None:
    done = run("pipe", "-l", f"unix:{tmp_path}/s", "-o", "/dev/fd/99")
    assert done.code == 10
    assert "/dev/fd/99: Bad file descriptor" in done.err


# ---- standard input and output of every kind


@pytest.mark.parametrize("how", ["<&-", "< /dev/null", "< empty"])
def test_an_input_with_nothing_in_it_is_one_direction_only(how: str, tmp_path: Path) -> None:
    write(tmp_path / "empty", b"")
    with listening(f"unix:{tmp_path}/s") as left:
        feed(left, b"only this way")
        done = pipeline(f"{shlex.join(HVCOPY)} pipe unix:{tmp_path}/s {how}", tmp_path)
        assert (done.code, left.finish().code) == (0, 0), done.err
        assert done.out == "only this way"


def test_a_closed_output_is_fine_until_something_comes(tmp_path: Path) -> None:
    for content, code in ((b"", 0), (b"x", 10)):
        with listening(f"unix:{tmp_path}/s") as left:
            feed(left, content)
            done = pipeline(f"{shlex.join(HVCOPY)} pipe unix:{tmp_path}/s <&- >&-", tmp_path)
            assert (done.code, left.finish().code) == (code, code), done.err
    assert "standard output is closed" in done.err


def test_an_input_that_says_nothing_keeps_nobody_from_noticing_that_the_peer_is_gone(tmp_path: Path) -> None:
    silent = os.eventfd(0)
    with listening(f"unix:{tmp_path}/s") as left, Piped(f"unix:{tmp_path}/s", stdin=silent) as right:
        os.close(silent)
        left.send(b"x")
        assert os.read(right.reads, 1) == b"x"
        left.kill()
        done = right.finish()
    assert done.code == 6, done.err


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """(the side of whoever types and reads, the terminal itself)."""
    master, slave = pty.openpty()
    try:
        yield master, slave
    finally:
        os.close(master)
        os.close(slave)


IN_THE_FOREGROUND = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(1, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def at_terminal(*arguments: object, slave: int) -> Running:
    """Start ``pipe`` in a session of its own whose terminal is *slave*, as a shell's job in the foreground."""
    prefix = [sys.executable, "-c", IN_THE_FOREGROUND]
    return Running("pipe", *arguments, prefix=prefix, stdin=slave, stdout=slave)


def typed(master: int, text: bytes) -> None:
    """Type *text*."""
    os.write(master, text)


def shown(master: int, until: bytes) -> bytes:
    """What stands on the screen once *until* does."""
    found = b""
    while until not in found:
        found += os.read(master, 1000)
    return found


def test_two_people_at_terminals_talk_until_one_of_them_ends(tmp_path: Path) -> None:
    with (
        terminal() as (here, here_tty),
        terminal() as (there, there_tty),
        at_terminal("-l", f"unix:{tmp_path}/s", slave=here_tty) as left,
        at_terminal("--wait", "20", f"unix:{tmp_path}/s", slave=there_tty) as right,
    ):
        typed(here, b"good morning\n")
        assert b"good morning\r\n" in shown(there, b"good morning\r\n")
        typed(there, b"good evening\n")
        shown(here, b"good evening\r\n")
        typed(there, b"\x04")
        assert (left.finish().code, right.finish().code) == (0, 0), left.err + right.err


def test_a_terminal_is_not_read_when_the_output_goes_on_to_a_program(tmp_path: Path) -> None:
    """What is typed there is for that program, as in hvcopy pipe -l ... | less."""
    with terminal() as (_, slave), Piped("-l", f"unix:{tmp_path}/s", stdin=slave) as left:
        left.line("listening")
        done = run("pipe", f"unix:{tmp_path}/s", "-i", write(tmp_path / "f", b"text\n"))
        assert (done.code, left.finish().code) == (0, 0), left.err
        assert left.tap().all() == b"text\n"


@pytest.mark.parametrize("content", [b"\x1b[2J", b"a\0b", bytes(range(128, 256)), "\x9b2J".encode()])
def test_what_is_no_plain_text_does_not_reach_a_terminal(content: bytes, tmp_path: Path) -> None:
    source = write(tmp_path / "f", b"caf\xc3\xa9\n" + content)
    with terminal() as (master, slave), at_terminal("-l", f"unix:{tmp_path}/s", slave=slave) as left:
        left.line("listening")
        done = run("pipe", f"unix:{tmp_path}/s", "-i", source)
        refused = left.finish()
        assert (refused.code, done.code) == (10, 10), refused.err + done.err
        assert "--force" in refused.err
        os.write(slave, b"end")
        assert shown(master, b"end") == b"end"


@pytest.mark.parametrize("name", ["/dev/tty", "/dev/fd/2", "/dev/stderr", "ITS OWN"])
def test_what_is_no_plain_text_does_not_reach_a_terminal_that_o_names_either(name: str, tmp_path: Path) -> None:
    source = write(tmp_path / "f", b"\x1b[2J")
    with terminal() as (master, slave):
        output = os.ttyname(slave) if name == "ITS OWN" else name
        command = [*HVCOPY, "pipe", "-q", "-l", f"unix:{tmp_path}/s", "-o", output]
        prefix = [sys.executable, "-c", IN_THE_FOREGROUND, "/bin/sh", "-c", f"{shlex.join(command)} 2>&1; echo is $?", "sh"]
        with Running("--version", prefix=prefix, stdin=slave, stdout=slave):
            done = run("pipe", "--wait", "20", f"unix:{tmp_path}/s", "-i", source)
            assert done.code == 10, done.err
            screen = shown(master, b"is 10\r\n")
    assert b"\x1b" not in screen
    assert b"is a terminal" in screen


def test_plain_text_and_anything_that_is_forced_reach_a_terminal(tmp_path: Path) -> None:
    for options, content in ((["--force"], b"\x1b[1mbold\x1b[0m\n"), ([], "café\tnaïve 日本\n".encode())):
        with terminal() as (master, slave), at_terminal("-l", f"unix:{tmp_path}/s", *options, slave=slave) as left:
            left.line("listening")
            with Piped(f"unix:{tmp_path}/s") as right:
                for byte in content:  # characters in pieces
                    right.send(bytes([byte]))
                right.end()
                assert shown(master, b"\r\n") == content.replace(b"\n", b"\r\n")
                assert (left.finish().code, right.finish().code) == (0, 0), left.err + right.err


# ---- options


def test_digest_prints_what_xxh128sum_would(tmp_path: Path) -> None:
    content = noise(MIB)
    with listening(f"unix:{tmp_path}/s", "--digest") as left:
        left.end()
        done = run(
            "pipe", "-q", f"unix:{tmp_path}/s", "-i", write(tmp_path / "f", content), "-o", "/dev/null", "--digest"
        )
        received = left.finish()
    empty, digest = xxh3_128_hexdigest(b""), xxh3_128_hexdigest(content)
    assert done.out == f"{digest}  sent\n{empty}  received\n"
    assert f"{empty}  sent\n{digest}  received\n" in received.err


def test_digests_are_within_the_json_that_a_program_reads(tmp_path: Path) -> None:
    content = noise(MIB)
    with listening(f"unix:{tmp_path}/s", "-o", "/dev/null") as left:
        left.end()
        done = run("pipe", f"unix:{tmp_path}/s", "-i", write(tmp_path / "f", content), "-o", "/dev/null", "--digest", "--json")
        left.finish()
    assert done.result["sent_digest"] == xxh3_128_hexdigest(content)


def test_a_stream_needs_no_file_to_pass_through(tmp_path: Path) -> None:
    """No process of either side may write one byte into any file."""
    limited = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); os.execv(sys.argv[1], sys.argv[1:])"
    line = shlex.join([sys.executable, "-c", limited, *HVCOPY])
    content = write(tmp_path / "f", noise(16 * MIB))
    for end, source in (("1", f"cat {content} |"), ("2", f"<{content}")):
        listener = f"{line} pipe -q -l unix:{tmp_path}/{end} | cmp - {content}"
        done = pipeline(f"({listener}) & {source} {line} pipe -q --wait 20 unix:{tmp_path}/{end} && wait $!", tmp_path)
        assert done.code == 0, done.err


@pytest.mark.parametrize("known", ["-i", "<", ""], ids=["-i", "standard input", "a pipe"])
def test_progress_knows_the_size_of_a_file_on_both_sides_and_of_a_pipe_on_none(tmp_path: Path, known: str) -> None:
    size = 3 * MIB // 2
    source = write(tmp_path / "f", noise(size))
    options = ["--progress", "json", "--bwlimit", "1M"]
    with listening(f"unix:{tmp_path}/s", "-o", "/dev/null", *options) as left, source.open("rb") as file:
        left.end()
        named = ["-i", source] if known == "-i" else []
        stdin = file.fileno() if known == "<" else None
        with Piped(f"unix:{tmp_path}/s", *options, *named, stdin=stdin) as right:
            if not known:
                feed(right, source.read_bytes())
            done = right.finish(), left.finish()
    assert [one.code for one in done] == [0, 0]
    assert 1 < done[0].seconds < 6, "1.5 MiB at 1 MiB a second"
    for one in done:
        last = json.loads([line for line in one.err.splitlines() if line.startswith("{")][-1])
        assert last["total_bytes"] == (size if known else None)
        assert 0 < last["bytes"] <= size


def test_a_file_that_becomes_shorter_while_it_is_sent_fails_both_sides(tmp_path: Path) -> None:
    source = write(tmp_path / "f", noise(16 * MIB))
    with listening(f"unix:{tmp_path}/s") as left:
        left.end()
        came = left.tap()
        with Piped(f"unix:{tmp_path}/s", "-i", source, "--bwlimit", "1M") as right:
            eventually(lambda: came.content, what="the first bytes")
            os.truncate(source, 0)
            sent, got = right.finish(), left.finish()
    assert sent.code == 10
    assert re.search(r"f became shorter while it was sent: \d+ of 16777216 bytes were there", sent.err)
    assert "run the same command again" in sent.err
    assert got.code not in (0, 130), got.err


def test_a_file_that_says_it_is_longer_than_it_is_is_sent_as_it_is(tmp_path: Path) -> None:
    """As those of /sys do."""
    name = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not name.exists():
        pytest.skip(f"needs {name}")
    with listening(f"unix:{tmp_path}/s", "-o", tmp_path / "o") as left:
        left.end()
        assert run("pipe", f"unix:{tmp_path}/s", "-i", name).code == 0
        assert left.finish().code == 0
    assert (tmp_path / "o").read_bytes() == name.read_bytes()
    assert name.stat().st_size > len(name.read_bytes())


# ---- where nobody can half-close


@pytest.mark.parametrize("manners", [half_close_is_full_close, half_close_is_lost])
def test_a_stream_is_whole_through_a_vmm_whatever_it_makes_of_half_close(
    tmp_path: Path, processes: ExitStack, manners: Behaviour
) -> None:
    """The ends of streams are in-band, so nothing is lost either way (cloud-hypervisor#8300, vhost-device#874)."""
    there, back = noise(5 * MIB + 3), noise(2 * MIB, 1)
    left = processes.enter_context(listening(f"unix:{tmp_path}/guest"))
    vmm = processes.enter_context(Muxer(str(tmp_path / "v.sock"), manners))
    right = processes.enter_context(Piped(f"hybrid:{tmp_path}/v.sock:18518"))
    relay(vmm, f"{tmp_path}/guest")
    taps = left.tap(), right.tap()
    feed(right, there)
    feed(left, back)
    assert (left.finish().code, right.finish().code) == (0, 0), left.err + right.err
    assert (taps[0].all(), taps[1].all()) == (there, back)


def relay(vmm: Muxer, path: str) -> None:
    """Join the guest's end of the next connection with what listens on *path*."""
    guest, service = vmm.guest(), socket.socket(socket.AF_UNIX)
    service.connect(path)

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    for source, sink in ((guest, service), (service, guest)):
        threading.Thread(target=copy, args=(source, sink), daemon=True).start()


def test_wait_finds_the_listener_that_comes_after_it_was_looked_for_in_vain(tmp_path: Path, processes: ExitStack) -> None:
    there = threading.Event()

    def manners(vmm: Muxer, client: socket.socket) -> None:
        (normal if there.is_set() else hang_up)(vmm, client)

    vmm = processes.enter_context(Muxer(str(tmp_path / "v.sock"), manners))
    right = processes.enter_context(Piped(f"hybrid:{tmp_path}/v.sock:18518", "--wait", "60"))
    right.send(b"early")
    right.end()
    eventually(lambda: len(vmm.lines) > 1, what="a second attempt")
    assert not right.ended
    left = processes.enter_context(listening(f"unix:{tmp_path}/guest"))
    left.end()
    there.set()
    relay(vmm, f"{tmp_path}/guest")
    assert (left.finish().code, right.finish().code) == (0, 0), left.err + right.err
    assert left.tap().all() == b"early"
