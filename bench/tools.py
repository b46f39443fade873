"""How each tool copies a file or tree: its commands, when its listener is ready, what counts as its time.

Time runs from the start of the command that dials (or of the only one) to the end of every process of that
copy. hvcopy's server runs on, for it is one: its client ends after the server's confirmation.
"""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import data
from bench.processes import Child, Command, Failed, unix_listening
from bench.rounds import Contender, Sample
from bench.workspace import Workspace

UNIX_BUFFER = 1 << 20  # as in hvcopy/transport/tuning.py
VSOCK_BUFFER = 4 << 20
BLOCK = ["-b", str(1 << 20)]

Copy = Callable[[Path, Path], Sample]


@dataclass(frozen=True, slots=True)
class Route:
    """Where the two processes of a stream tool meet: a unix path, or a vsock port reached at `cid`."""

    family: str
    path: Path
    port: int
    cid: int

    @property
    def buffer(self) -> int:
        """Bytes of socket buffer that hvcopy would ask for."""
        return UNIX_BUFFER if self.family == "unix" else VSOCK_BUFFER

    @property
    def socat_listening(self) -> str:
        return f"UNIX-LISTEN:{self.path}" if self.family == "unix" else f"VSOCK-LISTEN:{self.port}"

    @property
    def socat_dialed(self) -> str:
        return f"UNIX-CONNECT:{self.path}" if self.family == "unix" else f"VSOCK-CONNECT:{self.cid}:{self.port}"


class Routes:
    """A new route for every copy, so that none meets the remains of another."""

    def __init__(self, work: Workspace, family: str, cid: int = 1) -> None:
        self._work, self._family, self._cid = work, family, cid
        self._numbers = itertools.count(1)

    def fresh(self) -> Route:
        number = next(self._numbers)
        return Route(self._family, self._work.sockets / f"s{number}", 20000 + number, self._cid)


@dataclass(frozen=True, slots=True)
class Pair:
    """A tool that streams: the command that listens and writes, the one that dials and reads."""

    listener: Callable[[Route, Path], Command]
    sender: Callable[[Route, Path], Command]
    ready: str = "listening"
    """What the listener says on standard error when it listens; on a unix socket the kernel is asked instead."""


def floor_pair(program: Path) -> Pair:
    """The C loop without verification."""

    def argv(verb: str, route: Route, file: Path, address: str) -> Command:
        return Command([str(program), verb, route.family, address, str(route.buffer), str(file)])

    def here(route: Route) -> str:
        return str(route.path) if route.family == "unix" else str(route.port)

    def there(route: Route) -> str:
        return str(route.path) if route.family == "unix" else f"{route.cid}:{route.port}"

    return Pair(
        lambda route, file: argv("recv", route, file, here(route)),
        lambda route, file: argv("send", route, file, there(route)),
    )


def socat_pair(*options: str) -> Pair:
    """socat in one direction (-u), file to file."""

    def listener(route: Route, file: Path) -> Command:
        return Command(["socat", "-u", "-d", "-d", *options, route.socat_listening, f"OPEN:{file},creat,trunc"])

    def sender(route: Route, file: Path) -> Command:
        return Command(["socat", "-u", *options, f"OPEN:{file},rdonly", route.socat_dialed])

    return Pair(listener, sender, "listening on")


def nc_pair() -> Pair:
    """OpenBSD nc (unix only); -N ends the stream at the end of its input."""
    return Pair(
        lambda route, file: Command(["nc", "-lU", str(route.path)], stdout=file),
        lambda route, file: Command(["nc", "-NU", str(route.path)], stdin=file),
    )


def ncat_pair() -> Pair:
    """ncat."""

    def listener(route: Route, file: Path) -> Command:
        address = ["-U", str(route.path)] if route.family == "unix" else ["--vsock", str(route.port)]
        return Command(["ncat", "-v", "-l", "--recv-only", *address], stdout=file)

    def sender(route: Route, file: Path) -> Command:
        address = ["-U", str(route.path)] if route.family == "unix" else ["--vsock", str(route.cid), str(route.port)]
        return Command(["ncat", "--send-only", *address], stdin=file)

    return Pair(listener, sender, "Listening on")


def stream_copy(work: Workspace, pair: Pair, routes: Routes) -> Copy:
    """Copy a file through a stream tool."""

    def copy(source: Path, target: Path) -> Sample:
        route = routes.fresh()
        listener = work.jobs.start(pair.listener(route, target))
        try:
            wait_listening(listener, route, pair.ready)
            return send_to(work, listener, pair.sender(route, source))
        finally:
            listener.kill()

    return copy


