"""The step that looks at a socket's file: is it there, is it a socket, may this user connect to it."""

from __future__ import annotations

import os
import stat

from hvcopy.address import HybridAddress, UnixAddress
from hvcopy.doctor.trail import SOCKET_FILE, Trail
from hvcopy.errors import HvcopyError, LocalFailure, NobodyListens, NotAllowed, printable
from hvcopy.transport.failures import Server, start_there


def fits(trail: Trail, address: UnixAddress | HybridAddress) -> bool:
    """Look at the file, and say whether it may be connected to."""
    path, shown = address.path, printable(address.path)
    try:
        found = os.stat(path)
    except OSError as error:
        trail.fail(SOCKET_FILE, _unseen(address, error))
        return False
    if not stat.S_ISSOCK(found.st_mode):
        hint = "give the path of the socket; this file was left as it is"
        trail.fail(SOCKET_FILE, LocalFailure(f"{shown} is not a socket", hint=hint))
        return False
    if not os.access(path, os.W_OK):
        owner = found.st_uid
        hint = f"it belongs to user {owner}: run hvcopy as that user (sudo -u '#{owner}' hvcopy ...)"
        trail.fail(SOCKET_FILE, NotAllowed(f"{shown} may not be connected to by you", hint=hint))
        return False
    trail.well(SOCKET_FILE, f"{shown} is a socket that you may connect to")
    return True


def _unseen(address: UnixAddress | HybridAddress, error: OSError) -> HvcopyError:
    shown = printable(address.path)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if isinstance(address, UnixAddress):
            return NobodyListens(f"{shown} does not exist: nobody listens there", hint=start_there(Server(str(address))))
        hint = "start the VM with a vsock device there (Firecracker: uds_path; Cloud Hypervisor: socket=)"
        return NobodyListens(f"{shown} does not exist: no VMM has made its vsock socket there", hint=hint)
    if isinstance(error, PermissionError):
        folder = printable(os.path.dirname(os.path.abspath(address.path)))
        return NotAllowed(f"a folder above {shown} is closed to you", hint=f"see who may enter: namei -l {folder}")
    return LocalFailure(f"{shown} cannot be looked at: {error.strerror}")
