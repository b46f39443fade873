"""Surroundings that a command can be started in: without root's powers, or with a small or read-only disk of its own.

Each is a prefix of the command line; what a machine cannot give is skipped, with the reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HEEDING_HANG_UP = ("env", "--default-signal=HUP")
"""Run with SIGHUP as a terminal's programs have it: nohup may have taken it from these tests."""


def powerless() -> list[str]:
    """Run without the power to read or write what modes forbid; nothing to do unless root runs the tests."""
    if os.geteuid() != 0:
        return []
    return _working(["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"], "setpriv (util-linux)")


def with_room_for(threads: int) -> list[str]:
    """Run where so many threads, and not one more, find memory for their stacks (setrlimit(2), RLIMIT_STACK and RLIMIT_AS)."""
    stack, program = 400 << 10, 350 << 10  # KiB, the one more than all that the program itself takes
    return ["sh", "-c", f'ulimit -s {stack} && ulimit -v {program + threads * stack} && exec "$@"', "sh"]


def with_mount(folder: Path, *mount: str) -> list[str]:
    """Run with something mounted on *folder*, seen by that process alone and gone with it."""
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    command = " ".join(mount).format(folder=folder)
    script = f'{command} && exec "$@"'
    return _working([*unshare, "sh", "-c", script, "sh"], "unshare and the right to mount")


def small_disk(folder: Path, size: str) -> list[str]:
    """Run with an empty file system of *size* on *folder*."""
    return with_mount(folder, "mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "none", "{folder}")


def read_only_disk(folder: Path) -> list[str]:
    """Run with *folder* mounted read-only."""
    return with_mount(folder, "mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}")


def without_proc() -> list[str]:
    """Run where /proc is empty, as in many a chroot."""
    return with_mount(Path("/proc"), "mount", "-t", "tmpfs", "none", "{folder}")


def seen_by(pid: int, path: Path) -> Path:
    """Return *path* as the process *pid* sees it (proc(5))."""
    return Path(f"/proc/{pid}/root{path}")


def _working(prefix: list[str], what: str) -> list[str]:
    if shutil.which(prefix[0]) is None:
        pytest.skip(f"needs {what}")
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"needs {what}: {tried.stderr.strip()}")
    return prefix
