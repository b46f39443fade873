"""hvcopy on Windows: a genuine Windows CPython under Wine, the core cross-compiled, see windows/."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import commands
import pytest
from e2e.plumbing import listening

from lanes.parts import CHECKOUT, require
from lanes.windows import suite, there, wine
from lanes.windows.built import build_wheel, link_package
from lanes.windows.made import RECIPES
from lanes.windows.workers import WORK

MIB = 1 << 20
MINOR, NEXT = "3.12", "3.13"
PYTHON = RECIPES[MINOR].python

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("windows"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def package() -> Path:
    """The folder with hvcopy as Windows has it."""
    require("windows")
    return link_package(MINOR)


def run_tests(
    env: Mapping[str, str], tests: Sequence[str], report: Path, *, python: Path = PYTHON
) -> dict[str, bool]:
    """Runs tests there, which must all pass or say why they are skipped; gives for each whether it ran.

    Their folders are beside *report*: two pytests that take away old ones of a place they share fail by each other there.
    """
    folders = wine.windows_path(report.with_name("t"))
    options = ["-q", "-p", "no:cacheprovider", f"--basetemp={folders}", f"--junitxml={wine.windows_path(report)}"]
    argv = [python, "-P", "-m", "pytest", *options, *tests]
    done = wine.run(argv, cwd=CHECKOUT, env=env, timeout=560)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    cases = ElementTree.parse(report).getroot().iter("testcase")
    return {f"{case.get('classname')}.{case.get('name')}": case.find("skipped") is None for case in cases}


def test_the_core_is_a_windows_module_of_the_stable_abi(package: Path) -> None:
    script = "import sys; from hvcopy import _core; print(sys.platform, _core.__file__, _core.Meter().moved)"
    done = wine.run([PYTHON, "-P", "-c", script], env={"PYTHONPATH": wine.windows_path(package)})
    assert (done.returncode, done.stdout.split()) == (0, ["win32", wine.windows_path(package / "hvcopy/_core.pyd"), "0"])
    imported = (package / "hvcopy/_core.pyd").read_bytes()
    assert b"python3.dll" in imported
    assert b"python312.dll" not in imported
    assert b"libgcc" not in imported


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("tests", "most"),
    [
        pytest.param(there.FILES_AND_SOCKETS, 700, marks=pytest.mark.xdist_group("files"), id="files and sockets"),
        pytest.param(there.LOGIC, 2000, marks=pytest.mark.xdist_group("logic"), id="logic"),
    ],
)
def test_what_runs_inside_windows_python_passes_there(
    package: Path, tmp_path: Path, tests: Sequence[str], most: int
) -> None:
    env = {"PYTHONPATH": wine.windows_path(package)}
    ran = run_tests(env, [*tests, *suite.options()], tmp_path / "report.xml")
    assert sum(ran.values()) > most


def run_here(variable: str, over_there: Mapping[str, object], tests: Sequence[str]) -> str:
    """Runs tests here that find in an environment variable how to start their programs there; gives what pytest said."""
    wine.wake(wine.environment())
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "180", *tests]
    done = subprocess.run(
        argv,
        cwd=CHECKOUT,
        env=os.environ | {variable: json.dumps(over_there)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1180,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout
    return done.stdout


def with_package(package: Path) -> dict[str, str]:
    """What a program there has in its environment."""
    names = {name: text for name, text in wine.environment().items() if name.startswith(("WINE", "HVCOPY_LANE"))}
    return names | {"PYTHONPATH": wine.windows_path(package)}


def launcher(minor: str) -> list[str]:
    """How a Python there is started; the test is skipped when it was not made."""
    if minor == NEXT:
        require(f"windows-{NEXT}")
    return [*wine.command(), str(RECIPES[minor].python), "-P"]


@pytest.mark.timeout(1200)  # whole files, in one pytest for all that have their workers in common
@pytest.mark.parametrize(
    ("minor", "files"),
    [
        pytest.param(minor, files, marks=pytest.mark.xdist_group(name), id=f"{minor}-{name}")  # beside all the others
        for minor, files in [*((MINOR, share) for share in suite.COMMANDS_SHARES), (NEXT, suite.COMMANDS_ON_NEXT)]
        for name in ["-".join(files)]
    ],
)
def test_commands_pass_their_tests_with_windows_processes(package: Path, minor: str, files: Sequence[str]) -> None:
    python = launcher(minor)
    worker = [*python, wine.windows_path(WORK)]
    command = {"argv": [*python, "-m", "hvcopy"], "worker": worker, "env": with_package(package)}
    assert " passed" in run_here("HVCOPY_TEST_COMMAND", command, suite.commands(files))


@pytest.mark.xdist_group("faults")  # of the other Python the core, which is the same file, would be told nothing new
def test_the_core_passes_its_tests_with_faults_there() -> None:
    there = {"argv": launcher(MINOR), "env": with_package(link_package(MINOR, "faults"))}
    said = run_here("HVCOPY_TEST_FAULTS", there, suite.faults())
    passed = re.search(r"(\d+) passed", said)
    assert passed
    assert int(passed[1]) > 150


@pytest.mark.parametrize("listener", ["windows", "linux"])
def test_streams_arrive_whole_from_either_side(windows: Windows, tmp_path: Path, listener: str) -> None:
    sent, got = tmp_path / "sent", tmp_path / "got"
    sent.write_bytes(os.urandom(5 * MIB + 3))
    with ExitStack() as stack:
        if listener == "windows":
            there = stack.enter_context(windows.start("pipe", "-l", "tcp:127.0.0.1:0", "--open", "-o", got))
            address = there.line(r"listening on (\S+)\n")[1]
            assert commands.run("pipe", address, "-i", sent).code == 0
            assert there.finish().returncode == 0
        else:
            here = stack.enter_context(commands.Running("pipe", "-l", "tcp:127.0.0.1:0", "--open", "-o", got))
            address = here.line(r"listening on (\S+)\n")[1]
            windows.run("pipe", address, "-i", sent)
            assert here.finish().code == 0
    assert got.read_bytes() == sent.read_bytes()


ASKS = """
import sys, hvcopy
with hvcopy.open_stream(hvcopy.parse_address(sys.argv[1])) as stream:
    stream.write(b"what is ")
    stream.write(memoryview(b"the time?\\n"))
    stream.end()
    print(stream.read())