def send_to(work: Workspace, listener: Child, sender: Command) -> Sample:
    """Time a sender, and the listener that ends with it."""
    began = time.perf_counter()
    child = work.jobs.start(sender)
    child.wait()
    listener.wait()
    return Sample(time.perf_counter() - began, child.cpu + listener.cpu)


def tar_copy(work: Workspace, routes: Routes, *options: str) -> Copy:
    """Copy a tree with tar through socat."""

    def copy(source: Path, target: Path) -> Sample:
        route = routes.fresh()
        target.mkdir()
        socat = ["socat", "-u", "-d", "-d", *options]
        receiving = [[*socat, route.socat_listening, "STDOUT"], ["tar", "-xf", "-", "-C", str(target)]]
        sending = [["tar", "-cf", "-", "-C", str(source), "."], [*socat, "STDIN", route.socat_dialed]]
        receivers = work.jobs.pipeline(receiving)
        wait_listening(receivers[0], route, "listening on")
        began = time.perf_counter()
        children = work.jobs.pipeline(sending) + receivers
        for child in children:
            child.wait()
        return Sample(time.perf_counter() - began, sum(child.cpu for child in children))

    return copy


def local_copy(work: Workspace, *argv: str, contents: bool = False) -> Copy:
    """Copy with one command that takes source and target; `contents` adds rsync's trailing slash."""

    def copy(source: Path, target: Path) -> Sample:
        began = time.perf_counter()
        child = work.jobs.start(Command([*argv, f"{source}/" if contents else str(source), str(target)]))
        child.wait()
        return Sample(time.perf_counter() - began, child.cpu)

    return copy


class Server:
    """A running `hvcopy serve` without fsync, for the peers do not sync either."""

    def __init__(self, work: Workspace, address: str, root: Path, *options: str, dial: str | None = None) -> None:
        """`dial`: the address for clients, if it is not the one to listen on."""
        root.mkdir(exist_ok=True)
        self.work, self.address, self.root = work, dial or address, root
        argv = [work.settings.hvcopy, "serve", address, "--root", str(root), "--no-fsync", *options]
        self.process = work.jobs.start(Command(argv))
        self.process.wait_said("serving")

    def push(self, *options: str) -> Copy:
        """`hvcopy cp` to this server; the target is below its root."""

        def copy(source: Path, target: Path) -> Sample:
            remote = f"{self.address}:/{target.relative_to(self.root)}"
            argv = [self.work.settings.hvcopy, "cp", *options]
            if source.is_dir():
                argv.append("-r")
            before = self.process.cpu_so_far()
            try:
                sample = run_client(self.work, [*argv, str(source), remote])
            except Failed as error:
                raise Failed(f"{error}; its server said: {self.process.said()[-300:]}") from error
            return Sample(sample.seconds, sample.cpu + self.process.cpu_so_far() - before, sample.own_seconds)

        return copy


def run_client(work: Workspace, argv: list[str]) -> Sample:
    """Run one hvcopy client with --json; its own seconds are those of the result object."""
    result = work.sockets / "result.json"
    began = time.perf_counter()
    client = work.jobs.start(Command([*argv, "--no-fsync", "--json"], stdout=result))
    client.wait()
    seconds = time.perf_counter() - began
    try:
        own = float(json.loads(result.read_bytes())["seconds"])
    except (ValueError, KeyError) as error:
        raise Failed(f"no result object from hvcopy: {error}") from error
    return Sample(seconds, client.cpu, own)


def contender(work: Workspace, name: str, copy: Copy, source: Path, *, root: Path | None = None) -> Contender:
    """One way to copy `source` into the workspace, checked every time, byte for byte in the warm-up."""
    target = (root or work.data) / "copy"
    tiny = _tiny(work, as_tree=source.is_dir())

    def once(origin: Path, warm_up: bool) -> Sample:
        data.remove(target)
        sample = copy(origin, target)
        data.check_extent(origin, target)
        if warm_up:
            data.check_same(origin, target)
        data.remove(target)
        return sample

    size = data.extent(source)[1]
    return Contender(name, size, lambda warm_up: once(source, warm_up), lambda: once(tiny, False))


def _tiny(work: Workspace, *, as_tree: bool) -> Path:
    """A file of one byte, or a folder with it."""
    folder = work.data / "tiny"
    if not folder.exists():
        folder.mkdir()
        data.make_file(folder / "byte", 1)
    return folder if as_tree else folder / "byte"


def installed(*names: str) -> bool:
    """Whether all these programs are on PATH."""
    return all(shutil.which(name) for name in names)


def wait_listening(listener: Child, route: Route, ready: str) -> None:
    """Wait until a listener is one, without connecting to it."""
    if route.family == "unix":
        listener.wait_until(lambda: unix_listening(route.path))
    else:
        listener.wait_said(ready)
