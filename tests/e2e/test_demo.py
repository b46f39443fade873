"""``hvcopy demo``: equal only if it is, and nothing is left of it, however it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from commands import Running, run

from e2e.boxes import HEEDING_HANG_UP
from hvcopy.demo.compare import difference, extent


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The folder that the demo uses, empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def small_library(tmp_path: Path) -> dict[str, str]:
    """An environment in which the standard library that is copied is a small one: the demo asks ``os`` where it is."""
    library = tmp_path / "lib" / "python3"
    library.mkdir(parents=True)
    (library / "module.py").write_text("x = 1\n")
    (library / "read only").mkdir()
    (library / "read only" / "big.so").write_bytes(os.urandom(300_000))
    (library / "read only").chmod(0o555)
    (library / "link").symlink_to("module.py")
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(f"import os\nos.__file__ = {str(library / 'os.py')!r}\n")
    return {"PYTHONPATH": str(hook)}


def test_demo_copies_both_ways_and_leaves_nothing(temporary: Path, small_library: dict[str, str]) -> None:
    done = run("demo", "--size", "3M", env={**small_library, "TMPDIR": str(temporary)}, timeout=60)
    assert done.code == 0, done.err
    assert done.out.count("hvcopy push") == done.out.count("hvcopy pull") == 2
    assert "All 4 copies are equal to their sources" in done.out
    assert max(map(len, done.out.splitlines())) < 80 or str(temporary) in done.out
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["warming up", "comparing", "of random bytes"])
def test_demo_interrupted_leaves_nothing(
    temporary: Path, small_library: dict[str, str], number: signal.Signals, moment: str
) -> None:
    environment = {**small_library, "TMPDIR": str(temporary)}
    with Running("demo", "--size", "64M", env=environment, prefix=HEEDING_HANG_UP) as demo:
        demo.line(moment)
        demo.signal(number)
        done = demo.finish()
    assert (done.code, "hvcopy: interrupted" in done.err) == (130, True)
    assert list(temporary.iterdir()) == []


def test_demo_without_room_says_how_to_need_less(temporary: Path, small_library: dict[str, str]) -> None:
    done = run("demo", "--size", "1000T", env={**small_library, "TMPDIR": str(temporary)})
    assert (done.code, "--size" in done.err, done.out.count("push")) == (10, True, 1)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("size", ["0", "much"])
def test_demo_refuses_a_size_that_is_none(size: str) -> None:
    assert run("demo", "--size", size).code == 2


def tree(folder: Path) -> str:
    """A small tree with everything that a comparison looks at."""
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "file").write_bytes(b"contents")
    (folder / "link").symlink_to("a/file")
    for path in (folder / "a" / "file", folder / "a", folder):
        os.utime(path, ns=(10**18, 10**18))
    return str(folder)


CHANGES = {
    "contents": lambda copy: (copy / "a/file").write_bytes(b"contentz"),
    "length": lambda copy: (copy / "a/file").write_bytes(b"contents and more"),
    "mode": lambda copy: (copy / "a/file").chmod(0o600),
    "missing": lambda copy: (copy / "a/file").unlink(),
    "more": lambda copy: (copy / "a/more").touch(),
    "kind": lambda copy: ((copy / "a/file").unlink(), (copy / "a/file").mkdir()),
    "link": lambda copy: ((copy / "link").unlink(), (copy / "link").symlink_to("a")),
}


@pytest.mark.parametrize("change", ["", *CHANGES])
def test_comparison_sees_each_difference(tmp_path: Path, change: str) -> None:
    one, other = tree(tmp_path / "one"), tree(tmp_path / "other")
    if change:
        CHANGES[change](tmp_path / "other")
        times = [tmp_path / "other/a/file", tmp_path / "other/a", tmp_path / "other"]
        for path in filter(Path.exists, times):
            os.utime(path, ns=(10**18, 10**18))
    found = difference(one, other, check=lambda: None)
    assert (found is not None) == bool(change)
    assert extent(one).files == 1


def test_comparison_sees_a_time_that_differs(tmp_path: Path) -> None:
    one, other = tree(tmp_path / "one"), tree(tmp_path / "other")
    os.utime(tmp_path / "other/a/file", ns=(10**18, 10**18 + 1))
    assert "time" in (difference(one, other, check=lambda: None) or "")
