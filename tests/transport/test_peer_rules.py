"""Allow rules: what each spelling means, and that doubt means no."""

from __future__ import annotations

import pytest

from hvcopy.address import parse_address
from hvcopy.errors import BadUsage
from hvcopy.transport.peer import allowed, example, parse_rule, rules_for

VM = "12345678-9abc-def0-1234-56789abcdef0"


def test_the_example_for_a_listener_of_this_machine_alone_is_this_machine() -> None:
    assert example(parse_address("vsock:local:5")) == "vsock:local"
    assert example(parse_address("vsock:any:5")) == "vsock:3"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("3", "vsock:3"),
        ("vsock:3", "vsock:3"),
        ("VSOCK:003", "vsock:3"),
        ("host", "vsock:2"),
        ("vsock:local", "vsock:1"),
        ("tcp:127.0.0.1", "tcp:127.0.0.1"),
        ("127.0.0.1", "tcp:127.0.0.1"),
        ("::1", "tcp:[::1]"),
        ("tcp:[::1]", "tcp:[::1]"),
        ("tcp:0:0:0:0:0:0:0:1", "tcp:[::1]"),
        ("unix:0", "unix:0"),
        (" unix:1000 ", "unix:1000"),
        (f"hyperv:{VM}", f"hyperv:{VM}"),
        (f"HyperV:{{{VM.upper()}}}", f"hyperv:{VM}"),
        ("hyperv:Parent", "hyperv:parent"),
        ("hyperv:A42E7CDA-d03f-480c-9cc2-a4de20abb878", "hyperv:parent"),
        ("hyperv:loopback", "hyperv:loopback"),
        ("hyperv:silohost", "hyperv:silohost"),
    ],
)
def test_rule_has_one_canonical_form(text: str, canonical: str) -> None:
    assert parse_rule(text) == canonical
    assert parse_rule(canonical) == canonical
    assert allowed(canonical, ["9", text])


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ":",
            "vsock:",
            "vsock:0",
            "vsock:any",
            "vsock:-1",
            "vsock:3:18518",
            "vsock:4294967295",
            "vsock:99999999999",
        ),
        *("tcp:", "tcp:localhost", "tcp:10.0.0.0/8", "127.0.0.1:80", "tcp:300.1.1.1", "unix:", "unix:root"),
        *(
            "hyperv:",
            "hyperv:any",
            "hyperv:children",
            "hyperv:wsl",
            "hyperv:My VM",
            f"hyperv:{VM}:18518",
            f"hyperv:{VM[:-1]}",
            "hyperv:00000000-0000-0000-0000-000000000000",
            "hyperv:FFFFFFFF-ffff-ffff-ffff-ffffffffffff",
            VM,
        ),
        *(
            "unix:-1",
            "hybrid:/x",
            "any",
            "*",
            "vsock:*",
            "٣",
            "vsock:٣",
            "1_0",
            "vsock:1_0",
            "3 4",
            "\x1b[31m",
        ),
    ],
)
def test_nonsense_is_refused_and_allows_nobody(text: str) -> None:
    with pytest.raises(BadUsage) as caught:
        parse_rule(text)
    assert caught.value.message.isprintable()
    for identity in ("vsock:3", "vsock:1", "tcp:127.0.0.1", "unix:0", f"hyperv:{VM}", "hyperv:parent", text):
        assert not allowed(identity, [text])


@pytest.mark.parametrize("identity", ["", "vsock:1", "vsock:33", "hyperv:3", "tcp:3", "unix:3", "vsock:3 ", "vsock:03", "3"])
def test_peer_not_named_is_not_allowed(identity: str) -> None:
    assert not allowed(identity, ["vsock:3"])


def test_no_rules_allow_nobody() -> None:
    assert not allowed("vsock:3", [])
    assert not allowed("", [])


@pytest.mark.parametrize(
    ("address", "rules"),
    [
        ("vsock:any:5", ["vsock:host", "4"]),
        ("hyperv:children:5", [f"hyperv:{VM}"]),
        ("hybrid:/s:5", ["unix:0"]),
        ("unix:/s", ["unix:0", "unix:1"]),
        ("tcp:127.0.0.1:5", ["::1"]),
    ],
)
def test_a_listener_takes_rules_of_its_own_peers_and_of_no_others(address: str, rules: list[str]) -> None:
    where = parse_address(address)
    assert rules_for(where, rules) == [parse_rule(rule) for rule in rules]
    for stranger in ("vsock:3", "unix:0", "127.0.0.1", f"hyperv:{VM}"):
        if parse_rule(stranger).partition(":")[0] == parse_rule(rules[0]).partition(":")[0]:
            assert rules_for(where, [stranger]) == [parse_rule(stranger)]
        else:
            with pytest.raises(BadUsage, match="no such peer can reach"):
                rules_for(where, [*rules, stranger])
