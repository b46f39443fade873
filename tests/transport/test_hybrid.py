"""CONNECT and OK, against a fake VMM with the manners and faults of real ones."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from hvcopy.address import HybridAddress
from hvcopy.errors import Interrupted, LocalFailure, NobodyListens, NotHvcopy, TimedOut
from hvcopy.transport import Cancellation, dial
from transport.muxer import Behaviour, Muxer, answering, hang_up, hang_up_unread, normal, silent
from transport.pairs import PORT


@pytest.fixture
def address(tmp_path: Path) -> HybridAddress:
    return HybridAddress(str(tmp_path / "v.sock"), PORT)


def test_connect_says_one_exact_line_in_one_piece(address: HybridAddress) -> None:
    with Muxer(address.path, normal) as muxer:
        dial(address).close()
        assert muxer.lines == [b"CONNECT 18518\n"]


@pytest.mark.parametrize(
    "pieces",
    [
        (b"OK 1073741824\n",),
        (b"OK 5001\r\n",),
        (b"OK 8e7b-guid\n",),
        (b"OK " + b"9" * 64 + b"\r\n",),
        (b"O", b"K 10", b"73741824", b"\n"),
        (b"OK 1\r", b"\n"),
    ],
    ids=lambda pieces: "|".join(piece.decode("ascii").strip()[:20] for piece in pieces),
)
def test_ok_in_every_form_is_taken(address: HybridAddress, pieces: tuple[bytes, ...]) -> None:
    with Muxer(address.path, answering(*pieces)) as muxer:
        channel = dial(address, timeout=10)
        muxer.guest().sendall(b"data")
        into = bytearray(4)
        assert channel.receive_exact(into) == 4
        assert into == b"data"
        channel.close()


def test_first_bytes_of_the_guest_glued_to_the_ok_are_kept(address: HybridAddress) -> None:
    first = b"OK again\n" + bytes(range(256))
    with Muxer(address.path, answering(b"OK 5001\n" + first)):
        channel = dial(address)
        into = bytearray(len(first))
        assert channel.receive_exact(into) == len(first)
        assert into == first
        channel.close()


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"OK\n",
        b"OK \n",
        b"OK 1 2\n",
        b"ok 1\n",
        b"\n",
        b"\0" * 100,
        b"OK " + b"9" * 65 + b"\n",
        b"OK " + b"9" * 100_000,
        b"OK 9\r\r\n",
    ],
    ids=lambda reply: ascii(reply[:12]),
)
def test_other_answers_are_no_muxer(address: HybridAddress, reply: bytes) -> None:
    with (
        Muxer(address.path, answering(reply)),
        pytest.raises(NotHvcopy, match="not a hybrid vsock muxer"),
    ):
        dial(address, timeout=10)


@pytest.mark.parametrize("behaviour", [hang_up, hang_up_unread], ids=lambda b: b.__name__)
def test_closing_before_the_ok_means_nobody_listens(address: HybridAddress, behaviour: Behaviour) -> None:
    with Muxer(address.path, behaviour), pytest.raises(NobodyListens, match="in the guest") as caught:
        dial(address)
    assert "start it in the guest first (hvcopy serve vsock:any:18518 --root DIR --allow vsock:host, " in caught.value.hint


def test_closing_within_the_ok_is_no_connection(address: HybridAddress) -> None:
    def half_an_ok(muxer: Muxer, client: socket.socket) -> None:
        answering(b"OK 12")(muxer, client)
        muxer.guest().close()

    with Muxer(address.path, half_an_ok), pytest.raises(NobodyListens):
        dial(address)


def test_muxer_that_never_answers_ends_in_a_timeout(address: HybridAddress) -> None:
    with Muxer(address.path, silent), pytest.raises(TimedOut, match=r"did not answer CONNECT within 0\.1 s"):
        dial(address, timeout=0.1)


def test_waiting_for_the_ok_can_be_cancelled(address: HybridAddress) -> None:
    asked = threading.Event()

    def request_was_read(muxer: Muxer, client: socket.socket) -> None:
        silent(muxer, client)
        asked.set()

    with Muxer(address.path, request_was_read), pytest.raises(Interrupted, match="was interrupted"):
        dial(address, timeout=50, cancellation=Cancellation(asked.is_set))


def test_guest_that_comes_up_during_the_wait_is_reached(address: HybridAddress) -> None:
    with Muxer(address.path, hang_up, hang_up_unread, hang_up, normal) as muxer:
        channel = dial(address, wait=50)
        muxer.guest().sendall(b"!")
        assert channel.receive_exact(bytearray(1)) == 1
        assert len([line for line in muxer.lines if line]) == 3
        channel.close()


def test_missing_vmm_is_named_with_the_guests_command(address: HybridAddress) -> None:
    with pytest.raises(NobodyListens, match="the socket file does not exist") as caught:
        dial(address)
    assert "hvcopy serve vsock:any:18518" in caught.value.hint


def test_path_of_a_file_is_no_vmm(address: HybridAddress) -> None:
    Path(address.path).write_text("")
    with pytest.raises(LocalFailure, match="is not a socket"):
        dial(address)
