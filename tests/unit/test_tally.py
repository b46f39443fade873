"""Counts, and the exit status that follows from them."""

from __future__ import annotations

import threading

import pytest

from hvcopy.errors import BY_EXIT_CODE
from hvcopy.transfer.tally import Tally


class Heard:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.said: list[tuple[bytes, int, str]] = []

    def failed(self, path: bytes, code: int, message: str) -> None:
        """Remember it."""
        self.said.append((path, code, message))

    def noted(self, path: bytes, message: str) -> None:
        """Ignore it."""


def test_add_counts_by_name() -> None:
    tally = Tally()
    tally.add(files=2, bytes=100)
    tally.add(files=1)
    assert (tally.files, tally.bytes, tally.same) == (3, 100, 0)


def test_add_of_an_unknown_count_is_an_error() -> None:
    with pytest.raises(AttributeError):
        Tally().add(fils=1)


def test_add_by_many_threads_loses_nothing() -> None:
    tally = Tally()

    def work() -> None:
        for _ in range(500):
            tally.add(files=1, bytes=3)
            tally.fail(b"x", 10, "")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tally.files, tally.bytes, tally.failed) == (2000, 6000, 2000)


def test_fail_tells_the_observer() -> None:
    heard = Heard()
    Tally(observer=heard).fail(b"a", 11, "no")
    assert heard.said == [(b"a", 11, "no")]


@pytest.mark.parametrize(
    ("failures", "delivered", "expected"),
    [
        ([], 0, 0),
        ([], 5, 0),
        ([10], 0, 10),
        ([10, 10], 0, 10),
        ([10], 1, 3),
        ([10, 11], 0, 3),
        ([10, 11], 1, 3),
        ([11], 0, 11),
        ([11, 11], 7, 11),
        ([9], 0, 9),
    ],
)
@pytest.mark.parametrize("kind", ["files", "same", "skipped"])
def test_exit_code_follows_what_failed_and_what_was_delivered(
    failures: list[int], delivered: int, expected: int, kind: str
) -> None:
    tally = Tally()
    tally.add(**{kind: delivered})
    for code in failures:
        tally.fail(b"x", code, "")
    assert tally.failed == len(failures)
    assert tally.exit_code == expected


@pytest.mark.parametrize("code", [0, 1, 127, 2**32 - 1])
def test_fail_with_a_code_that_is_no_failure_counts_as_local(code: int) -> None:
    """Codes come from the peer: 0 must not turn a failure into success."""
    tally = Tally(observer=(heard := Heard()))
    tally.fail(b"x", code, "")
    assert tally.exit_code == 10
    assert heard.said == [(b"x", 10, "")]


@pytest.mark.parametrize("code", sorted(BY_EXIT_CODE))
def test_exit_code_of_any_failure_is_never_success(code: int) -> None:
    tally = Tally()
    tally.fail(b"x", code, "")
    assert tally.exit_code == code != 0
