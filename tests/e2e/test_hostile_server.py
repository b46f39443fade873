"""A server that lies to a client that pulls or lists: names that lead out, what was never asked for, words that forge.

The server is scripted and speaks the real protocol; the client is the real command.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import run
from peers import Listening, Peer
from peers import server as scripted

from e2e.hostile import BAD_PATHS, digest_of_blocks, finish, offer_in_every_way, send_file
from e2e.trees import leftovers, plant, resumable
from hvcopy.wire import messages as m


def pulled_from(script: Callable[[Peer], None], tmp_path: Path, *options: str) -> tuple[int, str]:
    """Pull ``t`` from a scripted server into ``tmp_path/got``; returns the exit code and what was said."""
    with Listening(f"unix:{tmp_path}/evil", scripted(script)) as listening:
        done = run("cp", "-r", "--timeout", "15", *options, f"{listening.address}:/t", tmp_path / "got")
    return done.code, done.err


def accept_pull(peer: Peer) -> None:
    """Take the job, and promise one directory."""
    peer.expect(m.Job)
    peer.send(m.Ready(bytes(16), 1, "d", [b"t"]), m.Entries([m.Entry(m.DIRECTORY, 0, 0, b"")]))


# ---- names


@pytest.mark.parametrize("what", BAD_PATHS)
def test_an_unsafe_name_is_refused_one_by_one(what: str, tmp_path: Path, outside: Path) -> None:
    """In every way that a server could bring it: the rest of the pull arrives, nothing lands outside."""
    bad = BAD_PATHS[what]

    def script(peer: Peer) -> None:
        accept_pull(peer)
        offer_in_every_way(peer, bad)
        assert finish(peer).failed >= 3

    with Listening(f"unix:{tmp_path}/evil", scripted(script)) as listening:
        done = run("cp", "-r", "--links", "--timeout", "15", f"{listening.address}:/t", tmp_path / "got")
        assert not listening.failures
    assert done.code in (3, 11), done.err
    assert "Traceback" not in done.err
    assert not set(done.err) & set("\x1b\0\u202e")
    assert os.listdir(outside) == ["x"]
    assert (outside / "x").read_bytes() == b"untouched"
    assert {*os.listdir(tmp_path)} - {*resumable(tmp_path)} == {"evil", "got", "outside"}
    assert set(os.listdir(tmp_path / "got")) <= {"good", "also good", "a"}
    assert (tmp_path / "got/also good").read_bytes() == b"good"
    assert not leftovers(tmp_path / "got")


@pytest.mark.parametrize("name", [b"../x", b"/x", b"..", b"", b"a/b", b"\x1b[2J", b"n" * 4096])
def test_a_pull_is_named_by_who_asked_never_by_the_server(name: bytes, tmp_path: Path, outside: Path) -> None:
    def script(peer: Peer) -> None:
        peer.expect(m.Job)
        peer.send(m.Ready(bytes(16), 1, "f", [name]))
        send_file(peer, 1, b"", b"content")
        peer.expect(m.Acks)
        finish(peer)

    plant(tmp_path / "got", {})
    with Listening(f"unix:{tmp_path}/evil", scripted(script)) as listening:
        done = run("cp", "--timeout", "15", f"{listening.address}:/wanted", tmp_path / "got")
    assert done.code == 0, done.err
    assert os.listdir(tmp_path / "got") == ["wanted"]
    assert (tmp_path / "got/wanted").read_bytes() == b"content"
    assert os.listdir(outside) == ["x"]


def test_names_in_a_listing_are_escaped(tmp_path: Path) -> None:
    names = [b"plain", b"\x1b[2Jclear", b"two\nlines", b"\xff\xfe", "a\u202eb".encode(), b"../up"]

    def script(peer: Peer) -> None:
        peer.expect(m.Job)
        peer.send(m.Ready(bytes(16), 1, "", []))
        peer.send(m.Listing([m.Listed(name, "f", 1, 10**18, 0o644) for name in names], True))
        peer.idle()

    with Listening(f"unix:{tmp_path}/evil", scripted(script)) as listening:
        done = run("ls", "--timeout", "15", listening.address)
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == len(names)
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out


# ---- what nobody asked for


def test_a_symbolic_link_nobody_asked_for_is_not_made(tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        accept_pull(peer)
        peer.send(m.Entries([m.Entry(m.SYMLINK, 1, 0, b"link", extra=m.Extra(target=b"/etc"))]))
        peer.send(m.Finish(0, 0))
        peer.error_or_result()

    code, err = pulled_from(script, tmp_path)
    assert not (tmp_path / "got/link").is_symlink()
    assert code in (3, 7, 9, 10, 11), err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be given files of others")
def test_an_owner_or_set_id_bit_nobody_asked_for_is_not_set(tmp_path: Path) -> None:
    extra = m.Extra(identity=bytes(16), uid=1234, gid=1234, xattrs={b"user.evil": b"1"})

    def script(peer: Peer) -> None:
        accept_pull(peer)
        peer.pack(1, [(0, b"", {b"small": b"x"})], mode=0o6755, uid=1234, gid=1234)
        peer.expect(m.Acks)
        peer.send(m.Entries([m.Entry(m.FILE, 2, 0, b"asked", 0o6755, 1, 10**18, extra)]))
        peer.expect(m.Answers)
        peer.data(2, 0, b"x")
        peer.end_file(2, 1, digest_of_blocks(b"x"))
        peer.expect(m.Acks)
        peer.send(m.Entries([m.Entry(m.DIRECTORY_END, 0, 0, b"", 0o2755, 0, 10**18, extra)]))
        finish(peer)

    _, err = pulled_from(script, tmp_path)
    for path in (tmp_path / "got", tmp_path / "got/small", tmp_path / "got/asked"):
        found = path.stat()
        assert found.st_uid == os.getuid(), path
        assert not found.st_mode & 0o6000, path
        assert b"user.evil" not in map(os.fsencode, os.listxattr(path)), path
    assert "Traceback" not in err


def test_a_directory_that_was_not_asked_for_is_not_pulled(tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        accept_pull(peer)
        peer.pack(1, [(0, b"", {b"x": b"x"})])
        peer.send(m.Finish(0, 0))
        peer.error_or_result()

    with Listening(f"unix:{tmp_path}/evil", scripted(script)) as listening:
        done = run("cp", "--timeout", "15", f"{listening.address}:/t", tmp_path / "got")
    assert done.code == 7, done.err
    assert not (tmp_path / "got").exists()


def test_a_server_that_answers_for_other_sources_is_7(tmp_path: Path) -> None:
    for layout in ("", "dd", "x", "f" * 500):

        def script(peer: Peer, layout: str = layout) -> None:
            peer.expect(m.Job)
            peer.send(m.Ready(bytes(16), 1, layout, [b"t"]))
            peer.error()

        assert pulled_from(script, tmp_path)[0] == 7
        os.unlink(tmp_path / "evil")
    assert not (tmp_path / "got").exists()


def test_a_server_that_breaks_the_protocol_of_a_listing_is_told_so(tmp_path: Path) -> None:
    heard: list[m.Error] = []

    def script(peer: Peer) -> None:
        peer.expect(m.Job)
        peer.send(m.Ready(bytes(16), 1, "", []), m.Totals(0, 0))
        heard.append(peer.error())

    with Listening(f"unix:{tmp_path}/evil", scripted(script)) as listening:
        done = run("ls", listening.address)
        assert not listening.failures
    assert done.code == 7, done.err
    assert [(error.code, "TOTALS" in error.message) for error in heard] == [(7, True)]


@pytest.mark.parametrize("layout", ["f", "d"])
def test_a_server_that_finishes_without_a_word_about_what_was_asked_for_is_7(layout: str, tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        peer.expect(m.Job)
        peer.send(m.Ready(bytes(16), 1, layout, [b"t"]), m.Finish(0, 0))
        peer.error_or_result()

    code, err = pulled_from(script, tmp_path)
    assert code == 7, err
    assert not (tmp_path / "got").exists()


# ---- words


@pytest.mark.parametrize("command", ["cp", "pipe"])
def test_a_server_that_gives_up_before_it_begins_is_quoted(command: str, tmp_path: Path) -> None:
    """Also with the code of what else this side says by itself when the server takes too long."""

    def script(peer: Peer) -> None:
        peer.expect(m.Job)
        peer.send(m.Error(5, "the disk is stuck", "look at the disk"))
        peer.idle()

    with Listening(f"unix:{tmp_path}/evil", scripted(script)) as listening:
        more = [f"{listening.address}:/t", tmp_path / "got"] if command == "cp" else [listening.address]
        done = run(command, *more)
    assert done.code == 5
    assert done.err == f"hvcopy: {listening.address} says: the disk is stuck\n  look at the disk\n"


@pytest.mark.parametrize("text", ["\x1b]0;title\x07", "a\nhvcopy: all is well", "\u202egnp.exe"])
def test_what_a_peer_says_is_escaped(text: str, tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        peer.expect(m.Job)
        peer.send(m.Error(10, text, text))
        peer.sock.recv(1)

    code, err = pulled_from(script, tmp_path)
    assert code == 10
    assert text not in err
    assert len(err.splitlines()) == 2


def test_failed_names_from_a_peer_are_escaped(tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        accept_pull(peer)
        extra = m.Extra(code=10, message="no\x1b[2Jno")
        peer.send(m.Entries([m.Entry(m.FAILURE, 0, 0, b"a\x1b[2Jb", extra=extra)]))
        peer.pack(1, [(0, b"", {b"good": b"x", b"b\x07": b"x"})])
        peer.expect(m.Acks)
        finish(peer)

    code, err = pulled_from(script, tmp_path)
    assert code == 3, err
    assert "\x1b" not in err
    assert "\x07" not in err
