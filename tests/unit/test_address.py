"""The grammar of addresses: every form, every other spelling, every refusal with its hint."""

from __future__ import annotations

import pytest

from hvcopy.address import (
    Address,
    HybridAddress,
    HypervAddress,
    TcpAddress,
    UnixAddress,
    VsockAddress,
    parse_address,
    parse_guid,
    port_to_service,
    service_to_port,
    split_remote,
)
from hvcopy.errors import BadUsage

ANY = 0xFFFFFFFF
VM = "0f1a2b3c-1111-2222-3333-444455556666"
SERVICE = "c0ffee00-1111-2222-3333-444455556666"
PARENT = "a42e7cda-d03f-480c-9cc2-a4de20abb878"

CANONICAL: list[tuple[str, Address]] = [
    ("vsock:3:18518", VsockAddress(3, 18518)),
    ("vsock:host:18518", VsockAddress(2, 18518)),
    ("vsock:local:18518", VsockAddress(1, 18518)),
    ("vsock:any:18518", VsockAddress(ANY, 18518)),
    ("vsock:any:0", VsockAddress(ANY, 0)),
    ("vsock:0:1", VsockAddress(0, 1)),
    ("vsock:3:4294967294", VsockAddress(3, 0xFFFFFFFE)),
    ("hyperv:parent:18518", HypervAddress("parent", "18518")),
    ("hyperv:wsl:1", HypervAddress("wsl", "1")),
    (f"hyperv:{VM}:{SERVICE}", HypervAddress(VM, SERVICE)),
    ("hyperv:Windows 11 dev:My Service", HypervAddress("Windows 11 dev", "My Service")),
    ("hyperv:a%3Ab%2F%25:x%3Ay", HypervAddress("a:b/%", "x:y")),
    ("hyperv:büro:2147483647", HypervAddress("büro", "2147483647")),
    ("hybrid:/run/v.sock:52", HybridAddress("/run/v.sock", 52)),
    ("hybrid:v.sock:4294967294", HybridAddress("v.sock", 0xFFFFFFFE)),
    ("hybrid:/a%3Ab:1", HybridAddress("/a:b", 1)),
    ("unix:/run/hv.sock", UnixAddress("/run/hv.sock")),
    ("unix:hv.sock", UnixAddress("hv.sock")),
    ("unix:/with space/é", UnixAddress("/with space/é")),
    ("unix:/a%3Ab%25c%0A%1B%FF%C2%85", UnixAddress("/a:b%c\n\x1b\udcff\x85")),
    ("unix:/%2Fa", UnixAddress("//a")),
    ("unix:/" + "x" * 106, UnixAddress("/" + "x" * 106)),
    ("tcp:127.0.0.1:18518", TcpAddress("127.0.0.1", 18518)),
    ("tcp:localhost:65535", TcpAddress("localhost", 65535)),
    ("tcp:0.0.0.0:0", TcpAddress("0.0.0.0", 0)),
    ("tcp:[::1]:18518", TcpAddress("::1", 18518)),
    ("tcp:[::]:18518", TcpAddress("::", 18518)),
    ("tcp:[fe80::1%eth0]:80", TcpAddress("fe80::1%eth0", 80)),
    ("tcp:vm_1.example-net.:80", TcpAddress("vm_1.example-net.", 80)),
]


