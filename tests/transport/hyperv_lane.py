"""Where AF_HYPERV can be opened: under Wine, whose lane puts a stand-in below Python's socket module.

On a Windows with the real thing HVCOPY_REAL_HYPERV=1 runs the same tests over its loopback.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Iterator

import pytest

from hvcopy.address import HypervAddress
from hvcopy.channel import Channel
from hvcopy.transport import listen
from transport.pairs import close, meet

AVAILABLE = hasattr(socket, "AF_HYPERV") and (
    bool(os.environ.get("HVCOPY_HV_STANDIN")) or os.environ.get("HVCOPY_REAL_HYPERV") == "1"
)
in_lane = pytest.mark.skipif(
    not AVAILABLE, reason="AF_HYPERV is opened only under Wine with its stand-in, or with HVCOPY_REAL_HYPERV=1 on Windows"
)

in_standin = pytest.mark.skipif(
    not AVAILABLE or not os.environ.get("HVCOPY_HV_STANDIN"),
    reason="needs VMs that do as the test says: only the stand-in under Wine has them",
)

_ports = itertools.count(20_000 + os.getpid() % 190 * 64)  # below those that the system gives away


def free_address(vm: str = "loopback", *options: str) -> HypervAddress:
    """An address on which nobody listens yet; Hyper-V chooses no port by itself."""
    return HypervAddress(vm, str(next(_ports)), options)


@contextlib.contextmanager
def hyperv_pair() -> Iterator[tuple[Channel, Channel]]:
    """(dialled, accepted) over loopback."""
    with listen(free_address()) as listener:
        pair = meet(listener.address, listener)
        try:
            yield pair
        finally:
            close(pair)
