"""How long blocked calls may take: what ends one is told from its own timeout, on the busiest machine."""

from __future__ import annotations

SLOW_MS = 20_000
"""Milliseconds: the timeout of a call that something else must end."""

IN_TIME = 10.0
"""Seconds: the contract says 0.2; this allows what a busy machine needs, far below SLOW_MS."""
