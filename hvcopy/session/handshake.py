"""The handshake as a state machine (docs/protocol.md, section 3)."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from hvcopy.errors import NotAllowed, NotHvcopy, printable
from hvcopy.wire.frames import HEADER, MAGIC, Type
from hvcopy.wire.messages import Hello, Proof, decode, encode

VERSION = 1
_ROLES = {
    "client": ("both sides want to send, or to ask for something", "on one of them run `hvcopy recv ADDRESS DIR` instead"),
    "server": (
        "both sides want to receive, or to serve",
        "on one of them run `hvcopy send PATH ADDRESS` instead; from `hvcopy serve` fetch with `hvcopy cp ADDRESS:PATH DIR`",
    ),
}
"""What is wrong with two of the same role, and what to do."""
_SAME_RELEASE = "install the same release of hvcopy on both sides"
FEATURES = ("holes", "resume", "patch", "links", "owner", "xattrs", "stream")
_TAKES = "takes-"


class Agreed(NamedTuple):
    """What both ends use once the handshake is over."""

    version: int
    features: frozenset[str]
    peer: Hello
    proven: bool


def jobs_taken(hello: Hello) -> frozenset[str]:
    """Return the kinds of jobs that a server says it takes; empty of one that does not say."""
    return frozenset(one.removeprefix(_TAKES) for one in hello.features if one.startswith(_TAKES))


class Handshake:
    """One end of the handshake.  Feed it what arrives; send what it returns.

    *nonce* is 32 fresh random bytes, *key* the 32 bytes of the key file or None; *takes* are the kinds of jobs that a
    server takes, which its HELLO says.
    """

    def __init__(
        self,
        *,
        connector: bool,
        role: str,
        nonce: bytes,
        address: str,
        software: str,
        system: str,
        key: bytes | None,
        takes: Collection[str] = (),
    ) -> None:
        self._connector = connector
        self._key = key
        features = [*FEATURES, *(_TAKES + kind for kind in sorted(takes))]
        hello = Hello(VERSION, VERSION, role, nonce, key is not None, address[:1000], features, software, system)
        self._hello_frame = encode(hello)
        self._own = hello
        self._peer: Hello | None = None
        self._peer_body = b""
        self.agreed: Agreed | None = None
        self.sent = 0

    @property
    def peer(self) -> Hello | None:
        """What the peer said of itself, once it has; fit or not."""
        return self._peer

    def opening(self) -> bytes:
        """Return this end's preamble and HELLO: the connector sends it at once, the listener after the peer's."""
        self.sent = 1
        return MAGIC + self._hello_frame

    def on_frame(self, kind: Type, body: bytes) -> bytes:
        """Take the next frame and return what to send now; ``agreed`` is set when the handshake is over.

        Raises NotHvcopy or NotAllowed; the caller tells the peer with ERROR and closes.
        """
        if kind is Type.HELLO and self._peer is None:
            return self._on_hello(body)
        if kind is Type.PROOF and self._peer is not None and self.agreed is None and self._key is not None:
            return self._on_proof(body)
        raise NotHvcopy(f"the peer sent {kind.name} in the handshake, out of turn")

    def _on_hello(self, body: bytes) -> bytes:
        hello = decode(Type.HELLO, body)
        assert isinstance(hello, Hello)
        if hello.nonce == self._own.nonce:
            raise NotHvcopy(
                "the peer does not speak hvcopy; it gives back what it is sent",
                hint="check the port; raw peers (socat, ncat, sshd) need `hvcopy nc`",
            )
        self._peer, self._peer_body = hello, bytes(body)
        if not hello.lowest <= VERSION <= hello.highest:
            raise NotHvcopy(
                f"the peer ({printable(hello.software)}) speaks protocol versions {hello.lowest} to {hello.highest}, "
                f"this side only {VERSION}",
                hint=_SAME_RELEASE,
            )
        if hello.role not in _ROLES:
            raise NotHvcopy(f"the peer is a '{printable(hello.role)}', which this release does not know", hint=_SAME_RELEASE)
        if hello.role == self._own.role:
            what, hint = _ROLES[hello.role]
            raise NotHvcopy(what, hint=hint)
        if hello.keyed != self._own.keyed:
            raise NotAllowed(
                "this side was given no key, but the peer wants one proven"
                if hello.keyed
                else "the peer did not prove a key: it was started without one",
                hint="give both sides the same file with --key-file (make one with `hvcopy key FILE`)",
            )
        out = b"" if self._connector else self.opening()
        if self._key is None:
            self._agree(proven=False)
        elif self._connector:
            out += encode(Proof(self._mac("connector")), 1)
            self.sent = 2
        return out

    def _on_proof(self, body: bytes) -> bytes:
        proof = decode(Type.PROOF, body)
        assert isinstance(proof, Proof)
        theirs = "listener" if self._connector else "connector"
        import hmac

        if not hmac.compare_digest(proof.mac, self._mac(theirs)):
            raise NotAllowed("the peer has a different key", hint="copy the same key file to both sides")
        self._agree(proven=True)
        if self._connector:
            return b""
        self.sent = 2
        return encode(Proof(self._mac("listener")), 1)

    def _mac(self, role: str) -> bytes:
        import hashlib  # here, since most copies use no key and loading OpenSSL takes its time
        import hmac

        assert self._key is not None
        own = self._hello_frame[HEADER.size :]
        hellos = (own, self._peer_body) if self._connector else (self._peer_body, own)
        transcript = hashlib.sha256(b"".join(hellos)).digest()
        return hmac.digest(self._key, f"hvcopy 1 {role}".encode() + transcript, "sha256")

    def _agree(self, *, proven: bool) -> None:
        assert self._peer is not None
        features = frozenset(FEATURES) & frozenset(self._peer.features)
        self.agreed = Agreed(VERSION, features, self._peer, proven)