@pytest.mark.parametrize(("text", "address"), CANONICAL)
def test_canonical_form_is_read_and_printed_the_same(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text
    assert address.scheme == text.partition(":")[0]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("vsock:2:5", "vsock:host:5"),
        ("vsock:1:5", "vsock:local:5"),
        ("vsock:HOST:5", "vsock:host:5"),
        ("vsock:-1:5", "vsock:any:5"),
        ("vsock:4294967295:5", "vsock:any:5"),
        ("vsock:0003:0005", "vsock:3:5"),
        ("VSOCK:3:5", "vsock:3:5"),
        ("vsock://3:5", "vsock:3:5"),
        ("vsock://3:5/", "vsock:3:5"),
        ("vsock://host:18518", "vsock:host:18518"),
        ("VSOCK-CONNECT:2:5000", "vsock:host:5000"),
        ("vsock-connect:3:5000", "vsock:3:5000"),
        ("VSOCK-LISTEN:5000", "vsock:any:5000"),
        ("hyperv://parent:5/", "hyperv:parent:5"),
        ("hyperv://My VM:5", "hyperv:My VM:5"),
        ("hyperv:PARENT:5", "hyperv:parent:5"),
        (f"hyperv:{PARENT}:5", "hyperv:parent:5"),
        (f"hyperv:{{{PARENT.upper()}}}:5", "hyperv:parent:5"),
        ("hyperv:00000000-0000-0000-0000-000000000000:5", "hyperv:any:5"),
        ("hyperv:90db8b89-0d35-4f79-8ce9-49ea0ac8b7cd:5", "hyperv:children:5"),
        ("hyperv:e0e16197-dd56-4a10-9195-5ee7a155a838:5", "hyperv:loopback:5"),
        ("hyperv:36BD0C5C-7276-4223-88BA-7D03B654C568:5", "hyperv:silohost:5"),
        ("hyperv:SiloHost:5", "hyperv:silohost:5"),
        ("hyperv:parent:5,high-vtl,no-suspend,high-vtl", "hyperv:parent:5,no-suspend,high-vtl"),
        ("hyperv://parent:5,high-vtl/", "hyperv:parent:5,high-vtl"),
        ("hyperv:a,b:c%2cd", "hyperv:a,b:c%2Cd"),
        (f"hyperv:{VM.upper()}:{{{SERVICE.upper()}}}", f"hyperv:{VM}:{SERVICE}"),
        ("hyperv:parent:00004856-FACB-11E6-BD58-64006A7986D3", "hyperv:parent:18518"),
        ("hyperv:parent:vsock-2761", "hyperv:parent:2761"),
        ("hyperv:parent:0018518", "hyperv:parent:18518"),
        (f"hvsock:{VM}:vsock-2761", f"hyperv:{VM}:2761"),
        ("hvsock://parent:5", "hyperv:parent:5"),
        ("hvsock:///run/v.sock:52", "hybrid:/run/v.sock:52"),
        ("hvsock:/run/v.sock:52", "hybrid:/run/v.sock:52"),
        ("hybrid:///run/v.sock:52", "hybrid:/run/v.sock:52"),
        ("unix:///run/hv.sock", "unix:/run/hv.sock"),
        ("unix:/%61", "unix:/a"),
        ("tcp://localhost:80", "tcp:localhost:80"),
        ("tcp://[::1]:80/", "tcp:[::1]:80"),
    ],
)
def test_other_spelling_is_read_and_printed_canonically(text: str, canonical: str) -> None:
    assert str(parse_address(text)) == canonical


def test_guids_given_to_the_class_itself_are_printed_as_names_and_ports() -> None:
    assert str(HypervAddress(PARENT.upper(), port_to_service(18518))) == "hyperv:parent:18518"


