"""Somebody at a console of Windows, as a program there: typed.py STEPS COMMAND...

Starts COMMAND in a console of its own, with the code page of western Europe, and does STEPS, JSON: a list of [PATTERN, TEXT],
each of which waits until PATTERN is on the screen, types TEXT, and says so on its own stderr; of "\\x03" that is Ctrl-C.  The
console is where COMMAND reads and writes; what it says on stderr goes there, too.  Prints what the screen shows at the end, and
ends with COMMAND's code.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
import threading
import time
from ctypes import wintypes

CODE_PAGE = 850
KEY_EVENT = 1
ENTER = 13
WIDTH, HEIGHT = 120, 60
CTRL_C_EVENT = 0
PATIENCE = 90.0
PAUSE_MS = 20
WAIT_TIMEOUT = 0x102
PSEUDOCONSOLE = 0x20016
EXTENDED_STARTUPINFO = 0x80000


class Key(ctypes.Structure):
    """INPUT_RECORD with a KEY_EVENT_RECORD."""

    _fields_ = (
        ("kind", wintypes.WORD),
        ("down", wintypes.BOOL),
        ("repeat", wintypes.WORD),
        ("code", wintypes.WORD),
        ("scan", wintypes.WORD),
        ("char", wintypes.WORD),
        ("state", wintypes.DWORD),
    )


class Startup(ctypes.Structure):
    """STARTUPINFOEXW."""

    _fields_ = (("size", wintypes.DWORD), ("unused", ctypes.c_byte * 100), ("attributes", ctypes.c_void_p))


class Started(ctypes.Structure):
    """PROCESS_INFORMATION."""

    _fields_ = (("process", wintypes.HANDLE), ("thread", wintypes.HANDLE), ("pid", wintypes.DWORD), ("tid", wintypes.DWORD))


class Console:
    """A console of this process, which it makes: a pseudo console, for the one of AllocConsole Wine draws on a display.

    One is in a pseudo console that was started there: here a process that waits, until this one has joined it.
    """

    def __init__(self) -> None:
        self._system = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined, unused-ignore]
        self._system.FreeConsole()  # Wine gives a program without a terminal one that carries no events
        self._join(self._holder())
        self._system.SetConsoleCtrlHandler(None, False)  # a process inherits that Ctrl-C is ignored
        assert self._system.SetConsoleCP(CODE_PAGE)
        assert self._system.SetConsoleOutputCP(CODE_PAGE)
        self.reads = os.open("CONIN$", os.O_RDWR | os.O_BINARY)  # type: ignore[attr-defined, unused-ignore]
        self.writes = os.open("CONOUT$", os.O_RDWR | os.O_BINARY)  # type: ignore[attr-defined, unused-ignore]

    def _holder(self) -> Started:
        """Make a pseudo console and start a process in it."""
        keys, _ = os.pipe()
        shown, draws = os.pipe()
        threading.Thread(target=_throw_away, args=[shown], daemon=True).start()
        console = self._made = wintypes.HANDLE()
        size = wintypes.DWORD(WIDTH | HEIGHT << 16)
        made = self._system.CreatePseudoConsole(size, _handle(keys), _handle(draws), 0, ctypes.byref(console))
        assert made == 0, f"CreatePseudoConsole: {made:#x}"
        room = ctypes.c_size_t()
        self._system.InitializeProcThreadAttributeList(None, 1, 0, ctypes.byref(room))
        attributes = ctypes.create_string_buffer(room.value)
        assert self._system.InitializeProcThreadAttributeList(attributes, 1, 0, ctypes.byref(room))
        which, bytes_ = ctypes.c_size_t(PSEUDOCONSOLE), ctypes.c_size_t(ctypes.sizeof(console))
        assert self._system.UpdateProcThreadAttribute(attributes, 0, which, console, bytes_, None, None)
        startup = Startup(ctypes.sizeof(Startup), attributes=ctypes.addressof(attributes))
        waits = [sys.executable, "-c", "import threading; threading.Event().wait()"]
        command = ctypes.create_unicode_buffer(subprocess.list2cmdline(waits))
        started = Started()
        ends = ctypes.byref(startup), ctypes.byref(started)
        assert self._system.CreateProcessW(None, command, None, None, False, EXTENDED_STARTUPINFO, None, None, *ends)
        return started

    def close(self) -> None:
        """End it: what draws it has this process's outputs, and would keep them open."""
        self._system.FreeConsole()
        self._system.ClosePseudoConsole(self._made)

    def _join(self, holder: Started) -> None:
        """Be in the console of *holder*, which then has done what it is for."""
        process, ends = wintypes.HANDLE(holder.process), time.monotonic() + PATIENCE
        while not self._system.AttachConsole(holder.pid):  # it may not be there yet
            assert self._system.WaitForSingleObject(process, PAUSE_MS) == WAIT_TIMEOUT, "the console's first process has ended"
            assert time.monotonic() < ends, "no console to join"
        assert self._system.TerminateProcess(process, 0)

    def shown(self) -> str:
        """What the screen has, without the spaces at the ends of lines and the empty lines at its end."""
        count = wintypes.DWORD()
        lines = []
        for row in range(HEIGHT):
            line = ctypes.create_unicode_buffer(WIDTH + 1)
            self._system.ReadConsoleOutputCharacterW(_handle(self.writes), line, WIDTH, row << 16, ctypes.byref(count))
            lines.append(line[: count.value].rstrip())
        return "\n".join(lines).rstrip()

    def type(self, text: str) -> None:
        """Press the keys of *text*; a line feed is Enter."""
        if text == "\x03":
            self._system.SetConsoleCtrlHandler(None, True)  # this one goes on
            assert self._system.GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0)
            return
        units = memoryview(text.replace("\n", "\r").encode("utf-16-le")).cast("H")
        pressed = [Key(KEY_EVENT, down, 1, unit if unit == ENTER else 0, 0, unit, 0) for unit in units for down in (1, 0)]
        if not pressed:
            return
        keys = (Key * len(pressed))(*pressed)
        count = wintypes.DWORD()
        assert self._system.WriteConsoleInputW(_handle(self.reads), keys, len(keys), ctypes.byref(count))


