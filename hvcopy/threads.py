"""Threads, for which the system may have no room."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable

from hvcopy.errors import LocalFailure

ROOM = 2 << 20
"""Bytes that are seen to be there: CPython waits for ever for a thread without memory for its first call (cpython#140746)."""


def start(target: Callable[..., None], name: str, *args: object) -> threading.Thread:
    """Run *target* with *args* in a thread that keeps no process alive.  Raises LocalFailure when there is no room for one."""
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    try:
        mmap.mmap(-1, ROOM).close()
        thread.start()
    except (RuntimeError, OSError):  # RuntimeError is CPython's word for EAGAIN and ENOMEM
        raise LocalFailure(
            "the system has no memory for another thread, or allows no more of them",
            hint="end what else runs, or raise the limits (ulimit -a), and try again",
        ) from None
    return thread
