"""What programs, files and command lines say of VMs is anybody's: it becomes VMs, nothing, or a failure of ours."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from hvcopy.address import parse_address
from hvcopy.errors import HvcopyError
from hvcopy.machines import libvirt, qemu
from hvcopy.machines.machine import Machine
from hvcopy.machines.powershell import read_answer
from hvcopy.machines.processes import Process, fields, option

GUID = "aaaaaaaa-1111-2222-3333-444455556666"
texts = st.text(max_size=60)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=8,
)
rows = st.fixed_dictionaries(
    {
        "Name": texts | json_values,
        "Id": st.just(GUID) | texts,
        "State": st.sampled_from(["Running", "Off"]) | json_values,
    }
)


def check(found: list[Machine]) -> None:
    for one in found:
        assert one.address or one.note
        assert one.address is None or parse_address(str(one.address)) == one.address


@given(st.lists(rows).map(json.dumps) | json_values.map(json.dumps) | texts)
@example('{"value": 5, "Count": 1}')
def test_any_answer_of_powershell(text: str) -> None:
    with contextlib.suppress(HvcopyError):
        check(read_answer(text))


@given(texts.filter(lambda name: name.isprintable()))
def test_any_name_of_a_vm_has_an_address_that_means_it(name: str) -> None:
    (one,) = read_answer(json.dumps([{"Name": name, "Id": GUID, "State": "Running"}]))
    address: Any = one.address
    assert address.vm in (name, GUID)
    assert parse_address(str(address)) == address


@given(
    st.binary(max_size=200)
    | texts.map(lambda text: f"<domain><name>{text}</name></domain>".encode("utf-8", "surrogatepass"))
)
def test_any_description_of_a_domain(raw: bytes) -> None:
    found = libvirt.read_domain(raw)
    check([found] if found else [])


@given(
    st.lists(
        st.sampled_from(["-name", "-uuid", "-device", "--device", "vhost-vsock-pci,guest-cid=5", "{}", "[1]"]) | texts,
        max_size=8,
    )
)
def test_any_command_line_of_qemu(words: list[str]) -> None:
    check(qemu.find([Process(5, ["qemu-system-x86_64", *words], False)]))
    assert isinstance(option(words, "--name"), str)


@given(texts.filter(lambda text: "\0" not in text))  # which no argument contains
def test_fields_of_any_text(text: str) -> None:
    assert fields(text.replace(",", ",,").replace("=", "")).keys() == {text.replace("=", "")}
