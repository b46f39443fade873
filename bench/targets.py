"""The project's targets: least ratios of rates, hvcopy over a peer, and what else has a limit.

A target is judged on times from start to exit. The table also gives the ratio without start-up (each tool's own
time for one byte taken off), for a large file is not the place to judge an interpreter's start twice.
"""

from __future__ import annotations

from dataclasses import dataclass

STARTUP_MS = {"hvcopy cp": 60.0, "hvcopy pipe, first byte": 50.0, "hvcopy nc, first byte": 50.0}
"""Above the smallest Typer program, from its start to its end."""
LATENCY = 1.1  # times socat's, through the relay: the median, and the 99th percentile
MEMORY_KIB = 64 * 1024  # above an interpreter with Typer


@dataclass(frozen=True, slots=True)
class Target:
    """In scenarios of `kind`, `ours` is to be at least `least` times as fast as `peer`."""

    kind: str
    ours: str
    peer: str
    least: float


TARGETS = (
    Target("file", "hvcopy --lanes 1", "floor", 0.95),
    Target("file", "hvcopy", "floor", 1.0),
    Target("file", "hvcopy", "socat -b 1M", 1.2),
    Target("file", "hvcopy", "socat", 2.0),
    Target("file", "hvcopy", "nc", 2.0),
    Target("file", "hvcopy", "ncat", 2.0),
    Target("file", "hvcopy", "rsync", 2.5),
    Target("tree", "hvcopy", "tar|socat|tar", 1.5),
    Target("tree", "hvcopy", "rsync -a", 2.0),
    Target("pipe", "hvcopy pipe", "floor", 0.9),
    Target("pipe", "hvcopy pipe", "socat -b 1M", 1.2),
    Target("pipe", "hvcopy pipe", "nc", 2.0),
    Target("pipe", "hvcopy pipe", "ncat", 2.0),
    Target("nc", "hvcopy nc", "socat -b 1M", 1.2),
    Target("nc", "hvcopy nc", "nc", 1.2),
    Target("nc", "hvcopy nc", "ncat", 1.2),
    Target("forward", "hvcopy forward", "socat -b 1M", 1.0),
    Target("vsock", "hvcopy --lanes 1", "floor", 0.9),
    Target("vsock", "hvcopy", "socat -b 1M", 1.2),
    *(
        Target(kind, ours, peer, times)
        for kind in ("vsock-streams", "guest-streams")
        for ours in ("hvcopy pipe", "hvcopy nc")
        for peer, times in (("socat -b 1M", 1.2), ("socat", 10.0), ("ncat", 10.0))
    ),
    Target("windows", "hvcopy --lanes 1", "floor", 0.8),
    Target("windows", "hvcopy", "floor", 0.8),
    Target("guest", "hvcopy --lanes 1", "socat -b 1M", 1.0),
    Target("guest", "hvcopy", "socat -b 1M", 1.2),
    Target("guest", "hvcopy --lanes 4", "socat -b 1M", 1.2),
    Target("guest", "hvcopy", "socat", 20.0),
    Target("guest", "hvcopy", "ncat", 20.0),
    Target("guest", "hvcopy in the guest --lanes 1", "socat -b 1M", 1.0),
    Target("guest", "hvcopy in the guest", "socat -b 1M", 1.2),
    Target("guest", "hvcopy in the guest", "socat", 20.0),
    Target("guest", "hvcopy in the guest", "ncat", 20.0),
)


def least(kind: str, ours: str, peer: str) -> float | None:
    """The target for a pair of contenders, if there is one."""
    found = (one.least for one in TARGETS if (one.kind, one.ours, one.peer) == (kind, ours, peer))
    return next(found, None)
