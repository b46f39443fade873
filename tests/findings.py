"""What `hvcopy doctor --json` found, by the findings' names (docs/doctor.md)."""

from __future__ import annotations

from collections.abc import Mapping

Findings = Mapping[str, Mapping[str, object]]
"""Each finding by its id."""


def states(found: Findings, *names: str) -> list[object]:
    return [found[name]["state"] for name in names]


def by_state(found: Findings) -> dict[object, set[str]]:
    """The ids that have each state: all that was found, so that nothing more or less passes."""
    return {one: {name for name in found if found[name]["state"] == one} for one in {*states(found, *found)}}
