"""Runs a command in a process for which the kernel refuses AF_VSOCK, as container managers have it, or ends it for trying.

usage: without_vsock.py ERRNO|kill [-c] COMMAND [ARG...]

What is refused: socket(AF_VSOCK, ...), and the ioctl that asks /dev/vsock for the local CID.  With -c root has no more
rights to files and ports than any user: the interpreter of the tests may stand where other users may not go.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

AF_VSOCK, GET_LOCAL_CID = 40, 0x7B9
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER, PR_CAPBSET_DROP = 38, 22, 2, 24  # prctl(2)
RIGHTS = (1, 2, 10)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_NET_BIND_SERVICE: capabilities(7)
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000  # linux/seccomp.h
LOAD, IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h: LD|W|ABS, JMP|JEQ|K, RET|K
NUMBER, ARGUMENT_0, ARGUMENT_1 = 0, 16, 24  # struct seccomp_data; the low halves on little-endian machines
CALLS = {"x86_64": (41, 16), "aarch64": (198, 29)}  # socket, ioctl
SUPPORTED = sys.platform == "linux" and platform.machine() in CALLS


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def prctl(*arguments: object) -> None:
    """Call prctl(2).  Raises OSError."""
    if ctypes.CDLL(None, use_errno=True).prctl(*arguments):
        raise OSError(ctypes.get_errno(), "prctl")


def confine(action: int) -> None:
    """Install the filter in this process, for good."""
    socket, ioctl = CALLS[platform.machine()]
    steps = [
        (LOAD, 0, 0, NUMBER),
        (IF_EQUAL, 1, 0, socket),
        (IF_EQUAL, 2, 5, ioctl),
        (LOAD, 0, 0, ARGUMENT_0),
        (IF_EQUAL, 2, 3, AF_VSOCK),
        (LOAD, 0, 0, ARGUMENT_1),
        (IF_EQUAL, 0, 1, GET_LOCAL_CID),
        (RETURN, 0, 0, action),
        (RETURN, 0, 0, ALLOW),
    ]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    program = Program(len(steps), code)
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    prctl(PR_SET_SECCOMP, FILTER, ctypes.byref(program), 0, 0)
    with open("/proc/self/status") as status:
        assert "Seccomp:\t2\n" in status.read()


def main() -> None:
    how, *command = sys.argv[1:]
    confine(KILL if how == "kill" else REFUSE | int(how))
    if command[0] == "-c":
        command = command[1:]
        for capability in RIGHTS:
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
