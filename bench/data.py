"""What is copied: reproducible files and trees, their sizes, and the comparison of a copy with its source."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sysconfig
from pathlib import Path

from bench.processes import Failed

MIB = 1 << 20


def make_file(path: Path, size: int) -> None:
    """Write `size` bytes that no tool can compress or skip; each MiB differs from the others."""
    base = random.Random(18518).randbytes(MIB)
    with path.open("wb", buffering=0) as file:
        for number in range(-(-size // MIB)):
            block = number.to_bytes(8, "little") + base[8:]
            file.write(block[: size - number * MIB])


def make_many(folder: Path, count: int, smallest: int, largest: int) -> None:
    """Write `count` files of `smallest` to `largest` bytes in folders of 500."""
    chance = random.Random(18518)
    base = chance.randbytes(2 * largest)
    for number in range(count):
        directory = folder / f"d{number // 500:04d}"
        if number % 500 == 0:
            directory.mkdir(parents=True)
        start = chance.randrange(largest)
        size = chance.randint(smallest, largest)
        descriptor = os.open(directory / f"file-{number:06d}.dat", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(descriptor, base[start : start + size])
        os.close(descriptor)


def copy_stdlib(folder: Path) -> None:
    """Copy this interpreter's standard library: regular files and folders only, without installed packages."""
    source = sysconfig.get_paths()["stdlib"]

    def skipped(where: str, names: list[str]) -> set[str]:
        return {name for name in names if name == "site-packages" or os.path.islink(os.path.join(where, name))}

    shutil.copytree(source, folder, ignore=skipped)


def extent(path: Path) -> tuple[int, int]:
    """Files and bytes in a file or tree."""
    if not path.is_dir():
        return 1, path.stat().st_size
    files = size = 0
    pending = [str(path)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    files += 1
                    size += entry.stat(follow_symlinks=False).st_size
    return files, size


def remove(path: Path) -> None:
    """Remove a file or tree if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_extent(source: Path, copy: Path) -> None:
    """Raise Failed unless the copy has as many files and bytes as its source."""
    wanted, found = extent(source), extent(copy) if copy.exists() else (0, 0)
    if wanted != found:
        raise Failed(f"{copy.name}: {found[0]} files, {found[1]} bytes, but {wanted[0]} and {wanted[1]} were sent")


def check_same(source: Path, copy: Path) -> None:
    """Raise Failed unless every byte agrees (cmp, diff)."""
    tool = ["diff", "-rq"] if source.is_dir() else ["cmp"]
    if subprocess.run([*tool, str(source), str(copy)], stdout=subprocess.DEVNULL).returncode:
        raise Failed(f"{copy.name} differs from its source")


def preread(path: Path) -> None:
    """Bring a file or tree into the page cache."""
    paths = [path] if path.is_file() else [entry for entry in path.rglob("*") if entry.is_file()]
    for entry in paths:
        with entry.open("rb", buffering=0) as file:
            while file.read(MIB):
                pass
