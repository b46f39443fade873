"""A directory that a source becomes is noted beside it until it is whole, so that the same command goes on with it.

Without the note, what the first attempt made would be a directory for the source to go into (docs/copying.md).
"""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from hvcopy.files import system
from hvcopy.files.confined import Handle
from hvcopy.files.names import begun_name


class Begun(NamedTuple):
    """The note, *name* in *folder*, a path below the root: an empty file, of which a power cut can leave no half."""

    folder: bytes
    name: bytes

    @classmethod
    def of(cls, path: bytes, source: bytes) -> Begun:
        """Return what is noted when a directory that is called *source* begins to become *path*."""
        folder, _, name = path.rpartition(b"/")
        return cls(folder, begun_name(name, source))

    def stands(self, folder: Handle) -> bool:
        """Whether an earlier attempt left it."""
        with contextlib.suppress(OSError):
            system.stat(folder.fd, self.name)
            return True
        return False

    def leave(self, folder: Handle) -> None:
        """Make it, unless it stands there.  Raises OSError."""
        with contextlib.suppress(FileExistsError):
            os.close(system.create(folder.fd, self.name))

    def remove(self, folder: Handle) -> None:
        """Remove it, if that can be done."""
        with contextlib.suppress(OSError):
            system.remove(folder.fd, self.name)
