"""Host aliases of the configuration file, and --wait for a server that is not up yet."""

from __future__ import annotations

import os
import re
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import Running, Server, run, serving
from ports import real
from starting import ELSEWHERE

from e2e.boxes import powerless
from e2e.trees import write


@pytest.fixture
def config(home: Path) -> Path:
    """Where the configuration file belongs."""
    path = home / ("AppData/Roaming" if ELSEWHERE else ".config") / "hvcopy/config.toml"
    path.parent.mkdir(parents=True)
    return path


def test_an_alias_stands_where_an_address_may(server: Server, here: Path, config: Path) -> None:
    config.write_text(f'[hosts.web1]\naddress = "{real(server.address)}"\n')
    source = write(here / "f")
    assert run("cp", source, "web1:/").code == 0
    assert run("ls", "web1").out.split()[-1] == "f"
    assert run("ls", "web1:/f").code == 0
    assert run("cp", "web1:/f", here / "g", "--no-fsync").code == 0
    assert run("cp", "web1:f", here / "h", "--no-fsync").code == 0
    assert (here / "g").read_bytes() == (here / "h").read_bytes() == source.read_bytes()


def test_a_key_file_that_no_file_can_be_is_10(config: Path) -> None:
    config.write_text('[hosts.web1]\naddress = "tcp:127.0.0.1:1"\nkey_file = "\\u0000"\n')
    done = run("ls", "web1")
    assert done.code == 10
    assert "no file can have that name" in done.err
    assert "Traceback" not in done.err


def test_a_path_of_windows_in_the_wrong_quotes_is_told_with_the_right_ones(config: Path) -> None:
    config.write_text('[hosts.web1]\naddress = "tcp:127.0.0.1:1"\nkey_file = "C:\\Users\\me\\web1.key"\n')
    done = run("ls", "web1")
    assert done.code == 2
    assert r"single quotes: key_file = 'C:\keys\web1.key'" in done.err


def test_an_alias_brings_its_key_unless_another_is_given(
    tmp_path: Path, root: Path, here: Path, config: Path, home: Path
) -> None:
    for name in ("key", "other"):
        assert run("key", home / name).code == 0
    with serving(f"unix:{tmp_path}/s", root, "--key-file", home / "key") as server:
        config.write_text(f'[hosts.web1]\naddress = "{real(server.address)}"\nkey_file = "~/key"\n')
        assert run("ls", "web1").code == 0
        assert run("cp", write(here / "f"), "web1:/").code == 0
        assert run("ls", "web1", "--key-file", home / "other").code == 9
        assert run("ls", server.address).code == 9


def test_serve_and_one_shot_take_an_alias(tmp_path: Path, root: Path, here: Path, config: Path) -> None:
    config.write_text(f'[hosts.here]\naddress = "{real(f"unix:{tmp_path}/s")}"\n')
    with serving("here", root, *(["--open"] if ELSEWHERE else [])) as server:
        assert server.address == f"unix:{tmp_path}/s"
        assert run("cp", write(here / "f"), "here:/").code == 0


def test_a_fifo_for_a_configuration_is_2_and_not_waited_for(config: Path) -> None:
    os.mkfifo(config)
    done = run("ls", "web1")
    assert done.code == 2
    assert "it is no file" in done.err


@pytest.mark.parametrize("target", ["nowhere", "config.toml"])
def test_a_link_that_leads_nowhere_is_not_no_configuration(target: str, config: Path) -> None:
    config.symlink_to(target)
    done = run("ls", "web1")
    assert done.code == 2
    assert f"{config}: it is no file" in done.err


@pytest.mark.parametrize(
    "words",
    [["nc", "-l", "near"], ["forward", "near", "tcp:127.0.0.1:9"], ["bench", "--raw", "--serve", "near"]],
    ids=" ".join,
)
def test_raw_peers_are_not_let_in_where_a_key_is_to_be_proven(words: list[str], tmp_path: Path, config: Path) -> None:
    config.write_text(f'[hosts.near]\naddress = "{real(f"unix:{tmp_path}/s")}"\nkey_file = "~/key"\n')
    done = run(*words, cwd=tmp_path)
    assert done.code == 2
    assert "a raw peer can prove none" in done.err


