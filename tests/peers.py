"""Bad peers in threads: strangers on the port, ends of the protocol that say anything, relays that damage what passes.

They use the frames and the handshake of hvcopy itself, never its drivers: what they say is decided by the test.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TypeVar

import ports

from hvcopy.session.handshake import Handshake
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.digests import digest
from hvcopy.wire.frames import HEADER, MAGIC, Frame, Type, check_seal, header, parse_header

PATIENCE = 20.0
"""Seconds after which a call of a peer fails, so that no test hangs."""
PIECE = 1 << 18
VSOCK_LOCAL = 1

M = TypeVar("M", bound=m.Message)
Behaviour = Callable[[socket.socket], None]


def connect(address: str) -> socket.socket:
    """Return a socket connected to ``unix:PATH``, ``tcp:HOST:PORT`` or, inside of a lane, ``vsock:local:PORT``."""
    scheme, _, rest = ports.real(address).partition(":")
    if scheme == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE)
        sock.connect(rest)
    elif scheme == "vsock":
        sock = _vsock()
        sock.settimeout(PATIENCE)
        sock.connect((VSOCK_LOCAL, int(rest.rpartition(":")[2])))
    else:
        host, _, port = rest.rpartition(":")
        sock = socket.create_connection((host, int(port)), PATIENCE)
    return sock


def listening(address: str) -> tuple[socket.socket, str]:
    """Return a socket that listens at *address*, and where it really does."""
    scheme, _, rest = ports.real(address).partition(":")
    if scheme == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(rest)
    elif scheme == "vsock":
        sock = _vsock()
        sock.bind((VSOCK_LOCAL, socket.VMADDR_PORT_ANY))
        address = f"vsock:local:{sock.getsockname()[1]}"
    else:
        host, _, port = rest.rpartition(":")
        stands_for = not address.startswith("tcp:")
        sock = socket.create_server((host, int(port) if stands_for else 0))
        if stands_for:
            ports.occupy(address)
        address = address if stands_for else f"tcp:127.0.0.1:{sock.getsockname()[1]}"
    sock.listen(64)
    return sock, address


def _vsock() -> socket.socket:
    assert os.environ.get("HVCOPY_LANE") == "kernel", "AF_VSOCK is opened only in a kernel that the tests booted"
    return socket.socket(socket.AF_VSOCK)


class Listening:
    """Listens, and does *behaviour* with each connection in a thread; whatever it raises is in ``failures``."""

    def __init__(self, address: str, behaviour: Behaviour) -> None:
        self._sock, self.address = listening(address)
        self._behaviour = behaviour
        self._open: list[socket.socket] = []
        self.accepted = 0
        self.failures: list[Exception] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock = self._sock.accept()[0]
                sock.settimeout(PATIENCE)
                self._open.append(sock)
                self.accepted += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            self._behaviour(sock)
        except Exception as error:
            self.failures.append(error)

    def __enter__(self) -> Listening:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in [self._sock, *self._open]:
            end(sock)


def end(sock: socket.socket) -> None:
    """Close, waking whoever waits in another thread."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


# ---- strangers


def says(content: bytes) -> Behaviour:
    """A server of another protocol: its banner, then it waits."""

    def behaviour(sock: socket.socket) -> None:
        sock.sendall(content)
        drain(sock)

    return behaviour


def says_and_closes(content: bytes) -> Behaviour:
    """A peer that hears the greeting, says *content* and closes."""

    def behaviour(sock: socket.socket) -> None:
        sock.recv(PIECE)
        sock.sendall(content)
        sock.close()

    return behaviour


def sends_zeros(sock: socket.socket) -> None:
    """A gigabyte of zeros, or until the other side has enough."""
    zeros = bytes(1 << 20)
    with contextlib.suppress(OSError):
        for _ in range(1024):
            sock.sendall(zeros)


def drain(sock: socket.socket) -> None:
    """Read and forget until the other side closes: silence."""
    with contextlib.suppress(OSError):
        while sock.recv(PIECE):
            pass


# ---- ends of the protocol


class Refused(Exception):
    """The other end gave up with ERROR."""

    def __init__(self, error: m.Error) -> None:
        super().__init__(error)
        self.error = error


