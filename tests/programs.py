"""Programs that say what a test wants: shell scripts under the names that hvcopy looks for."""

from __future__ import annotations

import shlex
from pathlib import Path


def program(path: Path, body: str) -> Path:
    """Make an executable of *body*, a shell script that finds nothing else on its PATH than the shell's own words."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def says(text: str, *, code: int = 0, err: str = "") -> str:
    """Return the body of a script that prints *text*."""
    return f"printf %s {shlex.quote(text)}; printf %s {shlex.quote(err)} >&2; exit {code}"


HANGS = "while :; do /bin/sleep 60; done"
"""The body of a script that never ends by itself, and has a child."""
