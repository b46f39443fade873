"""Starts `hvcopy nc` for tests: on one unix socket, against another of it or against a socket of the test's."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

from commands import PATIENCE
from peers import connect, listening
from starting import HVCOPY
from talkers import Talker

NC = (*HVCOPY, "nc")


class Stage:
    """Starts `hvcopy nc` on one unix socket; everything ends with the test."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self.path = folder / "s"
        self.address = f"unix:{self.path}"

    def listen(self, *options: object, stdin: int | None = None, stdout: int | None = None) -> Talker:
        """A listener that listens."""
        talker = self._stack.enter_context(Talker(*NC, "-l", self.address, *options, stdin=stdin, stdout=stdout))
        talker.line("listening on")
        return talker

    def dial(self, *options: object, stdin: int | None = None, stdout: int | None = None, to: str = "") -> Talker:
        """One that connects."""
        return self._stack.enter_context(Talker(*NC, to or self.address, *options, stdin=stdin, stdout=stdout))

    def start(self, *argv: object) -> Talker:
        """Any command."""
        return self._stack.enter_context(Talker(*argv))

    def socket(self) -> socket.socket:
        """A listening socket of the test's."""
        listener = self._stack.enter_context(listening(self.address)[0])
        listener.settimeout(PATIENCE)
        return listener

    def peer(self) -> socket.socket:
        """A socket of the test's connected to a listener."""
        return self._stack.enter_context(connect(self.address))

    def accepted(self, *options: object, **ends: int) -> tuple[Talker, socket.socket]:
        """One that connects to a socket of the test's; that socket."""
        listener = self.socket()
        talker = self.dial(*options, **ends)
        sock, _ = listener.accept()
        sock.settimeout(PATIENCE)
        self._stack.enter_context(sock)
        return talker, sock

    def either(self, listens: bool) -> tuple[Talker, socket.socket]:
        """One that listens, or connects, and the test's socket at its other end."""
        return (self.listen(), self.peer()) if listens else self.accepted()
