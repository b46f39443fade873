"""Two connections joined: what the end, the loss and the silence of one side mean for the other."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from commands import eventually

from hvcopy.channel import Channel
from hvcopy.errors import ConnectionLost, HvcopyError, Interrupted, TimedOut
from hvcopy.forwarding import Join
from hvcopy.transport.closing import closed_here, closed_wholly, has_left

PATIENCE = 20.0


def _looks(monkeypatch: pytest.MonkeyPatch, where: str, function: Callable[..., bool]) -> list[bool]:
    """Have a join look often; what each look by *function*, which stands *where*, gave."""
    looked: list[bool] = []

    def look(one: object) -> bool:
        looked.append(function(one))
        return looked[-1]

    monkeypatch.setattr("hvcopy.forwarding.LOOK", 0.02)
    monkeypatch.setattr(where, look)
    return looked


class Joined:
    """A client's and a target's socket, joined in a thread; ``failure`` is what the join raised."""

    def __init__(
        self, stack: ExitStack, family: str, *, idle: float | None = None, grace: float | None = None
    ) -> None:
        self.client, near = _pair(stack, family)
        self.target, far = _pair(stack, family)
        self.join = Join(_channel(near, "client"), _channel(far, "target"), idle=idle, grace=grace)
        self.failure: HvcopyError | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        stack.callback(self._thread.join)
        stack.callback(self.join.cancel)

    def _run(self) -> None:
        try:
            self.join.run()
        except HvcopyError as error:
            self.failure = error

    def over(self) -> HvcopyError | None:
        """Wait for the end; returns the failure."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.failure


def _pair(stack: ExitStack, family: str) -> tuple[socket.socket, socket.socket]:
    if family == "unix":
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
    ours.settimeout(PATIENCE)
    theirs.setblocking(False)
    stack.enter_context(ours)
    stack.enter_context(theirs)
    return ours, theirs


def _channel(sock: socket.socket, name: str) -> Channel:
    return Channel(sock, peer=name)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


@pytest.fixture(params=["unix", "tcp"])
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_the_end_of_each_side_is_passed_on_and_the_other_goes_on(stack: ExitStack, family: str) -> None:
    joined = Joined(stack, family)
    joined.client.sendall(b"question")
    joined.client.shutdown(socket.SHUT_WR)
    assert joined.target.makefile("rb").read() == b"question"
    joined.target.sendall(b"answer")
    joined.target.shutdown(socket.SHUT_WR)
    assert joined.client.makefile("rb").read() == b"answer"
    assert joined.over() is None


def test_a_client_that_closes_closes_the_target(stack: ExitStack, family: str) -> None:
    joined = Joined(stack, family)
    joined.client.close()
    assert joined.target.recv(1) == b""
    joined.target.close()
    assert joined.over() is None


