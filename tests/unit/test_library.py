"""hvcopy in a program: wrong use is told in words, before anything is sent."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import PATIENCE, eventually
from ports import local

import hvcopy
from hvcopy.client import open_sources
from hvcopy.errors import BadUsage, Interrupted, LocalFailure, NobodyListens, NotAllowed
from hvcopy.files.keys import KEY_SIZE
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.tally import Tally
from hvcopy.transport import dial, listen
from hvcopy.wire.messages import Options

KEY = bytes(range(KEY_SIZE))


@pytest.fixture
def address(tmp_path: Path) -> hvcopy.Address:
    """Where the server listens, and in some tests nobody."""
    return hvcopy.parse_address(local(tmp_path))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder that the server offers, with one file."""
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "old").write_bytes(b"old")
    return folder


@pytest.fixture
def server(address: hvcopy.Address, root: Path) -> Iterator[hvcopy.Server]:
    """A server of *root*, which runs in a thread."""
    server = hvcopy.serve(address, str(root), admission=hvcopy.Admission())
    with server.listener:
        thread = threading.Thread(target=server.run)
        thread.start()
        yield server
        server.stop()
        thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.fixture
def client(server: hvcopy.Server) -> Iterator[hvcopy.Client]:
    """A connection to it."""
    with hvcopy.connect(server.listener.address) as client:
        yield client


def push(client: hvcopy.Client, *files: Path, **options: Any) -> None:
    client.push(open_sources([str(file) for file in files], recursive=False), b"", Options(**options), Tally())


def pull(client: hvcopy.Client, *paths: bytes, to: Path, **options: Any) -> None:
    client.pull([*paths], str(to), Options(**options), Tally())


def serve(where: Any) -> object:
    return hvcopy.serve(where, "/", admission=hvcopy.Admission())


@pytest.mark.parametrize("call", [hvcopy.connect, hvcopy.open_stream, serve])
def test_a_text_for_an_address_is_a_type_error(call: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=r"an address is wanted, as parse_address returns, not 'unix:/s'"):
        call("unix:/s")


def test_a_client_is_good_for_one_job(client: hvcopy.Client, root: Path, tmp_path: Path) -> None:
    assert [one.name for one in client.entries(b"")] == [b"old"]
    for job in (
        lambda: list(client.entries(b"")),
        lambda: push(client, root / "old"),
        lambda: pull(client, b"old", to=tmp_path / "new"),
    ):
        with pytest.raises(BadUsage, match="one job"):
            job()


def test_a_second_job_does_not_end_the_first(client: hvcopy.Client) -> None:
    entries = client.entries(b"")
    next(entries)
    with pytest.raises(BadUsage, match="one job"):
        next(client.entries(b""))
    assert list(entries) == []


def test_a_closed_client_says_so(client: hvcopy.Client, root: Path) -> None:
    client.close()
    client.close()
    with pytest.raises(BadUsage, match="closed"):
        push(client, root / "old")


def test_an_unknown_policy_is_refused_and_replaces_nothing(client: hvcopy.Client, root: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    with pytest.raises(BadUsage, match="'overwrit'") as caught:
        pull(client, b"old", to=mine, existing="overwrit")
    assert caught.value.hint == "refuse, overwrite or update"
    assert mine.read_bytes() == b"mine"
    with pytest.raises(BadUsage, match="'overwrit'"):
        push(client, root / "old", existing="overwrit")


def test_no_sources_are_no_job(client: hvcopy.Client, tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="nothing to copy"):
        push(client)
    with pytest.raises(BadUsage, match="nothing to copy"):
        pull(client, to=tmp_path / "new")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda client: list(client.entries("old")),
        lambda client: client.pull(["old"], "new", Options(), Tally()),
        lambda client: client.pull(b"old", "new", Options(), Tally()),
        lambda client: client.push(open_sources([__file__], recursive=False), "", Options(), Tally()),
    ],
    ids=["list", "pull", "pull-no-list", "push"],
)
def test_a_path_on_the_server_is_bytes(client: hvcopy.Client, wrong: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=r"paths? on the server"):
        wrong(client)


def test_sources_are_a_list_of_paths_and_then_opened(client: hvcopy.Client) -> None:
    sources: Any = __file__
    with pytest.raises(TypeError, match="list of paths"):
        open_sources(sources, recursive=True)
    with pytest.raises(TypeError, match="open_sources"):
        client.push([sources], b"", Options(), Tally())


@pytest.mark.parametrize("key", [b"", KEY[1:], KEY + b"0"], ids=["none", "short", "long"])
def test_a_key_of_another_length_is_refused(key: bytes, address: hvcopy.Address) -> None:
    with pytest.raises(BadUsage, match="32 bytes"):
        hvcopy.Admission(key=key)
    for reach in (hvcopy.connect, hvcopy.open_stream):
        with pytest.raises(BadUsage, match="32 bytes"):
            reach(address, key=key)