class Peer:
    """One end of one connection, which says what the test wants, in the protocol's frames."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sent = 0
        self._received = 0
        self._stop = threading.Event()
        self._sending = threading.Lock()

    def shake(self, *, connector: bool, role: str, key: bytes | None = None) -> Peer:
        """Do the handshake; returns itself."""
        shake = Handshake(
            connector=connector,
            role=role,
            nonce=os.urandom(32),
            address="test",
            software="scripted",
            system="posix",
            key=key,
        )
        if connector:
            self.raw(shake.opening())
        self.greeting()
        while shake.agreed is None:
            frame = self.receive()
            self.raw(shake.on_frame(frame.type, bytes(frame.body)))
        self.sent = shake.sent
        return self

    def greeting(self) -> None:
        """Take the peer's preamble."""
        assert self._exactly(len(MAGIC)) == MAGIC

    def raw(self, content: bytes) -> None:
        """Send bytes as they are."""
        with self._sending:
            self.sock.sendall(content)

    def send(self, *messages: m.Message) -> None:
        """Send control messages."""
        with self._sending:
            for message in messages:
                self.sock.sendall(m.encode(message, self.sent))
                self.sent += 1

    def frame(self, kind: Type, body: bytes, flags: int = 0) -> None:
        """Send any frame."""
        with self._sending:
            covered = body[: frames.COVERED.get(kind, len(body))]
            head = header(kind, covered, length=len(body), flags=flags, sequence=self.sent)
            self.sock.sendall(head + body)
            self.sent += 1

    def head(self, kind: int, length: int) -> None:
        """Send the head of a frame that this end could never send, in its place in the sequence."""
        self.raw(HEADER.pack(length, kind, 0, self.sent, 0))

    def receive(self) -> Frame:
        """Return the next frame; raises Refused for ERROR, ConnectionError at the end of the stream."""
        head = self._exactly(HEADER.size)
        kind, flags, length = parse_header(head, sequence=self._received)
        self._received += 1
        body = self._exactly(length)
        check_seal(head, kind, memoryview(body))
        if kind is Type.ERROR:
            error = m.decode(kind, body)
            assert isinstance(error, m.Error)
            raise Refused(error)
        return Frame(kind, flags, body)

    def expect(self, wanted: type[M]) -> M:
        """Return the next message, passing over heartbeats; the test fails when it is not a *wanted*."""
        while True:
            frame = self.receive()
            message = m.decode(frame.type, frame.body)
            if not isinstance(message, m.Ping):
                assert isinstance(message, wanted), message
                return message

    def error(self) -> m.Error:
        """Return the peer's last words, passing over everything before them."""
        while True:
            try:
                self.receive()
            except Refused as refused:
                return refused.error

    def error_or_result(self) -> m.Error | m.Result:
        """Return the receiver's verdict, passing over everything before it."""
        while True:
            try:
                frame = self.receive()
            except Refused as refused:
                return refused.error
            if frame.type is Type.RESULT:
                message = m.decode(frame.type, frame.body)
                assert isinstance(message, m.Result)
                self.send(m.Bye())
                return message

    def error_or_end(self) -> int | None:
        """Return the code of the peer's last words, None when it closed without any."""
        try:
            return self.error().code
        except ConnectionError:
            return None

    def is_heard(self) -> bool:
        """Say whether the other side has read all that was sent (unix(7), tcp(7): SIOCOUTQ, which is TIOCOUTQ)."""
        from fcntl import ioctl
        from termios import TIOCOUTQ

        return not any(ioctl(self.sock, TIOCOUTQ, bytes(4)))

    def idle(self, seconds: float = PATIENCE) -> None:
        """Read and say nothing until the other side has closed, or *seconds* have passed."""
        poll = select.poll()
        poll.register(self.sock, select.POLLRDHUP)
        poll.poll(seconds * 1000)

    def beat(self) -> None:
        """Send heartbeats, with no progress in them, from a thread of their own until the connection ends."""

        def run() -> None:
            with contextlib.suppress(OSError):
                while not self._stop.wait(0.2):
                    self.send(m.Ping(0, False))

        threading.Thread(target=run, daemon=True).start()

    def close(self) -> None:
        """End the connection."""
        self._stop.set()
        end(self.sock)

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _exactly(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            piece = self.sock.recv(count - len(content))
            if not piece:
                raise ConnectionError("the connection ended")
            content += piece
        return content

    # ---- a sender's frames

    def push(self, names: list[bytes], dirs: list[bool], *, to: bytes = b"", **options: object) -> m.Ready:
        """Order a push, as a client; returns the server's READY."""
        self.send(m.Job("push", [to], m.Options(names=names, dirs=dirs, **options), b"", 1))  # type: ignore[arg-type]
        return self.expect(m.Ready)

    def pack(self, ident: int, groups: list[tuple[int, bytes, dict[bytes, bytes]]], **records: int) -> None:
        """Send small files: groups of (source, directory, contents by name)."""
        made = [
            m.Group(
                source,
                directory,
                list(files),
                b"".join(record(len(content), **records) for content in files.values()),
            )
            for source, directory, files in groups
        ]
        contents = b"".join(content for _, _, files in groups for content in files.values())
        self.frame(Type.PACK, pack_body(ident, m.encode_groups(made), contents))

    def data(self, ident: int, offset: int, block: bytes, *, claimed: bytes | None = None) -> None:
        """Send one block, with the digest it has or that is *claimed*."""
        self.frame(Type.DATA, frames.DATA.pack(ident, offset, claimed or digest(block)) + block)

    def end_file(self, ident: int, length: int, root: bytes, *, state: int = 0) -> None:
        """Send END."""
        self.frame(Type.END, frames.encode_end(frames.End(ident, state, 10 * (state == 1), length, root)))


def record(
    size: int, *, mtime: int = 10**18, mode: int = 0o644, uid: int = 0, gid: int = 0, flags: int = 0
) -> bytes:
    """Return one file's record in a pack."""
    return frames.PACK_RECORD.pack(size, mtime, mode, uid, gid, flags, 0)


def pack_body(ident: int, manifest: bytes, contents: bytes, *, manifest_length: int | None = None) -> bytes:
    """Return the body of a PACK whose digest is right, however its lengths lie."""
    length = len(manifest) if manifest_length is None else manifest_length
    rest = frames.PACK.pack(bytes(16), ident, length, 0)[16:] + manifest + contents
    return digest(rest) + rest


@contextlib.contextmanager
def client_of(address: str, *, key: bytes | None = None) -> Iterator[Peer]:
    """A scripted client, greeted by the server at *address*."""
    peer = Peer(connect(address))
    try:
        yield peer.shake(connector=True, role="client", key=key)
    finally:
        peer.close()


def server(script: Callable[[Peer], None]) -> Behaviour:
    """A scripted server: greets, runs *script*, and closes."""

    def behaviour(sock: socket.socket) -> None:
        peer = Peer(sock)
        try:
            script(peer.shake(connector=False, role="server"))
        finally:
            peer.close()

    return behaviour


# ---- relays

Passage = Callable[[bytes], bytes]


def unchanged(piece: bytes) -> bytes:
    """A passage that lets everything through."""
    return piece


class Framed:
    """A passage that shows *change* each whole frame (type, header and body) and passes on what it returns."""

    def __init__(self, change: Callable[[int, bytes], bytes]) -> None:
        self._change = change
        self._held = b""
        self._greeted = False

    def __call__(self, piece: bytes) -> bytes:
        self._held += piece
        passed = b""
        if not self._greeted:
            if len(self._held) < len(MAGIC):
                return b""
            passed, self._held, self._greeted = self._held[: len(MAGIC)], self._held[len(MAGIC) :], True
        while len(self._held) >= HEADER.size:
            whole = HEADER.size + HEADER.unpack_from(self._held)[0]
            if len(self._held) < whole:
                break
            frame, self._held = self._held[:whole], self._held[whole:]
            passed += self._change(frame[4], frame)
        return passed


class Gate:
    """A passage that lets *allowance* bytes through, over all connections together, then calls *action* once.

    What comes with the last allowed byte and after it is dropped, until ``open`` is called.
    """

    def __init__(self, allowance: int, action: Callable[[], object] = lambda: None) -> None:
        self._left = allowance
        self.action = action
        self._lock = threading.Lock()
        self._opened = False
        self.reached = threading.Event()

    def open(self) -> None:
        """Let everything through from now on."""
        self._opened = True

    def __call__(self, piece: bytes) -> bytes:
        with self._lock:
            if self._opened:
                return piece
            passed = piece[: max(self._left, 0)]
            self._left -= len(piece)
            act = self._left <= 0 and not self.reached.is_set()
            if act:
                self.reached.set()
        if act:
            self.action()
        return passed


class Relay(Listening):
    """Passes connections on to *target*, through a passage each way, made anew for each connection."""

    def __init__(
        self,
        address: str,
        target: str,
        *,
        up: Callable[[], Passage] = lambda: unchanged,
        down: Callable[[], Passage] = lambda: unchanged,
    ) -> None:
        self._target = target
        self.up = up
        self.down = down
        super().__init__(address, self._relay)

    def _relay(self, client: socket.socket) -> None:
        try:
            server = connect(self._target)
        except OSError:
            end(client)
            return
        self._open.append(server)
        back = threading.Thread(target=_pass_on, args=(server, client, self.down()), daemon=True)
        back.start()
        _pass_on(client, server, self.up())
        back.join()
        client.close()
        server.close()


def _pass_on(source: socket.socket, target: socket.socket, passage: Passage) -> None:
    with contextlib.suppress(OSError):
        source.settimeout(None)
        while piece := source.recv(PIECE):
            if passed := passage(piece):
                target.sendall(passed)
    for sock in (source, target):  # the end of one direction ends the other, as hvcopy takes it
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
