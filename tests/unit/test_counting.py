"""What a copy will send, counted for progress while it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hvcopy.files.source import Source, open_local
from hvcopy.transfer.counting import count

CONTENTS = {"a": b"1", "b": b"22", "d/c": b"333", "d/e/f": b"", "d/e/g": b"55555"}


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    for name, content in CONTENTS.items():
        file = tmp_path / "tree" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (tmp_path / "one").write_bytes(b"four")
    return [open_local(index, str(tmp_path / name), recursive=True) for index, name in enumerate(("tree", "one"))]


def test_files_and_bytes_of_all_sources_are_counted(sources: list[Source]) -> None:
    assert count(sources, lambda: False) == (len(CONTENTS) + 1, sum(map(len, CONTENTS.values())) + 4)


@pytest.mark.parametrize("looks", [0, 1, 3, 5])
def test_counting_ends_with_the_copy(looks: int, sources: list[Source]) -> None:
    def over() -> Iterator[bool]:
        yield from [False] * looks
        yield True

    answers = over()
    assert count(sources, lambda: next(answers)) is None


@pytest.mark.parametrize("looks", [0, 1, 3])
def test_counting_ends_with_the_copy_where_there_are_only_folders(looks: int, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / "tree" / name).mkdir(parents=True)
    answers = iter([False] * looks + [True])
    assert count([open_local(0, str(tmp_path / "tree"), recursive=True)], lambda: next(answers)) is None
