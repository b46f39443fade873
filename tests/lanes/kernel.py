#!/usr/bin/env python3
"""Runs one command inside a User-Mode Linux kernel with real AF_VSOCK (loopback, CID 1).

usage: kernel.py [-m MEM] [-C DIR] [-t SECONDS] COMMAND [ARG...]

Exit status: the command's own, 124 after the time-out, 125 if the kernel died, 126 if a part is missing.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from lanes.parts import LaneMissing
from lanes.uml import Kernel, KernelDied, Tail, exit_on_sigterm, shell_status, work_folder

MODULES = ("vsock", "vmw_vsock_virtio_transport_common", "vsock_loopback")
TIMED_OUT, DIED, MISSING = 124, 125, 126


@contextmanager
def booted(cwd: Path, memory: str, *, modules: Sequence[str] = MODULES) -> Iterator[Kernel]:
    """A kernel whose AF_VSOCK reaches itself at CID 1; gone, with its files, at the end of the block.

    With fewer `modules` it has less of it.
    """
    work = work_folder()
    try:
        with Kernel("kernel", work, modules=modules, memory=memory, cwd=cwd) as kernel:
            yield kernel
    finally:
        shutil.rmtree(work, ignore_errors=True)


def run_in_kernel(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    memory: str = "1G",
    timeout: float = 300,
) -> "subprocess.CompletedProcess[str]":
    """Runs a command in a fresh kernel, at most `timeout` seconds after its boot; outputs come back as text.

    Raises subprocess.TimeoutExpired, KernelDied, and LaneMissing.
    """
    with booted(cwd, memory) as kernel:
        result = kernel.run(argv, timeout, env=env)
        kernel.sync()
        return result


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs a command in a kernel with AF_VSOCK loopback (CID 1).")
    parser.add_argument("-m", dest="memory", default="1G", metavar="MEM", help="the kernel's memory (1G)")
    parser.add_argument(
        "-C", dest="folder", type=Path, default=Path.cwd(), metavar="DIR", help="working folder"
    )
    parser.add_argument("-t", dest="timeout", type=float, metavar="SECONDS", help="end it after that time")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND ...")
    options = parser.parse_args()
    if not options.command:
        parser.error("no command")
    exit_on_sigterm()
    try:
        with booted(options.folder.resolve(), options.memory) as kernel:
            status = _stream(kernel, options.command, options.timeout)
            if status != TIMED_OUT:
                kernel.sync()
            return status
    except KernelDied as error:
        print(f"kernel.py: {error}", file=sys.stderr)
        return DIED
    except LaneMissing as error:
        print(f"kernel.py: {error}", file=sys.stderr)
        return MISSING
    except KeyboardInterrupt:
        return 130


def _stream(kernel: Kernel, command: Sequence[str], timeout: float | None) -> int:
    """Runs the command with its outputs passed on as they come; gives the status for the shell."""
    deadline = None if timeout is None else time.monotonic() + timeout
    process = kernel.start(command, apart=True)
    tails = [Tail(process.stdout, sys.stdout.buffer), Tail(process.stderr, sys.stderr.buffer)]
    try:
        while True:
            try:  # the host has no notice of a guest's writing, so look 20 times a second
                return shell_status(process.wait(0.05))
            except subprocess.TimeoutExpired:
                if deadline is not None and time.monotonic() >= deadline:
                    print(f"kernel.py: ended after {timeout:g} s", file=sys.stderr)
                    return TIMED_OUT
            for tail in tails:
                tail.copy()
    finally:
        for tail in tails:
            tail.copy(last=True)


if __name__ == "__main__":
    sys.exit(main())
