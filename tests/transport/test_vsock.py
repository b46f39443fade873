"""AF_VSOCK: what its errors mean (anywhere), and real sockets (only in a kernel that the tests booted)."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable

import pytest

from hvcopy.address import VsockAddress
from hvcopy.channel import AF_VSOCK, Channel
from hvcopy.errors import BadUsage, HvcopyError, LocalFailure, NobodyListens, NotAllowed
from hvcopy.transport import Cancellation, dial, listen, vsock
from hvcopy.transport.options import plain
from hvcopy.transport.peer import allowed
from hvcopy.transport.tuning import (
    HV_SOCK_RING,
    SO_VM_SOCKETS_CONNECT_TIMEOUT,
    VSOCK_BUFFER,
    limit_vsock_connect,
)
from transport.conformance import CHECKS
from transport.pairs import VSOCK_LOOPBACK, close, connected, meet

in_lane = pytest.mark.skipif(
    os.environ.get("HVCOPY_LANE") != "kernel",
    reason="AF_VSOCK is opened only inside a kernel that the tests booted (tests/lanes/kernel.py)",
)


def explained(cid: int, code: int) -> HvcopyError:
    return vsock._explain_connect(VsockAddress(cid, 18518), OSError(code, os.strerror(code)), 5.0)


@pytest.mark.parametrize(
    "code", [errno.ECONNRESET, errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ENODEV, errno.ENETUNREACH]
)
@pytest.mark.parametrize("cid", [1, 2, 3])
def test_every_shape_of_nobody_there_is_one_failure(cid: int, code: int) -> None:
    failure = explained(cid, code)
    assert type(failure) is NobodyListens
    assert "hvcopy serve vsock:" in failure.hint


def test_silence_of_the_transport_names_both_causes() -> None:
    failure = vsock._explain_connect(VsockAddress(3, 18518), TimeoutError(), 5.0)
    assert type(failure) is NobodyListens
    assert "nobody listens on that port, or the machine there is down or paused" in failure.message


@pytest.mark.parametrize(
    ("cid", "module"), [(1, "vsock_loopback"), (2, "vmw_vsock_virtio_transport"), (3, "vhost_vsock")]
)
def test_missing_transport_names_the_module(cid: int, module: str) -> None:
    assert f"sudo modprobe {module};" in explained(cid, errno.ENODEV).hint


def test_forbidden_connection_is_not_tried_again() -> None:
    assert type(explained(3, errno.EACCES)) is NotAllowed


def test_a_forbidden_port_is_told_with_what_to_choose() -> None:
    failure = vsock._explain_listen(VsockAddress(0xFFFFFFFF, 81), OSError(errno.EACCES, os.strerror(errno.EACCES)))
    assert type(failure) is NotAllowed
    assert "a port from 1024 on" in failure.hint


def test_cid_that_hyper_v_lacks_is_never_printed_and_never_allowed() -> None:
    sock = socket.socket()
    identity, peer = vsock._welcome(sock, (0xFFFFFFFF, 7))
    assert "4294967295" not in identity + peer
    assert not allowed(identity, ["vsock:4294967294", "vsock:local", "vsock:host"])
    assert vsock._welcome(sock, (2, 7)) == ("vsock:2", "vsock:host:7")
    sock.close()


def test_any_is_no_destination() -> None:
    with pytest.raises(BadUsage, match="for listening"):
        dial(VsockAddress(0xFFFFFFFF, 18518), wait=50)


def test_families_are_imported_when_first_used() -> None:
    program = "import sys, hvcopy.transport; print(*(m for m in sys.modules if m.startswith('hvcopy.transport.')))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "hvcopy.transport.connecting" in loaded
    for family in ("unix", "tcp", "vsock", "hybrid", "hyperv"):
        assert f"hvcopy.transport.{family}" not in loaded.split()


@in_lane
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_vsock_channel_conforms(check: Callable[[Channel, Channel], None]) -> None:
    with connected(VSOCK_LOOPBACK) as (left, right):
        check(left, right)


@in_lane
def test_vsock_ends_have_identity_and_window() -> None:
    with connected(VSOCK_LOOPBACK) as (dialled, accepted):
        assert dialled.identity == accepted.identity == "vsock:1"
        assert allowed(accepted.identity, ["local"])
        assert not allowed(accepted.identity, ["3"])
        assert dialled.window == accepted.window == VSOCK_BUFFER


@in_lane
def test_vsock_buffer_asked_for_is_in_effect() -> None:
    with listen(VSOCK_LOOPBACK, buffer=123_456) as listener:
        dialled, accepted = dial(listener.address, buffer=65_536), listener.accept(10)
        assert accepted is not None
        assert (dialled.window, accepted.window) == (65_536, 123_456)
        close((dialled, accepted))


@in_lane
def test_vsock_connect_limit_is_in_effect() -> None:
    with socket.socket(AF_VSOCK, socket.SOCK_STREAM) as sock:
        limit_vsock_connect(sock, 3.25)
        with plain(sock) as raw:
            value = raw.getsockopt(AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, 16)
        assert struct.unpack("@ll", value)[0] == 3
        assert abs(struct.unpack("@ll", value)[1] - 250_000) <= 10_000  # the kernel counts in ticks


@in_lane
def test_vsock_listener_has_the_buffers_that_hv_sock_looks_at() -> None:
    with (
        listen(VSOCK_LOOPBACK) as listener,
        socket.socket(fileno=os.dup(listener.fileno())) as sock,
        plain(sock) as raw,
    ):
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * HV_SOCK_RING
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * HV_SOCK_RING


@in_lane
def test_vsock_port_0_becomes_the_real_port() -> None:
    with listen(VsockAddress(0xFFFFFFFF, 0)) as listener:
        assert isinstance(listener.address, VsockAddress)
        assert 1024 <= listener.address.port < 0xFFFFFFFF
        close(meet(VsockAddress(1, listener.address.port), listener))


@in_lane
def test_vsock_port_where_nobody_listens_is_refused() -> None:
    with pytest.raises(NobodyListens, match="nobody listens on that port"):
        dial(VsockAddress(1, 4321))


@in_lane
def test_vsock_listener_that_appears_during_the_wait_is_reached() -> None:
    looks, listeners = 0, []

    def cancelled() -> bool:
        nonlocal looks
        looks += 1
        if looks == 4:
            listeners.append(listen(VsockAddress(1, 4322)))
        return False

    dial(VsockAddress(1, 4322), wait=50, cancellation=Cancellation(cancelled)).close()
    listeners[0].close()


@in_lane
def test_vsock_guest_that_does_not_exist_is_not_there() -> None:
    with pytest.raises(NobodyListens):
        dial(VsockAddress(77, 4321), timeout=1)


@in_lane
def test_vsock_port_in_use_and_cid_of_others_are_said() -> None:
    with listen(VSOCK_LOOPBACK) as listener, pytest.raises(LocalFailure, match="another process listens"):
        listen(listener.address)
    with pytest.raises(LocalFailure, match="does not have CID 77; vsock:any:4323"):
        listen(VsockAddress(77, 4323))
