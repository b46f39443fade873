"""Results: what a scenario measured, and its JSON form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bench.rounds import Series, series_from


@dataclass(slots=True)
class Result:
    """One scenario: `kind` chooses its targets; `figures` are single numbers (KiB for memory)."""

    name: str
    kind: str
    series: list[Series] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, int] = field(default_factory=dict)
    skipped: str | None = None
    """Why the scenario did not run."""
    circumstances: dict[str, Any] = field(default_factory=dict)

    def find(self, name: str) -> Series | None:
        """The series of a contender that has samples."""
        return next((one for one in self.series if one.name == name and one.samples), None)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "notes": self.notes,
            "skipped": self.skipped,
            "circumstances": self.circumstances,
            "figures": self.figures,
            "series": [one.as_dict() for one in self.series],
        }


def result_from(stored: dict[str, Any]) -> Result:
    """The inverse of `Result.as_dict`."""
    series = [series_from(one) for one in stored["series"]]
    return Result(
        stored["name"],
        stored["kind"],
        series,
        stored["notes"],
        stored["figures"],
        stored["skipped"],
        stored["circumstances"],
    )
