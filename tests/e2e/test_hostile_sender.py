"""A sender that lies: names that lead out, what was never asked for, blocks and digests that do not fit.

One end is scripted and speaks the real protocol; the other is the real command.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Server, eventually, run, serving
from peers import Peer, client_of, pack_body, record

from e2e.hostile import BAD_PATHS, Denied, digest_of_blocks, finish, offer_in_every_way, send_file
from e2e.trees import MIB, leftovers, noise, plant, resumable, write
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.frames import Type

# ---- names


@pytest.mark.parametrize("what", BAD_PATHS)
def test_an_unsafe_name_is_refused_one_by_one(what: str, server: Server, outside: Path) -> None:
    bad = BAD_PATHS[what]
    with client_of(server.address) as peer:
        peer.push([b"t"], [True], links=True)
        peer.send(m.Entries([m.Entry(m.DIRECTORY, 0, 0, b"")]))
        offer_in_every_way(peer, bad)
        assert finish(peer).failed >= 3
    assert sorted(os.listdir(outside)) == ["x"]
    assert sorted(os.listdir(outside.parent)) == ["outside", "root", "s"]
    assert set(os.listdir(server.root / "t")) <= {"good", "also good", "a"}
    assert set(os.listdir(server.root)) == {"t"}


def test_an_over_long_path_ends_the_session(server: Server) -> None:
    with client_of(server.address) as peer:
        peer.push([b"t"], [True])
        peer.send(m.Entries([m.Entry(m.DIRECTORY, 0, 0, b"/".join([b"d" * 200] * 21))]))
        assert peer.error().code == 7
    assert not list(server.root.rglob("d*"))


@pytest.mark.parametrize(
    "destination", [b"../outside/y", b"a/../../outside/y", b"x\ny", b".hvcopy-1", b"n" * 300]
)
def test_an_unsafe_destination_is_refused(destination: bytes, server: Server, outside: Path) -> None:
    with client_of(server.address) as peer:
        peer.send(m.Job("push", [destination], m.Options(names=[b"x"], dirs=[False]), b"", 1))
        assert peer.error().code == 11
    assert os.listdir(outside) == ["x"]
    assert os.listdir(server.root) == []


@pytest.mark.parametrize(
    ("paths", "names", "dirs", "existing"),
    [
        ([], [b"x"], [False], "refuse"),
        ([b"a", b"b"], [b"x"], [False], "refuse"),
        ([b""], [], [], "refuse"),
        ([b""], [b"x"], [], "refuse"),
        ([b""], [b"x"], [False, True], "refuse"),
        ([b""], [b"x", b"y"], [False], "refuse"),
        ([b""], [b"x"], [False], "destroy"),
    ],
)
def test_a_push_that_does_not_say_what_it_pushes_is_refused(
    paths: list[bytes], names: list[bytes], dirs: list[bool], existing: str, server: Server
) -> None:
    with client_of(server.address) as peer:
        peer.send(m.Job("push", paths, m.Options(names=names, dirs=dirs, existing=existing), b"", 1))
        assert peer.error().code == 7
    assert run("ls", server.address).code == 0


@pytest.mark.parametrize("kind", ["pull", "list"])
@pytest.mark.parametrize("path", [b"../outside/x", b"d/../../outside/x", b"x\ny", b".hvcopy-1", b"n" * 256])
def test_an_unsafe_path_to_look_at_is_refused_by_its_name(kind: str, path: bytes, server: Server, outside: Path) -> None:
    write(server.root / "d" / "f")
    with client_of(server.address) as peer:
        peer.send(m.Job(kind, [path], m.Options(recursive=True), b"", 1))
        assert peer.error().code == 11


@pytest.mark.parametrize("name", [b"../y", b"a/b", b"..", b"x\ny", b".hvcopy-1", b"n" * 256])
def test_an_unsafe_name_of_a_source_is_refused(name: bytes, server: Server, outside: Path) -> None:
    with client_of(server.address) as peer:
        peer.send(m.Job("push", [b""], m.Options(names=[name], dirs=[False]), b"", 1))
        assert peer.error().code == 11
    with client_of(server.address) as peer:
        peer.push([b"good", name, name], [False, False, True])
        peer.pack(1, [(0, b"", {b"": b"x"}), (1, b"", {b"": b"x"}), (2, b"sub", {b"y": b"x"})])
        ack = peer.expect(m.Acks).acks[0]
        assert (ack.files, [failure[:2] for failure in ack.failures]) == (1, [(1, 11), (2, 11)])
        peer.send(m.Entries([m.Entry(m.DIRECTORY, 0, 2, b""), m.Entry(m.DIRECTORY_END, 0, 2, b"")]))
        assert peer.expect(m.Acks).acks[0].code == 11
        peer.send(m.Entries([m.Entry(m.FILE, 2, 1, b"", 0o644, 10)]))
        assert peer.expect(m.Answers).answers[0].code == 11
        assert finish(peer).failed == 4
    assert os.listdir(server.root) == ["good"]
    assert os.listdir(outside) == ["x"]


def test_a_source_nobody_asked_for_ends_the_session(server: Server) -> None:
    for send in (
        lambda peer: peer.send(m.Entries([m.Entry(m.FILE, 1, 1, b"x")])),
        lambda peer: peer.pack(1, [(7, b"", {b"x": b"x"})]),
    ):
        with client_of(server.address) as peer:
            peer.push([b"t"], [True])
            send(peer)
            assert peer.error().code == 7
    assert not list(server.root.rglob("x"))


def test_a_pull_of_what_lies_outside_is_refused(server: Server, outside: Path) -> None:
    (server.root / "link").symlink_to(outside)
    write(server.root / "d" / "f")
    for path in (b"../outside/x", b"d/../../outside/x", b"link/x", b"link"):
        with client_of(server.address) as peer:
            peer.send(m.Job("pull", [path], m.Options(recursive=True), b"", 1))
            assert peer.error().code in (10, 11)
    listed = run("ls", server.at("link"))
    assert "x" not in [line.split()[-1] for line in listed.out.splitlines()]


def nothing_is_left(root: Path) -> None:
    """Wait for the parts to go, which they do after the last word."""
    eventually(lambda: not leftovers(root), what="an end of all that was under way")


# ---- the same name twice


def _small(peer: Peer, ident: int, name: bytes, content: bytes) -> tuple[int, int]:
    peer.pack(ident, [(0, b"", {name: content})])
    ack = peer.expect(m.Acks).acks[0]
    return ack.files, ack.failures[0][1] if ack.failures else 0


def _asked(peer: Peer, ident: int, name: bytes, content: bytes) -> tuple[int, int]:
    try:
        send_file(peer, ident, name, content)
    except Denied as denied:
        return 0, denied.answer.code
    ack = peer.expect(m.Acks).acks[0]
    return int(ack.state == m.DONE), ack.code


@pytest.mark.parametrize("standing", [False, True], ids=["new", "standing"])
@pytest.mark.parametrize("second", [_small, _asked], ids=["then small", "then asked"])
@pytest.mark.parametrize("first", [_small, _asked], ids=["small", "asked"])
@pytest.mark.parametrize("depth", ["", "t"], ids=["root", "below"])
def test_the_same_name_twice_is_refused_even_with_overwrite(
    first: Callable[..., tuple[int, int]],
    second: Callable[..., tuple[int, int]],
    standing: bool,
    depth: str,
    server: Server,
) -> None:
    (server.root / "t").mkdir()
    if standing:
        write(server.root / depth / "x", b"old")
    with client_of(server.address) as peer:
        peer.push([depth.encode()], [True], existing="overwrite")
        assert first(peer, 1, b"x", b"first") == (1, 0)
        assert second(peer, 2, b"x", b"second") == (0, 11)
        finish(peer)
    assert (server.root / depth / "x").read_bytes() == b"first"
    assert not leftovers(server.root)


def test_the_same_name_twice_in_one_pack_is_refused(server: Server) -> None:
    with client_of(server.address) as peer:
        peer.push([b"t"], [True], existing="overwrite")
        groups = [m.Group(0, b"", [b"x", b"x"], record(1) * 2)]
        peer.frame(Type.PACK, pack_body(1, m.encode_groups(groups), b"ab"))
        ack = peer.expect(m.Acks).acks[0]
        assert (ack.files, [failure[1] for failure in ack.failures]) == (1, [11])
    eventually(lambda: (server.root / "t/x").read_bytes() == b"a", what="the first")


# ---- attributes


def test_an_attribute_that_gives_rights_is_not_planted(server: Server) -> None:
    with client_of(server.address) as peer:
        peer.push([b"t"], [True], xattrs=True)
        extra = m.Extra(identity=b"i", xattrs={b"trusted.planted": b"1"})
        peer.send(m.Entries([m.Entry(m.FILE, 1, 0, b"f", 0o644, 1, 10**18, extra)]))
        assert peer.expect(m.Answers).answers[0].verb == m.ALL
        peer.data(1, 0, b"x")
        peer.end_file(1, 1, digest_of_blocks(b"x"))
        ack = peer.expect(m.Acks).acks[0]
        assert (ack.state, ack.code, "outside of user.*" in ack.message) == (m.FAILED, 10, True)
        peer.send(m.Entries([m.Entry(m.DIRECTORY_END, 0, 0, b"d", 0o755, 0, 10**18, extra)]))
        assert peer.expect(m.Acks).acks[0].code == 10
        assert finish(peer).failed == 2
    assert os.listxattr(server.root / "t/d") == []
    assert os.listdir(server.root / "t") == ["d"]


# ---- links under the receiver


def test_a_directory_swapped_for_a_link_leads_nowhere(server: Server, outside: Path) -> None:
    """The receiver's directory becomes a link while a copy goes on: nothing lands where it points."""
    with client_of(server.address) as peer:
        peer.push([b"t"], [True], existing="overwrite")
        peer.send(m.Entries([m.Entry(m.DIRECTORY, 0, 0, b"d")]))
        assert _small(peer, 1, b"x", b"first") == (1, 0)
        peer.pack(2, [(0, b"d", {b"a": b"a"})])
        assert peer.expect(m.Acks).acks[0].files == 1
        (server.root / "t/d").rename(server.root / "t/away")
        (server.root / "t/d").symlink_to(outside)
        peer.pack(3, [(0, b"d", {b"x": b"evil", b"b": b"b"})])
        peer.expect(m.Acks)
        try:
            send_file(peer, 4, b"d/large", noise(9 * MIB))
            peer.expect(m.Acks)
        except Denied:
            pass
        peer.send(m.Entries([m.Entry(m.DIRECTORY, 0, 0, b"d/new")]))
        peer.send(m.Entries([m.Entry(m.DIRECTORY_END, 0, 0, b"d", 0o700, 0, 10**18)]))
        peer.send(m.Finish(0, 0))
        peer.error_or_result()
    assert picture_of(outside) == {"x": b"untouched"}
    assert stat.S_IMODE(outside.stat().st_mode) != 0o700


