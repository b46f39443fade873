"""Ctrl-C as a console of Windows has it, as a program there: press.py PATTERN COMMAND...

Starts COMMAND in a console of its own, presses Ctrl-C in it once COMMAND has said PATTERN on stderr, and ends with its code;
what it says is passed on.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys

CTRL_C_EVENT = 0


def main() -> int:
    """Start, press, wait."""
    pattern, command = sys.argv[1], sys.argv[2:]
    system = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined, unused-ignore]
    system.FreeConsole()  # Wine gives a program without a terminal one that carries no events
    assert system.AllocConsole()
    system.SetConsoleCtrlHandler(None, False)  # a process inherits that Ctrl-C is ignored, and COMMAND must not
    with subprocess.Popen(command, stderr=subprocess.PIPE) as started:
        assert started.stderr
        pressed = False
        for line in iter(started.stderr.readline, b""):
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
            if not pressed and re.search(pattern, line.decode()):
                pressed = True
                system.SetConsoleCtrlHandler(None, True)  # this one goes on
                assert system.GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0)
    return started.returncode


if __name__ == "__main__":
    sys.exit(main())
