"""What cannot be kept of a file is a failure of that file, and named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hvcopy.files import attributes
from hvcopy.files.sink import FATAL


@pytest.mark.parametrize("size", [60_000, 70_000])
def test_an_attribute_for_which_there_is_no_room_does_not_look_like_a_full_disk(tmp_path: Path, size: int) -> None:
    """ext4 has room for a block of them, tmpfs and XFS for 64 KiB, none for more (xattr(7))."""
    with open(tmp_path / "f", "wb") as file:
        failure = _of_keeping(file.fileno(), bytes(size))
    if failure is None:
        assert size < 1 << 16
    else:
        assert failure.errno not in FATAL
        assert "its extended attribute user.mine cannot be kept there" in str(failure)


def test_the_attributes_that_a_link_leads_to_are_not_read(tmp_path: Path) -> None:
    """A link may be put in place of a file between looking at it and reading its attributes."""
    secret = tmp_path / "secret"
    secret.touch()
    os.setxattr(secret, "user.token", b"x")
    (tmp_path / "f").symlink_to("secret")
    assert attributes.read_xattrs(str(secret)) == {b"user.token": b"x"}
    assert attributes.read_xattrs(str(tmp_path / "f")) == {}


def _of_keeping(fd: int, value: bytes) -> OSError | None:
    try:
        attributes.apply(fd, mode=0o644, mtime_ns=0, xattrs={b"user.mine": value})
    except OSError as error:
        return error
    return None
