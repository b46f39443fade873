"""The receiving driver: one thread a lane takes frames, checks them, writes, and acknowledges over lane 0."""

from __future__ import annotations

from collections.abc import Callable

from hvcopy import fileio
from hvcopy.errors import ConnectionLost, NotHvcopy
from hvcopy.files.sink import Plan, Sink
from hvcopy.transfer.arrivals import Arrivals
from hvcopy.transfer.entrance import Entrance
from hvcopy.transfer.inbox import Inbox, Lane, local_failure
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.link import Link
from hvcopy.transfer.session import await_bye
from hvcopy.transfer.tally import Tally
from hvcopy.wire import messages as m
from hvcopy.wire.frames import Frame, Type


class Receiving:
    """Receives into *plan* over *lanes*; ``run`` serves lane 0 and returns when everything is said.

    *shown* and *origin* turn (source, path) into how messages name it on this side and on the sender's.
    *grow*, if given, is called once when further lanes would pay.
    """

    def __init__(
        self,
        lanes: Lanes,
        plan: Plan,
        tally: Tally,
        *,
        dry: bool = False,
        shown: Callable[[int, bytes], bytes],
        origin: Callable[[int, bytes], bytes],
        grow: Callable[[], None] | None = None,
    ) -> None:
        self._lanes = lanes
        self._inbox = Inbox(lanes, plan, tally, dry=dry, shown=shown, origin=origin, grow=grow)
        self._entrance = Entrance(self._inbox)
        self._arrivals = Arrivals(self._inbox)

    def run(self) -> m.Result:
        """Receive until RESULT is sent and the sender has said goodbye.  Raises HvcopyError; blocks."""
        self._lanes.begin(self._inbox.tally, sends=False)
        self._lanes.on_join = self._start_lane
        lane = Lane(self._inbox.plan, self._lanes.control)
        try:
            while True:
                frame = lane.link.receive(parted=Type.DATA)
                if frame.type is Type.FINISH:
                    m.decode(frame.type, frame.body)
                    return self._finish(lane)
                self._take(lane, frame, control=True)
        except OSError as error:
            raise local_failure(error) from error
        finally:
            lane.close()

    def _start_lane(self, link: Link) -> None:
        self._lanes.spawn(lambda: self._serve_lane(link), "lane")

    def _serve_lane(self, link: Link) -> None:
        lane = Lane(self._inbox.plan, link)
        try:
            while True:
                self._take(lane, link.receive(parted=Type.DATA), control=False)
        except ConnectionLost:
            if not self._lanes.finished:
                raise
        except OSError as error:
            raise local_failure(error) from error
        finally:
            lane.close()

    def abandon(self, *, keep: bool) -> None:
        """After a failure: close what is under way, keeping only parts that a later copy can go on with, if *keep*."""
        with self._inbox.lock:
            waiting, self._inbox.incoming = dict(self._inbox.incoming), {}
        for incoming in waiting.values():
            incoming.abandon(keep=keep)

    def _take(self, lane: Lane, frame: Frame, *, control: bool) -> None:
        if self._arrivals.take(lane, frame):
            return
        if not control and frame.type is Type.PING:
            return  # it has come in sequence, which is all it is for
        if not control or frame.type not in (Type.PING, Type.ENTRIES, Type.TOTALS):
            raise NotHvcopy(f"the peer sent {frame.type.name}, which a sender never sends here")
        self._message(lane.sink, m.decode(frame.type, frame.body))

    def _message(self, sink: Sink, message: m.Message) -> None:
        match message:
            case m.Ping():
                self._lanes.watchdog.heard(message)
            case m.Totals():
                self._inbox.tally.total_files, self._inbox.tally.total_bytes = message.files, message.bytes
                self._inbox.tally.counted = True
            case m.Entries():
                self._entrance.take(sink, message.entries)

    def _finish(self, lane: Lane) -> m.Result:
        self._inbox.book.check_finished()
        durability = "dry" if self._inbox.dry else "cached"
        if self._inbox.plan.sync and not self._inbox.dry:
            with self._lanes.watchdog.own_work():
                for folder in list(self._inbox.plan.disks.values()):
                    fileio.sync_filesystem(folder.fd)
            durability = "synced"
        tally = self._inbox.tally
        tally.durability = durability
        if not (tally.failed or self._inbox.dry):
            lane.sink.end()
        result = m.Result(tally.files, tally.bytes, tally.failed, durability)
        with self._lanes.changed:  # first, since a quick sender closes its lanes as soon as it has the result
            self._lanes.finished = True
        lane.link.send(result)
        await_bye(lane.link)
        return result


def receive(
    lanes: Lanes,
    plan: Plan,
    options: m.Options,
    tally: Tally,
    *,
    ready: m.Ready | None = None,
    origin: Callable[[int, bytes], bytes] | None = None,
    grow: Callable[[], None] | None = None,
) -> None:
    """Say *ready* if given, then receive into *plan*.  Raises HvcopyError; parts worth keeping are kept.

    *origin* names (source, path) as it stands at the sender; without it, it is named by its place here.
    """
    tally.here = True
    receiving = Receiving(lanes, plan, tally, dry=options.dry, shown=plan.path, origin=origin or plan.path, grow=grow)
    keep = True
    try:
        with lanes.closing():
            if ready:
                lanes.control.send(ready)
            receiving.run()
    except NotHvcopy:  # of a peer that broke the protocol nothing is kept
        keep = False
        raise
    finally:
        receiving.abandon(keep=keep)
