"""A channel that flips, drops, repeats or cuts: told apart, and the old destination stands untouched."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import PATIENCE, Finished, run, serving
from peers import Framed, Relay

from e2e.trees import MIB, leftovers, noise, plant, resumable, write
from hvcopy.wire.frames import HEADER, Type

OLD = b"the old version\n"
SIZE = 10 * MIB + 5


def nth(kind: Type, number: int, damage: Callable[[bytes], bytes]) -> Callable[[], Framed]:
    """A passage that does *damage* to frame *number* of *kind*, counted over all connections."""
    seen = 0
    lock = threading.Lock()

    def change(found: int, frame: bytes) -> bytes:
        nonlocal seen
        with lock:
            seen += found == kind
            hit = found == kind and seen == number
        return damage(frame) if hit else frame

    return lambda: Framed(change)


def flip(position: int) -> Callable[[bytes], bytes]:
    """Flip one bit of the byte at *position* of the body; negative ones count from the end."""

    def damage(frame: bytes) -> bytes:
        where = position % (len(frame) - HEADER.size) + HEADER.size
        return frame[:where] + bytes([frame[where] ^ 0x10]) + frame[where + 1 :]

    return damage


def drop(frame: bytes) -> bytes:
    """Nothing arrives."""
    return b""


def twice(frame: bytes) -> bytes:
    """It arrives twice."""
    return frame * 2


DAMAGE: dict[str, tuple[Type, int, Callable[[bytes], bytes], set[int]]] = {
    "bit of a block": (Type.DATA, 5, flip(MIB // 2), {8}),
    "bit of the last byte": (Type.DATA, 11, flip(-1), {8}),
    "bit of a digest": (Type.DATA, 2, flip(20), {8}),
    "bit of an offset": (Type.DATA, 3, flip(8 + 2), {8}),
    "bit of the root": (Type.END, 1, flip(24), {8}),
    "bit of the length in END": (Type.END, 1, flip(16), {8}),
    "dropped block": (Type.DATA, 5, drop, {8}),
    "dropped last block": (Type.DATA, 11, drop, {8}),
    "repeated block": (Type.DATA, 5, twice, {8}),
    "cut out of a block": (Type.DATA, 5, lambda frame: frame[:1000] + frame[5000:], {5, 7, 8}),
    "header of a block": (Type.DATA, 5, lambda frame: b"\xff" + frame[1:], {5, 7, 8}),
    "dropped END": (Type.END, 1, drop, {8}),
}


PULLED = ("bit of a block", "bit of the root", "dropped block")


@pytest.mark.parametrize(
    ("what", "pull"), [*((what, False) for what in DAMAGE), *((what, True) for what in PULLED)]
)
def test_damage_of_a_block_is_found(what: str, pull: bool, tmp_path: Path, root: Path, here: Path) -> None:
    kind, number, damage, codes = DAMAGE[what]
    source = write((root if pull else here) / "f", noise(SIZE))
    target = write((here if pull else root) / "copy", OLD)
    passage = nth(kind, number, damage)
    with (
        serving(f"unix:{tmp_path}/d", root, "--timeout", "15") as server,
        Relay(f"unix:{tmp_path}/s", server.address, **{"down" if pull else "up": passage}) as relay,
    ):
        ends = [f"{relay.address}:/f", target] if pull else [source, f"{relay.address}:/copy"]
        command = [
            "cp",
            "--overwrite",
            "--no-fsync",
            "--timeout",
            "15",
            "--lanes",
            "1",
            "--progress",
            "none",
            *map(str, ends),
        ]
        done = run(*command)
        assert done.code in codes, done.err
        assert target.read_bytes() == OLD
        assert leftovers(target.parent) == resumable(target.parent)
        assert_one_message(done)
        again = run(*command)
        assert again.code == 0, again.err
    assert target.read_bytes() == source.read_bytes()
    assert not leftovers(target.parent)


def assert_one_message(done: Finished) -> None:
    """What happened and what to do next; nothing else."""
    lines = done.err.splitlines()
    assert [line.startswith("hvcopy: ") for line in lines] == [True, False], done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("position", "pull"),
    [(3, False), (16, False), (40, False), (-1, False), (-1, True)],
    ids=["digest", "id", "manifest", "contents", "contents pulled"],
)
def test_damage_of_a_pack_is_found(position: int, pull: bool, tmp_path: Path, root: Path, here: Path) -> None:
    plant((root if pull else here) / "t", {str(i): noise(1000, i) for i in range(20)})
    target = plant((here if pull else root) / "copy", {"t/3": OLD})
    passage = nth(Type.PACK, 1, flip(position))
    with (
        serving(f"unix:{tmp_path}/d", root, "--timeout", "15") as server,
        Relay(f"unix:{tmp_path}/s", server.address, **{"down" if pull else "up": passage}) as relay,
    ):
        ends = [f"{relay.address}:/t", target] if pull else [here / "t", f"{relay.address}:/copy"]
        done = run("cp", "-r", "--overwrite", "--no-fsync", "--timeout", "15", *ends)
    assert done.code == 8, done.err
    assert (target / "t/3").read_bytes() == OLD
    assert [path.name for path in (target / "t").iterdir()] == ["3"]
    assert not leftovers(target)


@pytest.mark.parametrize(
    ("kind", "position"),
    [(Type.ENTRIES, 1), (Type.JOB, 1), (Type.HELLO, 1), (Type.FINISH, 0)],
    ids=["entries", "job", "hello", "finish"],
)
def test_damage_of_a_message_ends_the_session(
    kind: Type, position: int, tmp_path: Path, root: Path, here: Path
) -> None:
    source = write(here / "f", noise(MIB))
    with (
        serving(f"unix:{tmp_path}/d", root, "--timeout", "15") as server,
        Relay(f"unix:{tmp_path}/s", server.address, up=nth(kind, 1, flip(position))) as relay,
    ):
        done = run("cp", source, f"{relay.address}:/copy", "--timeout", "15")
        assert done.code == 8 or (kind == Type.HELLO and done.code == 7), done.err
        assert run("ls", server.address).code == 0
    assert not leftovers(root)


@pytest.mark.parametrize("what", [b"name-of-it", b"old-target"])
def test_damage_of_a_name_or_attribute_is_found(what: bytes, tmp_path: Path, root: Path, here: Path) -> None:
    """What only stands in a message must not arrive changed either."""
    tree = plant(here / "t", {"name-of-it": noise(MIB)})
    (tree / "link").symlink_to("old-target")

    def change(kind: int, frame: bytes) -> bytes:
        return frame.replace(what, what[:-1] + b"!") if kind == Type.ENTRIES else frame

    with (
        serving(f"unix:{tmp_path}/d", root, "--timeout", "15") as server,
        Relay(f"unix:{tmp_path}/s", server.address, up=lambda: Framed(change)) as relay,
    ):
        done = run("cp", "-r", "--links", tree, relay.address + ":/", "--timeout", "15")
    assert done.code == 8, done.err
    assert not (root / "t/name-of-i!").exists()
    assert not (root / "t/link").is_symlink()


@pytest.mark.parametrize("large", [False, True], ids=["pack", "blocks"])
def test_damage_of_an_acknowledgement_is_found(large: bool, tmp_path: Path, root: Path, here: Path) -> None:
    """The receiver's own digest travels in it: exit 0 must never rest on a damaged one."""
    source = write(here / "f", noise(9 * MIB if large else 1000))
    content = source.read_bytes()

    def damage(frame: bytes) -> bytes:
        found = frame.rfind(b"\xc4\x10")  # MessagePack bin of 16 bytes: the digest
        assert found > 0
        return frame[: found + 2] + bytes(16) + frame[found + 18 :]

    with (
        serving(f"unix:{tmp_path}/d", root) as server,
        Relay(f"unix:{tmp_path}/s", server.address, down=nth(Type.ACKS, 1, damage)) as relay,
    ):
        done = run("cp", source, f"{relay.address}:/f", "--timeout", "15")
    assert done.code == 8, done.err
    assert not (root / "f").exists() or (root / "f").read_bytes() == content


