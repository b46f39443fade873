"""Facts about the machine and the tools, without names of hosts, users or folders; what else ran meanwhile."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from bench.processes import TICKS

VERSIONS = {
    "socat": ["socat", "-V"],
    "nc": ["nc", "-h"],
    "ncat": ["ncat", "--version"],
    "rsync": ["rsync", "--version"],
    "tar": ["tar", "--version"],
    "cp": ["cp", "--version"],
}
PACKAGES = {"socat": "socat", "nc": "netcat-openbsd", "ncat": "ncat", "rsync": "rsync", "tar": "tar"}


def facts(hvcopy: str) -> dict[str, Any]:
    """What a result is worthless without."""
    missing = [name for name in VERSIONS if not shutil.which(name)]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": f"{os.cpu_count()} x {_cpu_model()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {_numbers(platform.release())}",
        "python": platform.python_version(),
        "hvcopy": version([hvcopy, "--version"]),
        "peers": {name: version(argv) for name, argv in VERSIONS.items() if name not in missing},
        "not installed": ", ".join(missing) or "none",
    }


def version(argv: list[str]) -> str:
    """The first number with dots that a program says of itself."""
    try:
        said = subprocess.run(argv, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    return _numbers(said.stdout + said.stderr)


def _numbers(text: str) -> str:
    found = re.search(r"\d+(\.\d+)+(-\d+)?", text)
    return found[0] if found else "?"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


class Watch:
    """How much of the processors others took while a scenario ran; results under load are worth little."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy, self._steal = _system_cpu()
        self._own = _own_cpu()
        self._load = os.getloadavg()[0]

    def circumstances(self) -> dict[str, Any]:
        """For the result. Own time counts processes that have ended; the kernel's own threads count as others."""
        busy, steal = _system_cpu()
        total = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        others = max(0.0, (busy - self._busy) - (_own_cpu() - self._own))
        return {
            "load before": f"{self._load:.2f}",
            "CPU of others": f"{100 * others / total:.0f} %",
            "others": round(others / total, 3),
            "stolen": f"{100 * (steal - self._steal) / total:.0f} %",
        }


def _system_cpu() -> tuple[float, float]:
    """Seconds that all processors were busy, and that the hypervisor gave to others (proc(5), /proc/stat)."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq) / TICKS, steal / TICKS


def _own_cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
