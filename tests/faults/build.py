"""Build a variant of the core into build/<variant>/hvcopy/, beside links to the Python files.

    python tests/faults/build.py faults asan
    PYTHONPATH=build/asan python -P -m pytest tests/core     (-P: not the hvcopy/ of the current folder)

Run it with the interpreter that the tests use.  Knows where the tree is; setup.py knows how to compile.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def build(variant: str) -> Path:
    """Compile *variant*; return the folder to put on PYTHONPATH.  Raises CalledProcessError."""
    tree = ROOT / "build" / variant
    shutil.rmtree(tree / "hvcopy", ignore_errors=True)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(tree)]
    command += ["--build-temp", f"build/temp-{variant}"]
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"HVCOPY_BUILD": variant})
    for source in (ROOT / "hvcopy").iterdir():
        if source.suffix not in (".so", ".pyd") and source.name != "__pycache__":
            (tree / "hvcopy" / source.name).symlink_to(source)
    return tree


def main(variants: list[str]) -> None:
    """Build each of *variants*."""
    for variant in variants:
        print(build(variant).relative_to(ROOT))


if __name__ == "__main__":
    main(sys.argv[1:] or ["faults"])
