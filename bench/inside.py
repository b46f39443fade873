"""The vsock-local scenario: AF_VSOCK over loopback in a kernel that is started for it (tests/lanes/kernel.py)."""

from __future__ import annotations

from bench.results import Result
from bench.workspace import Settings


def from_outside(settings: Settings) -> Result:
    raise OSError("not yet")


def vsock_local(settings: Settings) -> Result:
    raise OSError("not yet")
