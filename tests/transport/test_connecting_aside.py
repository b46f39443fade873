"""A blocking connect in a thread, as AF_HYPERV needs it: here on TCP, where it can be had on every system."""

from __future__ import annotations

import errno
import socket
import threading

import pytest

from hvcopy.errors import Interrupted
from hvcopy.transport.hyperv.sockets import connect_aside
from hvcopy.transport.patience import Patience
from transport.test_tcp import unused_port


class Slow(socket.socket):
    """A socket whose connect does not end before the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def connect(self, address: object) -> None:
        assert self.go_on.wait(30)
        raise OSError(errno.EBADF, "closed")


def test_connected_socket_is_handed_over_non_blocking() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as sock:
        connect_aside(sock, server.getsockname(), Patience(10))
        accepted, _ = server.accept()
        accepted.sendall(b"x")
        assert not sock.getblocking()
        Patience(10).readable(sock)
        assert sock.recv(2) == b"x"
        accepted.close()


def test_failure_is_the_systems_own() -> None:
    with socket.socket() as sock, pytest.raises(ConnectionRefusedError):
        connect_aside(sock, ("127.0.0.1", unused_port()), Patience(10))


def test_what_is_no_oserror_comes_through() -> None:
    with socket.socket() as sock, pytest.raises(TypeError):
        connect_aside(sock, "not a pair", Patience(10))


def test_connect_that_does_not_end_is_left_at_the_deadline() -> None:
    with Slow() as sock:
        with pytest.raises(TimeoutError):
            connect_aside(sock, None, Patience(0.15))
        sock.go_on.set()


def test_connect_that_does_not_end_is_left_when_cancelled() -> None:
    looks = iter([False, False, True])
    with Slow() as sock:
        with pytest.raises(Interrupted):
            connect_aside(sock, None, Patience(30, lambda: next(looks)))
        sock.go_on.set()
