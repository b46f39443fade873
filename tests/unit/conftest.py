"""What the unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .scripted import Session


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session that the test starts."""
    root = tmp_path / "root"
    root.mkdir()
    session = Session(root)
    yield session
    session.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where things arrive, beside a place outside."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim").write_bytes(b"mine")
    (tmp_path / "root").mkdir()
    return tmp_path / "root"
