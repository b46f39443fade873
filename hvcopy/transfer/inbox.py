"""What the parts of the receiving side share: the session, the plan, the book, and how an entry's fate is told."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hvcopy.errors import LocalFailure, make_room, printable
from hvcopy.files import system
from hvcopy.files.incoming import Incoming
from hvcopy.files.names import check_path
from hvcopy.files.sink import FATAL, Plan, Sink, not_written
from hvcopy.session.receiver import ReceiverBook
from hvcopy.transfer.lanes import GROW_AFTER, GROW_AFTER_PACKS, Lanes
from hvcopy.transfer.link import Link
from hvcopy.transfer.tally import Tally
from hvcopy.wire import messages as m


class Lane:
    """What one lane's thread has for itself."""

    def __init__(self, plan: Plan, link: Link) -> None:
        self.link = link
        self.sink = Sink(plan)

    def close(self) -> None:
        """Close directories."""
        self.sink.forget()


class Inbox:
    """Files under way and what the session knows of them; ``book`` and ``incoming`` change under ``lock``.

    *shown* and *origin* turn (source, path) into how messages name it on this side and on the sender's.
    *grow*, if given, is called once when further lanes would pay.
    """

    def __init__(
        self,
        lanes: Lanes,
        plan: Plan,
        tally: Tally,
        *,
        dry: bool,
        shown: Callable[[int, bytes], bytes],
        origin: Callable[[int, bytes], bytes],
        grow: Callable[[], None] | None,
    ) -> None:
        self.lanes = lanes
        self.plan = plan
        self.tally = tally
        self.dry = dry
        self.shown = shown
        self.origin = origin
        self.lock = threading.Lock()
        self.book = ReceiverBook(
            dirs=plan.dirs,
            check_path=lambda path: check_path(path, windows=system.WINDOWS),
            refused=plan.refused,
        )
        self.incoming: dict[int, Incoming] = {}
        self.packs = 0
        self._grow = grow

    def reply(self, message: m.Message) -> None:
        """Send *message* to the sender, over lane 0 whatever lane it is about."""
        self.lanes.control.send(message)

    def fail(self, entry: m.Entry, code: int, message: str) -> None:
        """Count and report a failed entry."""
        self.tally.fail(self.shown(entry.source, entry.path), code, message)

    def why_not_written(self, entry: m.Entry, error: OSError) -> str:
        """Return why *entry* alone failed.  Raises LocalFailure, with its name, for what the next one would meet as well."""
        if error.errno in FATAL:
            raise local_failure(error, self.shown(entry.source, entry.path)) from error
        return not_written(error.strerror or str(error))

    def consider_growing(self) -> None:
        """Open further lanes once so much has come that they pay."""
        if self._grow and (self.tally.bytes >= GROW_AFTER or self.packs >= GROW_AFTER_PACKS):
            with self.lock:
                grow, self._grow = self._grow, None
            if grow is not None:
                self.lanes.spawn(grow, "grow")


def local_failure(error: OSError, path: bytes = b"") -> LocalFailure:
    """Return what ends a copy whose files cannot be written, *path* being the first of them if it is known."""
    shown = f"{printable(path)}: " if path else ""
    hint = make_room(error.errno) or "choose a folder that can be written to"
    return LocalFailure(f"{shown}{not_written(error.strerror or str(error))}", hint=hint)
