"""Hyper-V sockets: the product's own path, over a stand-in under Wine or over the real thing's loopback."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable

import pytest

from hvcopy.address import HypervAddress
from hvcopy.channel import AF_HYPERV, Channel
from hvcopy.errors import (
    BadUsage,
    ConnectionLost,
    HvcopyError,
    Interrupted,
    LocalFailure,
    NobodyListens,
    NotAllowed,
)
from hvcopy.transport import Cancellation, dial, listen
from hvcopy.transport.hyperv import sockets
from hvcopy.transport.peer import allowed
from transport.conformance import CHECKS
from transport.hyperv_lane import free_address, hyperv_pair, in_lane, in_standin
from transport.pairs import close, meet

VM = "0aaaaaaa-1111-2222-3333-00000000000f"
SILOHOST = "36bd0c5c-7276-4223-88ba-7d03b654c568"


@pytest.fixture
def fate(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Decides what connecting to VM ends in."""
    return lambda code: monkeypatch.setenv("HVCOPY_HV_VMS", f"{VM}={code}")


DEFAULT_TIMEOUT = 30_000  # of the stand-in
WHEN_NAMED = 0x100
"""With an option's number: what it was when the socket got its address, by bind or connect (standin.c)."""


def option(channel: Channel, number: int) -> int:
    return channel.sock.getsockopt(sockets.HV_PROTOCOL_RAW, number)


@pytest.mark.skipif(hasattr(socket, "AF_HYPERV"), reason="this Python has AF_HYPERV")
@pytest.mark.parametrize("attempt", [dial, listen])
def test_other_systems_say_what_it_needs(attempt: Callable[[HypervAddress], object]) -> None:
    with pytest.raises(BadUsage, match=r"needs Windows with Python 3\.12 or newer") as caught:
        attempt(HypervAddress("parent", "18518"))
    assert caught.value.exit_code == 2
    assert "vsock:host:PORT" in caught.value.hint


@in_lane
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_hyperv_channel_conforms(check: Callable[[Channel, Channel], None]) -> None:
    with hyperv_pair() as (left, right):
        check(left, right)


@in_lane
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_hyperv_channel_conforms_from_the_listening_end(check: Callable[[Channel, Channel], None]) -> None:
    with hyperv_pair() as (left, right):
        check(right, left)


@in_lane
def test_both_ends_know_the_vm_of_the_other() -> None:
    with hyperv_pair() as (dialled, accepted):
        assert dialled.identity == accepted.identity == "hyperv:loopback"
        assert accepted.peer.startswith("hyperv:loopback:")
        assert allowed(accepted.identity, ["hyperv:E0E16197-dd56-4a10-9195-5ee7a155a838"])
        assert not allowed(accepted.identity, ["hyperv:parent"])


@in_lane
def test_sockets_are_what_the_system_calls_hyper_v() -> None:
    with hyperv_pair() as (dialled, accepted):
        for channel in (dialled, accepted):
            assert channel.sock.family == AF_HYPERV
            assert not channel.sock.getblocking()
        vm, service = accepted.sock.getpeername()
        assert uuid.UUID(vm)
        assert uuid.UUID(service)
        assert (dialled.sock.proto, accepted.sock.proto) == (sockets.HV_PROTOCOL_RAW, 0)


@in_lane
def test_every_socket_outlives_a_pause_of_the_vm_unless_told_otherwise() -> None:
    for options, wanted in (((), 1), (("no-suspend",), 0)):
        with listen(free_address("loopback", *options)) as listener:
            pair = meet(listener.address, listener)
            assert [option(channel, sockets.HVSOCKET_CONNECTED_SUSPEND) for channel in pair] == [wanted, wanted]
            close(pair)


@in_lane
def test_connecting_is_limited_by_the_timeout_and_at_most_five_seconds() -> None:
    with listen(free_address()) as listener:
        for timeout, wanted in ((2.5, 2500), (30.0, 5000)):
            dialled, accepted = dial(listener.address, timeout=timeout), listener.accept(10)
            assert accepted is not None
            assert option(dialled, sockets.HVSOCKET_CONNECT_TIMEOUT) == wanted
            close((dialled, accepted))


@in_lane
def test_other_options_are_set_when_asked_for_only() -> None:
    with listen(free_address()) as listener:
        assert isinstance(listener.address, HypervAddress)
        asked = HypervAddress("loopback", listener.address.service, ("high-vtl", "container-passthru"))
        for address, wanted in ((listener.address, 0), (asked, 1)):
            dialled, accepted = meet(address, listener)
            assert option(dialled, sockets.HVSOCKET_HIGH_VTL) == wanted
            assert option(dialled, sockets.HVSOCKET_CONTAINER_PASSTHRU) == wanted
            close((dialled, accepted))


