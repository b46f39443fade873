"""What a finished transfer says: a line for people, an object for programs (docs/json.md)."""

from __future__ import annotations

from msgspec import Struct, field

from hvcopy.errors import HvcopyError, printable
from hvcopy.transfer.tally import StreamTally, Tally
from hvcopy.units import format_rate, format_size
from hvcopy.wire.messages import SYNCED

SCHEMA = 1
MAX_FAILURES = 1000
"""Failures listed in the object; all are counted."""


class Report(Struct):
    """Collects what is to be said about one command."""

    command: str
    peer: str = ""
    failures: list[dict[str, object]] = field(default_factory=list)

    def add_failure(self, path: bytes, code: int, message: str) -> None:
        """Keep one failed entry for the object."""
        if len(self.failures) < MAX_FAILURES:
            self.failures.append({"path": printable(path), "code": code, "message": message})

    def json(self, tally: Tally, seconds: float, error: HvcopyError | None = None) -> dict[str, object]:
        """Return the result object; *error* is what ended the command, if anything did."""
        code = error.exit_code if error else tally.exit_code
        result: dict[str, object] = {
            "schema": SCHEMA,
            "command": self.command,
            "peer": self.peer,
            "ok": code == 0,
            "exit_code": code,
            "files": tally.files,
            "directories": tally.directories,
            "links": tally.links,
            "same": tally.same,
            "skipped": tally.skipped,
            "failed": tally.failed,
            "bytes": tally.bytes,
            "reused_bytes": tally.reused,
            "seconds": round(seconds, 6),
            "bytes_per_second": round((tally.bytes - tally.reused) / seconds) if seconds > 0 else 0,
            "durability": tally.durability,
            "lanes": tally.lanes,
            "window": tally.window,
            "failures": self.failures,
        }
        if error:
            result["error"] = {"message": error.message, "hint": error.hint}
        return result

    def summary(self, tally: Tally, seconds: float) -> str:
        """Return one line about a transfer that ended."""
        parts = [f"{_count(tally.files, 'file')}, {format_size(tally.bytes)}"]
        for count, text in (
            (tally.links, "links"),
            (tally.same, "there already and verified"),
            (tally.skipped, "skipped"),
            (tally.failed, "FAILED"),
        ):
            if count:
                parts.append(f"{count} {text if count > 1 else text.removesuffix('s')}")
        if tally.reused:
            parts.append(f"{format_size(tally.reused)} of it reused from an interrupted copy")
        moved = tally.bytes - tally.reused
        rate = f" ({format_rate(moved / seconds)})" if seconds > 0 and moved else ""
        disk = "here" if tally.here else "there"
        how = {"synced": f"verified, on disk {disk}", "cached": "verified", "dry": "nothing written (dry run)"}
        state = how.get(tally.durability, "not confirmed")
        if (tally.failed or tally.skipped) and tally.durability != "dry" and not (tally.files or tally.links or tally.same):
            state = "no file was copied" if tally.directories else "nothing was copied"
        return f"{', '.join(parts)} in {seconds:.2f} s{rate}; {state}"


class StreamReport(Report):
    """Says what became of a stream session."""

    def json(self, tally: Tally, seconds: float, error: HvcopyError | None = None) -> dict[str, object]:
        """Return the result object; *error* is what ended the session, if anything did."""
        assert isinstance(tally, StreamTally)
        result: dict[str, object] = {
            "schema": SCHEMA,
            "command": self.command,
            "peer": self.peer,
            "ok": error is None,
            "exit_code": error.exit_code if error else 0,
            "sent_bytes": tally.sent,
            "sent_digest": tally.sent_digest.hex(),
            "received_bytes": tally.received,
            "received_digest": tally.received_digest.hex(),
            "bytes": tally.bytes,
            "seconds": round(seconds, 6),
            "bytes_per_second": round(tally.bytes / seconds) if seconds > 0 else 0,
            "durability": tally.durability,
            "window": tally.window,
        }
        if error:
            result["error"] = {"message": error.message, "hint": error.hint}
        return result

    def summary(self, tally: Tally, seconds: float) -> str:
        """Return one line about a session that ended well."""
        assert isinstance(tally, StreamTally)
        rate = f" ({format_rate(tally.bytes / seconds)})" if seconds > 0 and tally.bytes else ""
        disk = ", on disk there" if tally.durability == SYNCED else ""
        moved = f"sent {format_size(tally.sent)}, received {format_size(tally.received)}"
        return f"{moved} in {seconds:.2f} s{rate}; verified{disk}"


class FactsReport(Report):
    """Says what a command found out or changed that moves no bytes."""

    facts: dict[str, object] = field(default_factory=dict)

    def json(self, tally: Tally, seconds: float, error: HvcopyError | None = None) -> dict[str, object]:
        """Return the result object; *error* is what ended the command, if anything did."""
        code = error.exit_code if error else tally.exit_code
        result: dict[str, object] = {"schema": SCHEMA, "command": self.command, "ok": code == 0, "exit_code": code}
        result |= {**self.facts, "failures": self.failures}
        if error:
            result["error"] = {"message": error.message, "hint": error.hint}
        return result


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
