"""The ways that need no kernel module: unix sockets, TCP on this machine, a VMM's socket."""

from __future__ import annotations

import errno
import socket
import sys

from hvcopy.doctor.finding import FAIL, OK, UNKNOWN, Finding, not_applicable

NOT_ALLOWED, LOCAL = 9, 10  # errors.NotAllowed, LocalFailure


def no_unix_sockets() -> list[Finding]:
    """Return what is to be said of unix sockets on Windows, whose Python has none."""
    return [not_applicable(name, "Python on Windows has no unix sockets") for name in ("unix.socket", "hybrid")]


def unix() -> Finding:
    """Return whether a unix socket can be opened."""
    if sys.platform == "win32":
        return no_unix_sockets()[0]
    else:
        try:
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close()
        except OSError as error:
            fix = "allow AF_UNIX in the filter of system calls that this process runs under"
            words = f"unix sockets cannot be opened ({error.strerror})"
            return Finding("unix.socket", FAIL, words, "", fix, NOT_ALLOWED)
        return Finding("unix.socket", OK, "unix sockets can be opened: unix:/path")


def tcp() -> Finding:
    """Return whether the loopback interface takes a listener."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.bind(("127.0.0.1", 0))
    except OSError as error:
        down = error.errno in (errno.EADDRNOTAVAIL, errno.ENETDOWN)
        fix = (
            "sudo ip link set lo up"
            if down
            else "allow AF_INET in the filter of system calls that this process runs under"
        )
        what = f"127.0.0.1 cannot be listened on ({error.strerror})"
        return Finding("tcp.loopback", FAIL, what, "tcp:127.0.0.1:PORT needs it", fix, LOCAL if down else NOT_ALLOWED)
    return Finding("tcp.loopback", OK, "127.0.0.1 can be listened on: tcp:127.0.0.1:PORT")


def hybrid() -> Finding:
    """Return what can be said of VMMs' sockets without the path of one."""
    what = "guests of Firecracker and Cloud Hypervisor need nothing of this kernel, only their VMM's socket"
    return Finding("hybrid", UNKNOWN, what, "", "hvcopy doctor hybrid:/path/v.sock:PORT tries one")
