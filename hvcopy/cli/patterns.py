"""Patterns among the sources: the shells of Windows leave them to programs, those of POSIX systems have expanded them."""

from __future__ import annotations

import glob
import re
import sys

from hvcopy.errors import LocalFailure, printable

_VERBATIM = re.compile(r"[\\/]{2}\?[\\/]")


def expand(paths: list[str], *, windows: bool = sys.platform == "win32") -> list[str]:
    r"""Return *paths*, on *windows* with the files in place of a pattern, in order.  Raises LocalFailure for one that none fits.

    Only ``*`` and ``?`` make a pattern: no name on Windows has them.  After ``\\?\`` nothing does.
    """
    return [found for path in paths for found in (_fitting(path) if windows else [path])]


def _fitting(path: str) -> list[str]:
    if not set("*?") & set(path) or _VERBATIM.match(path):
        return [path]
    found = sorted(glob.glob(path.replace("[", "[[]"), include_hidden=True))
    if not found:
        raise LocalFailure(f"{printable(path)}: no name here fits it", hint="nothing was sent; check the path")
    return found
