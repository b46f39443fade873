"""Process 1 of a guest kernel: starts commands and signals them, as told over a serial line.

Runs inside the guest. usage: agent.py LINE JOBS

Read from LINE, one per line: `start N` (run the command described in JOBS/N.json), `signal N SIGNAL` (to
that command's process group), `sync`. Written to it: `ready`, `ended N STATUS` (negative: minus the number of
the signal), `synced`. A serial line instead of vsock, because vsock is what the tests saturate; a fresh file
per command instead of a shared one, because hostfs caches what it has open.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tty
from pathlib import Path

NOT_FOUND = 127  # the shell's status for a command that cannot be started


class Agent:
    """The commands that run, by number, and the line to the host."""

    def __init__(self, line: str, jobs: Path) -> None:
        self.line = os.open(line, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.line)
        self.jobs = jobs
        self.running: dict[int, tuple[int, subprocess.Popen[bytes]]] = {}  # by process id

    def say(self, text: str) -> None:
        data = f"{text}\n".encode()
        while data:
            data = data[os.write(self.line, data) :]

    def obey(self, word: str, *arguments: str) -> None:
        if word == "start":
            self.start(int(arguments[0]))
        elif word == "signal":
            self.signal(int(arguments[0]), int(arguments[1]))
        elif word == "sync":
            os.sync()
            self.say("synced")

    def start(self, number: int) -> None:
        job = json.loads((self.jobs / f"{number}.json").read_text())
        with open(job["stdout"], "ab", buffering=0) as out, contextlib.ExitStack() as stack:
            same = job["stderr"] == job["stdout"]
            err = out if same else stack.enter_context(open(job["stderr"], "ab", buffering=0))
            try:
                process = subprocess.Popen(
                    job["argv"],
                    cwd=job["cwd"],
                    env=job["env"],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
            except OSError as error:
                err.write(f"{job['argv'][0]}: {error}\n".encode())
                self.say(f"ended {number} {NOT_FOUND}")
                return
        self.running[process.pid] = number, process

    def signal(self, number: int, signum: int) -> None:
        for pid, (running, _) in self.running.items():
            if running == number:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signum)

    def reap(self) -> None:
        """Collects every ended child: process 1 also inherits the orphans of others."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.running:
                number, process = self.running.pop(pid)
                process.returncode = os.waitstatus_to_exitcode(status)
                self.say(f"ended {number} {process.returncode}")

    def serve(self) -> None:
        wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.say("ready")
        unread = b""
        while True:
            ready, _, _ = select.select([self.line, wake], [], [])
            if wake in ready:
                os.read(wake, 4096)
                self.reap()
            if self.line in ready:
                unread += os.read(self.line, 4096)
                *orders, unread = unread.split(b"\n")
                for order in orders:
                    self.obey(*order.decode().split())


if __name__ == "__main__":
    Agent(sys.argv[1], Path(sys.argv[2])).serve()
