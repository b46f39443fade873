"""Threads, for which the system may have no room."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hvcopy.errors import LocalFailure


def start(target: Callable[..., None], name: str, *args: object) -> threading.Thread:
    """Run *target* with *args* in a thread that keeps no process alive.  Raises LocalFailure when there is no room for one."""
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # CPython's word for EAGAIN and ENOMEM
        raise LocalFailure(
            "the system has no memory for another thread, or allows no more of them",
            hint="end what else runs, and try again",
        ) from None
    return thread
