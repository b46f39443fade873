"""Puts the stand-in for Hyper-V below Python's socket module; Windows Python runs this at its start when it is on its path.

$HVCOPY_HV_STANDIN is the DLL.  With $HVCOPY_HV_BREAKS it is put below hvcopy's core too, with $HVCOPY_HV_RIGHTS below the
registry, with $HVCOPY_HV_HOLES below files.
"""

from __future__ import annotations

import os
import sys


def _install(path: str) -> None:
    import _socket
    import ctypes

    system, standin = ctypes.WinDLL("kernel32"), ctypes.CDLL(path)
    system.GetModuleHandleW.restype = ctypes.c_void_p

    def replace(functions: str, module: str, count: int) -> None:
        install = standin[functions]
        install.argtypes = [ctypes.c_void_p]
        exchanged = install(system.GetModuleHandleW(module))
        if exchanged < count:
            raise RuntimeError(f"the stand-in for Hyper-V exchanged only {exchanged} functions of {module}")

    replace("hv_install", _socket.__file__, 9)
    python = f"python{sys.version_info.major}{sys.version_info.minor}.dll"
    if os.environ.get("HVCOPY_HV_BREAKS"):
        from hvcopy import _core

        replace("hv_install_breaks", _core.__file__, 4)
    if os.environ.get("HVCOPY_HV_RIGHTS"):
        replace("hv_install_rights", python, 2)
    if os.environ.get("HVCOPY_HV_HOLES"):
        from hvcopy import _core

        replace("hv_install_holes", _core.__file__, 1)
        replace("hv_install_holes", python, 1)


if sys.platform == "win32" and os.environ.get("HVCOPY_HV_STANDIN"):
    _install(os.environ["HVCOPY_HV_STANDIN"])