REFUSED = [
    # (text, part of the message, part of the hint)
    ("", "is not an address", "vsock:CID:PORT"),
    ("web1", "is not an address", "unix:/path"),
    ("systemd:1:2", "is not an address", "vsock:CID:PORT"),
    ("3:18518", "is not an address", "vsock:3:18518"),
    ("/run/hv.sock", "is not an address", "unix:/run/hv.sock"),
    ("localhost:22", "is not an address", "tcp:localhost:22"),
    ("[::1]:22", "is not an address", "tcp:[::1]:22"),
    (f"{VM}:5", "is not an address", f"hyperv:{VM}:5"),
    ("vsock:4711", "lacks a CID or a port", "vsock:host:4711"),
    ("vsock:4711", "lacks a CID or a port", "vsock:any:4711"),
    ("vsock:4711", "lacks a CID or a port", "vsock:4711:18518"),
    ("vsock:host", "lacks a CID or a port", "vsock:host:18518"),
    ("vsock:x", "lacks a CID or a port", "vsock:CID:PORT"),
    ("vsock:", "lacks a CID or a port", "vsock:CID:PORT"),
    ("vsock://4711", "lacks a CID or a port", "vsock:host:4711"),
    ("vsock://4711/x", "lacks a CID or a port", "vsock:host:4711"),
    ("vsock::5", "has no CID", "vsock:any:5"),
    ("vsock://:1024", "has no CID", "vsock:any:1024"),
    ("vsock:3:/images", "has no port", "vsock:3:18518:/images"),
    ("vsock:3:", "where a port belongs", "18518"),
    ("vsock:3:http", "'http' where a port belongs", "18518"),
    ("vsock:x:5", "'x' where a CID belongs", "host, local or any"),
    ("vsock:-2:5", "where a CID belongs", "host, local or any"),
    ("vsock:4294967296:5", "a CID outside 0 to 4294967295", "vsock:host:18518"),
    ("vsock:3:4294967295", "any port", "port 0"),
    ("vsock:3:-1", "any port", "port 0"),
    ("vsock:3:4294967296", "a port outside 0 to 4294967294", "18518"),
    ("vsock:3:" + "9" * 5000, "a port outside", "18518"),
    ("vsock:3:٣", "where a port belongs", "18518"),
    ("vsock:3:1_0", "where a port belongs", "18518"),
    ("vsock: 3:1", "where a CID belongs", "host"),
    ("vsock:3:5:", "something after the address", "vsock:3:5"),
    ("vsock:3:5:/x", "something after the address", "vsock:3:5"),
    ("vsock://3:5/x", "something after the address", "vsock://3:5"),
    ("VSOCK-CONNECT:5", "lacks a CID or a port", "vsock:host:5"),
    ("VSOCK-LISTEN:5,fork", "'5,fork' where a port belongs", "18518"),
    ("hyperv:parent", "lacks a VM or a service", "hyperv:parent:18518"),
    ("hyperv:5", "lacks a VM or a service", "hyperv:parent:5"),
    ("hyperv:", "lacks a VM or a service", "hyperv:VM:18518"),
    ("hyperv::5", "names no VM", "parent"),
    ("hyperv:x:", "names no service", "hyperv:parent:18518"),
    ("hyperv:x:/path", "has no service", "hyperv:x:18518:/path"),
    ("hyperv:a/b:5", "names no VM", "parent"),
    ("hyperv: x:5", "names no VM", "parent"),
    ("hyperv:a%1Bb:5", "names no VM", "parent"),
    ("hyperv:" + "x" * 256 + ":5", "names no VM", "parent"),
    ("hyperv:{not-a-guid}:5", "in braces that is not a GUID", "parent"),
    ("hyperv:FFFFFFFF-ffff-ffff-ffff-ffffffffffff:5", "broadcast GUID, which Windows reserves", "hyperv:any:5"),
    ("hyperv:parent:0", "a service port outside 1 to 2147483647", "from 1"),
    *(
        (f"hyperv:{vm}:{guid}", f"names the service {guid.strip('{}').lower()}, which stands for VMs", "00004856-facb")
        for vm in ("parent", "children", VM)
        for guid in (
            "00000000-0000-0000-0000-000000000000",
            "{FFFFFFFF-ffff-ffff-ffff-ffffffffffff}",
            "90db8b89-0d35-4f79-8ce9-49ea0ac8b7cd",
            "E0E16197-dd56-4a10-9195-5ee7a155a838",
            "a42e7cda-d03f-480c-9cc2-a4de20abb878",
            "36bd0c5c-7276-4223-88ba-7d03b654c568",
        )
    ),
    ("hyperv:parent:00000000-FACB-11e6-bd58-64006a7986d3,high-vtl", "for port 0, which is none", "1 to 2147483647"),
    ("hyperv:parent:80000000-facb-11e6-bd58-64006a7986d3", "for port 2147483648, which is none", "1 to 2147483647"),
    ("hyperv:parent:2147483648", "a service port outside 1 to 2147483647", "from 1"),
    ("hyperv:parent:00004856000011110222333344445555", "too many for a port", "00004856-0000-1111-0222-333344445555"),
    ("hyperv:parent:5,fast", "unknown option 'fast'", "no-suspend, high-vtl, container-passthru"),
    ("hyperv:parent:5,", "unknown option ''", "%2C"),
    ("hyperv:parent:5,HIGH-VTL", "unknown option 'HIGH-VTL'", "high-vtl"),
    ("hyperv:parent:,high-vtl", "names no service", "hyperv:parent:18518"),
    ("hyperv:parent:-5", "where a service port belongs", "from 1"),
    ("hyperv:parent:vsock-0", "a service port outside", "from 1"),
    ("hybrid:/v.sock", "has no port after the path", "hybrid:/v.sock:18518"),
    ("hybrid:/v.sock:/remote", "has no port after the path", "hybrid:/v.sock:18518"),
    ("hybrid:/a:b:5", "'b' where a port belongs", "%3A"),
    ("hybrid:/a:0", "a port outside 1 to 4294967294", "a number"),
    ("hybrid::5", "has no path", "hybrid:/path/v.sock:18518"),
    ("hybrid://run/v.sock:5", "is not a URL of a socket", "hybrid:///run/v.sock:5"),
    ("unix:", "has no path", "unix:/run/hvcopy.sock"),
    ("unix://run/a", "is not a URL of a socket", "unix:///run/a"),
    ("unix:/a:/b", "something after the address", "unix:/a"),
    ("unix:/50%", "% that begins no escape", "%25"),
    ("unix:/%zz", "% that begins no escape", "%25"),
    ("unix:/a%00", "zero byte", "abstract"),
    ("unix:/a\0b", "zero byte", "abstract"),
    ("unix:/\ud800", "lone surrogate", "plain name"),
    ("unix:/" + "x" * 107, "a path of 108 bytes", "shorter"),
    ("unix:/" + "é" * 54, "a path of 109 bytes", "shorter"),
    ("hybrid:/" + "x" * 107 + ":5", "a path of 108 bytes", "shorter"),
    ("tcp:", "lacks a host or a port", "tcp:127.0.0.1:18518"),
    ("tcp:80", "lacks a host or a port", "tcp:127.0.0.1:80"),
    ("tcp:localhost", "lacks a host or a port", "tcp:localhost:18518"),
    ("tcp:[::1]", "lacks a host or a port", "tcp:[::1]:18518"),
    ("tcp::80", "names no host", "tcp:127.0.0.1:80"),
    ("tcp:*:80", "never takes all interfaces for granted", "tcp:0.0.0.0:80"),
    ("tcp::", "names no host", "tcp:127.0.0.1:18518"),
    ("tcp:::1:80", "IPv6 address without brackets", "tcp:[::1]:18518"),
    ("tcp:fe80::1:80", "IPv6 address without brackets", "tcp:[::1]:18518"),
    ("tcp:2001:db8:0:0:0:0:0:1:80", "'db8' where a port belongs", "brackets"),
    ("tcp:h:", "has no port", "tcp:h:18518"),
    ("tcp:h:/x", "has no port", "tcp:h:18518:/x"),
    ("tcp:h:65536", "a port outside 0 to 65535", "a number"),
    ("tcp:h:-1", "where a port belongs", "a number"),
    ("tcp:a b:1", "no valid host", "a name or an IP address"),
    ("tcp:[x]:1", "no valid host", "brackets"),
    ("tcp:[::1:1", "without brackets", "tcp:[::1]:18518"),
    ("tcp:user@h:1", "no valid host", "a name or an IP address"),
    ("tcp:-h:1", "no valid host", "a name or an IP address"),
    ("tcp:" + "h" * 256 + ":1", "no valid host", "a name or an IP address"),
]


