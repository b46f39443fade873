"""Addresses: printing and reading agree for every value, and a remote path is never taken for a local one."""

from __future__ import annotations

import string
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from hvcopy.address import (
    HYPERV_OPTIONS,
    Address,
    HybridAddress,
    HypervAddress,
    TcpAddress,
    UnixAddress,
    VsockAddress,
    no_service,
    parse_address,
    parse_guid,
    port_to_service,
    service_to_port,
    split_remote,
)
from hvcopy.errors import BadUsage

SCHEMES = ("vsock", "hyperv", "hybrid", "unix", "tcp", "hvsock", "vsock-connect", "vsock-listen")
_NAMED = {"parent", "loopback", "children", "any", "wsl", "silohost"}


def _fits(path: str) -> bool:
    return "\0" not in path and len(path.encode("utf-8", "surrogateescape")) <= 107


def _is_name(text: str) -> bool:
    """Whether it is canonical as the name of a VM or a service: no number, no GUID, no other case of a known name."""
    if not text.isprintable() or text != text.strip() or text.startswith("{") or text.lower() in _NAMED:
        return False
    with suppress(BadUsage):
        parse_guid(text)
        return False
    return not text.lower().removeprefix("vsock-").lstrip("-").isdigit()


paths = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    st.binary(min_size=1, max_size=107).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    st.text(":%/.\x1b\n ab", min_size=1, max_size=40),
).filter(_fits)
names = st.one_of(st.text(min_size=1, max_size=40), st.text(":%/, {}-ab1", min_size=1)).filter(_is_name)
guids = st.uuids().map(str).filter(lambda guid: guid != "ffffffff-ffff-ffff-ffff-ffffffffffff")
services = guids.filter(lambda guid: no_service(guid) is None)
hosts = st.one_of(
    st.ip_addresses().map(str),
    st.from_regex(r"[a-z0-9]([a-z0-9_.-]{0,20}[a-z0-9])?", fullmatch=True),
)
addresses: st.SearchStrategy[Address] = st.one_of(
    st.builds(VsockAddress, st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFE)),
    st.builds(
        HypervAddress,
        st.one_of(st.sampled_from(sorted(_NAMED)), guids, names),
        st.one_of(st.integers(1, 0x7FFFFFFF).map(str), services, names),
        st.sets(st.sampled_from(HYPERV_OPTIONS)).map(lambda chosen: tuple(o for o in HYPERV_OPTIONS if o in chosen)),
    ),
    st.builds(HybridAddress, paths, st.integers(1, 0xFFFFFFFE)),
    st.builds(UnixAddress, paths),
    st.builds(TcpAddress, hosts, st.integers(0, 65535)),
)
remote_paths = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
anything = st.one_of(
    st.text(max_size=60),
    st.builds("{}:{}".format, st.sampled_from(SCHEMES), st.text(":/%[]{}*,-1a \n\x1b\udcff", max_size=20)),
)


@given(addresses)
def test_printed_address_reads_back_the_same(address: Address) -> None:
    assert parse_address(str(address)) == address


@given(addresses)
def test_printed_address_is_one_printable_line_and_never_a_raw_any(address: Address) -> None:
    assert str(address).isprintable()
    if isinstance(address, VsockAddress):
        assert not str(address).startswith("vsock:4294967295")


@given(addresses, remote_paths, st.booleans())
def test_remote_path_comes_back_behind_any_address(address: Address, path: str, windows: bool) -> None:
    assert split_remote(f"{address}:{path}", windows=windows) == (str(address), path)
    assert split_remote(str(address), windows=windows) == (str(address), "")


@given(st.text(string.ascii_letters + "._-é ", max_size=8), st.text(max_size=20), st.booleans())
def test_path_with_a_slash_before_its_first_colon_is_local(before: str, after: str, windows: bool) -> None:
    assert split_remote(f"{before}/{after}", windows=windows, aliases=lambda: {before}) is None


@given(st.sampled_from(string.ascii_letters), st.text(max_size=20))
def test_drive_is_always_local_on_windows(letter: str, path: str) -> None:
    assert split_remote(f"{letter}:{path}", windows=True, aliases=lambda: set(string.ascii_letters)) is None


@given(st.text(string.ascii_letters + string.digits + "_-", min_size=2, max_size=12), st.text(max_size=20))
def test_alias_takes_everything_behind_its_colon(name: str, path: str) -> None:
    if name.lower() not in SCHEMES:
        assert split_remote(f"{name}:{path}", windows=True, aliases=lambda: {name}) == (name, path)


@given(anything)
def test_any_text_is_an_address_with_a_stable_form_or_bad_usage(text: str) -> None:
    refused = None
    try:
        address = parse_address(text)
    except BadUsage as refusal:
        refused = refusal
    if refused is None:
        assert parse_address(str(address)) == address
    else:
        assert refused.hint
        assert (refused.message + refused.hint).isprintable()


@given(anything, st.booleans())
def test_split_never_loses_a_character_of_what_it_splits(text: str, windows: bool) -> None:
    try:
        remote = split_remote(text, windows=windows)
    except BadUsage:
        return
    if remote is not None:
        address, path = remote
        parse_address(address)
        between = text[len(address) : len(text) - len(path)]
        assert text.startswith(address)
        assert text.endswith(path)
        assert between in ("", ":", "/:")


@given(st.integers(1, 0x7FFFFFFF))
def test_port_comes_back_from_its_service(port: int) -> None:
    assert service_to_port(port_to_service(port)) == port
    assert parse_guid(port_to_service(port)) == port_to_service(port)


@given(guids)
def test_service_of_a_port_is_the_only_guid_with_that_port(guid: str) -> None:
    port = service_to_port(guid)
    assert port is None or port_to_service(port) == guid