"""
MISSES = """
import sys, hvcopy
from hvcopy.errors import ConnectionLost
stream = hvcopy.open_stream(hvcopy.parse_address(sys.argv[1]))
stream.write(b"x")
try:
    stream.read()
except ConnectionLost as error:
    print(error.exit_code)
"""
WRITES_ON = """
import sys, hvcopy
stream = hvcopy.open_stream(hvcopy.parse_address(sys.argv[1]))
stream.write(b"x")
try:
    while True:
        stream.write(bytes(range(256)) * 65536)
except hvcopy.HvcopyError as error:
    print(error.exit_code)
"""


def test_streams_of_the_library_work_there(package: Path) -> None:
    env = {"PYTHONPATH": wine.windows_path(package)}
    for script, said in ((ASKS, "b'late\\n'"), (MISSES, "6"), (WRITES_ON, "6")):
        with listening("tcp:127.0.0.1:0", "--open") as left:
            address = left.line(r"listening on (\S+)\n")[1]
            with wine.Program([PYTHON, "-P", "-c", script, address], env=env) as program:
                if script == ASKS:
                    assert left.tap().all() == b"what is the time?\n"
                    left.send(b"late\n")
                    left.end()
                else:
                    assert os.read(left.reads, 1) == b"x"
                    left.signal(signal.SIGKILL)
                done = program.finish()
            assert (done.returncode, done.stdout.strip()) == (0, said), done.stderr
            assert left.finish().code == (0 if script == ASKS else -signal.SIGKILL)


def test_what_windows_lacks_is_said(windows: Windows) -> None:
    for words, said in (
        (["ls", "unix:/x"], "hvcopy has no unix sockets on Windows"),
        (["ls", "hybrid:/x:5"], "hvcopy has no unix sockets on Windows"),
        (["ls", "vsock:3:18518"], "hyperv:VM:18518"),
        (["demo"], "hvcopy serve tcp:127.0.0.1:18518"),
        (["bench"], "hvcopy bench --serve tcp:127.0.0.1:18518"),
    ):
        with windows.start(*words) as program:
            done = program.finish()
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said", "unsaid"),
    [
        (["nc", "tcp:[::1]:1"], 4, 'hvcopy nc -l "tcp:[::1]:1"', "'"),
        (["nc", "tcp:[fe80::1%none]:1"], 4, "netsh interface ipv6 show interfaces", "ip -brief"),
        (["doctor"], 9, "tcp: may still do", "unix:,"),
        (["cp", "a", "b"], 2, "hyperv:VM:18518:/srv/; for local copies use copy", "vsock"),
        (["cp", "a"], 2, "hvcopy cp FILE hyperv:VM:18518:/", "vsock"),
        (["cp", "a", r"tcp:127.0.0.1:1:\x\y"], 2, "write tcp:127.0.0.1:1:/x/y", "file:stream"),
        (["ls", r"tcp:127.0.0.1:1:\x"], 2, "write tcp:127.0.0.1:1:/x", "no IP address"),
        (["cp", "file:stream", "tcp:127.0.0.1:1:/"], 2, "hosts.file", ".\\file"),
        (["send", "a"], 2, "hvcopy send FILE hyperv:VM:18518", "vsock"),
        (["pipe", "-k", "tcp:127.0.0.1:1"], 2, "hvcopy pipe -l -k hyperv:any:18518", "vsock"),
        (["bench", "--serve"], 2, "hvcopy bench --serve hyperv:any:18518", "vsock"),
        (["doctor", "-l"], 2, "hvcopy doctor -l hyperv:any:18518", "vsock"),
        (["forward", "tcp:127.0.0.1:1", "tcp:127.0.0.1:1", "--open"], 2, "hyperv:VM:18518", "vsock"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_to_be_typed_next_can_be_typed_there(
    windows: Windows, words: list[str], code: int, said: str, unsaid: str
) -> None:
    with windows.start(*words) as program:
        done = program.finish()
    told = done.stdout + done.stderr
    assert (done.returncode, said in told, unsaid in told) == (code, True, False), told


WITHOUT_OUTPUT = """
import os, subprocess, sys, _winapi, msvcrt
reads, writes = os.pipe()
os.set_handle_inheritable(msvcrt.get_osfhandle(writes), True)
start = subprocess.STARTUPINFO(dwFlags=subprocess.STARTF_USESTDHANDLES, hStdError=msvcrt.get_osfhandle(writes))
start.hStdInput = start.hStdOutput = 0
command = subprocess.list2cmdline([sys.executable, "-P", "-m", "hvcopy", "doctor"])
process, thread, _, _ = _winapi.CreateProcess(None, command, None, None, True, 0, None, None, start)
os.close(writes)
with open(reads) as errors:
    print(errors.read())
