"""Build the one native module, hvcopy._core, from _core/.  All other metadata is in pyproject.toml.

HVCOPY_BUILD chooses the variant, one a process:

    release   the default; one abi3 module for every CPython >= 3.11
    faults    the same sources against tests/faults/hv_sys.h, which lets each system call fail by plan
    asan      release with the address and undefined-behaviour sanitizers

HVCOPY_WERROR=1 makes every warning of the C compiler an error.

A variant never lands in hvcopy/: tests/faults/build.py builds it into build/<variant>/ beside links to the
Python files, and a test run picks it by PYTHONPATH=build/<variant>.  Product code knows of no variant.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

VARIANT = os.environ.get("HVCOPY_BUILD", "release")
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
SOURCES = ["_core/core.pyx", "_core/pack/read_pack.c", "_core/pack/write_pack.c", "_core/pack/end_directories.c"]
INCLUDED = sorted(str(path) for end in ("pxd", "pxi", "h") for path in Path("_core").rglob(f"*.{end}"))


def core(system: str = sys.platform) -> Extension:
    """Return the extension of the chosen variant; the Windows lane, which cross-compiles it, asks for "win32"."""
    if VARIANT not in ("release", "faults", "asan"):
        sys.exit(f"HVCOPY_BUILD={VARIANT}: must be release, faults or asan")
    faults = VARIANT == "faults"
    compile_args = [] if system == "win32" else ["-Wall", "-Wextra", "-fvisibility=hidden"]
    if os.environ.get("HVCOPY_WERROR") == "1":
        compile_args.append("-Werror")
    if VARIANT == "asan":
        compile_args += ["-O1", "-g", "-fno-omit-frame-pointer", *SANITIZE]
    return Extension(
        "hvcopy._core",
        [*SOURCES, "tests/faults/plan.c"] if faults else SOURCES,
        include_dirs=["_core", "_core/pack", "tests/faults" if faults else "_core/sys"],
        depends=[*INCLUDED, *(["tests/faults/hv_sys.h", "tests/faults/plan.h"] if faults else [])],
        define_macros=[("Py_LIMITED_API", "0x030B0000")],
        py_limited_api=True,
        libraries=["ws2_32", "ntdll"] if system == "win32" else [],
        extra_compile_args=compile_args,
        extra_link_args=SANITIZE if VARIANT == "asan" else [],
    )


if __name__ == "__main__":
    setup(
        ext_modules=cythonize([core()], include_path=["_core"], build_dir=f"build/cython-{VARIANT}"),
        options={"bdist_wheel": {"py_limited_api": "cp311"}, "build": {"build_temp": f"build/temp-{VARIANT}"}},
    )