def test_a_tcp_client_that_has_closed_needs_no_target_that_ends(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """From some guests the target never hears of an end: without this each client would leave a connection for ever."""
    monkeypatch.setattr("hvcopy.forwarding.LOOK", 0.05)
    joined = Joined(stack, "tcp")
    joined.client.close()
    assert joined.over() is None
    assert joined.target.recv(1) == b""


def test_a_target_that_has_closed_needs_no_client_that_ends(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """Out of some guests the client never hears of an end: it would wait for ever for the rest of its answer."""
    monkeypatch.setattr("hvcopy.forwarding.LOOK", 0.05)
    joined = Joined(stack, family)
    joined.client.sendall(b"question")
    assert joined.target.recv(8) == b"question"
    joined.target.sendall(b"answer")
    joined.target.close()
    assert joined.over() is None
    assert joined.client.makefile("rb").read() == b"answer"


def test_a_target_that_has_only_ended_still_hears_its_client(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    looked = _looks(monkeypatch, "hvcopy.forwarding.closed_wholly", closed_wholly)
    joined = Joined(stack, family)
    joined.target.shutdown(socket.SHUT_WR)
    assert joined.client.recv(1) == b""
    eventually(lambda: len(looked) > 10, what="looks at the target")
    assert not any(looked)
    joined.client.sendall(b"late")
    joined.client.close()
    assert joined.target.makefile("rb").read() == b"late"
    assert joined.over() is None


@pytest.mark.parametrize("grace", [None, PATIENCE])
def test_a_tcp_client_that_has_only_ended_is_waited_for(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch, grace: float | None
) -> None:
    looked = _looks(monkeypatch, "hvcopy.transport.closing.closed_here", closed_here)
    joined = Joined(stack, "tcp", grace=grace)
    joined.client.shutdown(socket.SHUT_WR)
    eventually(lambda: len(looked) > 10, what="looks at the client")
    assert not any(looked)
    joined.target.sendall(b"answer")
    joined.target.close()
    assert joined.client.makefile("rb").read() == b"answer"
    assert joined.over() is None


def test_a_client_that_has_gone_is_not_kept_by_a_target_that_waits_until_its_answer_is_read(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.setattr("hvcopy.forwarding.GRACE", 0.3)
    joined = Joined(stack, family)
    for end in (joined.client, joined.target):  # each sends and does not read: an echo whose client has died
        end.setblocking(False)
        while select.select([], [end], [], 0.5)[1]:
            with contextlib.suppress(BlockingIOError):
                end.send(bytes(1 << 16))
    joined.client.close()
    failure = joined.over()
    assert isinstance(failure, ConnectionLost)
    assert "took nothing more" in failure.message


def test_silence_after_the_end_is_told_in_the_words_of_the_option(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvcopy.forwarding.LOOK", 0.05)
    joined = Joined(stack, "tcp", idle=0.22)
    joined.client.shutdown(socket.SHUT_WR)
    failure = joined.over()
    assert isinstance(failure, TimedOut)
    assert failure.message == "client and target: nothing moved for 0.22 s"


def test_what_a_target_says_last_arrives_though_the_client_is_still_sending(stack: ExitStack) -> None:
    joined = Joined(stack, "unix")
    joined.client.sendall(b"x" * 100_000)
    assert joined.target.recv(10)
    joined.target.sendall(b"too large")
    joined.target.close()
    assert joined.client.recv(100) == b"too large"
    assert isinstance(joined.over(), ConnectionLost)


def test_a_reset_is_passed_on_as_a_reset(stack: ExitStack) -> None:
    joined = Joined(stack, "tcp")
    joined.client.sendall(b"unread")
    joined.target.recv(1, socket.MSG_PEEK)
    joined.target.close()  # with something unread, which TCP makes a reset
    with pytest.raises(ConnectionResetError):
        joined.client.recv(1)
    failure = joined.over()
    assert isinstance(failure, ConnectionLost)
    assert failure.message.startswith("target: ")


@pytest.mark.parametrize("flowing", [False, True])
def test_a_reset_of_the_client_is_no_end_for_the_target_whichever_direction_hears_of_it(
    stack: ExitStack, flowing: bool
) -> None:
    joined = Joined(stack, "tcp")
    joined.target.send(b"x" * (8 << 20) if flowing else b"x")  # what there is room for
    assert joined.client.recv(1) == b"x"
    joined.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    joined.client.close()
    with pytest.raises(ConnectionResetError):
        joined.target.recv(1)
    assert isinstance(joined.over(), ConnectionLost)


def test_a_target_that_cannot_be_told_of_an_end_may_still_answer(stack: ExitStack, family: str) -> None:
    joined = Joined(stack, family, grace=1.5)  # far more than a busy machine lets pass between two answers
    joined.client.sendall(b"question")
    joined.client.shutdown(socket.SHUT_WR)
    assert joined.target.recv(100) == b"question"
    for _ in range(10):  # longer than the grace, in all
        assert not select.select([joined.target], [], [], 0.2)[0]
        joined.target.sendall(b"answer")
        assert joined.client.recv(100) == b"answer"
    began = time.monotonic()
    assert joined.client.recv(1) == b""
    assert 0.5 < time.monotonic() - began < PATIENCE
    assert joined.over() is None


@pytest.fixture
def answer() -> bytes:
    """More than all buffers on the way hold."""
    return os.urandom(1 << 20) * 32


def test_a_client_that_has_ended_and_reads_slowly_gets_the_whole_answer(
    stack: ExitStack, family: str, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands still then is the client; only silence of the target uses up its grace."""
    monkeypatch.setattr("hvcopy.forwarding.LOOK", 0.05)
    joined = Joined(stack, family, grace=0.8)
    joined.client.shutdown(socket.SHUT_WR)
    teller = threading.Thread(target=lambda: (joined.target.sendall(answer), joined.target.close()))
    teller.start()
    heard = joined.client.recv(1000)
    teller.join(1.2)  # which it never is: nobody reads
    assert teller.is_alive()
    assert heard + joined.client.makefile("rb").read() == answer
    teller.join()
    assert joined.over() is None


def test_a_client_that_has_ended_and_reads_nothing_for_the_idle_time_is_told_as_a_failure(
    stack: ExitStack, family: str, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hvcopy.forwarding.LOOK", 0.05)
    joined = Joined(stack, family, idle=0.5, grace=0.2)
    joined.client.shutdown(socket.SHUT_WR)

    def tell() -> None:
        with contextlib.suppress(OSError):
            joined.target.sendall(answer)

    teller = threading.Thread(target=tell)
    teller.start()
    failure = joined.over()
    teller.join()
    assert isinstance(failure, TimedOut)
    assert failure.message == "client and target: nothing moved for 0.5 s"
    if family == "tcp":
        with pytest.raises(ConnectionResetError):
            joined.client.makefile("rb").read()


def test_a_unix_client_that_has_closed_needs_no_grace(stack: ExitStack) -> None:
    joined = Joined(stack, "unix", grace=PATIENCE)
    joined.client.close()
    assert joined.target.recv(1) == b""
    assert joined.over() is None


def test_silence_for_the_idle_time_is_told_to_both_sides(stack: ExitStack, family: str) -> None:
    joined = Joined(stack, family, idle=0.2)
    failure = joined.over()
    assert isinstance(failure, TimedOut)
    assert failure.message == "client and target: nothing moved for 0.2 s"
    for sock in (joined.client, joined.target):
        try:
            assert sock.recv(1) == b""
        except ConnectionResetError:
            assert family == "tcp"


def test_cancel_ends_it_in_time(stack: ExitStack, family: str) -> None:
    joined = Joined(stack, family)
    joined.client.sendall(b"x")
    assert joined.target.recv(1) == b"x"
    began = time.monotonic()
    joined.join.cancel()
    assert isinstance(joined.over(), Interrupted)
    assert time.monotonic() - began < PATIENCE


class WithoutPeek(socket.socket):
    """As hv_sock is (net/vmw_vsock/hyperv_transport.c)."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        if flags & socket.MSG_PEEK:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return super().recv(size, flags)


def test_a_client_of_which_nothing_can_be_known_has_not_left(stack: ExitStack) -> None:
    ours, theirs = _pair(stack, "unix")
    ours.sendall(b"SSH-2.0")
    with WithoutPeek(fileno=theirs.detach()) as sock:
        assert not has_left(_channel(sock, "client"))
