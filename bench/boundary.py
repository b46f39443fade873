"""The guest scenario."""

from __future__ import annotations

from bench.results import Result
from bench.workspace import Settings


def guest(settings: Settings) -> list[Result]:
    raise OSError("not yet")