_winapi.WaitForSingleObject(process, 30_000)
sys.exit(_winapi.GetExitCodeProcess(process))
"""


def test_results_that_go_nowhere_can_be_thrown_away_as_windows_has_it(package: Path) -> None:
    done = wine.run([PYTHON, "-P", "-c", WITHOUT_OUTPUT], env={"PYTHONPATH": wine.windows_path(package)})
    assert (done.returncode, "to throw away what comes: >nul" in done.stdout) == (10, True), done.stdout + done.stderr


KEPT_PORT = """
import socket
from hvcopy.address import TcpAddress
from hvcopy.errors import NotAllowed
from hvcopy.transport import listen
def bind(self, address):
    raise OSError(None, "Access denied", None, 10013)  # what Windows has of a port in an excluded range
socket.socket.bind = bind
try:
    listen(TcpAddress("127.0.0.1", 50000))
except NotAllowed as error:
    print(error.message, error.hint)
"""


def test_a_port_that_windows_keeps_is_told_with_where_such_are_listed(package: Path) -> None:
    done = wine.run([PYTHON, "-P", "-c", KEPT_PORT], env={"PYTHONPATH": wine.windows_path(package)})
    assert "netsh interface ipv4 show excludedportrange protocol=tcp" in done.stdout, done.stderr
    assert "root" not in done.stdout


class Windows:
    """hvcopy's command line on Windows."""

    def __init__(self, package: Path, cwd: Path) -> None:
        self._env = {"PYTHONPATH": wine.windows_path(package), "COLUMNS": "100"}
        self._cwd = cwd

    def start(self, *arguments: object) -> wine.Program:
        """Start one command; paths are written as Windows has them."""
        words = [wine.windows_path(one) if isinstance(one, Path) else str(one) for one in arguments]
        return wine.Program([PYTHON, "-P", "-m", "hvcopy", *words], cwd=self._cwd, env=self._env)

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run one command to its end, which must be a good one."""
        with self.start(*arguments) as program:
            done = program.finish()
        assert done.returncode == 0, done.stderr
        return done

    @contextmanager
    def serving(self, root: Path, *options: object) -> Iterator[str]:
        """A server on a free port; gives its address."""
        with self.start("serve", "tcp:127.0.0.1:0", "--root", root, "--no-fsync", *options) as server:
            yield server.line(r"serving .* on (\S+)\n")[1]


@pytest.fixture
def windows(package: Path, tmp_path: Path) -> Windows:
    return Windows(package, tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Small files, names that are not ASCII, an empty folder, and a file that goes in blocks."""
    folder = tmp_path / "tree"
    (folder / "sub" / "tiefer").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "large").write_bytes(os.urandom(10 * MIB + 7))
    for number in range(20):
        (folder / "sub" / f"file {number}").write_bytes(os.urandom(number * 1000))
    (folder / "sub" / "tiefer" / "Ünïcode \N{PILE OF POO}.txt").write_text("text\n")
    return folder


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Of each file below: what is in it, and its time as far as Windows has it (100 ns)."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns // 100) for path in files}
    return found | {str(path.relative_to(folder)): (b"", 0) for path in folder.rglob("*") if path.is_dir()}


