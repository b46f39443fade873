"""TCP on loopback."""

from __future__ import annotations

import socket
import sys

import pytest
from descriptors import none_left

from hvcopy.address import TcpAddress
from hvcopy.doctor import lookup
from hvcopy.doctor.trail import Trail
from hvcopy.errors import LocalFailure, NobodyListens
from hvcopy.transport import dial, listen
from hvcopy.transport.patience import Patience, never
from hvcopy.transport.peer import allowed
from transport.pairs import LOOPBACK, close, connected, meet


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_port_0_becomes_the_real_port_in_the_address() -> None:
    with listen(LOOPBACK) as listener:
        assert isinstance(listener.address, TcpAddress)
        assert listener.address.host == "127.0.0.1"
        assert listener.address.port > 0
        close(meet(listener.address, listener))


def test_both_ends_send_without_delay() -> None:
    with connected(LOOPBACK) as pair:
        for channel in pair:
            assert channel.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_both_ends_know_the_other_ones_address() -> None:
    with connected(LOOPBACK) as (dialled, accepted):
        assert dialled.identity == accepted.identity == "tcp:127.0.0.1"
        assert allowed(accepted.identity, ["127.0.0.1"])
        assert accepted.peer == f"tcp:127.0.0.1:{dialled.sock.getsockname()[1]}"


def test_port_where_nobody_listens_is_refused_with_the_command_to_start() -> None:
    address = TcpAddress("127.0.0.1", unused_port())
    with pytest.raises(NobodyListens, match="nobody listens on that port") as caught:
        dial(address)
    assert f"hvcopy serve {address}" in caught.value.hint
    assert "--wait" in caught.value.hint


def test_name_that_is_unknown_is_named() -> None:
    with pytest.raises(NobodyListens, match=r"the name no-such-host\.invalid cannot be resolved"):
        dial(TcpAddress("no-such-host.invalid", 1))


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("12345::", "12345:: is no IP address"),
        ("300.1.1.1", "300.1.1.1 is no IP address"),
        ("fe80::1%nosuch", "has no interface nosuch"),
    ],
)
def test_number_that_is_no_address_is_not_taken_for_a_name(host: str, words: str) -> None:
    for use in (dial, listen):
        with pytest.raises(NobodyListens, match=words) as caught:
            use(TcpAddress(host, 1))
        assert caught.value.hint
        assert "in place of the name" not in caught.value.hint


def test_who_listens_on_an_unknown_name_is_not_told_to_start_a_listener() -> None:
    with pytest.raises(NobodyListens, match="cannot be resolved") as caught:
        listen(TcpAddress("no-such-host.invalid", 1))
    assert caught.value.hint == "give the IP address in place of the name"


def test_name_with_several_addresses_reaches_the_one_that_listens() -> None:
    with listen(LOOPBACK) as listener:
        assert isinstance(listener.address, TcpAddress)
        close(meet(TcpAddress("localhost", listener.address.port), listener))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of descriptors to set")
def test_without_descriptors_no_name_is_looked_up_which_says_nothing_of_the_name() -> None:
    with listen(LOOPBACK) as listener:
        assert isinstance(listener.address, TcpAddress)
        address = TcpAddress("localhost", listener.address.port)
        trail = Trail(address, [])
        close(meet(address, listener))  # loads what the C library looks names up with; lacking that it calls them unknown
        with none_left():
            with pytest.raises(LocalFailure, match="cannot open one more connection: Too many open files"):
                dial(address)
            with pytest.raises(LocalFailure, match="listening failed: Too many open files"):
                listen(address)
            assert not lookup.host(trail, address, Patience(20, never))
        (found,) = trail.found
        assert "the name localhost cannot be looked up: Too many open files" in found.what
        close(meet(address, listener))


def test_port_in_use_is_said_to_be() -> None:
    with (
        listen(LOOPBACK) as listener,
        pytest.raises(LocalFailure, match="another process listens there already"),
    ):
        listen(listener.address)


def test_port_just_closed_can_be_listened_on_again() -> None:
    with listen(LOOPBACK) as listener:
        dialled, accepted = meet(listener.address, listener)
        accepted.close()  # the listening side closes first and keeps the port in TIME_WAIT
        dialled.close()
        address = listener.address
    listen(address).close()


def test_address_of_another_machine_is_not_listened_on() -> None:
    with pytest.raises(LocalFailure, match="this machine has no such address"):
        listen(TcpAddress("192.0.2.1", 0))


def test_buffer_is_left_to_the_system_unless_asked_for() -> None:
    with socket.socket() as untouched:
        system = untouched.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    with listen(LOOPBACK, buffer=50_000) as listener:
        asked, accepted = dial(listener.address, buffer=50_000), listener.accept(10)
        assert accepted is not None
        assert asked.window == accepted.window == 100_000
        close((asked, accepted))
    with listen(LOOPBACK) as listener:
        dialled = dial(listener.address)
        assert dialled.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= system
        assert dialled.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) != 100_000
        assert dialled.window > 0
        dialled.close()


def test_a_listener_on_every_address_of_ipv6_has_none_of_ipv4() -> None:
    try:
        listen(TcpAddress("::1", 0)).close()
    except LocalFailure as error:
        pytest.skip(f"no IPv6 here: {error.message}")
    with listen(TcpAddress("::", 0)) as listener:
        assert isinstance(listener.address, TcpAddress)
        port = listener.address.port
        with pytest.raises(NobodyListens):
            dial(TcpAddress("127.0.0.1", port))
        near = dial(TcpAddress("::1", port))
        far = listener.accept(20)
        assert far is not None
        assert allowed(far.identity, ["::1"])
        assert not allowed(far.identity, ["::2"])
        near.close()
        far.close()
