"""HTTP through `hvcopy forward`: real clients, a real server, the library's and curl."""

from __future__ import annotations

import hashlib
import http.client
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from commands import forwarding
from talkers import Talker, need
from webstore import Store

from e2e.routes import in_thread
from e2e.trees import noise, write

MIB = 1 << 20
LARGE = 40 * MIB + 1


@pytest.fixture
def store(processes: ExitStack, tmp_path: Path) -> Iterator[int]:
    """The port of a forwarder to a ``Store``, by way of a second one and a unix socket."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        in_thread(server.serve_forever)
        middle = f"unix:{tmp_path}/middle"
        processes.enter_context(forwarding(middle, f"tcp:127.0.0.1:{server.server_port}"))
        yield port_of(processes.enter_context(forwarding("tcp:127.0.0.1:0", middle, "--open"))[1])
        server.shutdown()


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


@pytest.fixture
def site(root: Path, processes: ExitStack) -> str:
    """The URL, through a forwarder, of the library's own server of ``root``, which ends each connection."""
    server = processes.enter_context(
        Talker(sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", root)
    )
    assert server.stdout is not None
    said = re.search(rb"port (\d+)", server.stdout.readline())
    assert said
    _, address = processes.enter_context(forwarding("tcp:127.0.0.1:0", f"tcp:127.0.0.1:{int(said[1])}", "--open"))
    return f"http://127.0.0.1:{port_of(address)}"


def test_a_large_body_goes_each_way_over_one_connection(store: int) -> None:
    body = noise(LARGE, 1)
    client = http.client.HTTPConnection("127.0.0.1", store)
    for _ in range(2):
        client.request("PUT", "/", body)
        assert client.getresponse().read().decode() == hashlib.sha256(body).hexdigest()
        client.request("GET", f"/{LARGE}")
        assert client.getresponse().read() == noise(LARGE)
    client.close()


def test_four_hundred_small_requests_over_eight_connections(store: int) -> None:
    def ask(start: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", store)
        for number in range(start, start + 50):
            client.request("GET", f"/{number}")
            assert client.getresponse().read() == noise(number)
        client.close()

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(ask, start) for start in range(0, 400, 50)]:
            done.result()


def test_urllib_gets_what_a_server_that_ends_each_connection_has(site: str, root: Path) -> None:
    write(root / "large", noise(LARGE))
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{site}/large") as answer:
        assert answer.read() == noise(LARGE)
    with pytest.raises(urllib.error.HTTPError, match="404") as missing:
        direct.open(f"{site}/missing")
    missing.value.close()


def test_curl_gets_and_puts(site: str, store: int, root: Path, here: Path) -> None:
    curl = [need("curl", "curl"), "--silent", "--show-error", "--fail", "--noproxy", "*"]
    write(root / "a", noise(LARGE, 1))
    write(root / "b", noise(MIB, 2))

    def run(*arguments: object) -> str:
        done = subprocess.run([*curl, *map(str, arguments)], cwd=here, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("-O", f"{site}/a", "-O", f"{site}/b")
    assert [(here / name).read_bytes() for name in "ab"] == [noise(LARGE, 1), noise(MIB, 2)]
    assert run("-T", here / "a", f"http://127.0.0.1:{store}/") == hashlib.sha256(noise(LARGE, 1)).hexdigest()
