"""The drawing of the house in docs/architecture.md is the one that the linter enforces."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def test_the_layers_that_are_drawn_are_those_that_are_enforced() -> None:
    configured = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]
    enforced = [set(layer.split(" | ")) for layer in configured["contracts"][0]["layers"]]
    table = (CHECKOUT / "docs/architecture.md").read_text().partition("## Layers")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]*`[^|]*) \|", table, re.MULTILINE)
    drawn = [{name.rstrip("/") for name in re.findall(r"`([^`]+)`", row)} for row in rows]
    assert drawn[:-1] == enforced
    assert "hvcopy._core" in drawn[-1]
