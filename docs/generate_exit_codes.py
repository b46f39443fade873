"""Writes docs/exit-codes.md from hvcopy.errors, the one table of exit codes.  Run: python docs/generate_exit_codes.py"""

from __future__ import annotations

from pathlib import Path

from hvcopy.errors import BY_EXIT_CODE, HvcopyError

PAGE = Path(__file__).with_name("exit-codes.md")
_HEAD = """\
# Exit codes

Generated from `hvcopy/errors.py` by `python docs/generate_exit_codes.py`; change it there.

| code | error in Python | meaning |
|---:|---|---|
"""
_TAIL = """
With any code but 0, standard error says what happened, to which file or peer, and what to type next.
When several entries failed for different reasons the code is 3.
A closed reader of *results* (`ls`, `--json`) is no failure.
"""


def page() -> str:
    """Return the whole page."""
    kinds: list[type[HvcopyError]] = [HvcopyError, *BY_EXIT_CODE.values()]
    rows = [(0, "", "done, and confirmed by the peer")]
    rows += [(kind.exit_code, f"`{kind.__name__}`", kind.meaning) for kind in kinds]
    return _HEAD + "".join(f"| {code} | {name} | {meaning} |\n" for code, name, meaning in sorted(rows)) + _TAIL


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
