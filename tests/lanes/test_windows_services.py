"""``hvcopy service`` and ``hvcopy vms`` on Windows: a real registry, Wine's, and a PowerShell that says nothing, Wine's too.

The registry is shared by everybody on this machine, so each test has services of its own.
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from commands import eventually

from hvcopy.address import port_to_service
from hvcopy.machines.powershell import SCRIPT
from hvcopy.transport.hyperv.registry import PATH
from lanes.parts import CHECKOUT, require
from lanes.windows import standin, wine
from lanes.windows.built import link_package
from lanes.windows.made import RECIPES

MINOR = "3.12"
PYTHON = RECIPES[MINOR].python

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("registry"), pytest.mark.timeout(300)]

IN_ANOTHER_WINDOWS = (  # Wine gives each program its own SYSTEMROOT
    "import os, runpy; os.environ['SYSTEMROOT'] = os.environ['ANOTHER'];"
    "runpy.run_module('hvcopy', run_name='__main__', alter_sys=True)"
)
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def run() -> Command:
    """Run hvcopy on Windows to its end."""
    require("windows")
    package = {"PYTHONPATH": wine.windows_path(link_package(MINOR)), "COLUMNS": "100"}

    def run(*words: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        module = ["-c", IN_ANOTHER_WINDOWS] if env else ["-m", "hvcopy"]
        return wine.run([PYTHON, "-P", *module, *map(str, words)], env=package | dict(env or {}))

    return run


@pytest.fixture
def without_rights(run: Command) -> Command:
    """Run hvcopy on a Windows whose registry lets this user only read about Hyper-V's services, or do nothing ("none")."""
    env = standin.environment(link_package(MINOR)) | {"COLUMNS": "100"}

    def unprivileged(*words: str, rights: str = "read") -> subprocess.CompletedProcess[str]:
        return wine.run([PYTHON, "-P", "-m", "hvcopy", *words], env=env | {"HVCOPY_HV_RIGHTS": rights})

    return unprivileged


def elevated(arguments: str) -> str:
    """What is to be typed for a command that needs rights."""
    program = wine.windows_path(PYTHON)
    return f"type in PowerShell: Start-Process -Verb RunAs -Wait -FilePath '{program}' -ArgumentList '-m hvcopy {arguments}'\n"


@pytest.fixture
def ports(run: Command) -> Iterator[list[int]]:
    """Three ports in a row that nobody else has; what a test leaves of them is removed."""
    first = random.randrange(1 << 30, (1 << 31) - 4)
    yield [first, first + 1, first + 2]
    run("service", "unregister", "--pool", f"{first}-{first + 2}", "--yes")


def test_services_are_registered_listed_and_removed(run: Command, ports: list[int]) -> None:
    first, _, last = ports
    name = f"n-{first}"
    done = run("service", "register", "--pool", f"{first}-{last}", "--name", name, "--json")
    assert done.returncode == 0, done.stderr
    guids = [port_to_service(port) for port in ports]
    assert json.loads(done.stdout)["registered"] == guids
    listed = run("service", "list")
    mine = [line.split() for line in listed.stdout.splitlines() if name in line]
    assert mine == [[guid, str(port), f"{name}-{port}", "hvcopy"] for guid, port in zip(guids, ports, strict=True)]
    again = run("service", "register", first, "--name", f"{name}-{first}")
    assert (again.returncode, "registered already" in again.stderr) == (0, True)
    other = run("service", "register", first, "--name", "other")
    assert (other.returncode, guids[0] in other.stderr) == (10, True)
    unsure = run("service", "unregister", first)
    assert (unsure.returncode, "--yes" in unsure.stderr) == (2, True)
    removed = run("service", "unregister", f"{{{guids[0].upper()}}}", "--yes", "--json")
    assert json.loads(removed.stdout)["removed"] == guids[:1]
    assert run("service", "unregister", first, "--yes").returncode == 10
    assert run("service", "unregister", "--pool", f"{first}-{last}", "--yes").returncode == 0
    assert name not in run("service", "list").stdout


