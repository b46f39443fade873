"""Unix sockets: permissions, stale files, what is left alone, the peer's user."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from descriptors import none_left

from hvcopy.address import HybridAddress, UnixAddress
from hvcopy.errors import BadUsage, HvcopyError, Interrupted, LocalFailure, NobodyListens, TimedOut
from hvcopy.transport import Cancellation, Listener, dial, listen
from hvcopy.transport.peer import allowed
from transport.pairs import close, connected, meet, unix_address


def leave_stale_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def test_listen_creates_socket_of_mode_0600_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with listen(unix_address(tmp_path)):
            assert stat.S_IMODE((tmp_path / "hv.sock").stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_listen_with_a_narrow_umask_still_lets_the_owner_in(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        listener = listen(unix_address(tmp_path))
    finally:
        os.umask(before)
    with listener:
        assert stat.S_IMODE((tmp_path / "hv.sock").stat().st_mode) == 0o600


def test_listen_replaces_a_stale_socket(tmp_path: Path) -> None:
    leave_stale_socket(tmp_path / "hv.sock")
    with connected(unix_address(tmp_path)) as (dialled, accepted):
        dialled.send(b"!")
        assert accepted.receive_exact(bytearray(1)) == 1


def test_listen_where_another_listens_is_refused_and_the_other_goes_on(tmp_path: Path) -> None:
    with listen(unix_address(tmp_path)) as first:
        with pytest.raises(LocalFailure, match="another process listens there already"):
            listen(unix_address(tmp_path))
        assert first.accept(0.0) is None, "nobody came: the first one may take one client only"
        close(meet(first.address, first))


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_STREAM], ids=str)
def test_listen_where_a_socket_of_any_kind_is_bound_leaves_it_alone(tmp_path: Path, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(str(tmp_path / "hv.sock"))
        with pytest.raises(LocalFailure, match="another process listens there already"):
            listen(unix_address(tmp_path))
        other.setblocking(False)
        with pytest.raises(OSError, match=r"Resource temporarily unavailable|Invalid argument|not connected"):
            other.recv(1)


def test_listen_where_another_with_a_full_queue_listens_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as client:
        other.bind(str(tmp_path / "hv.sock"))
        other.listen(0)
        client.connect(str(tmp_path / "hv.sock"))
        with pytest.raises(LocalFailure, match="another process listens there already"):
            listen(unix_address(tmp_path))


def test_listeners_started_at_once_on_a_stale_socket_leave_exactly_one(tmp_path: Path) -> None:
    leave_stale_socket(tmp_path / "hv.sock")
    count = 8
    ready = threading.Barrier(count)

    def start() -> Listener | HvcopyError:
        ready.wait(10)
        try:
            return listen(unix_address(tmp_path))
        except HvcopyError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        results = [future.result() for future in [pool.submit(start) for _ in range(count)]]
    listeners = [result for result in results if isinstance(result, Listener)]
    try:
        assert len(listeners) == 1
        with dial(unix_address(tmp_path)).sock:
            pass
    finally:
        for listener in listeners:
            listener.close()


def test_listen_waits_for_another_that_is_bound_but_does_not_listen_yet(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    with ThreadPoolExecutor(1) as pool, socket.socket(socket.AF_UNIX) as other:
        fcntl.flock(folder, fcntl.LOCK_EX)
        other.bind(str(tmp_path / "hv.sock"))
        second = pool.submit(listen, unix_address(tmp_path))
        with pytest.raises(TimeoutError):
            second.result(0.1)
        other.listen()
        os.close(folder)
        with pytest.raises(LocalFailure, match="another process listens there already"):
            second.result(10)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_listen_leaves_what_is_no_socket_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "hv.sock"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    else:
        leave_stale_socket(tmp_path / "other")
        path.symlink_to("other")
    before = path.lstat()
    with pytest.raises(LocalFailure, match="is not a socket; it was left as it is"):
        listen(unix_address(tmp_path))
    assert os.path.samestat(path.lstat(), before)
    assert kind != "file" or path.read_text() == "mine"


def test_listen_in_a_missing_folder_names_it(tmp_path: Path) -> None:
    with pytest.raises(LocalFailure, match=f"the folder {tmp_path}/none does not exist"):
        listen(UnixAddress(f"{tmp_path}/none/hv.sock"))


def test_path_too_long_for_the_system_is_refused_with_both_lengths(tmp_path: Path) -> None:
    address = UnixAddress(f"{tmp_path}/{'x' * 108}")
    for attempt in (listen, dial):
        with pytest.raises(BadUsage, match="at most 107 bytes, this one has"):
            attempt(address)


def test_longest_path_works(tmp_path: Path) -> None:
    folder = str(tmp_path)
    path = f"{folder}/{'x' * (106 - len(folder))}"
    assert len(path) == 107
    with connected(UnixAddress(path)):
        assert stat.S_ISSOCK(os.stat(path).st_mode)


def test_close_removes_the_socket_file(tmp_path: Path) -> None:
    listener = listen(unix_address(tmp_path))
    listener.close()
    listener.close()
    assert list(tmp_path.iterdir()) == []


def test_close_after_a_change_of_folder_removes_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    listener = listen(UnixAddress("hv.sock"))
    monkeypatch.chdir("/")
    listener.close()
    assert list(tmp_path.iterdir()) == []


def test_close_leaves_a_file_that_took_its_place(tmp_path: Path) -> None:
    listener = listen(unix_address(tmp_path))
    (tmp_path / "hv.sock").rename(tmp_path / "ours")  # keeps the inode number in use
    leave_stale_socket(tmp_path / "hv.sock")
    listener.close()
    assert (tmp_path / "hv.sock").is_socket()


def test_dial_tells_a_missing_socket_from_a_left_one_and_from_a_file(tmp_path: Path) -> None:
    address = unix_address(tmp_path)
    with pytest.raises(NobodyListens, match="the socket file does not exist"):
        dial(address)
    leave_stale_socket(tmp_path / "hv.sock")
    with pytest.raises(NobodyListens, match="left by a process that has ended") as caught:
        dial(address)
    assert f"hvcopy serve {address}" in caught.value.hint
    (tmp_path / "hv.sock").unlink()
    (tmp_path / "hv.sock").write_text("")
    with pytest.raises(LocalFailure, match=r"is not a socket$") as wrong:
        dial(address)
    assert wrong.value.hint == "give the path of the socket that the peer listens on"


def test_both_ends_know_the_other_ones_user(tmp_path: Path) -> None:
    address = unix_address(tmp_path)
    with connected(address) as (dialled, accepted):
        mine = f"unix:{os.getuid()}"
        assert (dialled.identity, accepted.identity) == (mine, mine)
        assert allowed(accepted.identity, [mine])
        assert not allowed(accepted.identity, [f"unix:{os.getuid() + 1}"])
        assert dialled.peer == str(address)
        assert accepted.peer == f"{address} (user {os.getuid()}, process {os.getpid()})"


def limit(name: str) -> int:
    return int(Path(f"/proc/sys/net/core/{name}_max").read_text())


def test_buffer_asked_for_is_in_effect_at_both_ends_and_reported(tmp_path: Path) -> None:
    wished = 150_000
    given = 2 * min(wished, limit("wmem"), limit("rmem"))  # the kernel doubles it, socket(7)
    with listen(unix_address(tmp_path), buffer=wished) as listener:
        dialled, accepted = dial(listener.address, buffer=wished), listener.accept(10)
        assert accepted is not None
        assert (dialled.window, accepted.window) == (given, given)
        assert dialled.sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == given
        close((dialled, accepted))


def test_buffer_beyond_all_limits_does_no_harm(tmp_path: Path) -> None:
    with listen(unix_address(tmp_path), buffer=1 << 62) as listener:
        dialled = dial(listener.address, buffer=1 << 62)
        assert dialled.window == 2 * min(limit("wmem"), limit("rmem"))
        dialled.close()


def test_full_queue_is_waited_for_until_the_timeout(tmp_path: Path) -> None:
    with listen(unix_address(tmp_path), backlog=1) as listener:
        waiting = [dial(listener.address), dial(listener.address)]
        with pytest.raises(TimedOut, match=r"no answer within 0\.1 s"):
            dial(listener.address, timeout=0.1)
        close((waiting[0], waiting[1]))


def test_full_queue_that_gets_room_is_joined(tmp_path: Path) -> None:
    with listen(unix_address(tmp_path), backlog=0) as listener:
        first = dial(listener.address)

        def make_room() -> bool:
            channel = listener.accept(0)
            if channel is not None:
                channel.close()
            return False

        second = dial(listener.address, timeout=30, cancellation=Cancellation(make_room))
        close((first, second))


def test_accept_returns_none_when_nobody_came(tmp_path: Path) -> None:
    with listen(unix_address(tmp_path)) as listener:
        assert listener.accept(0) is None
        assert listener.accept(0.02) is None


def test_close_in_another_thread_ends_accept(tmp_path: Path) -> None:
    listener = listen(unix_address(tmp_path))
    with ThreadPoolExecutor(1) as pool:
        accepting = pool.submit(listener.accept, None)
        listener.close()
        with pytest.raises(Interrupted, match="listening was ended"):
            accepting.result(10)


def test_accept_without_descriptors_returns_none_and_loses_nothing(tmp_path: Path) -> None:
    with listen(unix_address(tmp_path)) as listener:
        dialled = dial(listener.address)
        with none_left():
            assert listener.accept(0.1) is None
        accepted = listener.accept(10)
        assert accepted is not None
        close((dialled, accepted))


@pytest.mark.parametrize("kind", ["unix", "hybrid"])
def test_without_descriptors_neither_connecting_nor_listening_is_possible_and_both_say_so(tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / "v.sock")
    address = UnixAddress(path) if kind == "unix" else HybridAddress(path, 5)
    with listen(address), none_left():
        with pytest.raises(LocalFailure, match="cannot open one more connection: Too many open files"):
            dial(address)
        with pytest.raises(LocalFailure, match="listening failed: Too many open files") as caught:
            listen(address)
    assert caught.value.hint == ""


def test_hybrid_listen_is_at_path_and_port_with_mode_0600(tmp_path: Path) -> None:
    address = HybridAddress(str(tmp_path / "v.sock"), 18518)
    path = tmp_path / "v.sock_18518"
    leave_stale_socket(path)
    with listen(address) as listener, socket.socket(socket.AF_UNIX) as vmm:
        assert listener.address == address
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        vmm.connect(str(path))
        accepted = listener.accept(10)
        assert accepted is not None
        assert accepted.identity == f"unix:{os.getuid()}"
        assert accepted.peer.startswith(str(address))
        accepted.close()
    assert list(tmp_path.iterdir()) == []