@in_standin
def test_options_are_set_before_a_socket_gets_its_address() -> None:
    """On a listener container-passthru is the listening socket's; what it accepts gets none."""
    address = free_address("loopback", "container-passthru", "no-suspend")
    with listen(address) as listener:
        asked = HypervAddress("loopback", address.service, ("high-vtl", "container-passthru"))
        dialled, accepted = meet(asked, listener)
        listening = Channel(listener._bound.sock, peer="nobody")
        for number, of_listener, of_dialled, of_accepted in (
            (sockets.HVSOCKET_CONNECT_TIMEOUT, DEFAULT_TIMEOUT, 5000, DEFAULT_TIMEOUT),
            (sockets.HVSOCKET_CONTAINER_PASSTHRU, 1, 1, 0),
            (sockets.HVSOCKET_CONNECTED_SUSPEND, 0, 1, 0),
            (sockets.HVSOCKET_HIGH_VTL, 0, 1, 0),
        ):
            assert option(listening, number | WHEN_NAMED) == of_listener, number
            assert option(dialled, number | WHEN_NAMED) == of_dialled, number
            assert option(accepted, number) == of_accepted, number
        close((dialled, accepted))


@in_lane
def test_high_vtl_is_for_connecting() -> None:
    with pytest.raises(BadUsage, match="not for listening"):
        listen(free_address("loopback", "high-vtl"))


@in_lane
def test_nobody_listens_names_the_command_to_start() -> None:
    address = free_address()
    with pytest.raises(NobodyListens, match=r"nobody listens on that service \(WSAECONNREFUSED\)") as caught:
        dial(address)
    assert f"hvcopy serve {address}" in caught.value.hint


@in_lane
def test_listener_that_appears_during_the_wait_is_reached() -> None:
    address, looks, listeners = free_address(), 0, []

    def cancelled() -> bool:
        nonlocal looks
        looks += 1
        if looks == 4:
            listeners.append(listen(address))
        return False

    dial(address, wait=50, cancellation=Cancellation(cancelled)).close()
    listeners[0].close()


@in_lane
def test_address_in_use_is_said_to_be() -> None:
    with listen(free_address()) as listener, pytest.raises(LocalFailure, match="another process listens there"):
        listen(listener.address)


@in_lane
@pytest.mark.parametrize("vm", ["any", "children"])
def test_listeners_for_many_are_connected_to_by_loopback(vm: str) -> None:
    address = free_address(vm)
    with listen(address) as listener:
        assert listener.address == address
        close(meet(HypervAddress("loopback", address.service), listener))
    with pytest.raises(BadUsage, match="for listening"):
        dial(address, wait=50)


@in_lane
def test_service_by_guid_and_by_port_are_the_same() -> None:
    address = free_address()
    guid = f"{int(address.service):08X}-FACB-11E6-BD58-64006A7986D3"
    with listen(HypervAddress("loopback", guid)) as listener:
        close(meet(address, listener))


@in_lane
def test_close_in_another_thread_ends_accept() -> None:
    listener = listen(free_address())
    timer = threading.Timer(0.05, listener.close)
    timer.start()
    with pytest.raises(Interrupted, match="listening was ended"):
        listener.accept(None)
    timer.join()



@in_standin
@pytest.mark.parametrize(
    ("code", "kind", "name", "hint"),
    [
        (10061, NobodyListens, "WSAECONNREFUSED", "hvcopy serve hyperv:parent:18518"),
        (10060, NobodyListens, "WSAETIMEDOUT", "vsock:any:18518"),
        (10013, NotAllowed, "WSAEACCES", "Hyper-V Administrators"),
        (10050, NobodyListens, "WSAENETDOWN", "--wait 30"),
        (10051, NobodyListens, "WSAENETUNREACH", "--wait 30"),
        (10053, ConnectionLost, "WSAECONNABORTED", "hvcopy vms"),
        (10054, ConnectionLost, "WSAECONNRESET", "hvcopy vms"),
        (1225, NobodyListens, "ERROR_CONNECTION_REFUSED", "--wait 30"),
        (1201, NobodyListens, "ERROR_CONNECTION_UNAVAIL", "--wait 30"),
        (10055, LocalFailure, "WSAENOBUFS", "--buffer"),
    ],
)
def test_what_windows_says_reaches_the_user(
    code: int, kind: type[HvcopyError], name: str, hint: str, fate: Callable[[int], None]
) -> None:
    fate(code)
    with pytest.raises(HvcopyError, match=f"^hyperv:{VM}:18518: .*{name}") as caught:
        dial(HypervAddress(VM, "18518"), timeout=0.1)
    assert type(caught.value) is kind
    assert hint in caught.value.hint