def picture_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_that_stands_where_a_directory_goes_is_not_followed(
    overwrite: bool, server: Server, outside: Path, here: Path
) -> None:
    (server.root / "t").mkdir()
    (server.root / "t/d").symlink_to(outside)
    plant(here / "t", {"d/x": b"new", "d/y": b"new", "d/large": noise(MIB), "good": b"good"})
    done = run("cp", "-r", here / "t", server.at(), *["--overwrite"] * overwrite)
    assert done.code == 3, done.err
    assert "d/x" in done.err
    assert picture_of(outside) == {"x": b"untouched"}
    assert (server.root / "t/good").read_bytes() == b"good"


def test_a_link_that_stands_where_a_file_goes_is_not_written_through(
    server: Server, outside: Path, here: Path
) -> None:
    for name, content in (("small", b"new"), ("large", noise(9 * MIB))):
        (server.root / name).symlink_to(outside / "x")
        source = write(here / name, content)
        assert run("cp", source, server.at()).code == 10
        assert (server.root / name).is_symlink()
        assert run("cp", "--overwrite", source, server.at()).code == 0
        assert (server.root / name).read_bytes() == content
        assert not (server.root / name).is_symlink()
    assert picture_of(outside) == {"x": b"untouched"}


def test_a_link_in_place_of_the_part_is_not_written_through(
    server: Server, outside: Path, here: Path
) -> None:
    for suffix in ("part", "blocks"):
        (server.root / f".f.hvcopy-{suffix}").symlink_to(outside / "x")
    source = write(here / "f", noise(9 * MIB))
    assert run("cp", source, server.at()).code == 0
    assert (server.root / "f").read_bytes() == source.read_bytes()
    assert picture_of(outside) == {"x": b"untouched"}


