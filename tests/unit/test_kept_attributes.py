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


@pytest.mark.parametrize("name", [b"trusted.planted", b"security.capability", b"system.posix_acl_access", b"userx.planted"])
def test_an_attribute_that_is_not_a_users_own_is_never_set(tmp_path: Path, name: bytes) -> None:
    """What root may set of these gives rights, or takes them (capabilities(7))."""
    with open(tmp_path / "f", "wb") as file, pytest.raises(PermissionError, match=r"outside of user\.\*"):
        attributes.apply(file.fileno(), mode=0o644, mtime_ns=0, xattrs={b"user.mine": b"", name: b"1"})
    assert os.listxattr(tmp_path / "f") in ([], ["user.mine"])


@pytest.mark.parametrize("count", [256, 257])
def test_more_attributes_than_a_frame_may_name_are_a_failure_of_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Few file systems have room for so many."""
    (tmp_path / "f").touch()
    monkeypatch.setattr(attributes.system, "list_xattrs", lambda _: [f"user.{number}" for number in range(count)])
    monkeypatch.setattr(attributes.system, "get_xattr", lambda *_: b"")
    if count == 256:
        assert len(attributes.read_xattrs(str(tmp_path / "f"))) == 256
    else:
        with pytest.raises(OSError, match="larger than hvcopy can send"):
            attributes.read_xattrs(str(tmp_path / "f"))


def _of_keeping(fd: int, value: bytes) -> OSError | None:
    try:
        attributes.apply(fd, mode=0o644, mtime_ns=0, xattrs={b"user.mine": value})
    except OSError as error:
        return error
    return None
