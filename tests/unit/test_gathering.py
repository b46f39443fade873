"""The walk over the sources ends with the session, whatever it finds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from hvcopy.errors import Interrupted
from hvcopy.files.source import open_local
from hvcopy.transfer.gathering import Gathering
from hvcopy.transfer.lanes import Lanes
from hvcopy.transfer.outbox import Outbox
from hvcopy.transfer.tally import Tally
from hvcopy.transfer.throttle import Throttle
from hvcopy.wire import messages as m


def test_the_walk_ends_with_the_session_where_there_are_only_folders(tmp_path: Path) -> None:
    """No name of a file is queued there, which is what a session that has failed would refuse."""
    for name in "abc":
        (tmp_path / name).mkdir()
    link = SimpleNamespace(channel=SimpleNamespace(peer="unix:/s"))
    lanes = Lanes(link, granted=1, token=b"", timeout=10)  # type: ignore[arg-type]
    source = open_local(0, str(tmp_path), recursive=True)
    gathering = Gathering(Outbox(lanes, [source], m.Options(), Tally(), Throttle(0)))
    lanes.error = Interrupted("interrupted")
    with pytest.raises(Interrupted):
        gathering.run()
    assert gathering.directory_ends == []
