"""What a look at one thing gave."""

from __future__ import annotations

from msgspec import Struct

from hvcopy.errors import HvcopyError, printable

OK, WARN, FAIL, UNKNOWN, NOT_APPLICABLE = "ok", "warn", "fail", "unknown", "not-applicable"
ADDRESS = "address"
"""The id of the first step."""


class Finding(Struct, frozen=True):
    """*id* as in docs/doctor.md; *fix* is the command; *exit_code* is what a command would end with, 0 unless it failed."""

    id: str
    state: str
    what: str
    why: str = ""
    fix: str = ""
    exit_code: int = 0
    causes: list[str] = []

    def json(self) -> dict[str, object]:
        """Return the object of ``--json``, safe to print."""
        return {
            "id": self.id,
            "state": self.state,
            "what": printable(self.what),
            "why": printable(self.why),
            "fix": printable(self.fix),
            "exit_code": self.exit_code,
            "causes": self.causes,
        }


def failed(ident: str, error: HvcopyError, *, why: str = "", causes: list[str] | None = None) -> Finding:
    """Return the finding that *error* makes of a step."""
    return Finding(ident, FAIL, error.message, why, error.hint, error.exit_code, causes or [])


def not_applicable(ident: str, what: str) -> Finding:
    """Return that *ident* has no meaning here, and why."""
    return Finding(ident, NOT_APPLICABLE, what)
