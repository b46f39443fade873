"""The fake VMM itself, where what it leaves behind would fail a test that comes after."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from transport.muxer import Behaviour, Muxer, half_close_is_full_close, half_close_is_lost


@pytest.mark.parametrize("behaviour", [half_close_is_full_close, half_close_is_lost])
@pytest.mark.parametrize("half_closed", [False, True])
def test_the_end_of_the_block_ends_what_it_relays(tmp_path: Path, behaviour: Behaviour, half_closed: bool) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        with Muxer(str(tmp_path / "vmm"), behaviour) as muxer:
            client.connect(str(tmp_path / "vmm"))
            client.sendall(b"CONNECT 22\n")
            assert client.recv(64) == b"OK 5001\n"
            guest = muxer.guest()
            if half_closed:
                client.shutdown(socket.SHUT_WR)
        with guest:
            guest.settimeout(10)
            assert guest.recv(1) == b""