# ---- hard links


def test_a_hard_link_only_leads_to_what_this_session_delivered(server: Server) -> None:
    write(server.root / "secret", b"secret")
    plant(server.root / "t", {"old": b"old"})
    with client_of(server.address) as peer:
        peer.push([b""], [True], existing="overwrite")
        targets = [(0, b"secret"), (0, b"../outside/x"), (0, b"t/old"), (5, b"x"), (0, b"")]
        for ident, to in enumerate(targets, 1):
            peer.send(m.Entries([m.Entry(m.HARDLINK, ident, 0, b"link", extra=m.Extra(to=to))]))
            ack = peer.expect(m.Acks).acks[0]
            assert (ack.state, ack.code) == (m.FAILED, 10)
        finish(peer)
    assert not (server.root / "link").exists()
    assert not leftovers(server.root)


@pytest.mark.parametrize("existing", ["refuse", "overwrite", "update"])
@pytest.mark.parametrize("secret", [b"../outside/x", b"../../outside/x", b"t/../../outside/x"])
def test_a_name_that_was_refused_is_no_target_of_a_hard_link(
    existing: str, secret: bytes, server: Server, outside: Path
) -> None:
    with client_of(server.address) as peer:
        peer.push([b"t"], [True], existing=existing)
        peer.pack(1, [(0, b"", {secret: b"", b"good": b""})], flags=frames.LINKED)
        assert [failure[:2] for failure in peer.expect(m.Acks).acks[0].failures] == [(0, 11)]
        peer.send(m.Entries([m.Entry(m.HARDLINK, 2, 0, b"stolen", extra=m.Extra(to=(0, secret)))]))
        ack = peer.expect(m.Acks).acks[0]
        assert (ack.state, ack.code) == (m.FAILED, 10)
        finish(peer)
    assert os.listdir(server.root / "t") == ["good"]
    assert (outside / "x").stat().st_nlink == 1


