"""Processes that cannot outlive their owner, and a wait that a signal cannot spoil."""

import contextlib
import os
import signal
import subprocess
import threading
from typing import Any

# `read` fails when the pipe's only writer, the owner, has ended without a word; then the process dies too
_WATCH = 'read -r word || kill -s KILL -- "$0"'
# looked up so that this module also imports on Windows, where the tests are to be skipped
_ENDED = getattr(os, "WEXITED", 0) | getattr(os, "WNOWAIT", 0)


class Leashed:
    """A started command that dies with this process, however that ends; by default with its process group.

    The group, because a User-Mode Linux kernel leaves its helper processes behind when only the leader is
    killed. The command is not reaped before `kill`: until then its id cannot be used again.
    """

    def __init__(self, argv: list[str], *, group: bool = True, **options: Any) -> None:
        """Starts `argv`; with `group` in a session of its own and without input.

        `options` are those of subprocess.Popen. Raises OSError if the command cannot be started.
        """
        if group:
            options |= {"stdin": subprocess.DEVNULL, "start_new_session": True}
        self._group = group
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None
        failures: list[OSError] = []
        # not in the main thread, where Ctrl-C may come between the start and the note of it
        starter = threading.Thread(target=self._start, args=(argv, options, failures))
        try:
            starter.start()
            starter.join()
            if failures:
                raise failures[0]
        except BaseException:
            starter.join()
            self.kill()
            raise
        self.pid = self._started().pid

    def alive(self) -> bool:
        """Whether the command still runs; of a group, whether its leader does."""
        return self._unreaped() and os.waitid(os.P_PID, self.pid, _ENDED | os.WNOHANG) is None

    def wait(self) -> int:
        """Waits for the command's end, ends its group; gives its status, or minus a fatal signal's number."""
        if self._unreaped():
            os.waitid(os.P_PID, self.pid, _ENDED)
            self.kill()
        return self._started().wait()

    def stop(self) -> None:
        """Stops the command and waits until it stands; no effect after its end.

        Not its group: to User-Mode Linux a stop of the processes that it traces is a fatal fault of theirs
        (arch/um/os-Linux/skas/process.c, userspace), and they do nothing for long without it.
        """
        if self.alive():
            os.kill(self.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, self.pid, _ENDED | os.WSTOPPED)

    def go_on(self) -> None:
        """Lets a stopped command go on; no effect after its end."""
        if self.alive():
            os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Ends the command, or its whole group, with SIGKILL and reaps it. May be called again."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if self._group else os.kill)(self._process.pid, signal.SIGKILL)
        watch, self._watch = self._watch, None
        if watch is not None:  # before reaping, which frees the id
            watch.communicate(b"released\n")
        if self._process is not None:
            self._process.wait()

    def _started(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None
        return self._process

    def _unreaped(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def _start(self, argv: list[str], options: dict[str, Any], failures: list[OSError]) -> None:
        try:
            self._process = subprocess.Popen(argv, **options)
            self._watch = subprocess.Popen(
                ["sh", "-c", _WATCH, f"{'-' if self._group else ''}{self._process.pid}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            failures.append(error)


class Latch:
    """Something that happens once, and may be waited for.

    In place of threading.Event, whose wait may leave its lock unowned when Ctrl-C comes, and then raises
    RuntimeError instead of KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._open = threading.Lock()
        self._open.acquire()
        self._done = False

    def done(self) -> bool:
        """Whether it has happened."""
        return self._done

    def set(self) -> None:
        """Says that it has happened; for one thread only. May be called again."""
        if not self._done:
            self._done = True
            self._open.release()

    def wait(self, timeout: float | None) -> bool:
        """Waits, at most `timeout` seconds; gives whether it has happened."""
        if not self._done and self._open.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            self._open.release()
        return self._done
