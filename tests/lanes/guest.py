#!/usr/bin/env python3
"""Boots a guest kernel with a real virtio-vsock device, for tests that cross a host/guest boundary.

usage: guest.py [-m MEM] [-C DIR] [-c CID] 'GUEST COMMAND' HOST_COMMAND [ARG...]

    host == hybrid unix socket ==> vhost-device-vsock == vhost-user ==> User-Mode Linux, virtio-vsock, CID 3

Runs both commands, the guest's with its output on standard error, and ends with the host command's status
(125 if the guest died, 126 if a part is missing). The host command finds the hybrid socket in $HV_GUEST, the
guest's context id in $HV_GUEST_CID and its process in $HV_GUEST_PID. The host reaches the guest's port P by
sending "CONNECT P\\n" to that socket; the guest reaches the host (CID 2) at port P if somebody listens at
"${HV_GUEST}_P".
"""

import argparse
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from lanes import parts
from lanes.leash import Leashed
from lanes.uml import (
    GUEST_TMPFS,
    GuestProcess,
    Kernel,
    KernelDied,
    Tail,
    exit_on_sigterm,
    shell_status,
    work_folder,
)
from lanes.vhost_user import Reconciler

MODULES = ("vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport")
VIRTIO_ID_VSOCK = 19
DIED, MISSING, NOT_FOUND = 125, 126, 127

__all__ = ["Guest", "GuestProcess", "KernelDied"]