# ---- what nobody asked for


def test_a_source_that_is_a_file_cannot_become_a_tree(server: Server) -> None:
    for send in (
        lambda peer: peer.send(m.Entries([m.Entry(m.DIRECTORY, 0, 0, b"")])),
        lambda peer: peer.send(m.Entries([m.Entry(m.FILE, 1, 0, b"a/b", 0o644, 1)])),
        lambda peer: peer.pack(1, [(0, b"a", {b"b": b"x"})]),
        lambda peer: peer.pack(1, [(0, b"", {b"b": b"x"})]),
    ):
        with client_of(server.address) as peer:
            peer.push([b"f"], [False])
            send(peer)
            assert peer.error().code == 7
        assert os.listdir(server.root) == []


# ---- contents that do not fit


def _lies(peer: Peer, content: bytes) -> dict[str, Callable[[], object]]:
    """What a sender may say about file 1, whose first MiB is still awaited, and must not."""
    block = content[:MIB]
    size = len(content)
    return {
        "outside the file": lambda: peer.data(1, 4 * MIB, block),
        "far outside": lambda: peer.data(1, 2**62, block),
        "off the grid": lambda: peer.data(1, 1000, block),
        "short": lambda: peer.data(1, 0, block[:1000]),
        "too long": lambda: peer.data(1, 0, block + b"x"),
        "empty": lambda: peer.frame(Type.DATA, frames.DATA.pack(1, 0, bytes(16))),
        "twice": lambda: (peer.data(1, 0, block), peer.data(1, 0, block)),
        "unknown id": lambda: peer.data(9, 0, block),
        "wrong digest": lambda: peer.data(1, 0, block, claimed=bytes(range(16))),
        "hole outside": lambda: peer.frame(Type.HOLE, frames.HOLE.pack(1, 4 * MIB, MIB)),
        "hole over all memory": lambda: peer.frame(Type.HOLE, frames.HOLE.pack(1, 0, 2**63)),
        "hole off the grid": lambda: peer.frame(Type.HOLE, frames.HOLE.pack(1, 1, MIB)),
        "empty hole": lambda: peer.frame(Type.HOLE, frames.HOLE.pack(1, 0, 0)),
        "short HOLE": lambda: peer.frame(Type.HOLE, b"x"),
        "KEEP unasked": lambda: peer.frame(Type.KEEP, frames.KEEP.pack(1, 0, MIB, 0)),
        "wrong root": lambda: (_all(peer, content), peer.end_file(1, size, bytes(range(16)))),
        "wrong length": lambda: (_all(peer, content), peer.end_file(1, size - 1, digest_of_blocks(content))),
        "END twice": lambda: (peer.end_file(1, size, bytes(16)), peer.end_file(1, size, bytes(16))),
        "END of nothing": lambda: peer.end_file(9, 0, bytes(16)),
        "END of a comparison": lambda: peer.end_file(1, size, bytes(16), state=2),
        "END of unknown state": lambda: peer.end_file(1, size, bytes(16), state=9),
        "FINISH too early": lambda: peer.send(m.Finish(0, 0)),
        "id again": lambda: peer.send(m.Entries([m.Entry(m.FILE, 1, 0, b"again", 0o644, 1)])),
        "entry of unknown kind": lambda: peer.send(m.Entries([m.Entry(77, 5, 0, b"x")])),
        "a receiver's frame": lambda: peer.send(m.Acks([])),
        "a second job": lambda: peer.send(m.Job("list", [b""], m.Options(), b"", 1)),
        "out of sequence": lambda: peer.raw(m.encode(m.Ping(0, False), peer.sent + 1)),
        "repeated": lambda: peer.raw(m.encode(m.Ping(0, False), peer.sent - 1)),
        "unknown frame": lambda: peer.head(0x66, 0),
        "oversize frame": lambda: peer.head(Type.DATA, 2**31),
        "oversize ENTRIES": lambda: peer.head(Type.ENTRIES, MIB + 1),
        "no MessagePack": lambda: peer.frame(Type.ENTRIES, b"\xc1\xc1\xc1"),
        "nested for ever": lambda: peer.frame(Type.ENTRIES, b"\x91" * 100_000),
        "negative size": lambda: peer.frame(
            Type.ENTRIES, b"\x91\x91\x98\x02\x05\x00\xc4\x01x\x00\xff\x00\x80"
        ),
    }