def test_a_key_is_bytes(address: hvcopy.Address) -> None:
    text: Any = "0" * KEY_SIZE
    with pytest.raises(TypeError, match="bytes"):
        hvcopy.Admission(key=text)
    with pytest.raises(TypeError, match="bytes"):
        hvcopy.connect(address, key=text)


def test_a_list_of_peers_is_a_list_of_peers() -> None:
    text: Any = "31"  # else CIDs 3 and 1
    with pytest.raises(TypeError, match="list"):
        hvcopy.Admission(allow=text)
    with pytest.raises(BadUsage, match="not a peer"):
        hvcopy.Admission(allow=["vsock:3", "everybody"])


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), 1e12])
def test_a_timeout_that_cannot_be_is_refused_and_nothing_stays_open(
    seconds: float, address: hvcopy.Address, root: Path, server: hvcopy.Server, tmp_path: Path
) -> None:
    with pytest.raises(BadUsage, match="timeout"):
        hvcopy.connect(address, timeout=seconds)
    with pytest.raises(BadUsage, match="timeout"):
        hvcopy.open_stream(address, timeout=seconds)
    with pytest.raises(BadUsage, match="timeout"):
        hvcopy.serve(
            hvcopy.parse_address(local(tmp_path, "other")), str(root), admission=hvcopy.Admission(), timeout=seconds
        )
    assert not (tmp_path / "other").exists()


def test_a_server_is_not_both_read_only_and_write_only(address: hvcopy.Address, root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="exclude each other"):
        hvcopy.serve(address, str(root), admission=hvcopy.Admission(), read_only=True, write_only=True)
    assert not (tmp_path / "s").exists()


def test_a_server_that_was_stopped_before_it_ran_ends_at_once_and_runs_once(
    address: hvcopy.Address, root: Path
) -> None:
    server = hvcopy.serve(address, str(root), admission=hvcopy.Admission())
    with server.listener:
        server.stop()
        server.run()
        with pytest.raises(BadUsage, match="has run"):
            server.run()


def test_a_server_whose_listener_is_closed_ends_what_is_under_way(
    address: hvcopy.Address, root: Path, tmp_path: Path
) -> None:
    for number in range(600):
        (root / f"{number}").touch()
    server = hvcopy.serve(address, str(root), admission=hvcopy.Admission())
    outcome: list[BaseException] = []

    def run() -> None:
        try:
            server.run()
        except hvcopy.HvcopyError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    with hvcopy.connect(address) as client:
        entries = client.entries(b"")
        next(entries)
        server.listener.close()
        thread.join(PATIENCE)
        assert [type(error) for error in outcome] == [Interrupted]
        names = {one.name for one in threading.enumerate()}
        assert not [name for name in names if name.startswith(str(address))]


def test_an_error_reaches_the_parent_of_a_pools_worker(address: hvcopy.Address) -> None:
    with pytest.raises(NobodyListens) as caught:
        hvcopy.connect(address)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.message, copy.hint, copy.server) == (caught.value.message, caught.value.hint, str(address))


def test_a_wrong_key_and_a_missing_root_are_told(server: hvcopy.Server, tmp_path: Path) -> None:
    with pytest.raises(NotAllowed):
        hvcopy.connect(server.listener.address, key=KEY)
    with pytest.raises(LocalFailure):
        hvcopy.serve(hvcopy.parse_address(local(tmp_path, "t")), str(tmp_path / "none"), admission=hvcopy.Admission())
    assert not os.path.exists(tmp_path / "t")


@pytest.mark.parametrize("path", [b"", b"none"])
def test_a_server_forgets_its_sessions(server: hvcopy.Server, path: bytes) -> None:
    """One of them is some megabytes, and a server lives for months."""
    before = _sessions()
    for _ in range(3):
        _visit(server.listener.address, path)
    eventually(lambda: all(one in before for one in _sessions()), what="the end of the sessions")


def _visit(address: hvcopy.Address, path: bytes) -> None:
    with contextlib.suppress(LocalFailure), hvcopy.connect(address) as client:
        list(client.entries(path))


def _sessions() -> list[Lanes]:
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, Lanes)]


def test_an_empty_list_of_peers_lets_nobody_in(address: hvcopy.Address) -> None:
    with listen(address) as listener:
        near, far = dial(address), listener.accept(PATIENCE)
        assert far is not None
        with pytest.raises(NotAllowed, match="not on the list"):
            hvcopy.Admission(allow=[]).check(far)
        near.close()
        far.close()
