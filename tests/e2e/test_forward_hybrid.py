"""`hvcopy forward` to a guest behind a VMM's unix socket, with the manners and the faults of real ones."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import Running, forwarding
from peers import connect
from talkers import hear, hear_end
from transport.muxer import (
    Behaviour,
    Muxer,
    answering,
    half_close_is_full_close,
    half_close_is_lost,
    hang_up,
    hang_up_unread,
    normal,
)

from e2e.routes import in_thread, visited
from e2e.trees import noise

MIB = 1 << 20


def says_no(muxer: Muxer, client: socket.socket) -> None:
    muxer.read_request(client)
    client.sendall(b"NO\n")


class Vm:
    """A VMM with *manners*, and a forwarder on TCP to port 22 of its guest."""

    def __init__(self, stack: ExitStack, folder: Path, *manners: Behaviour) -> None:
        self._stack = stack
        self.muxer = stack.enter_context(Muxer(f"{folder}/v", *manners))
        self.process: Running
        self.process, self.address = stack.enter_context(
            forwarding("tcp:127.0.0.1:0", f"hybrid:{folder}/v:22", "--open")
        )

    def joined(self) -> tuple[socket.socket, socket.socket]:
        """A client, and the guest's end of its connection."""
        client = self._stack.enter_context(connect(self.address))
        guest = self._stack.enter_context(self.muxer.guest())
        guest.settimeout(20)
        return client, guest


def test_the_guests_first_bytes_may_follow_the_ok_at_once(processes: ExitStack, tmp_path: Path) -> None:
    client, guest = Vm(processes, tmp_path, answering(b"OK 1073741824\nSSH-2.0-banner\r\n")).joined()
    assert hear(client, 16) == b"SSH-2.0-banner\r\n"
    client.sendall(b"answer")
    assert hear(guest, 6) == b"answer"


@pytest.mark.parametrize("manners", [normal, half_close_is_full_close, half_close_is_lost])
def test_a_client_that_has_ended_hears_the_whole_answer_whatever_the_vmm_makes_of_half_close(
    processes: ExitStack, tmp_path: Path, manners: Behaviour
) -> None:
    """cloud-hypervisor#8300, vhost-device#874: an end that was passed on would take the answer with it, or be lost."""
    client, guest = Vm(processes, tmp_path, manners).joined()
    question, answer = noise(MIB, 1), noise(3 * MIB, 2)
    in_thread(lambda: (client.sendall(question), client.shutdown(socket.SHUT_WR)))
    assert hear(guest, MIB) == question
    in_thread(lambda: (guest.sendall(answer), guest.close()))
    assert hear_end(client) == answer


@pytest.mark.parametrize("manners", [normal, half_close_is_full_close, half_close_is_lost])
def test_a_client_that_has_gone_ends_the_guests_connection(
    processes: ExitStack, tmp_path: Path, manners: Behaviour
) -> None:
    client, guest = Vm(processes, tmp_path, manners).joined()
    client.sendall(b"all of it")
    client.close()
    assert hear_end(guest) == b"all of it"


@pytest.mark.parametrize("refusal", [hang_up, hang_up_unread, says_no])
def test_what_a_vmm_refuses_is_a_reset_and_a_line_and_the_next_client_is_served(
    processes: ExitStack, tmp_path: Path, refusal: Behaviour
) -> None:
    vm = Vm(processes, tmp_path, refusal, normal)
    assert visited(vm.address, b"hello") == "reset"
    vm.process.line(r"hvcopy: tcp:127\.0\.0\.1:\d+: hybrid:\S+: .+\n")
    client, guest = vm.joined()
    client.sendall(b"hello")
    assert hear(guest, 5) == b"hello"