def _all(peer: Peer, content: bytes) -> None:
    for at in range(0, len(content), MIB):
        peer.data(1, at, content[at : at + MIB])


EIGHT = {"out of sequence", "repeated", "wrong digest", "wrong root", "wrong length"}
NAMES = sorted(_lies(None, b""))  # type: ignore[arg-type]


@pytest.mark.parametrize("half", [0, 1])
def test_contents_that_do_not_fit_end_the_session(half: int, server: Server) -> None:
    content = noise(3 * MIB + 7)
    write(server.root / "f", b"old")
    for name in NAMES[half::2]:
        with client_of(server.address) as peer:
            peer.push([b"f"], [False], existing="overwrite")
            extra = m.Extra(identity=bytes(16))
            peer.send(m.Entries([m.Entry(m.FILE, 1, 0, b"", 0o644, len(content), 10**18, extra)]))
            peer.expect(m.Answers)
            _lies(peer, content)[name]()
            last = peer.error_or_result()
            assert isinstance(last, m.Error), name
            assert last.code == (8 if name in EIGHT else 7), name
        assert (server.root / "f").read_bytes() == b"old", name
        nothing_is_left(server.root)
    assert run("ls", server.address).code == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 7),
        (b"short", 7),
        (bytes(16) + pack_body(1, b"", b"")[16:], 8),
        (pack_body(1, b"", b""), 7),
        (pack_body(1, b"\x90", b"more than the manifest says"), 7),
        (pack_body(1, b"\x90", b"", manifest_length=2**32 - 1), 7),
        (pack_body(1, m.encode_groups([m.Group(0, b"", [b"x"], record(5))]), b"1234"), 7),
        (pack_body(1, m.encode_groups([m.Group(0, b"", [b"x"], record(2**63))]), b"1234"), 7),
        (pack_body(1, m.encode_groups([m.Group(0, b"", [b"x"], record(4)[:-1])]), b"1234"), 7),
        (pack_body(1, m.encode_groups([m.Group(0, b"", [b"x", b"y"], record(4))]), b"1234"), 7),
        (
            pack_body(
                1, m.encode_groups([m.Group(0, b"", [b"%d" % i for i in range(4097)], record(0) * 4097)]), b""
            ),
            7,
        ),
        (pack_body(1, b"\xc1", b""), 7),
    ],
    ids=range(12),
)
def test_a_pack_that_lies_ends_the_session(body: bytes, code: int, server: Server) -> None:
    with client_of(server.address) as peer:
        peer.push([b"t"], [True])
        peer.frame(Type.PACK, body)
        peer.send(m.Finish(0, 0))
        last = peer.error_or_result()
        assert isinstance(last, m.Error)
        assert last.code == code
    assert not list(server.root.rglob("[xy]"))
    assert not leftovers(server.root)


