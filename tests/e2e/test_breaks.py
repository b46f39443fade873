"""Either end killed, or the connection cut, at any share of a copy: the same command again completes it."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import PATIENCE, Finished, Running, Server, eventually, run, serving
from descriptors import opened_below
from peers import Gate, Relay, unchanged

import hvcopy
from e2e.trees import MIB, leftovers, noise, picture, plant, resumable, write
from hvcopy.client import open_sources
from hvcopy.errors import ConnectionLost
from hvcopy.transfer.tally import Tally
from hvcopy.wire import messages as m

SIZE = 40 * MIB
SHARES = (0, 30, 60, 99)
KEPT_FROM = 60
"""Share from which on blocks must have been kept: they are recorded sixteen at a time (docs/protocol.md, section 5)."""
BEFORE_CONTENTS = 1000
"""Bytes within which everything is said before the first block, and not the whole of it."""
OLD = b"the old version\n"


class Break:
    """A copy of ``large`` through a relay, with something that happens when a share of it has passed."""

    def __init__(
        self, folder: Path, root: Path, here: Path, processes: ExitStack, *, pull: bool, share: int
    ) -> None:
        self._processes = processes
        self.root = root
        self.pull = pull
        self.direct = f"unix:{folder}/direct"
        self.server: Server | None = None
        self.client: Running | None = None
        self.gate = Gate(max(SIZE * share // 100, BEFORE_CONTENTS))
        passages = {"down" if pull else "up": lambda: self.gate, "up" if pull else "down": lambda: unchanged}
        self._relay: Relay = Relay(f"unix:{folder}/s", self.direct, **passages)
        processes.enter_context(self._relay)
        source = write((root if pull else here) / "large", noise(SIZE))
        self.target = write((here if pull else root) / "copy", OLD)
        remote = f"{self._relay.address}:/{'large' if pull else 'copy'}"
        ends = [remote, self.target] if pull else [source, remote]
        self.command = ["cp", "--overwrite", "--no-fsync", "--timeout", "10", "--json", *map(str, ends)]
        self.content = source.read_bytes()

    def silence(self) -> None:
        """Let nothing pass in either direction once the share has passed."""
        gate, relay = self.gate, self._relay
        relay.up, relay.down = lambda: gate, lambda: gate

    def begin(self) -> None:
        """Start both ends, and wait until the share has passed."""
        self.serve()
        self.client = self._processes.enter_context(Running(*self.command))
        assert self.gate.reached.wait(PATIENCE)

    def serve(self) -> None:
        """Start the server, anew if need be."""
        self.server = self._processes.enter_context(serving(self.direct, self.root))

    def again(self, command: list[str]) -> Finished:
        """Run *command* with nothing in its way."""
        self.gate.open()
        return run(*command)

    def assert_untouched(self) -> None:
        """The old destination stands, with nothing beside it but what a resume uses."""
        assert self.target.read_bytes() == OLD
        assert leftovers(self.target.parent) == resumable(self.target.parent)

    def assert_completed(self, done: Finished, *, share: int, kept: int = 16) -> None:
        """The copy is whole, and took over what the first attempt had brought, *kept* blocks of it at least."""
        assert done.code == 0, done.err
        assert self.target.read_bytes() == self.content
        assert not leftovers(self.target.parent)
        if share >= KEPT_FROM and kept:
            assert done.result["reused_bytes"] >= kept * MIB
            assert "reused" in done.err
        assert done.result["reused_bytes"] <= SIZE * share // 100
        assert done.result["bytes"] == SIZE


@pytest.fixture
def broken(tmp_path: Path, root: Path, here: Path, processes: ExitStack) -> Callable[..., Break]:
    return lambda *, pull, share: Break(tmp_path, root, here, processes, pull=pull, share=share)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_a_killed_server_is_6_and_the_command_given_completes(
    broken: Callable[..., Break], pull: bool, share: int
) -> None:
    copy = broken(pull=pull, share=share)
    copy.begin()
    assert copy.server
    assert copy.client
    copy.server.kill()
    first = copy.client.finish()
    assert first.code == 6, first.err
    assert first.seconds < 10
    assert first.result["ok"] is False
    copy.assert_untouched()
    assert first.resume_command == copy.command
    copy.serve()
    copy.assert_completed(copy.again(first.resume_command), share=share)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_a_killed_client_leaves_only_what_the_next_one_uses(
    broken: Callable[..., Break], pull: bool, share: int
) -> None:
    copy = broken(pull=pull, share=share)
    copy.begin()
    assert copy.server
    assert copy.client
    copy.client.kill()
    if not pull and share > 0:
        copy.server.line("connection")
    copy.assert_untouched()
    assert not copy.server.ended
    copy.assert_completed(copy.again(copy.command), share=share)


@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_a_silent_connection_is_6_within_the_timeout(broken: Callable[..., Break], pull: bool) -> None:
    """Both ends live and nothing passes either way: what a killed virtual machine looks like."""
    copy = broken(pull=pull, share=60)
    copy.command[copy.command.index("10")] = "1.5"
    copy.silence()
    copy.begin()
    assert copy.client
    first = copy.client.finish()
    assert first.code == 6, first.err
    assert first.seconds < 15
    copy.assert_untouched()
    copy.assert_completed(copy.again(first.resume_command), share=62)


def test_a_changed_source_starts_over(broken: Callable[..., Break], here: Path) -> None:
    copy = broken(pull=False, share=60)
    copy.begin()
    assert copy.server
    assert copy.client
    copy.server.kill()
    assert copy.client.finish().code == 6
    copy.content = noise(SIZE, 2)
    write(here / "large", copy.content)
    copy.serve()
    done = copy.again(copy.command)
    copy.assert_completed(done, share=0)


@pytest.mark.parametrize("value", [bytes(16), bytes(range(16))], ids=["zeros", "another digest"])
def test_a_damaged_record_of_blocks_costs_at_most_one_attempt(
    broken: Callable[..., Break], value: bytes
) -> None:
    copy = broken(pull=False, share=99)
    copy.begin()
    assert copy.server
    assert copy.client
    copy.server.kill()
    copy.client.finish()
    record = next(name for name in resumable(copy.root) if name.endswith("blocks"))
    with open(copy.root / record, "r+b") as file:
        file.seek(64 + 24 * 3 + 8)  # the digest of the fourth block noted
        file.write(value)
    copy.serve()
    done = copy.again(copy.command)
    if done.code:
        assert copy.target.read_bytes() == OLD
        done = copy.again(copy.command)
    copy.assert_completed(done, share=99, kept=0 if done.result["reused_bytes"] == 0 else 15)


def test_a_one_shot_copy_goes_on_after_a_kill(
    tmp_path: Path, here: Path, root: Path, processes: ExitStack
) -> None:
    source = write(here / "large", noise(SIZE))
    direct, through = f"unix:{tmp_path}/direct", f"unix:{tmp_path}/s"
    gate = Gate(SIZE * 6 // 10)
    processes.enter_context(Relay(through, direct, up=lambda: gate))
    receiving = processes.enter_context(Running("recv", "-l", direct, root))
    receiving.line("listening on")
    sending = processes.enter_context(Running("send", source, through, "--json"))
    assert gate.reached.wait(PATIENCE)
    receiving.kill()
    first = sending.finish()
    assert first.code == 6, first.err
    gate.open()
    again = processes.enter_context(Running("recv", "-l", direct, root, "--json"))
    again.line("listening on")
    done = run(*first.resume_command)
    received = again.finish()
    assert (done.code, received.code) == (0, 0), done.err + received.err
    assert done.result["reused_bytes"] >= 16 * MIB
    assert (root / "large").read_bytes() == source.read_bytes()
    assert not leftovers(root)


def test_small_files_of_a_broken_copy_are_not_sent_again_as_failures(
    tmp_path: Path, here: Path, root: Path, processes: ExitStack
) -> None:
    """What was delivered before the break counts as there already; nothing half-written is left of the rest."""
    for number in range(300):
        write(here / "tree" / str(number), noise(20_000, number))
    direct, through = f"unix:{tmp_path}/direct", f"unix:{tmp_path}/s"
    gate = Gate(4 * MIB)
    processes.enter_context(Relay(through, direct, up=lambda: gate))
    server = processes.enter_context(serving(direct, root))
    client = processes.enter_context(
        Running("cp", "-r", here / "tree", f"{through}:/copy", "--json", "--lanes", 1)
    )
    assert gate.reached.wait(PATIENCE)
    eventually(lambda: (root / "copy").exists() and any((root / "copy").iterdir()), what="first files")
    server.kill()
    assert client.finish().code == 6
    delivered = [path for path in (root / "copy").iterdir() if not path.name.startswith(".hvcopy")]
    assert all(path.read_bytes() == (here / "tree" / path.name).read_bytes() for path in delivered)
    processes.enter_context(serving(direct, root))
    gate.open()
    done = run("cp", "-r", here / "tree", f"{through}:/copy", "--json")
    assert done.code == 0, done.err
    assert done.result["files"] + done.result["same"] == 300


@pytest.mark.parametrize("killed", [False, True], ids=["peer killed", "client killed"])
@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_the_same_command_completes_a_tree_that_began_to_become_the_destination(
    pull: bool, killed: bool, tmp_path: Path, here: Path, root: Path, processes: ExitStack
) -> None:
    """By the first attempt the destination exists, and a directory would go into it."""
    there, target = (root, here / "copy") if pull else (here, root / "copy")
    plant(there / "tree", {"large": noise(SIZE), "small/one": b"1"})
    direct, gate = f"unix:{tmp_path}/direct", Gate(SIZE * 6 // 10)
    passages = {"down" if pull else "up": lambda: gate}
    relay = processes.enter_context(Relay(f"unix:{tmp_path}/s", direct, **passages))
    server = processes.enter_context(serving(direct, root))
    ends = [f"{relay.address}:/tree", target] if pull else [there / "tree", f"{relay.address}:/copy"]
    command = ["cp", "-r", *map(str, ends), "--no-fsync", "--json"]
    client = processes.enter_context(Running(*command))
    assert gate.reached.wait(PATIENCE)
    if killed:
        client.kill()
        if not pull:
            server.line("connection")
    server.kill()
    if not killed:
        first = client.finish()
        assert first.code == 6, first.err
        assert first.resume_command == command
    processes.enter_context(serving(direct, root))
    gate.open()
    done = run(*command)
    assert done.code == 0, done.err
    assert done.result["reused_bytes"] >= 16 * MIB
    assert picture(target) == picture(there / "tree")
    assert not leftovers(target.parent)
    assert run(*command).code == 0
    assert picture(target / "tree") == picture(there / "tree"), "of a whole one nothing is known: the source goes into it"


@pytest.mark.parametrize("pull", [False, True], ids=["push", "pull"])
def test_a_program_whose_copy_breaks_keeps_nothing_open(
    pull: bool, tmp_path: Path, here: Path, root: Path, processes: ExitStack
) -> None:
    plant((root if pull else here) / "t", {f"{i}/f": noise(100_000, i) for i in range(99)} | {"large": noise(9 * MIB)})
    direct, gate = f"unix:{tmp_path}/direct", Gate(12 * MIB)
    passages = {"down" if pull else "up": lambda: gate}
    relay = processes.enter_context(Relay(f"unix:{tmp_path}/s", direct, **passages))
    server = processes.enter_context(serving(direct, root))
    gc.disable()
    processes.callback(gc.enable)
    with hvcopy.connect(hvcopy.parse_address(relay.address), lanes=1) as client:
        gate.action = server.kill
        options = m.Options(recursive=True)
        mine = os.fsdecode(here / "t")
        if pull:
            with pytest.raises(ConnectionLost):
                client.pull([b"t"], mine, options, Tally())
        else:
            with pytest.raises(ConnectionLost):
                client.push(open_sources([mine], recursive=True), b"", options, Tally())
    assert opened_below(here) == 0