def test_a_registration_of_somebody_else_is_read_as_regedit_wrote_it(run: Command) -> None:
    guid = str(uuid.uuid4())
    key = f"HKLM\\{PATH}\\{guid.upper()}"
    wine.run(["reg.exe", "add", key, "/v", "ElementName", "/t", "REG_DWORD", "/d", "5", "/f"])
    try:
        broken = run("service", "list")
        assert (
            f"{guid}: the ElementName of this registration is no text (REG_SZ); hvcopy service unregister {guid}"
            in broken.stderr
        )
        assert broken.returncode in (10, 3)
        wine.run(["reg.exe", "add", key, "/v", "ElementName", "/t", "REG_SZ", "/d", "Ihr Dienst", "/f"])
        assert [guid, "-", "Ihr", "Dienst"] in [line.split() for line in run("service", "list").stdout.splitlines()]
    finally:
        assert run("service", "unregister", guid, "--yes").returncode == 0
    assert guid not in run("service", "list").stdout


def test_who_may_not_change_the_registry_is_told_what_to_type(without_rights: Command, run: Command, ports: list[int]) -> None:
    port = str(ports[0])
    named = without_rights("service", "register", port, "--name", "of mine")
    assert named.returncode == 9, named.stderr
    assert "hvcopy: registering a service needs an administrator; nothing was changed\n" in named.stderr
    assert elevated(f'service register {port} --name "of mine"') in named.stderr
    assert port_to_service(ports[0]) not in run("service", "list").stdout
    assert run("service", "register", port).returncode == 0
    removed = without_rights("service", "unregister", port)
    assert removed.returncode == 9, removed.stderr
    assert "hvcopy: removing a registration needs an administrator; nothing was changed\n" in removed.stderr
    assert elevated(f"service unregister --yes {port}") in removed.stderr
    listed = without_rights("service", "list")
    assert (listed.returncode, port_to_service(ports[0]) in listed.stdout) == (0, True), listed.stderr


@pytest.mark.parametrize(
    ("words", "again"), [("register 18518",) * 2, ("unregister --all", "unregister --yes --all"), ("list", "")]
)
def test_who_may_not_even_read_the_registry_is_told_what_to_type(without_rights: Command, words: str, again: str) -> None:
    done = without_rights("service", *words.split(), rights="none")
    assert (done.returncode, done.stdout) == (9, ""), done.stderr
    assert "hvcopy: the registry key of Hyper-V's services may not be read by you\n" in done.stderr
    to_be_read = f"""-FilePath cmd.exe -ArgumentList '/k "{wine.windows_path(PYTHON)} -m hvcopy service list"'\n"""
    assert (elevated(f"service {again}") if again else to_be_read) in done.stderr


def test_conversions_are_the_same_there(run: Command) -> None:
    assert run("service", "guid", "18518").stdout.split() == [port_to_service(18518)]
    assert run("service", "port", port_to_service(18518)).stdout.split() == ["18518"]


def test_vms_says_what_powershell_does_not(run: Command) -> None:
    done = run("vms", "--json")
    assert done.returncode == 10, done.stderr
    assert "hvcopy: Hyper-V: PowerShell answered nothing" in done.stderr
    assert "powershell -Command Get-VM" in done.stderr
    found = json.loads(done.stdout)
    assert (found["vms"], [one["path"] for one in found["failures"]]) == ([], ["Hyper-V"])


def test_a_name_in_an_address_is_asked_of_this_windows(run: Command, ports: list[int]) -> None:
    named = run("ls", f"hyperv:nobody:{ports[0]}")
    assert (named.returncode, "PowerShell answered nothing" in named.stderr) == (10, True)
    short = run("ls", f"hyperv:{A[:-1]}:{ports[0]}")
    assert (short.returncode, "8-4-4-4-12" in short.stderr) == (10, True), short.stderr
    service = run("ls", "hyperv:loopback:no such name")
    assert (service.returncode, "hvcopy service list" in service.stderr) == (2, True)


