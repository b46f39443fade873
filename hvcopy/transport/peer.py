"""Allow-lists: which peer a rule means.  Pure: it opens nothing and asks nobody.

    3, vsock:3            the machine with that CID     vsock:host, vsock:local   CIDs 2 and 1
    127.0.0.1, tcp:::1    that IP address
    unix:1000             that local user
    hyperv:GUID           the VM with that id           hyperv:parent, loopback, silohost, which Windows knows by name

A CID or a VM's id names a machine, an address a network interface; none names a user.  Only a key proves who speaks.
"""

from __future__ import annotations

from collections.abc import Sequence

from hvcopy.address import CID_LOCAL, Address, VsockAddress
from hvcopy.errors import BadUsage, printable

_CIDS = {"local": 1, "host": 2}
_KNOWN_AS = {
    "vsock": "vsock:3",
    "hyperv": "hyperv:GUID",
    "hybrid": "unix:1000",
    "unix": "unix:1000",
    "tcp": "tcp:127.0.0.1",
}
_LAST_NUMBER = 0xFFFFFFFE  # of CIDs and of user ids; one more means "any" or "none"


def parse_rule(text: str) -> str:
    """The canonical form of an allow rule: that of ``Channel.identity``.  Raises BadUsage for nonsense."""
    family, colon, name = text.strip().partition(":")
    family = family.lower()
    if not colon and (family.isdecimal() or family in _CIDS):
        family, name = "vsock", family
    rule = None
    if family == "vsock":
        rule = _number(name, _CIDS, least=1)
    elif family == "unix":
        rule = _number(name, {}, least=0)
    elif family == "tcp":
        rule = _ip(name)
    elif family == "hyperv":
        rule = _vm(name)
    else:
        family, rule = "tcp", _ip(text.strip())
    if rule is None:
        raise BadUsage(
            f"--allow {printable(text)}: not a peer",
            hint="a peer is a CID (vsock:3), an IP address (tcp:127.0.0.1), a user id (unix:1000) or a VM's id"
            " (hyperv:GUID, hyperv:parent); no port, and no VM's name, which anybody may give to another",
        )
    return f"{family}:{rule}"


def example(address: Address) -> str:
    """How a peer that comes to *address* is named in a rule."""
    if isinstance(address, VsockAddress) and address.cid == CID_LOCAL:
        return "vsock:local"
    return _KNOWN_AS[address.scheme]


def rules_for(address: Address, texts: Sequence[str]) -> list[str]:
    """The rules of a listener on *address*.  Raises BadUsage for nonsense, and for a peer that can never come there."""
    known = example(address)
    rules = [parse_rule(text) for text in texts]
    for text, rule in zip(texts, rules, strict=True):
        if rule.partition(":")[0] != known.partition(":")[0]:
            raise BadUsage(
                f"--allow {printable(text)}: no such peer can reach {address}",
                hint=f"who comes there is named like this: --allow {known}",
            )
    return rules


def allowed(identity: str, rules: Sequence[str]) -> bool:
    """Whether one of *rules* means the peer *identity*.  No rule, no identity, a wrong rule: False."""
    return bool(identity) and any(_meant(identity, rule) for rule in rules)


def _meant(identity: str, rule: str) -> bool:
    try:
        return parse_rule(rule) == identity
    except BadUsage:
        return False


def _number(text: str, names: dict[str, int], *, least: int) -> str | None:
    if text.lower() in names:
        return str(names[text.lower()])
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        return None
    return str(int(text)) if least <= int(text) <= _LAST_NUMBER else None


def _vm(text: str) -> str | None:
    """A VM that is one and stays one: names change hands, WSL2's id changes at each start, the rest stand for many."""
    from hvcopy.transport.hyperv import machines

    guid = machines.BY_NAME.get(text.lower()) or machines.as_guid(text)
    if guid is None or guid == machines.BROADCAST:
        return None
    name = machines.canonical(guid)
    return None if name in machines.FOR_LISTENING else name


def _ip(text: str) -> str | None:
    import ipaddress  # 3 ms that only rules of this kind should cost

    try:
        ip = ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    return f"[{ip}]" if ip.version == 6 else str(ip)
