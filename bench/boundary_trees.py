"""The guest-trees scenario: many small files across a VM boundary, both ways."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bench.boundary import FileCrossing
from bench.crossing import PATIENCE, crossed, good
from bench.local import tree_notes
from bench.processes import unix_listening
from bench.results import Result
from bench.rounds import Contender, Sample, measure
from bench.tools import BLOCK, installed
from bench.workspace import Settings, Workspace

MANY = 5000  # a system call takes 35 us in the guest
NOTES = ["User-Mode Linux guest with one processor, vhost-device-vsock"]


def guest_trees(settings: Settings) -> list[Result]:
    """Both directions."""

    def run(work: Workspace, machine: Any) -> list[Result]:
        count = 1000 if settings.quick else MANY
        recipes = [("source", "make_many", (count, 1024, 4096)), ("tiny", "make_many", (1, 1, 1))]
        crossing = TreeCrossing(work, machine, 0, recipes)
        return [crossing.to_guest(), crossing.to_host()]

    return crossed(settings, "guest-trees", run)


class TreeCrossing(FileCrossing):
    """With hvcopy serving in the guest."""

    def to_guest(self) -> Result:
        """Host to guest."""
        found = [self._push("hvcopy --lanes 1", "-r", "--lanes", "1"), self._push("hvcopy", "-r")]
        if installed("tar", "socat"):
            found.append(self._tar_in())
        return self._result("guest-trees: host to guest", found)

    def to_host(self) -> Result:
        """Guest to host, pulled by the host."""
        found = [self._pull("hvcopy --lanes 1", "-r", "--lanes", "1"), self._pull("hvcopy", "-r")]
        if installed("tar", "socat"):
            found.append(self._tar_out())
        return self._result("guest-trees: guest to host", found)

    def _result(self, name: str, found: list[Contender]) -> Result:
        notes = [*NOTES, *tree_notes(self.work.data / "source")]
        return Result(name, "guest-trees", measure(name, found, self.work.settings.rounds), notes)

    def _tar_in(self) -> Contender:
        """tar through socat; the CONNECT is said beforehand, for socat cannot."""
        socat = ["socat", "-u", "-d", "-d", *BLOCK]

        def copy(which: str) -> Sample:
            port, target = next(self._ports), f"{self.inside}/served/copy"
            line = f"mkdir {target}; {' '.join(socat)} VSOCK-LISTEN:{port} STDOUT | tar -xf - -C {target}"
            listener = self.machine.start(line)
            listener.wait_output("listening on", 30)
            with self._dialed(port) as connection:
                began = time.perf_counter()
                sending = [[*socat, "STDIN", f"FD:{connection.fileno()}"]]
                tar = ["tar", "-cf", "-", "-C", str(self.work.data / which), "."]
                senders = self.work.jobs.pipeline([tar, *sending], pass_fds=[connection.fileno()])
            for sender in senders:
                sender.wait(PATIENCE)
            good(listener)
            return Sample(time.perf_counter() - began)

        return self._contender("tar|socat -b 1M|tar", "source", copy, into_guest=True)

    def _tar_out(self) -> Contender:
        socat = ["socat", "-u", *BLOCK]

        def copy(which: str) -> Sample:
            port, target = next(self._ports), self.work.data / "copy"
            path = f"{self.machine.hybrid}_{port}"
            target.mkdir()
            receiving = [[*socat, f"UNIX-LISTEN:{path}", "STDOUT"], ["tar", "-xf", "-", "-C", str(target)]]
            receivers = self.work.jobs.pipeline(receiving)
            receivers[0].wait_until(lambda: unix_listening(Path(path)))
            began = time.perf_counter()
            line = f"tar -cf - -C {self.inside}/served/{which} . | {' '.join(socat)} STDIN VSOCK-CONNECT:2:{port}"
            good(self.machine.start(line))
            for receiver in receivers:
                receiver.wait(PATIENCE)
            return Sample(time.perf_counter() - began)

        return self._contender("tar|socat -b 1M|tar", "source", copy, into_guest=False)
