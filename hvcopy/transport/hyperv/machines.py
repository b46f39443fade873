"""The VM ids of Hyper-V: which are well known, what each may be used for, and when two are the same.  Pure.

Ids are compared as UUIDs and never as text: CPython returns them in lower case while socket.HV_GUID_* are in upper.
"""

from __future__ import annotations

import re
import uuid

from hvcopy.address import BROADCAST_GUID, VM_NAMES, HypervAddress, parse_guid
from hvcopy.errors import BadUsage

BY_NAME = {name: uuid.UUID(guid) for guid, name in VM_NAMES.items()}
BROADCAST = uuid.UUID(BROADCAST_GUID)
FOR_LISTENING = frozenset({"any", "children"})
"""They stand for many, so nobody connects to them."""

_NAMES = {guid: name for name, guid in BY_NAME.items()}


def as_guid(text: str) -> uuid.UUID | None:
    """The GUID that *text* is, in any case and with or without braces; None when it is none."""
    try:
        return uuid.UUID(parse_guid(text))
    except BadUsage:
        return None


def looks_like_guid(text: str) -> bool:
    """Whether somebody may have meant a GUID by *text*, which is none: hexadecimal groups, dashes, perhaps braces."""
    return re.fullmatch(r"\{?[0-9A-Fa-f]{2,}(-[0-9A-Fa-f]*)+\}?", text) is not None


def canonical(guid: uuid.UUID | str) -> str:
    """How hvcopy writes a VM's id: its well-known name, else its GUID in lower case."""
    guid = guid if isinstance(guid, uuid.UUID) else uuid.UUID(guid)
    return _NAMES.get(guid, str(guid))


def identity(guid: uuid.UUID | str) -> str:
    """What an allow-list compares: ``hyperv:`` and the VM."""
    return f"hyperv:{canonical(guid)}"


def peer(guid: str, service: str) -> str:
    """How messages name the other end of an accepted connection, from what accept() returned."""
    return str(HypervAddress(canonical(guid), service))
