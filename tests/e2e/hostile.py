"""What a hostile end says, as a sender on either side: names that lead out, and how files are offered by hand."""

from __future__ import annotations

import pytest
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


def offer_in_every_way(peer: Peer, bad: bytes) -> None:
    """Offer *bad* by each message that names something, always refused; and two files that arrive."""
    peer.send(m.Entries([m.Entry(kind, 0, 0, bad) for kind in (m.DIRECTORY, m.DIRECTORY_END)]))
    assert peer.expect(m.Acks).acks[0].code == 11
    with pytest.raises(Denied) as denied:
        send_file(peer, 1, bad, b"x")
    assert denied.value.answer.code == 11
    directory, slash, name = bad.rpartition(b"/")
    if name and len(name) <= 255:
        peer.pack(2, [(0, directory or slash, {name: b"x"}), (0, b"", {b"good": b"good"})])
        ack = peer.expect(m.Acks).acks[0]
        assert (ack.files, [failure[1] for failure in ack.failures]) == (1, [11])
    peer.send(m.Entries([m.Entry(m.SYMLINK, 3, 0, bad, extra=m.Extra(target=b"x"))]))
    assert peer.expect(m.Acks).acks[0].code == 11
    peer.send(m.Entries([m.Entry(m.HARDLINK, 4, 0, bad, extra=m.Extra(to=(0, b"good")))]))
    assert peer.expect(m.Acks).acks[0].code in (10, 11)
    send_file(peer, 5, b"also good", b"good")
    assert peer.expect(m.Acks).acks[0].state == m.DONE
