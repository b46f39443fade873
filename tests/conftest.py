"""What every test shares: a home of its own, the depth of property tests, and a header that says what is tested."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_SLOW = [HealthCheck.too_slow]
settings.register_profile("dev", max_examples=60, deadline=None, suppress_health_check=_SLOW)
settings.register_profile(
    "ci", max_examples=100, deadline=None, derandomize=True, print_blob=True, suppress_health_check=_SLOW
)
settings.register_profile("deep", max_examples=5_000, deadline=None, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

_FOLDERS = {
    "HOME": "",
    "USERPROFILE": "",
    "XDG_CONFIG_HOME": ".config",
    "XDG_CACHE_HOME": ".cache",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
    "XDG_RUNTIME_DIR": "run",
    "APPDATA": "AppData/Roaming",
    "LOCALAPPDATA": "AppData/Local",
}


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty home folder, so that no test reads the developer's configuration or writes into it."""
    folder = _homes.pop() if _homes else _new_home(tmp_path_factory.getbasetemp())
    with pytest.MonkeyPatch.context() as patch:
        for variable, below in _FOLDERS.items():
            patch.setenv(variable, str(folder / below))
        yield folder
    if [*map(os.listdir, (folder, folder / "run"))] == [["run"], []]:
        _homes.append(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)


_homes: list[Path] = []
"""One that the last test left as it was, which most do: to make and to remove one is more than many of them take."""


def _new_home(base: Path) -> Path:
    """Not mktemp, which looks through the folders of all earlier tests for a number."""
    folder = Path(tempfile.mkdtemp(prefix="home-", dir=base))
    (folder / "run").mkdir(mode=0o700)
    return folder


def pytest_report_header() -> list[str]:
    """Python, platform, and which build of the core the tests run against."""
    return [
        f"python: {platform.python_implementation()} {platform.python_version()} on {platform.platform()}",
        f"core: {_core()}; hypothesis profile: {os.environ.get('HYPOTHESIS_PROFILE', 'dev')}",
    ]


def _core() -> str:
    try:
        from hvcopy import _core
    except ImportError as error:
        return f"absent ({error})"
    path = Path(_core.__file__ or "")
    below = path.parent.parent  # build/<variant>/ for all but the release build, see setup.py
    variant = below.name if below.parent.name == "build" else "release"
    return f"{variant} ({path.name}, {sys.platform})"
