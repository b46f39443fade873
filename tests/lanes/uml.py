"""One User-Mode Linux kernel over this machine's own file system, and the commands that run in it.

Inside, / is this machine's / (hostfs, with this user's rights), /run and /dev/shm are memory of its own, and
TMPDIR is /run/tmp. Commands are started by `agent.py`, which is process 1 there and listens on a serial line.
"""

import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from lanes import parts
from lanes.leash import Latch, Leashed

GUEST_TMPFS = "/run/tmp"
BOOT_SECONDS = 60  # boots in 2 s on an idle machine
CONSOLE_LINES = 20
LANE_VARIABLE = "HVCOPY_LANE"  # set to the lane's name inside it
_PASSED = ("HOME", "USER", "LOGNAME", "TERM", "TZ", "CI", "NO_COLOR", "FORCE_COLOR", "VIRTUAL_ENV")
_PASSED_PREFIXES = ("HVCOPY_", "HV_", "PYTEST_", "PYTHON", "HYPOTHESIS_", "COVERAGE_")

_INIT = """\
#!/bin/sh
set -e
{busybox} mount -t proc proc /proc
{busybox} mount -t sysfs sysfs /sys
{busybox} mount -t tmpfs tmpfs /run
{busybox} mkdir -p {tmpfs} /dev/shm /dev/pts
{busybox} mount -t tmpfs tmpfs /dev/shm
{busybox} mount -t devpts devpts /dev/pts
for module in {modules}; do {busybox} insmod "$module"; done
{busybox} ip link set lo up
exec {python} -IS {agent} /dev/ttyS0 {jobs}
"""


class KernelDied(RuntimeError):
    """The kernel ended, or did not come up, while something waited for it; the text ends with its console."""


class GuestProcess:
    """A command that was started in a guest kernel."""

    def __init__(self, kernel: "Kernel", number: int, argv: list[str], stdout: Path, stderr: Path) -> None:
        self.argv = argv
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self.over = Latch()  # this command, or the whole kernel
        self._kernel = kernel
        self._number = number

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end, at most `timeout` seconds; gives the status, or minus a fatal signal's number.

        Raises subprocess.TimeoutExpired, and KernelDied if the kernel ended first.
        """
        if not self.over.wait(timeout):
            raise subprocess.TimeoutExpired(self.argv, timeout or 0, self.output())
        if self.returncode is None:
            raise self._kernel.death(f"ended before {self.argv} did")
        return self.returncode

    def output(self) -> str:
        """What the command has written so far, with standard error unless that is apart."""
        return self.stdout.read_text(errors="replace")

    def wait_output(self, text: str, timeout: float) -> str:
        """Waits until `text` was written, at most `timeout` seconds; gives the output so far.

        Raises subprocess.TimeoutExpired, KernelDied, and EOFError if the command ended without it.
        """
        deadline = time.monotonic() + timeout
        while True:
            ended = self.returncode is not None
            seen = self.output()
            if text in seen:
                return seen
            if ended:
                raise EOFError(f"{self.argv} ended with {self.returncode} and never wrote {text!r}:\n{seen}")
            try:  # the host has no notice of a guest's writing, so look again every 20 ms
                self.wait(min(0.02, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                if time.monotonic() >= deadline:
                    raise subprocess.TimeoutExpired(self.argv, timeout, seen) from None

    def signal(self, name: str) -> None:
        """Sends a signal, such as "TERM" or "STOP", to the command's process group, unless it has ended."""
        number = signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
        if self.returncode is None:
            self._kernel.tell(f"signal {self._number} {number.value}")


