"""Registrations of Hyper-V's services: what is read, what may be added and removed, what a name stands for."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from registries import MemoryRegistry

from hvcopy import registration
from hvcopy.address import port_to_service
from hvcopy.errors import BadUsage, LocalFailure, NotAllowed
from hvcopy.transport.hyperv.registry import MARK, NAME, OURS, Registry, find_service, open_registry, read_services

OTHER = "999e53d4-3d5c-4c3e-8779-bed06ec056e1"
P1, P2, P3 = (port_to_service(port) for port in (5001, 5002, 5003))


def wanted(*given: str, pool: str = "", name: str = "") -> list[registration.Wanted]:
    return registration.wanted_services(given, pool, name)


def removable(registry: Registry, *given: str, pool: str = "", everything: bool = False) -> list[str | None]:
    unwanted = registration.unwanted_services(given, pool, everything=everything)
    return [one.guid for one in registration.removable(registry, unwanted)]


# ---- reading


def test_every_registration_is_read_with_its_port_its_name_and_who_made_it() -> None:
    registry = MemoryRegistry({OTHER.upper(): "Their service", P1: "mine"})
    registration.register(registry, wanted("5002"))
    assert [(one.guid, one.port, one.name, one.ours, one.problem) for one in read_services(registry)] == [
        (P1, 5001, "mine", False, None),
        (P2, 5002, "hvcopy-5002", True, None),
        (OTHER, None, "Their service", False, None),
    ]
    assert read_services(registry)[2].key == OTHER.upper()


def test_names_of_values_are_read_in_any_case() -> None:
    (one,) = read_services(MemoryRegistry({P1: {"elementNAME": ("n", 1), "registeredby": ("hvcopy", 1)}}))
    assert (one.name, one.ours, one.problem) == ("n", True, None)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "has no ElementName"),
        ({MARK: (OURS, 1)}, "has no ElementName"),
        ({NAME: (5, 4)}, "is no text"),
        ({NAME: (b"name", 3)}, "is no text"),
        ({NAME: (["a"], 7)}, "is no text"),
        ({NAME: ("%PATH%", 2)}, "is no text"),
        ({NAME: (None, 1)}, "has no ElementName"),
    ],
)
def test_a_registration_without_a_name_says_how_to_make_it_anew(
    values: dict[str, tuple[object, int]], words: str
) -> None:
    (one,) = read_services(MemoryRegistry({P1: values}))
    assert isinstance(one.problem, LocalFailure)
    assert words in one.problem.message
    assert f"hvcopy service unregister {P1}, then hvcopy service register {P1}" in one.problem.hint


def test_a_key_that_may_not_be_read_is_told_and_the_others_are_read() -> None:
    registry = MemoryRegistry({P1: "one", P2: "two"})
    registry.locked.add(P1)
    first, second = read_services(registry)
    assert isinstance(first.problem, NotAllowed)
    assert (first.guid, first.name, second.name, second.problem) == (P1, "", "two", None)


@pytest.mark.parametrize("key", ["", "junk", P1[:-1], f"{{{P1}", "\x1b[2J"])
def test_a_key_that_no_guid_names_is_told(key: str) -> None:
    (one,) = read_services(MemoryRegistry({key: "name"}))
    assert isinstance(one.problem, LocalFailure)
    assert (one.guid, one.port) == (None, None)
    assert "\x1b" not in one.problem.hint


def test_the_whole_key_forbidden_or_broken_is_a_failure_of_ours() -> None:
    class Forbidden(MemoryRegistry):
        def keys(self) -> list[str]:
            raise PermissionError(5, "Access is denied")

    class Broken(MemoryRegistry):
        def keys(self) -> list[str]:
            raise OSError(1016, "An I/O operation initiated by the registry failed")

    with pytest.raises(NotAllowed):
        read_services(Forbidden())
    with pytest.raises(LocalFailure, match="registry failed"):
        read_services(Broken())


# ---- names


def test_a_name_stands_for_its_guid_in_any_case_and_rather_as_it_is_spelled() -> None:
    registry = MemoryRegistry({P1: "Straße", P2: "copy", P3: "COPY"})
    assert find_service("STRASSE", registry) == [P1]
    assert find_service("copy", registry) == [P2]
    assert find_service("COPY", registry) == [P3]
    assert find_service("Copy", registry) == [P2, P3]


@pytest.mark.parametrize("keys", [{}, {"junk": "gone", P1: {}}, {P1: {NAME: (5, 4)}}])
def test_what_is_broken_has_no_name_to_be_found_by(keys: dict[str, Any]) -> None:
    assert find_service("gone", MemoryRegistry(keys)) == []
    assert find_service("", MemoryRegistry(keys)) == []


# ---- what the command line may ask for


@pytest.mark.parametrize(
    ("given", "guid"),
    [
        ("5001", P1),
        (P1, P1),
        (P1.upper(), P1),
        (f"{{{P1.upper()}}}", P1),
        (OTHER, OTHER),
        ("2147483647", "7fffffff-facb-11e6-bd58-64006a7986d3"),
    ],
)
def test_a_service_is_a_port_or_a_guid_in_any_spelling(given: str, guid: str) -> None:
    assert registration.read_service(given) == guid


@pytest.mark.parametrize(
    "given",
    [
        "", "0", "-1", "2147483648", "9" * 30, "0x10", "ssh", P1[:-1], P1 + "0", f"{{{P1}", P1.replace("-", ""),
        "g" + P1[1:], "00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "90db8b89-0d35-4f79-8ce9-49ea0ac8b7cd", "e0e16197-dd56-4a10-9195-5ee7a155a838",
        "a42e7cda-d03f-480c-9cc2-a4de20abb878", "00000000-facb-11e6-bd58-64006a7986d3",
        "80000000-facb-11e6-bd58-64006a7986d3",
    ],
)  # fmt: skip
def test_what_is_no_service_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(BadUsage) as caught:
        registration.read_service(given)
    assert caught.value.hint


@pytest.mark.parametrize("given", [OTHER, "5001", "00000000-facb-11e6-bd58-64006a7986d3", "0", "x"])
def test_a_port_is_asked_of_a_guid_that_has_one(given: str) -> None:
    assert registration.read_port(P1.upper()) == 5001
    with pytest.raises(BadUsage) as caught:
        registration.read_port(given)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "5", "5-", "-5", "5-4", "0-5", "5-2147483648", "1-1025", "a-b", "5001-5002-5003", "1 - 2"]
)
def test_a_pool_is_two_ports_in_order_and_not_too_many(text: str) -> None:
    assert registration.read_pool("5001-5001") == [5001]
    assert len(registration.read_pool("1-1024")) == 1024
    with pytest.raises(BadUsage) as caught:
        registration.read_pool(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    "name", ["a/b", "a b", "mein Dienst: 5%", "Straße", "x" * 255]
)  # fmt: skip
def test_a_name_that_an_address_can_carry_is_taken(name: str) -> None:
    assert wanted("5001", name=name)[0].name == name


@pytest.mark.parametrize(
    "name", [" a", "a ", "a\nb", "\x1b[2J", "5001", "vsock-5001", P1, OTHER, f"{{{OTHER}}}", "{a", "x" * 256]
)
def test_a_name_that_an_address_cannot_carry_is_refused(name: str) -> None:
    with pytest.raises(BadUsage, match="--name") as caught:
        wanted("5001", name=name)
    assert "\x1b" not in caught.value.message


def test_names_that_were_not_given_tell_the_port() -> None:
    assert [one.name for one in wanted("5001")] == ["hvcopy-5001"]
    assert [one.name for one in wanted(OTHER)] == [f"hvcopy-{OTHER}"]
    assert [one.name for one in wanted("5001", P1, "5002", name="n")] == ["n-5001", "n-5002"]
    assert [(one.guid, one.name) for one in wanted("5002", pool="5001-5003")] == [
        (P2, "hvcopy-5002"), (P1, "hvcopy-5001"), (P3, "hvcopy-5003"),
    ]  # fmt: skip


def test_nothing_named_is_refused_with_an_example() -> None:
    with pytest.raises(BadUsage):
        wanted()
    with pytest.raises(BadUsage):
        removable(MemoryRegistry())


# ---- changing


def test_registering_again_is_done_already() -> None:
    registry = MemoryRegistry()
    assert registration.register(registry, wanted("5001", name="n"))
    before = {**registry.content}
    assert registration.register(registry, wanted("5001", name="n")) == []
    assert registry.content == before == {P1: {NAME: ("n", 1), MARK: (OURS, 1)}}


def test_registering_again_is_done_already_though_another_name_differs_only_in_case() -> None:
    for first, second in ((P1, P2), (P2, P1)):
        registry = MemoryRegistry({first: "foo", second: "FOO"})
        assert registration.register(registry, wanted("5001", name=registry.content[P1][NAME][0])) == []


@pytest.mark.parametrize("there", ["other name", {}, {NAME: (1, 4)}])
def test_what_stands_there_is_never_changed(there: str | dict[str, tuple[object, int]]) -> None:
    registry = MemoryRegistry({P2.upper(): there})
    before = {**registry.content}
    with pytest.raises(LocalFailure, match="already") as caught:
        registration.register(registry, wanted(pool="5001-5003"))
    assert registry.content == before
    assert f"hvcopy service unregister {P2}" in caught.value.hint
    sound = isinstance(there, str)
    assert ("use that one" in caught.value.hint, "nobody can use that" in caught.value.message) == (sound, not sound)


def test_a_name_is_not_given_twice() -> None:
    registry = MemoryRegistry({OTHER: "Taken"})
    with pytest.raises(LocalFailure, match=OTHER):
        registration.register(registry, wanted("5001", name="taken"))
    assert list(registry.content) == [OTHER]


def test_without_rights_nothing_is_changed_and_that_is_said() -> None:
    registry = MemoryRegistry({P1: "n"}, writable=False)
    with pytest.raises(NotAllowed, match="administrator; nothing was changed"):
        registration.register(registry, wanted("5002"))
    with pytest.raises(NotAllowed, match="administrator; nothing was changed"):
        registration.unregister(registry, read_services(registry))
    assert list(registry.content) == [P1]


def test_a_pool_that_breaks_off_says_how_far_it_came_and_goes_on_later() -> None:
    registry = MemoryRegistry()
    registry.room = 2
    with pytest.raises(LocalFailure, match="2 before it were changed"):
        registration.register(registry, wanted(pool="5001-5003"))
    registry.room = 3
    assert [one.guid for one in registration.register(registry, wanted(pool="5001-5003"))] == [P3]


def test_whatever_is_named_is_removed_and_of_the_rest_only_our_own() -> None:
    def registry() -> MemoryRegistry:
        made = MemoryRegistry({OTHER: "theirs", P3: "theirs too"})
        registration.register(made, wanted("5001", "5002"))
        return made

    assert removable(registry(), everything=True) == [P1, P2]
    assert removable(registry(), pool="5002-5003") == [P2]
    assert removable(registry(), "5003", pool="5001-5001") == [P1, P3]
    assert removable(registry(), OTHER.upper(), OTHER, everything=True) == [P1, P2, OTHER]
    assert removable(MemoryRegistry(), everything=True) == []
    with pytest.raises(LocalFailure, match=r"port 5004 .* is not registered"):
        removable(registry(), "5001", "5004")


def test_a_broken_registration_can_be_removed_by_its_guid() -> None:
    registry = MemoryRegistry({P1.upper(): {}})
    registration.unregister(registry, read_services(registry))
    assert registry.content == {}


def test_what_somebody_else_removed_meanwhile_is_removed() -> None:
    registry = MemoryRegistry({P1: "a", P2: "b"})
    services = read_services(registry)
    registry.delete(P1)
    registration.unregister(registry, services)
    assert registry.content == {}


def test_a_key_with_keys_below_it_is_left_alone() -> None:
    registry = MemoryRegistry({P1: "a", P2: "b"})
    registry.parents.add(P2)
    with pytest.raises(LocalFailure, match="1 before it"):
        registration.unregister(registry, read_services(registry))
    assert list(registry.content) == [P2]


# ---- the real one


@pytest.mark.skipif(sys.platform == "win32", reason="here is one")
def test_elsewhere_than_on_windows_it_says_where_to_type_what() -> None:
    with pytest.raises(BadUsage, match="Windows host") as caught:
        open_registry(["service", "register", "5001"])
    assert "hvcopy service register 5001" in caught.value.hint


@pytest.fixture(params=["memory", "windows"])
def registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    """The fake and the real one, below a key of this user's own, for what both must do."""
    if request.param == "memory":
        yield MemoryRegistry()
        return
    if sys.platform != "win32":
        pytest.skip("needs the registry of Windows")
    import winreg

    from hvcopy.transport.hyperv.registry import WindowsRegistry

    path = rf"Software\hvcopy-test-{uuid.uuid4()}"
    real = WindowsRegistry(winreg.HKEY_CURRENT_USER, rf"{path}\inner")
    yield real
    for key in real.keys():  # noqa: SIM118
        real.delete(key)
    for left in (rf"{path}\inner", path):
        with contextlib.suppress(FileNotFoundError):
            winreg.DeleteKey(winreg.HKEY_CURRENT_USER, left)


def test_a_registry_does_what_the_decisions_expect_of_it(registry: Registry) -> None:
    assert registry.keys() == []
    registry.check_writable()
    registry.create(P1, {NAME: "Ä name", MARK: OURS})
    assert registry.keys() == [P1]
    assert registry.values(P1.upper()) == {NAME: ("Ä name", 1), MARK: (OURS, 1)}
    with pytest.raises(FileExistsError):
        registry.create(P1.upper(), {NAME: "other"})
    assert registry.values(P1)[NAME] == ("Ä name", 1)
    for absent in (registry.values, registry.delete):
        with pytest.raises(FileNotFoundError):
            absent(P2)
    registry.delete(P1.upper())
    assert registry.keys() == []


def test_registered_found_and_removed_through_a_registry(registry: Registry) -> None:
    registration.register(registry, wanted(pool="5001-5003", name="n"))
    assert find_service("N-5002", registry) == [P2]
    assert [one.ours for one in read_services(registry)] == [True] * 3
    registration.unregister(registry, read_services(registry))
    assert find_service("n-5002", registry) == []
