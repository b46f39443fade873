"""libvirt's domains: from virsh, or where that is missing from the files that libvirt keeps them in."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from hvcopy.errors import HvcopyError, LocalFailure, NotAllowed, printable
from hvcopy.machines import machine
from hvcopy.machines.machine import Machine
from hvcopy.machines.processes import is_root
from hvcopy.machines.programs import Answer, ask

KIND = "libvirt"
FOLDERS = ("/run/libvirt/qemu", "/etc/libvirt/qemu")
"""Where the states of those that run and the definitions of all are."""
MOST = 1000
LARGEST_FILE = 1 << 20
_SYSTEM = "qemu:///system"
_ENGLISH = {"LC_ALL": "C", "LANGUAGE": "C"}
_STATES = {  # libvirt-domain.h, virDomainState
    1: machine.RUNNING, 2: machine.RUNNING, 3: machine.PAUSED, 4: machine.STOPPING, 5: machine.OFF, 6: "crashed", 7: "suspended",
}  # fmt: skip
_ABSENT = r"No such file or directory|Connection refused|no connection driver|[Cc]annot find|could not find"
_SEE = "see what it says: virsh -c qemu:///system list --all"
_GONE = r"[Dd]omain not found|no domain with"
_FORBIDDEN = r"[Pp]ermission denied|authentication|[Aa]ccess denied|authoriz|polkit"
NO_DEVICE = (
    "it has no vsock device: virsh edit NAME, and add <vsock model='virtio'><cid auto='yes'/></vsock> to its devices"
)
_NO_CID = "its CID is chosen when it starts: virsh start NAME"


def find(seconds: float, folders: tuple[str, ...] = FOLDERS) -> list[Machine]:
    """Return all domains; none where libvirt is not installed or does not run.  Raises NotAllowed, TimedOut, LocalFailure."""
    program = shutil.which("virsh")
    return _from_virsh(program, seconds) if program else _from_files(folders)


def _from_virsh(program: str, seconds: float) -> list[Machine]:
    chosen = os.environ.get("LIBVIRT_DEFAULT_URI", "")
    uri = chosen if ":///" in chosen else _SYSTEM  # the VMs of another machine are not to be reached from here
    virsh = [program, "--readonly", "--quiet", "--connect", uri]
    stats = ask([*virsh, "domstats", "--state"], seconds, env=_ENGLISH)
    if stats.code:
        if uri != chosen and re.search(_ABSENT, stats.err.decode("utf-8", "replace")):
            return []
        raise _explain(stats)
    states = dict(read_states(stats.out.decode("utf-8", "surrogateescape")))
    if not states:
        return []
    listed = ask([*virsh, "list", "--all", "--uuid"], seconds, env=_ENGLISH)
    if listed.code:
        raise _explain(listed)
    found: list[Machine] = []
    for uuid in read_uuids(listed.out.decode("utf-8", "replace"))[:MOST]:
        told = ask([*virsh, "dumpxml", f"--domain={uuid}"], seconds, env=_ENGLISH)  # a name could be another's id or UUID
        if told.code and re.search(_GONE, told.err.decode("utf-8", "replace")):
            continue
        if told.code:
            named = ask([*virsh, "domname", f"--domain={uuid}"], seconds, env=_ENGLISH)
            one = _untold(uuid, named.out.decode("utf-8", "surrogateescape").strip(), told)
        else:
            one = _described(uuid, told)
        one.state = states.get(one.name, "unknown")
        found.append(one)
    return found


def _described(uuid: str, told: Answer) -> Machine:
    one = read_domain(told.out)
    if one is None:
        raise LocalFailure(
            f"virsh's answer about {uuid} makes no sense", hint=f"see what it says: virsh dumpxml {uuid}"
        )
    return one


def _untold(uuid: str, name: str, told: Answer) -> Machine:
    more = "" if is_root() else "; sudo hvcopy vms may be told more"
    note = f"virsh does not describe it: {told.last_words.removeprefix('error: ')}{more}"
    return Machine(KIND, name or uuid, "unknown", id=uuid.lower(), note=note)


def read_states(text: str) -> list[tuple[str, str]]:
    """Return name and state of each domain in what ``virsh domstats --state`` printed.  Raises LocalFailure."""
    found = re.findall(r"^Domain: '(.*)'\n(?:  .*\n)*?  state\.state=([0-9]{1,3})$", text, re.MULTILINE)
    if not found and text.strip():
        raise LocalFailure(
            f"virsh's answer makes no sense: {printable(text[:200])}", hint="see what it says: virsh domstats --state"
        )
    return [(name, _STATES.get(int(number), "unknown")) for name, number in found]


def read_uuids(text: str) -> list[str]:
    """Return the UUIDs that ``virsh list --all --uuid`` printed.  Raises LocalFailure."""
    found = text.split()
    if not all(re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", one) for one in found):
        raise LocalFailure(
            f"virsh's answer makes no sense: {printable(text[:200])}", hint="see what it says: virsh list --all --uuid"
        )
    return found


def _explain(answer: Answer) -> HvcopyError:
    words = answer.last_words.removeprefix("error: ")
    if re.search(_FORBIDDEN, answer.err.decode("utf-8", "replace")):
        hint = _SEE if is_root() else "sudo hvcopy vms, or join the group: sudo usermod -aG libvirt $USER"
        return NotAllowed(f"you may not ask libvirt for its VMs: {words}", hint=hint)
    return LocalFailure(f"libvirt did not tell its VMs: {words}", hint=_SEE)


def _from_files(folders: tuple[str, ...]) -> list[Machine]:
    """Those that run come first, and stand for themselves among the definitions."""
    found: dict[str, Machine] = {}
    for folder in folders:
        try:
            for one in filter(None, map(read_domain, _contents(folder))):
                found.setdefault(one.id or one.name, one)
        except PermissionError:
            raise NotAllowed(
                f"you may not read {folder}, where libvirt keeps its VMs",
                hint="install virsh" if is_root() else "sudo hvcopy vms, or install virsh",
            ) from None
    return list(found.values())


def _contents(folder: str) -> Iterator[bytes]:
    """Yield what is in the folder's XML files.  Raises PermissionError; what is missing or no file is passed over."""
    names: list[str] = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = sorted(name for name in os.listdir(folder) if name.endswith(".xml"))
    for name in names[:MOST]:
        try:
            with open(os.path.join(folder, name), "rb") as file:
                yield file.read(LARGEST_FILE)
        except PermissionError:
            raise
        except OSError:
            continue


def read_domain(raw: bytes) -> Machine | None:
    """Return the VM that an XML description tells of, with its state where a running one's does; None for anything else."""
    if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:  # libvirt writes none, and entities can be bombs
        return None
    try:
        root = ElementTree.fromstring(raw)
    except (ElementTree.ParseError, ValueError, RecursionError):
        return None
    domain = root if root.tag == "domain" else root.find("domain")
    name = domain.findtext("name") if domain is not None else None
    if domain is None or not name:
        return None
    state = root.get("state", machine.OFF) if root.tag == "domstatus" else machine.OFF
    found = Machine(KIND, name, state, id=(domain.findtext("uuid") or "").strip().lower())
    _set_address(found, domain.find("devices/vsock"))
    return found


def _set_address(found: Machine, device: Element | None) -> None:
    if device is None:
        found.note = NO_DEVICE.replace("NAME", _word(found.name))
        return
    cid = device.find("cid")
    number = machine.number(cid.get("address", "")) if cid is not None else -1
    found.address = machine.vsock(number)
    if not found.address:
        found.note = _NO_CID.replace("NAME", _word(found.name))


def _word(name: str) -> str:
    return shlex.quote(printable(name))