class Guest:
    """A guest with a virtio-vsock device; booted by `boot` or by entering it as a context manager.

    The daemon that serves the device lives on when the guest is killed, so a connection's host end then hears
    nothing, as with a guest that lost its power or hangs. Only `boot` and `close` end the daemon, and with it
    the connections.
    """

    def __init__(
        self, cid: int = 3, memory: str = "1G", tx_buffer: int = 262144, *, cwd: Path | None = None
    ) -> None:
        """`tx_buffer`: bytes the daemon takes from the guest per connection before the host reads them; 1 MiB
        is more than the guest kernel can allocate in one piece. `cwd`: where commands start (default: here).
        """
        self.cid = cid
        self.tmpfs = GUEST_TMPFS
        self._memory = memory
        self._tx_buffer = tx_buffer
        self._cwd = cwd or Path.cwd()
        self._work = work_folder()
        self.scratch = self._work / "scratch"
        self.scratch.mkdir()
        self.hybrid = self._work / "vm.sock"
        self._boots = 0
        self._daemon: Leashed | None = None
        self._reconciler: Reconciler | None = None
        self._kernel: Kernel | None = None

    def __enter__(self) -> "Guest":
        try:
            self.boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The guest kernel's process, which leads its process group."""
        return self._running().pid

    def boot(self) -> None:
        """Boots the guest, after a power cut if it runs; old connections end, `hybrid` stays the same path.

        Raises parts.LaneMissing and KernelDied.
        """
        self._stop()
        self._boots += 1
        work = self._work / str(self._boots)
        work.mkdir()
        back, front = work / "back.sock", work / "front.sock"
        self.hybrid.unlink(missing_ok=True)
        daemon = [str(parts.locate(parts.DAEMON)), "--guest-cid", str(self.cid), "--socket", str(back)]
        daemon += ["--uds-path", str(self.hybrid), "--tx-buffer-size", str(self._tx_buffer)]
        with (work / "daemon").open("wb") as log:
            self._daemon = Leashed(daemon, stdout=log, stderr=log)
        try:
            self._reconciler = Reconciler(front, back)
        except TimeoutError as error:
            log_text = (work / "daemon").read_text(errors="replace")
            raise KernelDied(f"vhost-device-vsock: {error}; it says:\n{log_text}") from error
        # vhost-device-vsock 0.3.0 serves nobody any more once it is asked for a port after it was given the
        # guest's memory and before the queues (its handle_event ends the loop on QueueNotReady): keep callers away.
        self.hybrid.rename(work / "hybrid")
        self._kernel = Kernel(
            "guest",
            work,
            modules=MODULES,
            memory=self._memory,
            cwd=self._cwd,
            arguments=[f"virtio_uml.device={front}:{VIRTIO_ID_VSOCK}"],
        )
        (work / "hybrid").rename(self.hybrid)

    def start(
        self, command: Sequence[str] | str, env: Mapping[str, str] | None = None, *, cwd: Path | None = None
    ) -> GuestProcess:
        """Starts an argument list, or a line for bash, in the guest; returns at once. Raises KernelDied."""
        return self._running().start(command, env=env, cwd=cwd)

    def run(
        self,
        command: Sequence[str] | str,
        timeout: float,
        env: Mapping[str, str] | None = None,
        *,
        cwd: Path | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a command in the guest to its end, at most `timeout` seconds, and gives its outputs as text.

        Raises subprocess.TimeoutExpired, after killing the command, and KernelDied.
        """
        return self._running().run(command, timeout, env=env, cwd=cwd)

    def pause(self) -> None:
        """Stops the guest: connections hang until `resume`."""
        self._running().pause()

    def resume(self) -> None:
        """Lets a paused guest go on."""
        self._running().resume()

    def kill(self) -> None:
        """A power cut: the guest is gone, and the host ends of its connections hear nothing of it."""
        self._running().kill()

    def close(self) -> None:
        """Ends guest and daemon and removes their files. May be called again."""
        self._stop()
        shutil.rmtree(self._work, ignore_errors=True)

    def _running(self) -> Kernel:
        if self._kernel is None:
            raise KernelDied("the guest was not booted")
        return self._kernel

    def _stop(self) -> None:
        # the guest first: without its device it would only fill its console
        for part in (self._kernel, self._daemon):
            if part is not None:
                part.kill()
        if self._reconciler is not None:
            self._reconciler.close()
        self._kernel = self._daemon = self._reconciler = None


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs a command in a vsock guest and one beside it, here.")
    parser.add_argument("-m", dest="memory", default="1G", metavar="MEM", help="the guest's memory (1G)")
    parser.add_argument(
        "-C", dest="folder", type=Path, default=Path.cwd(), metavar="DIR", help="working folder"
    )
    parser.add_argument("-c", dest="cid", type=int, default=3, metavar="CID", help="the guest's id (3)")
    parser.add_argument("guest_command", metavar="'GUEST COMMAND'", help="a line for the guest's bash")
    parser.add_argument("host_command", nargs=argparse.REMAINDER, metavar="HOST_COMMAND ...")
    options = parser.parse_args()
    if not options.host_command:
        parser.error("no host command")
    exit_on_sigterm()
    folder = options.folder.resolve()
    try:
        with Guest(options.cid, options.memory, cwd=folder) as guest:
            return _run_both(guest, options.guest_command, options.host_command, folder)
    except KernelDied as error:
        print(f"guest.py: {error}", file=sys.stderr)
        return DIED
    except parts.LaneMissing as error:
        print(f"guest.py: {error}", file=sys.stderr)
        return MISSING
    except KeyboardInterrupt:
        return 130


def _run_both(guest: Guest, guest_command: str, host_command: list[str], folder: Path) -> int:
    in_guest = guest.start(guest_command)
    over = threading.Event()
    follower = threading.Thread(target=_follow, args=(in_guest, over), daemon=True)
    follower.start()
    env = {**os.environ, "HV_GUEST": str(guest.hybrid)}
    env |= {"HV_GUEST_CID": str(guest.cid), "HV_GUEST_PID": str(guest.pid)}
    try:
        try:
            host = Leashed(host_command, group=False, cwd=folder, env=env)
        except OSError as error:
            print(f"guest.py: {error}", file=sys.stderr)
            return NOT_FOUND
        try:
            status = host.wait()
        finally:
            host.kill()
        with suppress(subprocess.TimeoutExpired, KernelDied):  # a guest that also ends now gets to say so
            in_guest.wait(0.2)
    finally:
        over.set()
        follower.join()
    return shell_status(status)


def _follow(process: GuestProcess, over: threading.Event) -> None:
    """Passes a guest command's output on to standard error until the command, or everything, is over."""
    tail = Tail(process.stdout, sys.stderr.buffer, b"guest: ")
    while not over.wait(0.05) and process.returncode is None:
        tail.copy()
    tail.copy(last=True)
    if process.returncode is not None:
        print(f"guest command ended: {shell_status(process.returncode)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
