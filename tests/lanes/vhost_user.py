"""Reconciles the vhost-user dialects of a User-Mode Linux guest and of vhost-device-vsock.

vhost-user is the control protocol between a guest (the front-end) and the process that serves one of its
devices (the back-end): a stream of messages over a unix socket, some with file descriptors. The device's data
goes through shared memory and never comes here. Message numbers and layouts are those of QEMU's
docs/interop/vhost-user.rst. Two differences keep the ends apart, seen with Linux 6.1's
arch/um/drivers/virtio_uml.c and vhost-device-vsock 0.3.0:

- a guest's SET_MEM_TABLE has room for two memory regions, however many it lists; the daemon takes only a body
  of exactly the size that the count asks for;
- a guest sets its interrupts up only if the back-end says that it may send requests of its own; the daemon
  never does, and so does not say it.
"""

import contextlib
import os
import socket
import struct
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

SET_MEM_TABLE = 5
GET_PROTOCOL_FEATURES = 15
SET_PROTOCOL_FEATURES = 16
SET_BACKEND_REQ_FD = 21
BACKEND_REQ = 1 << 5  # protocol feature: the back-end may send requests
NEED_REPLY = 1 << 3  # flag: the sender waits for a status
REPLY = 1 | 1 << 2  # flags: version 1, a reply

_HEADER = struct.Struct("<III")  # request, flags, size of the body
_U64 = struct.Struct("<Q")
_REGIONS_AT, _REGION_SIZE = 8, 32
_MAX_BODY = 4096
_MAX_FDS = 8


@dataclass(frozen=True)
class Message:
    """One control message; whoever holds it owns its file descriptors."""

    request: int
    flags: int
    body: bytes
    fds: tuple[int, ...] = ()


def for_daemon(message: Message) -> Message:
    """A front-end's message in the form that the daemon takes."""
    if message.request == SET_MEM_TABLE:
        (count,) = struct.unpack_from("<I", message.body)
        return replace(message, body=message.body[: _REGIONS_AT + count * _REGION_SIZE])
    if message.request == SET_PROTOCOL_FEATURES:
        return replace(message, body=_U64.pack(_U64.unpack(message.body)[0] & ~BACKEND_REQ))
    return message


def for_guest(message: Message) -> Message:
    """The daemon's message in the form that the guest takes."""
    if message.request == GET_PROTOCOL_FEATURES:
        return replace(message, body=_U64.pack(_U64.unpack(message.body)[0] | BACKEND_REQ))
    return message


class Reconciler:
    """Stands between one guest and one daemon; works in threads of its own until closed.

    When the guest ends, the daemon's side stays open, so that the daemon goes on as if nothing had happened:
    to the peers, the guest fell silent. When the daemon ends, the guest's side is closed.
    """

    def __init__(self, front: Path, back: Path, timeout: float = 10) -> None:
        """Listens for a guest at `front`, connects to the daemon at `back`, waiting `timeout` seconds for it.

        Raises TimeoutError if no daemon listens by then.
        """
        self._sockets: list[socket.socket] = []
        self._kept: list[int] = []  # the guest's end of the request channel: open and silent
        self._daemon = _connect(back, timeout)
        self._sockets.append(self._daemon)
        self._listener = socket.socket(socket.AF_UNIX)
        self._sockets.append(self._listener)
        self._listener.bind(str(front))
        self._listener.listen(1)
        self._threads = [threading.Thread(target=self._serve, name="vhost-user", daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Closes both sides and ends the threads. May be called again."""
        for end in self._sockets:
            with contextlib.suppress(OSError):  # not connected any more
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in self._sockets:
            end.close()
        while self._kept:
            os.close(self._kept.pop())

    def _serve(self) -> None:
        try:
            guest, _ = self._listener.accept()
        except OSError:  # closed before a guest came
            return
        self._sockets.append(guest)
        back = threading.Thread(target=self._from_daemon, args=(guest,), name="vhost-user-back", daemon=True)
        self._threads.append(back)
        back.start()
        self._from_guest(guest)

    def _from_guest(self, guest: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while message := _receive(guest):
                if message.request != SET_BACKEND_REQ_FD:
                    _send(self._daemon, for_daemon(message))
                    continue
                self._kept += message.fds
                if message.flags & NEED_REPLY:
                    _send(guest, Message(message.request, REPLY, _U64.pack(0)))

    def _from_daemon(self, guest: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while message := _receive(self._daemon):
                _send(guest, for_guest(message))
        with contextlib.suppress(OSError):
            guest.shutdown(socket.SHUT_RDWR)


def _connect(path: Path, timeout: float) -> socket.socket:
    deadline = time.monotonic() + timeout
    while True:
        end = socket.socket(socket.AF_UNIX)
        try:
            end.connect(str(path))
            return end
        except (FileNotFoundError, ConnectionRefusedError):
            end.close()
            if time.monotonic() >= deadline:
                raise TimeoutError(f"nobody listens at {path} after {timeout} s") from None
            time.sleep(0.01)  # a socket's appearing gives no notice


def _receive(source: socket.socket) -> Message | None:
    """The next message, or None at the end. File descriptors come with a message's first byte."""
    header, fds, _, _ = socket.recv_fds(source, _HEADER.size, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    header += _exactly(source, _HEADER.size - len(header)) if header else b""
    if len(header) < _HEADER.size:
        return None
    request, flags, size = _HEADER.unpack(header)
    if size > _MAX_BODY:
        raise OSError(f"vhost-user message {request} has a body of {size} bytes")
    body = _exactly(source, size)
    return Message(request, flags, body, tuple(fds)) if len(body) == size else None


def _exactly(source: socket.socket, size: int) -> bytes:
    """`size` bytes, or fewer at the end."""
    data = b""
    while len(data) < size and (more := source.recv(size - len(data))):
        data += more
    return data


def _send(target: socket.socket, message: Message) -> None:
    """Sends a message whole and closes this process's copies of its file descriptors."""
    data = _HEADER.pack(message.request, message.flags, len(message.body)) + message.body
    try:
        sent = socket.send_fds(target, [data], message.fds)
        target.sendall(data[sent:])
    finally:
        for fd in message.fds:
            os.close(fd)