def test_more_open_files_than_allowed_end_the_session(server: Server) -> None:
    with client_of(server.address) as peer:
        peer.push([b"t"], [True])
        peer.send(m.Entries([m.Entry(m.FILE, i, 0, b"%d" % i, 0o644, MIB) for i in range(1, 1100)]))
        assert peer.error().code == 7
    nothing_is_left(server.root)


@pytest.mark.parametrize("identity", [b"", bytes(range(16))], ids=["nameless", "resumable"])
def test_many_announced_blocks_do_not_take_the_memory(server: Server, identity: bytes) -> None:
    """Files of 2^43 bytes have 2^19 blocks each; a few of them are more than the protocol allows at once."""
    extra = m.Extra(identity=identity)
    with client_of(server.address) as peer:
        peer.push([b"t"], [True])
        peer.send(m.Entries([m.Entry(m.FILE, i, 0, b"%d" % i, 0o644, 2**43, 0, extra) for i in range(1, 30)]))
        assert peer.error().code == 7
    status = Path(f"/proc/{server.pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < 250_000  # kB
    nothing_is_left(server.root)


def test_a_file_above_the_bound_ends_the_session(server: Server) -> None:
    with client_of(server.address) as peer:
        peer.push([b"f"], [False])
        peer.send(m.Entries([m.Entry(m.FILE, 1, 0, b"", 0o644, 2**62)]))
        assert peer.error().code == 7
    assert os.listdir(server.root) == []


def test_a_failed_session_keeps_only_a_part_that_can_go_on(server: Server) -> None:
    content = noise(9 * MIB)
    with client_of(server.address) as peer:
        peer.push([b"f"], [False])
        extra = m.Extra(identity=bytes(range(16)))
        peer.send(m.Entries([m.Entry(m.FILE, 1, 0, b"", 0o644, len(content), 10**18, extra)]))
        peer.expect(m.Answers)
        peer.data(1, 0, content[:MIB])
        peer.data(1, MIB, content[:MIB], claimed=bytes(range(16)))
        assert peer.error().code == 8
    assert leftovers(server.root) == resumable(server.root)


def test_a_server_log_line_cannot_be_forged(root: Path, tmp_path: Path) -> None:
    with serving(f"unix:{tmp_path}/s", root, "-v") as server:
        with client_of(server.address) as peer:
            peer.send(m.Job("x\nhvcopy: all is well", [b""], m.Options(), b"", 1))
            peer.error()
        server.line("hvcopy: .*user")
        assert "\nhvcopy: all is well" not in server.err