@pytest.mark.parametrize(("text", "message", "hint"), REFUSED)
def test_wrong_address_is_refused_with_the_likely_spelling(text: str, message: str, hint: str) -> None:
    with pytest.raises(BadUsage) as caught:
        parse_address(text)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(("text", "message", "hint"), REFUSED)
def test_refusal_quotes_the_text_in_bounds_and_printable(text: str, message: str, hint: str) -> None:
    with pytest.raises(BadUsage) as caught:
        parse_address(text)
    for words in (caught.value.message, caught.value.hint):
        assert words.isprintable()
        assert len(words) < 800
    assert text.isprintable() is (f"'{text[:200]}" in caught.value.message)


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        ("vsock:3:18518:/images/a.img", ("vsock:3:18518", "/images/a.img")),
        ("vsock:3:18518:", ("vsock:3:18518", "")),
        ("vsock:3:18518", ("vsock:3:18518", "")),
        ("vsock:3:18518:rel/a:b::c", ("vsock:3:18518", "rel/a:b::c")),
        ("vsock://3:18518", ("vsock://3:18518", "")),
        ("vsock://3:18518/", ("vsock://3:18518/", "")),
        ("vsock://3:18518/a:b", ("vsock://3:18518", "/a:b")),
        ("vsock://3:18518:/a", ("vsock://3:18518", "/a")),
        ("vsock://3:18518/:/a", ("vsock://3:18518", "/a")),
        ("VSOCK-CONNECT:3:5:/a", ("VSOCK-CONNECT:3:5", "/a")),
        ("VSOCK-LISTEN:5:/a", ("VSOCK-LISTEN:5", "/a")),
        ("hyperv:My VM:5:C:/x", ("hyperv:My VM:5", "C:/x")),
        ("hyperv:My VM:5,high-vtl:/x", ("hyperv:My VM:5,high-vtl", "/x")),
        (f"hyperv:{{{VM}}}:{SERVICE}:/x", (f"hyperv:{{{VM}}}:{SERVICE}", "/x")),
        ("hyperv://VM:5/x", ("hyperv://VM:5", "/x")),
        ("hybrid:/v.sock:5:/x", ("hybrid:/v.sock:5", "/x")),
        ("hvsock:///v.sock:5:/x", ("hvsock:///v.sock:5", "/x")),
        ("unix:/run/a.sock:/path", ("unix:/run/a.sock", "/path")),
        ("unix:/run/a.sock", ("unix:/run/a.sock", "")),
        ("unix:/a%3Ab:c", ("unix:/a%3Ab", "c")),
        ("unix:///a:/b", ("unix:///a", "/b")),
        ("tcp:[::1]:5:/x", ("tcp:[::1]:5", "/x")),
        ("tcp:h:5:[x]:y", ("tcp:h:5", "[x]:y")),
        ("web1:/images/", ("web1", "/images/")),
        ("web1:", ("web1", "")),
        ("web1:a:b", ("web1", "a:b")),
        ("tcp:h:5:", ("tcp:h:5", "")),
    ],
)
@pytest.mark.parametrize("windows", [False, True])
def test_remote_argument_is_split_behind_its_address(text: str, remote: tuple[str, str], windows: bool) -> None:
    assert split_remote(text, windows=windows, aliases=lambda: {"web1": "vsock:3:18518"}) == remote


