"""``hvcopy service`` against a registry in memory: what it prints, what it asks, what it exits with."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from registries import MemoryRegistry

from hvcopy.address import port_to_service
from hvcopy.cli.app import build
from hvcopy.transport.hyperv import registry as registries

OTHER = "999e53d4-3d5c-4c3e-8779-bed06ec056e1"
P1, P2, P3 = (port_to_service(port) for port in (5001, 5002, 5003))


class Outcome:
    """What one run of the command left behind."""

    def __init__(self, code: object, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def result(self) -> dict[str, Any]:
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


Service = Callable[..., Outcome]


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry({OTHER: "Their service", P3.upper(): "theirs"})


@pytest.fixture
def service(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Service]:
    """Run ``hvcopy service ARGUMENTS`` in this process, on a Windows whose registry is the fake."""
    monkeypatch.setattr(registries, "open_registry", lambda command: registry)

    def run(*arguments: str) -> Outcome:
        words = ["service", *arguments]
        monkeypatch.setattr(sys, "argv", ["hvcopy", *words])
        with pytest.raises(SystemExit) as caught:
            build(words)()
        return Outcome(caught.value.code, *capsys.readouterr())

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield run
    for number, handler in before.items():  # later tests await them as Python has them
        signal.signal(number, handler)


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Make standard input a terminal at which somebody types."""
    pty = pytest.importorskip("pty", reason="needs a terminal that a test can type at")
    leader, follower = pty.openpty()
    with os.fdopen(follower, "r") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        yield lambda text: (os.write(leader, text.encode()), None)[1]
    os.close(leader)


def test_list_prints_what_is_there_on_stdout(service: Service, registry: MemoryRegistry) -> None:
    service("register", "5001")
    done = service("list")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"{P1}  5001        hvcopy-5001  hvcopy",
        f"{P3}  5003        theirs",
        f"{OTHER}  -           Their service",
    ]
    (first, *_), none = service("list", "--json").result["services"], service("list", "--json").result["failures"]
    assert first == {"guid": P1, "key": P1, "port": 5001, "name": "hvcopy-5001", "by_hvcopy": True}
    assert none == []


def test_list_of_nothing_says_when_one_is_needed(service: Service, registry: MemoryRegistry) -> None:
    registry.content.clear()
    done = service("list")
    assert (done.code, done.out) == (0, "")
    assert "when the guest listens and the host connects, nothing has to be registered" in done.err


def test_names_in_the_registry_cannot_paint_on_the_terminal(service: Service, registry: MemoryRegistry) -> None:
    registry.content[P1] = {"ElementName": ("\x1b[2Jx\ny" + "z" * 1000, 1)}
    done = service("list")
    assert "\x1b" not in done.out
    assert len(done.out.splitlines()) == 3
    assert max(map(len, done.out.splitlines())) < 400


@pytest.mark.parametrize(
    ("key", "values", "locked", "code", "words"),
    [
        (P1, {}, False, 10, "has no ElementName; hvcopy service unregister"),
        (P1, {"ElementName": (7, 4)}, False, 10, "is no text"),
        ("junk", {}, False, 10, "is named by no GUID"),
        (
            P1,
            {},
            True,
            9,
            "may not read this registration; with an administrator's rights, type in PowerShell: Start-Process",
        ),
    ],
)
def test_list_tells_of_each_key_it_cannot_use_and_lists_the_others(
    service: Service, registry: MemoryRegistry, key: str, values: Any, locked: bool, code: int, words: str
) -> None:
    registry.content[key] = values
    registry.locked |= {key} if locked else set()
    done = service("list")
    assert done.code == code
    assert words in done.err
    assert key in done.err
    assert "Their service" in done.out
    asked = service("list", "--json")
    assert (asked.code, asked.result["ok"], asked.result["exit_code"]) == (code, False, code)
    assert [(one["path"], one["code"]) for one in asked.result["failures"]] == [(key, code)]


def test_list_of_two_kinds_of_broken_keys_is_3(service: Service, registry: MemoryRegistry) -> None:
    registry.content |= {P1: {}, P2: {}}
    registry.locked.add(P2)
    assert service("list").code == 3


def test_register_says_what_was_done_and_when_it_is_not_needed(service: Service, registry: MemoryRegistry) -> None:
    done = service("register", "5001", "--name", "backup")
    assert (done.code, done.out) == (0, "")
    assert f"port 5001 ({P1}) registered as 'backup'" in done.err
    assert "when the guest listens and the host connects, nothing has to be registered" in done.err
    assert registry.content[P1]["ElementName"] == ("backup", 1)
    again = service("register", "5001", "--name", "backup")
    assert again.code == 0
    assert "registered already" in again.err


def test_register_a_pool_and_json(service: Service, registry: MemoryRegistry) -> None:
    done = service("register", "--pool", "5001-5002", "--name", "n", "--json", "-q")
    assert (done.code, done.err) == (0, "")
    assert done.result["registered"] == [P1, P2]
    assert [one["name"] for one in done.result["services"]] == ["n-5001", "n-5002"]
    assert service("register", "--pool", "5001-5002", "--name", "n", "--json", "-q").result["registered"] == []


