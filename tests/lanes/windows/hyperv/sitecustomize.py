"""Puts the stand-in for Hyper-V below Python's socket module; Windows Python runs this at its start when it is on its path.

$HVCOPY_HV_STANDIN is the DLL.
"""

from __future__ import annotations

import os
import sys


def _install(path: str) -> None:
    import _socket
    import ctypes

    system = ctypes.WinDLL("kernel32")
    system.GetModuleHandleW.restype = ctypes.c_void_p
    standin = ctypes.CDLL(path)
    standin.hv_install.argtypes = [ctypes.c_void_p]
    exchanged = standin.hv_install(system.GetModuleHandleW(_socket.__file__))
    if exchanged < 9:
        raise RuntimeError(f"the stand-in for Hyper-V found only {exchanged} of Winsock's functions in {_socket.__file__}")


if sys.platform == "win32" and os.environ.get("HVCOPY_HV_STANDIN"):
    _install(os.environ["HVCOPY_HV_STANDIN"])