class Kernel:
    """A running kernel, until `kill` or the end of its block; it never outlives this process."""

    def __init__(
        self,
        lane: str,
        work: Path,
        *,
        modules: Sequence[str],
        memory: str,
        cwd: Path,
        arguments: Sequence[str] = (),
    ) -> None:
        """Boots a kernel and waits for its agent.

        `work`: an existing folder that the guest can see, used by this kernel alone; `modules`: the vsock
        modules in loading order; `memory`: a size such as "1G"; `arguments`: further kernel parameters.
        Raises parts.LaneMissing, and KernelDied after 60 s at the latest.
        """
        executable, busybox = parts.locate(parts.KERNEL), parts.locate(parts.BUSYBOX)
        self.lane = lane
        self.cwd = cwd
        self._work = work
        self._console = work / "console"
        self._jobs = work / "jobs"
        self._jobs.mkdir()
        self._lock = threading.Lock()  # for what follows, and for sending
        self._running: dict[int, GuestProcess] = {}
        self._awaited = {"ready": Latch()}
        self._started = 0
        self._dead = False
        init = work / "init"
        init.write_text(_init_script(busybox, self._jobs, modules))
        init.chmod(0o755)
        self._line, guest_end = socket.socketpair()
        command = [
            str(executable),
            "root=/dev/root",
            "rootfstype=hostfs",
            "rootflags=/",
            "rw",
            f"mem={memory}",
            f"init={init}",
            "quiet",
            "con=null",
            "con0=null,fd:2",
            f"ssl0=fd:{guest_end.fileno()}",
            # the kernel takes a seed from the machine when it starts, but counts it only when told that it
            # may; until then os.urandom waits (arch/um/kernel/um_arch.c, drivers/char/random.c)
            "random.trust_bootloader=on",
            f"uml_dir={work}/",
            "umid=uml",
            *arguments,
        ]
        with guest_end, self._console.open("wb") as console:
            # without TMPDIR and its kin the guest's memory is a file in /dev/shm, not on a disk
            environment = {"PATH": os.environ.get("PATH", os.defpath)}
            self._process = Leashed(
                command, stdout=console, stderr=console, env=environment, pass_fds=[guest_end.fileno()]
            )
        self.pid = self._process.pid
        self._listener = threading.Thread(target=self._listen, name="uml-line", daemon=True)
        self._listener.start()
        try:
            self._await("ready", self._awaited["ready"], BOOT_SECONDS)
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> "Kernel":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(
        self,
        command: Sequence[str] | str,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        apart: bool = False,
    ) -> GuestProcess:
        """Starts an argument list, or a line for bash; returns at once; `apart` keeps standard error apart.

        The environment is what makes sense there of this process's, with `env` on top. Raises KernelDied.
        """
        argv = ["bash", "-c", command] if isinstance(command, str) else [str(word) for word in command]
        with self._lock:
            self._started += 1
            number = self._started
        stdout = self._jobs / f"{number}.out"
        stderr = self._jobs / f"{number}.err" if apart else stdout
        process = GuestProcess(self, number, argv, stdout, stderr)
        job = {
            "argv": argv,
            "cwd": str(cwd or self.cwd),
            "env": {**_environment(self.lane), **(env or {})},
            "stdout": str(process.stdout),
            "stderr": str(process.stderr),
        }
        for path in (process.stdout, process.stderr):
            path.touch()
        (self._jobs / f"{number}.json").write_text(json.dumps(job))
        with self._lock:
            self._running[number] = process
        self.tell(f"start {number}")
        return process

    def run(
        self,
        command: Sequence[str] | str,
        timeout: float | None,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a command to its end, at most `timeout` seconds; gives its status and both outputs as text.

        Raises subprocess.TimeoutExpired, after killing the command, and KernelDied.
        """
        process = self.start(command, env=env, cwd=cwd, apart=True)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired as expired:
            process.signal("KILL")
            outputs = process.output(), process.stderr.read_text(errors="replace")
            raise subprocess.TimeoutExpired(expired.cmd, expired.timeout, *outputs) from None
        stderr = process.stderr.read_text(errors="replace")
        return subprocess.CompletedProcess(process.argv, status, process.output(), stderr)

    def sync(self, timeout: float = 30) -> None:
        """Writes everything the guest still holds for the machine's files. Raises KernelDied."""
        latch = Latch()
        with self._lock:
            self._awaited["synced"] = latch
        self.tell("sync")
        self._await("synced", latch, timeout)

    def pause(self) -> None:
        """Stops the kernel, and returns when it stands; its peers only see that nothing happens."""
        self._process.stop()

    def resume(self) -> None:
        """Lets a paused kernel go on."""
        self._process.go_on()

    def kill(self) -> None:
        """Ends the kernel at once, like a power cut: who waits gets KernelDied. May be called again."""
        self._process.kill()
        self._listener.join()
        self._line.close()

    def tell(self, order: str) -> None:
        """Sends one order to the agent. Raises KernelDied."""
        try:
            with self._lock:
                dead = self._dead
                if not dead:
                    self._line.sendall(f"{order}\n".encode())
        except OSError as error:
            raise self.death(f"does not listen: {error}") from error
        if dead:
            raise self.death("has ended")

    def death(self, how: str) -> KernelDied:
        """The error that says how the kernel failed its user, with the console's last lines."""
        lines = self._console.read_text(errors="replace").splitlines()[-CONSOLE_LINES:]
        return KernelDied("\n".join([f"the {self.lane} lane's kernel {how}; its console:", *lines]))

    def _await(self, word: str, latch: Latch, timeout: float) -> None:
        if not latch.wait(timeout):
            raise self.death(f"did not say {word!r} in {timeout} s")
        if self._dead:
            raise self.death("ended")

    def _listen(self) -> None:
        """Takes in what the agent says until the kernel ends: its helpers may hold the line open longer."""
        end = os.pidfd_open(self.pid)
        poll = select.poll()
        poll.register(self._line, select.POLLIN)
        poll.register(end, select.POLLIN)
        unread = b""
        more = True
        while more:
            ready = {fd for fd, _ in poll.poll()}
            if self._line.fileno() in ready:
                data = self._line.recv(4096)
                more = bool(data)
                *lines, unread = (unread + data).split(b"\n")
                for line in lines:
                    self._take(line.decode(errors="replace"))
            elif end in ready:
                more = False
        os.close(end)
        with self._lock:
            self._dead = True
            latches = [*self._awaited.values(), *(process.over for process in self._running.values())]
        for latch in latches:
            latch.set()

    def _take(self, line: str) -> None:
        word, *values = line.split() or [""]
        with self._lock:
            if word == "ended":
                process = self._running.pop(int(values[0]))
                process.returncode = int(values[1])
                process.over.set()
            elif latch := self._awaited.get(word):
                latch.set()


class Tail:
    """Copies what a guest writes to a file on to a stream, as it comes; with a prefix, line by line."""

    def __init__(self, path: Path, sink: BinaryIO, prefix: bytes = b"") -> None:
        self._path = path
        self._sink = sink
        self._prefix = prefix
        self._copied = 0

    def copy(self, *, last: bool = False) -> None:
        """Copies what is new; a line that is not whole yet waits, unless this is the last call."""
        with self._path.open("rb") as file:
            file.seek(self._copied)
            while data := file.read(1 << 20):
                if self._prefix and not last:
                    data = data[: data.rfind(b"\n") + 1]
                    if not data:
                        break
                    file.seek(self._copied + len(data))
                self._copied += len(data)
                if self._prefix:
                    data = b"".join(self._prefix + line + b"\n" for line in data.splitlines())
                self._sink.write(data)
        self._sink.flush()


def work_folder() -> Path:
    """A new folder that host and guest both see, with a path short enough for the names of sockets.

    Not where TMPDIR says: that may be below /run or /dev, where the guest has file systems of its own.
    """
    return Path(tempfile.mkdtemp(prefix="hvlane-", dir="/tmp"))


def exit_on_sigterm() -> None:
    """Makes SIGTERM unwind this process, so that it tidies up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def shell_status(returncode: int) -> int:
    """The status a shell would give: 128 plus the number of a fatal signal."""
    return returncode if returncode >= 0 else 128 - returncode


def _init_script(busybox: Path, jobs: Path, modules: Sequence[str]) -> str:
    folder = parts.find_modules()
    assert folder is not None, "located together with the kernel"
    return _INIT.format(
        busybox=shlex.quote(str(busybox)),
        tmpfs=GUEST_TMPFS,
        modules=shlex.join(str(folder / f"{name}.ko") for name in modules),
        # the interpreter itself, not a version manager's shim: starting processes is slow in there
        python=shlex.quote(sys.executable),
        agent=shlex.quote(str(Path(__file__).resolve().with_name("agent.py"))),
        jobs=shlex.quote(str(jobs)),
    )


def _environment(lane: str) -> dict[str, str]:
    names = [name for name in os.environ if name in _PASSED or name.startswith(_PASSED_PREFIXES)]
    passed = {name: os.environ[name] for name in names}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**passed, "PATH": path, "TMPDIR": GUEST_TMPFS, "LANG": "C.UTF-8", LANE_VARIABLE: lane}
