"""Small files without files: packs as a copy sends them, made in memory, verified, acknowledged, and forgotten."""

from __future__ import annotations

import os

from hvcopy.errors import DigestMismatch, NotHvcopy
from hvcopy.session.receiver import MAX_PACKED, ReceiverBook
from hvcopy.session.sender import MAX_PACKS
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.link import Link
from hvcopy.transfer.packing import CONTENTS
from hvcopy.wire import frames
from hvcopy.wire import messages as m
from hvcopy.wire.digests import DIGEST_SIZE
from hvcopy.wire.frames import Type
from hvcopy.wire.packs import fixed_part, open_pack


class Packs:
    """Files of *length* bytes, one direction; ``files`` counts those that were acknowledged, by this end or the peer."""

    def __init__(self, lanes: Lanes, length: int) -> None:
        self._lanes = lanes
        self._count = min(MAX_PACKED, max(1, CONTENTS // length))
        record = frames.PACK_RECORD.pack(length, 0, 0o644, 0, 0, 0, 0)
        names = [b"%06d" % number for number in range(self._count)]
        self._manifest = m.encode_groups([m.Group(0, b"", names, record * self._count)])
        self._contents = os.urandom(length) * self._count
        self._book = ReceiverBook(dirs=[True], check_path=lambda path: None)
        self._unanswered: dict[int, bytes] = {}
        self._last_id = 0
        self.files = 0

    @property
    def settled(self) -> bool:
        """True when every pack sent was acknowledged."""
        return not self._unanswered

    def send(self, link: Link) -> None:
        """Send one pack; waits while too many are unacknowledged."""
        with self._lanes.changed:
            self._lanes.changed.wait_for(lambda: len(self._unanswered) < MAX_PACKS or self._lanes.error is not None)
            self._lanes.check()
            self._last_id += 1
            ident = self._last_id
            self._unanswered[ident] = b""  # counts from now on; nothing can answer it before it is sent
        fixed = fixed_part(ident, self._manifest, self._contents)
        self._unanswered[ident] = fixed[:DIGEST_SIZE]
        link.send_frame(Type.PACK, fixed, self._manifest, self._contents)

    def acknowledged(self, acks: m.Acks) -> None:
        """Take the peer's acknowledgements.  Raises NotHvcopy or DigestMismatch for wrong ones."""
        with self._lanes.changed:
            for ack in acks.acks:
                wanted = self._unanswered.pop(ack.id, b"")
                if not wanted or ack.state != m.DONE or ack.files != self._count:
                    raise NotHvcopy("the peer acknowledged a pack that was not sent, or otherwise than it was")
                if ack.digest != wanted:
                    raise DigestMismatch("the peer received a pack other than it was sent")
                self.files += ack.files
            self._lanes.changed.notify_all()

    def take(self, body: memoryview | bytes) -> None:
        """Verify one pack and acknowledge it.  Raises NotHvcopy or DigestMismatch."""
        pack = open_pack(body)
        files = self._book.check_pack(pack.groups, len(pack.contents))
        self._lanes.control.send(m.Acks([m.Ack(pack.id, m.DONE, digest=pack.digest, files=files)]))
        with self._lanes.changed:
            self.files += files