def _handle(fd: int) -> wintypes.HANDLE:
    import msvcrt

    return wintypes.HANDLE(msvcrt.get_osfhandle(fd))  # type: ignore[attr-defined, unused-ignore]


def _throw_away(fd: int) -> None:
    while os.read(fd, 1 << 16):
        pass


def _ended(started: subprocess.Popen[bytes]) -> bool:
    """Whether it ends before the next look at the screen, of whose changes Windows tells nobody."""
    try:
        started.wait(PAUSE_MS / 1000)
    except subprocess.TimeoutExpired:
        return False
    return True


def main() -> int:
    """Start, type, wait, show."""
    steps, command = json.loads(sys.argv[1]), sys.argv[2:]
    console, ends = Console(), time.monotonic() + PATIENCE
    started = subprocess.Popen(command, stdin=console.reads, stdout=console.writes, stderr=console.writes)
    try:
        for pattern, text in steps:
            while not re.search(pattern, console.shown()) and time.monotonic() < ends and not _ended(started):
                pass
            console.type(text)
            print(f"typed {text!a}", file=sys.stderr, flush=True)
        started.wait(max(0.0, ends - time.monotonic()))
    except subprocess.TimeoutExpired:
        print("typed.py: it still runs", file=sys.stderr, flush=True)
    finally:
        started.kill()  # the test could not
    sys.stdout.buffer.write(console.shown().encode("utf-8", "surrogatepass"))
    sys.stdout.flush()
    console.close()
    return started.wait()


if __name__ == "__main__":
    os._exit(main())  # the thread that reads would be waited for
