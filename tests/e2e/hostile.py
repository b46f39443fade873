"""What a hostile end says, as a sender on either side: names that lead out, and how files are offered by hand."""

from __future__ import annotations

from peers import Peer

from e2e.trees import MIB
from hvcopy.wire import messages as m
from hvcopy.wire.digests import digest

BAD_PATHS = {
    "parent": b"../x",
    "parent within": b"a/../../x",
    "parent at the end": b"a/..",
    "dot": b"./x",
    "absolute": b"/x",
    "empty part": b"a//x",
    "newline": b"a\nb",
    "escape": b"\x1b[31mred",
    "zero byte": b"a\0b",
    "over-long name": b"n" * 256,
    "deep": b"/".join([b"d"] * 300),
    "reserved part": b".x.hvcopy-part",
    "reserved record": b".x.hvcopy-blocks",
    "reserved temporary": b".hvcopy-1234",
    "bidirectional override": "a\u202eb".encode(),
}


def digest_of_blocks(content: bytes) -> bytes:
    """The root digest of a file with blocks of a MiB."""
    return digest(b"".join(digest(content[at : at + MIB]) for at in range(0, len(content), MIB)))


def send_file(peer: Peer, ident: int, path: bytes, content: bytes, *, source: int = 0, **entry: int) -> None:
    """Announce one file, and send it whole when it is wanted."""
    extra = m.Extra(identity=digest(content))
    peer.send(m.Entries([m.Entry(m.FILE, ident, source, path, 0o644, len(content), 10**18, extra)]))
    answer = peer.expect(m.Answers).answers[0]
    if answer.verb != m.ALL:
        raise Denied(answer)
    for at in range(0, len(content), MIB):
        peer.data(ident, at, content[at : at + MIB])
    peer.end_file(ident, len(content), digest_of_blocks(content))


class Denied(Exception):
    """The receiver did not want a file."""

    def __init__(self, answer: m.Answer) -> None:
        super().__init__(answer)
        self.answer = answer


def finish(peer: Peer) -> m.Result:
    """Say FINISH, and return the receiver's result."""
    peer.send(m.Finish(0, 0))
    result = peer.expect(m.Result)
    peer.send(m.Bye())
    return result