@pytest.mark.parametrize(
    "text",
    [
        "[hosts.web1]\n",
        "[hosts.web1]\naddress = 7\n",
        "hosts = 1\n",
        "not toml at all [",
        "[hosts]\nweb1 = 'x'\n",
        "# na\xefve\n[hosts.web1]\naddress = 'unix:/x'\n",
        "[hosts.web1]\naddress = 'vsock:4711'\n",
        "[hosts.web1]\naddress = 'unix:/x'\nkey_file = ''\n",
        "[hosts.web1]\naddress = 'unix:/x'\nkey_file = false\n",
        "[hosts.web1]\naddress = 'unix:/x'\nkeyfile = '/key'\n",
        "[host.web1]\naddress = 'unix:/x'\n",
        "[hosts.Unix]\naddress = 'vsock:3:18518'\nkey_file = '/key'\n",
        "[hosts.'web:1']\naddress = 'unix:/x'\n",
        "[hosts.'web/1']\naddress = 'unix:/x'\n",
        "[hosts.'']\naddress = 'unix:/x'\n",
    ],
)
@pytest.mark.parametrize("where", ["web1", "web1:/x"])
def test_a_broken_configuration_is_2_and_names_the_file(where: str, text: str, config: Path) -> None:
    config.write_text(text, encoding="latin-1")
    done = run("ls", where)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert str(config) in done.err.replace("\\", "/")


@pytest.mark.parametrize("path", ["", ":"])
def test_a_broken_configuration_does_not_matter_where_no_host_is_named(path: str, server: Server, config: Path) -> None:
    config.write_text("not toml at all [")
    assert run("ls", f"{server.address}{path}").code == 0


def test_an_address_that_is_wrong_is_told_before_a_broken_configuration(config: Path) -> None:
    config.write_text("not toml at all [")
    done = run("ls", "vsock:three:18518")
    assert done.code == 2
    assert "three" in done.err
    assert "config" not in done.err


def test_a_configuration_that_may_not_be_read_is_10(config: Path) -> None:
    config.write_text("")
    config.chmod(0)
    done = run("ls", "web1", prefix=powerless())
    assert done.code == 10
    assert f"{config}: Permission denied" in done.err
    assert "make it readable for you" in done.err


def test_a_configuration_may_come_from_an_editor_on_windows(server: Server, config: Path) -> None:
    config.write_bytes(f'\ufeff[hosts.web1]\r\naddress = "{real(server.address)}"\r\n'.encode())
    assert run("ls", "web1").code == 0


@pytest.mark.parametrize("command", [["ls"], ["doctor"], ["serve", "--root", "."], ["nc", "-z"], ["pipe", "-l"]])
def test_a_path_that_the_locale_has_not_is_2(command: list[str], here: Path) -> None:
    """An address is UTF-8 in any locale, and what Python makes of a path is the locale's."""
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run(*command, "unix:%E2%82%AC", cwd=here, env=locale)
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert "LC_ALL=C.UTF-8" in done.err


def test_an_unknown_name_is_2_and_says_what_an_address_is(config: Path) -> None:
    config.write_text('[hosts.web1]\naddress = "unix:/x"\n')
    for words in (["ls", "web2"], ["ls", "web2:/f"], ["serve", "web2", "--root", "."], ["nc", "-z", "web2"]):
        done = run(*words)
        assert done.code == 2
        assert re.search(r"a host called web2 is not in .*config\.toml", done.err), done.err
    assert "config.toml" not in run("ls", "vsock:4711").err


@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_wait_finds_a_server_that_starts_later(
    transport: str, tmp_path: Path, root: Path, here: Path, processes: ExitStack
) -> None:
    address = f"unix:{tmp_path}/s"
    if transport == "tcp":
        with serving("tcp:127.0.0.1:0", root, "--open") as first:
            address = first.address
    client = processes.enter_context(Running("cp", "--wait", "15", write(here / "f"), f"{address}:/"))
    processes.enter_context(serving(address, root, *(["--open"] if transport == "tcp" else [])))
    done = client.finish()
    assert done.code == 0, done.err
    assert os.listdir(root) == ["f"]


def test_wait_gives_up_in_time_and_says_so(tmp_path: Path) -> None:
    before = time.monotonic()
    done = run("ls", "--wait", "1", f"unix:{tmp_path}/s")
    assert done.code == 4
    assert 1 <= time.monotonic() - before < 6
    assert "gave up after 1 s" in done.err
