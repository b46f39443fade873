"""Memory that large pieces are copied into and out of at full speed."""

from __future__ import annotations

import mmap

PAGE = 4096
APART = 64
"""Bytes from the start of a page.  A processor whose copy begins 1 to 31 bytes further into a page than its source does
takes four times as long (AMD, ``rep movsb``: sourceware.org bug 30994; measured, docs/performance.md).  What comes from a
pipe or a file begins with a page, and malloc gives large pieces 16 bytes into one."""


def buffer(size: int) -> memoryview:
    """Return *size* zeroed bytes that begin APART bytes into a page."""
    return memoryview(mmap.mmap(-1, size + PAGE))[APART : APART + size]