def copy(source: object, target: object) -> None:
    done = commands.run("cp", "-r", source, target, "--no-fsync", timeout=60)
    assert done.code == 0, done.err


def test_trees_go_both_ways_between_windows_and_linux(windows: Windows, tree: Path, tmp_path: Path) -> None:
    root, back, again = (tmp_path / name for name in ("root", "back", "again"))
    root.mkdir()
    with windows.serving(root, "--open") as address:
        copy(tree, f"{address}:/pushed")
        copy(f"{address}:/pushed", back)
        windows.run("cp", "-r", tree, f"{address}:/own", "--no-fsync")
    with commands.serving("tcp:127.0.0.1:0", root, "--open") as server:
        windows.run("cp", "-r", server.at("own"), again, "--no-fsync")
        windows.run("cp", "-r", again, server.at("third"), "--no-fsync")
    for folder in (root / "pushed", back, root / "own", again, root / "third"):
        assert contents(folder) == contents(tree), folder


def test_a_second_copy_from_linux_finds_everything_there_and_leaves_nothing(
    windows: Windows, tree: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tree / "sub" / "file 3").chmod(0o444)
    with windows.serving(root, "--open") as address:
        copy(tree, f"{address}:/")
        for options in ([], ["--update"]):
            done = commands.run("cp", "-r", tree, f"{address}:/", "--no-fsync", "--json", *options, timeout=60)
            assert (done.code, done.result["files"]) == (0, 0), done.err
    assert contents(root / "tree") == contents(tree)