@pytest.mark.parametrize(
    "text",
    [
        "a.img",
        "",
        "-",
        "dir/",
        "./a:b",
        "./vsock:3:5",
        "../web1:/x",
        "dir/a:b",
        "/abs:olute",
        ":x",
        "::",
        "web1",
        "vsock",
    ],
)
@pytest.mark.parametrize("windows", [False, True])
def test_local_argument_is_no_remote(text: str, windows: bool) -> None:
    assert split_remote(text, windows=windows, aliases=lambda: {"web1"}) is None


@pytest.mark.parametrize(
    "text", ["C:\\x", "c:/x", "Z:", "d:rel", "C:\\a:stream", "..\\a:b", "\\\\?\\C:\\x", "\\\\host\\share:x", ".\\v:1"]
)
def test_drive_and_backslash_are_local_on_windows_only(text: str) -> None:
    assert split_remote(text, windows=True, aliases=lambda: {"C", "d"}) is None
    with pytest.raises(BadUsage):
        split_remote(text, windows=False)


def test_alias_of_one_letter_works_where_there_are_no_drives() -> None:
    assert split_remote("C:/x", windows=False, aliases=lambda: {"C"}) == ("C", "/x")


def test_scheme_wins_over_an_alias_of_its_name() -> None:
    assert split_remote("unix:/x", windows=False, aliases=lambda: {"unix"}) == ("unix:/x", "")


