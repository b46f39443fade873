"""Writes the table of errors in docs/hyper-v.md from hvcopy.winsock.  Run: python docs/generate_winsock.py"""

from __future__ import annotations

from pathlib import Path

from hvcopy.winsock import FAULTS, Fate, Fault

PAGE = Path(__file__).with_name("hyper-v.md")
_BEGIN, _END = "<!-- generated from hvcopy/winsock.py by docs/generate_winsock.py -->\n", "<!-- end -->\n"
_EXIT = {
    Fate.ABSENT: 4,
    Fate.FORBIDDEN: 9,
    Fate.UNSUPPORTED: 9,
    Fate.LOST: 6,
    Fate.TAKEN: 10,
    Fate.EXHAUSTED: 10,
}
_WORDS = {
    "start": "start it there, or `--wait 30`",
    "allow": "an elevated prompt, the group \"Hyper-V Administrators\", or `hvcopy service register`",
}


def page(text: str) -> str:
    """Return *text* with the table as it should be."""
    before, rest = text.split(_BEGIN)
    _, after = rest.split(_END)
    head = "| error | exit | `--wait` | cause | next |\n|---|---:|---|---|---|\n"
    return before + _BEGIN + head + "".join(map(_row, FAULTS.values())) + _END + after


def _row(fault: Fault) -> str:
    again = "yes" if fault.fate is Fate.ABSENT else ""
    advice = fault.advice.format(**_WORDS)
    return f"| {fault.code} {fault.name} | {_EXIT[fault.fate]} | {again} | {fault.cause} | {advice} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