def test_the_real_registry_does_what_the_decisions_expect_of_it(run: Command) -> None:
    """The unit tests, with a key of their own there."""
    tests = [f"tests/unit/test_{name}.py" for name in ("registry", "service", "elevation")]
    argv = [PYTHON, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", *tests]
    done = wine.run(argv, cwd=CHECKOUT, env={"PYTHONPATH": wine.windows_path(link_package(MINOR))}, timeout=200)
    assert done.returncode == 0, done.stdout[-8000:]
    assert "needs the registry" not in done.stdout


Says = Callable[..., dict[str, str]]
A, B = (f"{letter * 8}-1111-2222-3333-444455556666" for letter in "ab")


@pytest.fixture(scope="module")
def another(run: Command, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Windows folder with programs that say what a test wants."""
    root = tmp_path_factory.mktemp("windows")
    standin.plant_programs(root)
    return wine.windows_path(root)


@pytest.fixture
def says(another: str, tmp_path: Path) -> Says:
    """An environment whose PowerShell and WSL say what is given, and keep what they were asked in ``asked``."""
    planted = {"ANOTHER": another, "ASKED": wine.windows_path(tmp_path / "asked")}
    return lambda **answers: planted | {f"SAYS_{name}": text for name, text in answers.items()}


def test_vms_are_listed_as_powershell_and_wsl_tell_them(run: Command, says: Says) -> None:
    rows = [{"Name": "B\u00fcro 1", "Id": A.upper(), "State": "Running"}, {"Name": "wsl", "Id": B, "State": "Off"}]
    done = run("vms", "--json", env=says(powershell=json.dumps(rows), list="Ubuntu\r\n", id=A))
    assert (done.returncode, done.stderr) == (0, "")
    found = [
        (one["kind"], one["name"], one["state"], one["id"], one["address"]) for one in json.loads(done.stdout)["vms"]
    ]
    assert found == [
        ("hyperv", "B\u00fcro 1", "running", A, "hyperv:B\u00fcro 1:18518"),
        ("hyperv", "wsl", "off", B, f"hyperv:{B}:18518"),
        ("wsl", "wsl", "running", A, "hyperv:wsl:18518"),
    ]


def test_the_question_reaches_powershell_whole(run: Command, says: Says, tmp_path: Path) -> None:
    assert run("ls", "hyperv:web:5", env=says(powershell="[]")).returncode == 2
    assert (tmp_path / "asked").read_text() == f"6 {SCRIPT}"


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ([], 2, "hvcopy vms"),
        ([{"Name": "web", "Id": A, "State": "Saved"}], 4, "Start-VM 'web'"),
        ([{"Name": "web", "Id": A, "State": "Off"}, {"Name": "WEB", "Id": B, "State": "Off"}], 2, A),
        ({"Error": "AccessDenied,X", "Category": "PermissionDenied", "Text": "no"}, 9, "S-1-5-32-578"),
        (
            {"Error": "CommandNotFoundException", "Category": "ObjectNotFound", "Text": "no"},
            10,
            "Enable-WindowsOptionalFeature",
        ),
    ],
)
def test_a_vm_that_cannot_be_had_by_its_name_says_what_to_type(
    run: Command, says: Says, answer: object, code: int, words: str
) -> None:
    done = run("ls", "hyperv:Web:5", env=says(powershell=json.dumps(answer)))
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize("words", ["ls hyperv:{}:5", "serve hyperv:{}:5 --root . --open"])
@pytest.mark.parametrize(("vm", "program"), [("web", "powershell.exe"), ("wsl", "wsl.exe")])
def test_a_lookup_without_an_answer_is_5_and_says_what_to_write(
    run: Command, says: Says, words: str, vm: str, program: str
) -> None:
    """--timeout is the bound of a lookup before connecting."""
    connecting = words.startswith("ls")
    done = run(*words.format(vm).split(), "--timeout", "2", env=says())
    assert done.returncode == 5, done.stderr
    assert f"hyperv:{vm}:5: {program} did not tell within {2 if connecting else 20} s" in done.stderr
    assert "GUID in place of" in done.stderr
    assert ("--timeout 60" in done.stderr) == connecting


@pytest.mark.parametrize("words", ["hyperv:web:5", "hyperv:wsl:5", "-l hyperv:web:5"])
def test_a_doctor_that_gives_up_leaves_no_program(run: Command, says: Says, another: str, words: str) -> None:
    package = {"PYTHONPATH": wine.windows_path(link_package(MINOR))}
    argv = [PYTHON, "-P", "-c", IN_ANOTHER_WINDOWS, "doctor", *words.split(), "--timeout", "3"]
    with wine.Program(argv, env=package | says()) as program:
        eventually(lambda: _runs_from(another), what="the question", seconds=60)
        done = program.finish()
    assert (done.returncode, "did not tell within 3 s" in done.stderr) == (5, True), done.stderr
    eventually(lambda: not _runs_from(another), what="the end of the program that was asked")


def _runs_from(folder: str) -> bool:
    """Whether a program of that folder of Windows runs: this machine's processes have its path as their first word."""
    found = False
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found |= line.read_bytes().lower().startswith(folder.lower().encode())
    return found


def test_a_powershell_that_hangs_is_ended(run: Command, says: Says) -> None:
    done = run("vms", "--timeout", "2", env=says(list="none is there\r\n"))
    assert (done.returncode, "powershell.exe did not answer within 2 s" in done.stderr) == (5, True), done.stderr