@pytest.mark.parametrize("windows", [False, True])
def test_unknown_name_before_the_colon_is_refused_with_the_likely_meanings(windows: bool) -> None:
    with pytest.raises(BadUsage) as caught:
        split_remote("nope:/x", windows=windows, aliases=lambda: {"web1"})
    assert "'nope:/x'" in caught.value.message
    for likely in ("hosts.nope", "vsock:CID:PORT:/x"):
        assert likely in caught.value.hint
    assert ("./nope:/x" in caught.value.hint) is not windows  # there no file has a colon in its name
    assert ("local file" in caught.value.hint) is not windows


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("vsock:4711:/x", "vsock:4711:18518:/x"),
        ("vsock:4711", "vsock:host:4711"),
        ("tcp::80:/x", "tcp:127.0.0.1:80"),
        ("hyperv:vm:/x", "hyperv:vm:18518:/x"),
        ("hybrid:/v:/x", "hybrid:/v:18518"),
        ("3:18518:/x", "vsock:3:18518:/x"),
    ],
)
def test_remote_argument_with_a_wrong_address_is_refused(text: str, hint: str) -> None:
    with pytest.raises(BadUsage) as caught:
        split_remote(text, windows=False)
    assert hint in caught.value.hint


def test_ports_and_services_follow_the_template_of_the_windows_header() -> None:
    assert port_to_service(2761) == "00000ac9-facb-11e6-bd58-64006a7986d3"
    assert port_to_service(0x7FFFFFFF) == "7fffffff-facb-11e6-bd58-64006a7986d3"
    assert service_to_port("{00000AC9-FACB-11E6-BD58-64006A7986D3}") == 2761


@pytest.mark.parametrize(
    "guid", [SERVICE, "00000000-facb-11e6-bd58-64006a7986d3", "80000000-facb-11e6-bd58-64006a7986d3"]
)
def test_service_without_a_port_has_none(guid: str) -> None:
    assert service_to_port(guid) is None


@pytest.mark.parametrize("guid", [SERVICE, "00000005-facb-11e6-bd58-64006a7986d4", "00000000-0000-0000-0000-000000000001"])
def test_every_other_guid_may_be_a_service(guid: str) -> None:
    assert str(parse_address(f"hyperv:parent:{guid}")) == f"hyperv:parent:{guid}"


@pytest.mark.parametrize("port", [0, -1, 0x80000000])
def test_port_outside_of_hyper_v_is_refused(port: int) -> None:
    with pytest.raises(BadUsage, match="not a port of Hyper-V") as caught:
        port_to_service(port)
    assert "1 to 2147483647" in caught.value.hint


@pytest.mark.parametrize("text", [SERVICE, SERVICE.upper(), f"{{{SERVICE}}}", f"{{{SERVICE.upper()}}}"])
def test_guid_in_each_spelling_is_read_in_lower_case(text: str) -> None:
    assert parse_guid(text) == SERVICE


@pytest.mark.parametrize(
    "text",
    ["", "x", SERVICE[:-1], SERVICE + "0", "{" + SERVICE, SERVICE + "}", f"{{{{{SERVICE}}}}}", SERVICE.replace("-", ""),
     SERVICE + "\n", " " + SERVICE, SERVICE.replace("c", "g")],
)  # fmt: skip
def test_text_that_is_no_guid_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadUsage, match="is not a GUID") as caught:
        parse_guid(text)
    assert (SERVICE if len(text) == 32 else "00004856-facb-11e6-bd58-64006a7986d3") in caught.value.hint