@pytest.mark.parametrize("options", [["--name", "n"], ["--name", "n", "--json", "-q"]])
def test_a_dry_run_changes_nothing_and_needs_no_rights(
    service: Service, registry: MemoryRegistry, options: list[str]
) -> None:
    registry.writable = False
    before = {**registry.content}
    assert service("register", "5001", *options, "-n").code == 0
    done = service("unregister", P3, "-n")
    assert (done.code, done.out.split()) == (0, [P3, "5003", "theirs"])
    assert registry.content == before


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["register", "5003"], 10, "hvcopy service unregister"),
        (["register", "5001", "--name", "THEIRS"], 10, "choose another"),
        (["register"], 2, "register 18518"),
        (["register", "{5001"], 2, "'{5001' is neither a port nor a GUID\n  a port is a number; a GUID has"),
        (["register", "NONSENSE"], 2, "'NONSENSE' is neither a port nor a GUID"),
        (["register", OTHER.replace("-", "")], 2, OTHER),
        (["unregister", "their service"], 2, "hvcopy service list shows what is registered"),
        (["unregister", "their service"], 2, "is neither a port nor a GUID"),
        (["register", "1" * 32], 2, "11111111-1111-1111-1111-111111111111"),
        (["port", "1" * 32], 2, "11111111-1111-1111-1111-111111111111"),
        (["port", "NONSENSE"], 2, "'NONSENSE' is not a GUID"),
        (["register", "00000000-0000-0000-0000-000000000000"], 2, "stands for VMs"),
        (["register", "5001", "--name", "5002"], 2, "--name"),
        (["register", "--pool", "9-5"], 2, "--pool 5-9"),
        (["unregister"], 2, "--all"),
        (["unregister", "5001", "--yes"], 10, "hvcopy service list"),
        (["unregister", "5003"], 2, "--yes"),
        (["guid", "0"], 2, "1 to 2147483647"),
        (["port", OTHER], 2, f"hyperv:VM:{OTHER}"),
    ],
)
def test_what_cannot_be_done_changes_nothing_and_says_what_to_type(
    service: Service, registry: MemoryRegistry, arguments: list[str], code: int, words: str
) -> None:
    before = {**registry.content}
    done = service(*arguments)
    assert done.code == code
    assert words in done.err
    assert registry.content == before
    assert service(*arguments, "--json").result["exit_code"] == code


def test_without_rights_the_elevated_command_is_printed_whole(service: Service, registry: MemoryRegistry) -> None:
    registry.writable = False
    done = service("register", "5001", "--name", "it's mine")
    assert done.code == 9
    assert (
        f"type in PowerShell: Start-Process -Verb RunAs -Wait -FilePath '{sys.executable}'"
        """ -ArgumentList '-m hvcopy service register 5001 --name "it''s mine"'\n"""
    ) in done.err
    done = service("register", "--pool", "5001-5002", "--name", "a b", "-q")
    assert done.code == 9
    assert """ -ArgumentList '-m hvcopy service register --pool 5001-5002 --name "a b" -q'\n""" in done.err
    done = service("unregister", "5003")
    assert done.code == 9
    assert "-ArgumentList '-m hvcopy service unregister --yes 5003'\n" in done.err
    assert "unregister --yes -- 5003'\n" in service("unregister", "--", "5003").err
    assert "unregister 5003 -y'\n" in service("unregister", "5003", "-y").err


def test_unregister_asks_and_takes_no_for_an_answer(
    service: Service, registry: MemoryRegistry, answer: Callable[[str], None]
) -> None:
    for no, code in (("n\n", 130), ("\n", 130), ("nope\n", 130), ("\x04", 2)):
        answer(no)
        done = service("unregister", "5003")
        assert done.code == code
        assert P3 in done.err
        assert "nothing was changed" in done.err
        assert P3.upper() in registry.content
    answer("y\n")
    done = service("unregister", "5003")
    assert (done.code, done.out) == (0, "")
    assert list(registry.content) == [OTHER]


def test_unregister_all_takes_only_our_own(service: Service, registry: MemoryRegistry) -> None:
    service("register", "--pool", "5001-5002")
    done = service("unregister", "--all", "--yes", "--json", "-q")
    assert (done.code, done.err) == (0, "")
    assert done.result["removed"] == [P1, P2]
    assert list(registry.content) == [OTHER, P3.upper()]
    again = service("unregister", "--all", "--yes")
    assert (again.code, again.out) == (0, "")
    assert "0 to be removed" in again.err


@pytest.mark.parametrize("arguments", [["guid", "5001"], ["port", P1.upper()], ["port", f"{{{P1}}}"]])
def test_conversions_print_one_word(service: Service, arguments: list[str]) -> None:
    done = service(*arguments)
    assert (done.code, done.out, done.err) == (0, (P1 if arguments[0] == "guid" else "5001") + "\n", "")
    assert service(*arguments, "--json").result == {
        "schema": 1, "command": f"service {arguments[0]}", "ok": True, "exit_code": 0, "guid": P1, "port": 5001, "failures": [],
    }  # fmt: skip