def test_a_dropped_block_among_several_lanes_is_never_delivered(
    tmp_path: Path, root: Path, here: Path, processes: ExitStack
) -> None:
    source = write(here / "f", noise(80 * MIB))
    target = write(root / "copy", OLD)
    server = processes.enter_context(serving(f"unix:{tmp_path}/d", root, "--timeout", "15"))
    relay = processes.enter_context(Relay(f"unix:{tmp_path}/s", server.address, up=nth(Type.DATA, 45, drop)))
    done = run("cp", "--overwrite", "--lanes", "3", "--timeout", "15", source, f"{relay.address}:/copy")
    assert done.code == 8, done.err
    assert target.read_bytes() == OLD
    assert leftovers(root) == resumable(root)


class LosesFurtherLanes:
    """Passages of one session: whatever is content vanishes on all its connections but the first.

    The first is held up, after enough has passed for others to be opened, until something vanished; much more has to
    follow than its sockets hold, or nothing is left for those.
    """

    HELD_AFTER = 40

    def __init__(self) -> None:
        self._connections = 0
        self._passed = 0
        self.lost = threading.Event()

    def passage(self) -> Framed:
        """The passage of the next connection."""
        self._connections += 1
        return Framed(self._first if self._connections == 1 else self._further)

    def _first(self, kind: int, frame: bytes) -> bytes:
        self._passed += kind == Type.DATA
        if self._passed > self.HELD_AFTER:
            assert self.lost.wait(PATIENCE)
        return frame

    def _further(self, kind: int, frame: bytes) -> bytes:
        if kind not in (Type.DATA, Type.END):
            return frame
        self.lost.set()
        return b""


@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_blocks_lost_as_the_last_of_a_lane_are_found_long_before_the_timeout(
    pull: bool, tmp_path: Path, root: Path, here: Path
) -> None:
    """Nothing that follows on that lane could show the gap, but for its heartbeat."""
    source = write((root if pull else here) / "f", noise(96 * MIB))
    target = (here if pull else root) / "copy"
    loses = LosesFurtherLanes()
    with (
        serving(f"unix:{tmp_path}/d", root, "--timeout", "600") as server,
        Relay(f"unix:{tmp_path}/s", server.address, **{"down" if pull else "up": loses.passage}) as relay,
    ):
        ends = [f"{relay.address}:/f", target] if pull else [source, f"{relay.address}:/copy"]
        done = run("cp", "--no-fsync", "--lanes", "2", "--timeout", "600", *ends)
    assert loses.lost.is_set()
    assert done.code == 8, done.err
    assert "frames were lost" in done.err
    assert not target.exists()