@in_standin
def test_vm_that_is_not_there_cannot_be_connected_to_nor_listened_for() -> None:
    with pytest.raises(NobodyListens, match="no VM with that id") as caught:
        dial(HypervAddress(VM, "18518"))
    assert "hvcopy vms" in caught.value.hint
    with pytest.raises(LocalFailure, match="no VM with that id"):
        listen(HypervAddress(VM, "18518"))


@in_standin
def test_vm_that_restarts_is_reached_during_the_wait(fate: Callable[[int], None]) -> None:
    fate(10050)
    looks = 0

    def cancelled() -> bool:
        nonlocal looks
        looks += 1
        if looks == 4:
            fate(0)
        return False

    with listen(free_address("children")) as listener:
        assert isinstance(listener.address, HypervAddress)
        dialled = dial(HypervAddress(VM, listener.address.service), wait=50, cancellation=Cancellation(cancelled))
        assert dialled.identity == f"hyperv:{VM}"
        dialled.close()


@in_standin
@pytest.mark.parametrize("code", [10013, 10054])
def test_what_does_not_pass_is_not_waited_for(code: int, fate: Callable[[int], None]) -> None:
    fate(code)
    begun = time.monotonic()
    with pytest.raises(HvcopyError):
        dial(HypervAddress(VM, "18518"), wait=50)
    assert time.monotonic() - begun < 30


@in_standin
def test_connect_that_windows_does_not_end_is_interrupted(fate: Callable[[int], None]) -> None:
    fate(10060)
    looks = iter([False, False, True])
    with pytest.raises(Interrupted):
        dial(HypervAddress(VM, "18518"), cancellation=Cancellation(lambda: next(looks, True)))


@in_standin
def test_the_host_of_a_container_is_reached_by_its_name() -> None:
    with listen(free_address("children")) as listener:
        assert isinstance(listener.address, HypervAddress)
        pair = meet(HypervAddress("silohost", listener.address.service), listener)
        assert (pair[0].identity, pair[0].sock.getpeername()[0]) == ("hyperv:silohost", SILOHOST)
        close(pair)


@in_standin
@pytest.mark.parametrize("name", ["high-vtl", "container-passthru"])
def test_a_windows_that_lacks_an_option_says_so_only_when_it_is_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HVCOPY_HV_REFUSED", "1 2 4 8")
    with listen(free_address()) as listener:
        assert isinstance(listener.address, HypervAddress)
        close(meet(listener.address, listener))
        with pytest.raises(BadUsage, match=f"this Windows does not take the option {name}") as caught:
            dial(HypervAddress("loopback", listener.address.service, (name,)))
    assert (caught.value.exit_code, f"leave ,{name} out" in caught.value.hint) == (2, True)


@in_standin
def test_a_listener_says_that_this_windows_lacks_an_option_and_leaves_its_address_free(monkeypatch: pytest.MonkeyPatch) -> None:
    address = free_address("loopback", "container-passthru")
    monkeypatch.setenv("HVCOPY_HV_REFUSED", "2")
    with pytest.raises(BadUsage, match="this Windows does not take the option container-passthru") as caught:
        listen(address)
    assert "leave ,container-passthru out of the address" in caught.value.hint
    with listen(HypervAddress("loopback", address.service)) as listener:
        close(meet(listener.address, listener))


@in_standin
def test_accepted_peer_is_the_vm_that_windows_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HVCOPY_HV_PEER", VM.upper())
    with listen(free_address("children")) as listener:
        assert isinstance(listener.address, HypervAddress)
        dialled, accepted = meet(HypervAddress("loopback", listener.address.service), listener)
        assert accepted.identity == f"hyperv:{VM}"
        assert accepted.peer.startswith(f"hyperv:{VM}:")
        assert allowed(accepted.identity, [f"hyperv:{{{VM.upper()}}}"])
        assert not allowed(accepted.identity, ["hyperv:loopback", "hyperv:parent"])
        close((dialled, accepted))
