"""A sweep as a picture.

By matplotlib, an extra: it draws svg and png alike, and who plots has it; pure libraries draw svg alone.
"""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Sequence

from hvcopy.errors import BadUsage, LocalFailure, printable
from hvcopy.files.output import OutputFile, is_replaceable
from hvcopy.measuring.advice import Point, short
from hvcopy.units import format_size
from hvcopy.wire.frames import MIB

SUFFIXES = (".svg", ".png")


def check(path: str) -> None:
    """Raise BadUsage or LocalFailure when a picture could not be made of it: before a sweep, not after it."""
    if os.path.splitext(path)[1].lower() not in SUFFIXES:
        raise BadUsage(f"--plot {printable(path)}: the name ends in neither .svg nor .png", hint="--plot sweep.svg")
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise LocalFailure(f"{printable(path)}: there is no such folder", hint="make it first, or name another")
    if os.path.isdir(path):
        raise LocalFailure(f"{printable(path)}: it is a folder", hint="name a file in it, or another")
    if is_replaceable(path):
        OutputFile(path, sync=False).close()
    if importlib.util.find_spec("matplotlib") is None:
        raise BadUsage("--plot needs matplotlib, which is not installed", hint="pip install 'hvcopy[plot]'")


def draw(points: Sequence[Point], path: str, *, title: str) -> None:
    """Write the picture: rates over message sizes, a line for each buffer, marks for more connections.  Raises LocalFailure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    lines: dict[int, list[Point]] = {}
    for one in points:
        if one.lanes == 1:
            lines.setdefault(one.buffer, []).append(one)
        else:
            axes.plot([one.length], [one.rate / MIB], "k^")
            axes.annotate(f" {one.lanes} connections", (one.length, one.rate / MIB))
    for buffer, found in lines.items():
        found.sort(key=lambda one: one.length)
        label = f"buffer {short(buffer) if buffer else 'default'}, window {format_size(found[0].window)}"
        axes.plot([one.length for one in found], [one.rate / MIB for one in found], marker="o", label=label)
    lengths = sorted({one.length for one in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [format_size(length) for length in lengths])
    axes.set_ylim(bottom=0)
    axes.set(xlabel="size of a message", ylabel="MiB/s", title=title)
    axes.legend()
    axes.grid(alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, format=os.path.splitext(path)[1][1:].lower())
    try:
        _write(picture.getvalue(), path)
    except LocalFailure as failure:
        raise LocalFailure(failure.message, hint="the figures above are complete") from None
    except OSError as error:
        raise LocalFailure(f"{printable(path)}: {error.strerror}", hint="the figures above are complete") from None


def _write(picture: bytes, path: str) -> None:
    """Give *picture* the name *path* when it is whole: until then what stood there stays."""
    if not is_replaceable(path):
        with open(path, "wb") as device:
            device.write(picture)
        return
    file = OutputFile(path, sync=False)
    try:
        file.write(picture)
        file.finish()
    finally:
        file.close()