def test_owners_that_were_asked_for_are_said_not_to_be_kept_of_small_files_as_of_large(
    windows: Windows, tmp_path: Path
) -> None:
    root, here = tmp_path / "root", tmp_path / "here"
    for folder in (root, here):
        folder.mkdir()
    for name, size in (("small", 1), ("large", MIB)):
        (root / name).write_bytes(bytes(size))
    with (
        commands.serving("tcp:127.0.0.1:0", root, "--open") as server,
        windows.start("cp", "-a", server.at("small"), server.at("large"), here) as program,
    ):
        done = program.finish()
    assert done.returncode == 10, done.stderr
    assert done.stderr.count("cannot be kept there") == 2, done.stderr
    assert list(here.iterdir()) == []


def test_a_key_made_on_windows_opens_there(windows: Windows, tmp_path: Path) -> None:
    root, key, other = tmp_path / "root", tmp_path / "key", tmp_path / "other"
    root.mkdir()
    (root / "file").write_text("in it")
    windows.run("key", key)
    key.chmod(0o600)
    assert commands.run("key", other).code == 0
    with windows.serving(root, "--key-file", key) as address:
        listed = commands.run("ls", address, "--key-file", key)
        assert (listed.code, listed.out.split()[-1]) == (0, "file")
        assert commands.run("ls", address, "--key-file", other).code == 9
        assert commands.run("ls", address).code == 9


@pytest.mark.parametrize("name", ["NUL", "nul.key", "my:key", "t."])
def test_a_key_gets_no_name_that_windows_would_take_for_another(windows: Windows, tmp_path: Path, name: str) -> None:
    with windows.start("key", name) as program:
        done = program.finish()
    assert (done.returncode, os.listdir(tmp_path)) == (11, []), done.stderr
    assert "choose another name" in done.stderr


@pytest.mark.parametrize("name", ["a.", "a ", ".\\a:stream", "d.", "d.\\"])
def test_a_source_is_not_sent_under_a_name_that_windows_took_for_another(
    windows: Windows, tmp_path: Path, name: str
) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "d").mkdir()
    with windows.start("cp", "-r", name, "tcp:127.0.0.1:1:/") as program:
        done = program.finish()
    assert done.returncode == 11, done.stderr
    assert "type its name as it is" in done.stderr


@pytest.fixture(scope="module")
def wheel() -> Path:
    """The wheel for Windows, of every Python."""
    return build_wheel(MINOR)


def install(wheel: Path, minor: str, target: Path) -> None:
    pip = [RECIPES[minor].python, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
    installed = wine.run([*pip, "--target", wine.windows_path(target), wine.windows_path(wheel)], timeout=120)
    assert installed.returncode == 0, installed.stderr


def test_the_wheel_installs_and_its_command_runs(wheel: Path, tmp_path: Path) -> None:
    assert wheel.name.endswith("-cp311-abi3-win_amd64.whl")
    target = tmp_path / "installed"
    install(wheel, MINOR, target)
    env = {"PYTHONPATH": wine.windows_path(target), "PYTHONUTF8": "1"}
    done = wine.run([target / "bin" / "hvcopy.exe", "--version"], env=env, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.split()[-1] in wheel.name


@pytest.mark.timeout(600)
def test_the_wheel_does_the_same_on_the_next_python(wheel: Path, tree: Path, tmp_path: Path) -> None:
    require(f"windows-{NEXT}")
    python, target, back = RECIPES[NEXT].python, tmp_path / "installed", tmp_path / "back"
    install(wheel, NEXT, target)
    env = {"PYTHONPATH": wine.windows_path(target)}
    said = wine.run([python, "-P", "-c", "import sys, hvcopy; print(sys.version_info[1], hvcopy.__file__)"], env=env)
    assert said.stdout.split() == ["13", wine.windows_path(target / "hvcopy/__init__.py")]
    tests = [*there.FILES_AND_SOCKETS, *suite.options()]
    assert sum(run_tests(env, tests, tmp_path / "report.xml", python=python).values()) > 700
    with commands.serving("tcp:127.0.0.1:0", tmp_path, "--open") as server:
        for words in ((wine.windows_path(tree), server.at("pushed")), (server.at("pushed"), wine.windows_path(back))):
            done = wine.run([python, "-P", "-m", "hvcopy", "cp", "-r", *words, "--no-fsync"], env=env)
            assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "pushed") == contents(back) == contents(tree)
