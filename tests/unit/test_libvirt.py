"""libvirt's domains, told by a program that is called virsh, or by files."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from programs import HANGS, program, says

from hvcopy.errors import HvcopyError, LocalFailure, NotAllowed, TimedOut
from hvcopy.machines import libvirt
from hvcopy.machines.finding import find_all
from hvcopy.machines.machine import Machine, vsock

ID, OTHER, GONE = (f"{letter * 8}-1111-2222-3333-444455556666" for letter in "abc")


def xml(
    name: str = "web", guid: str = ID, devices: str = "<vsock model='virtio'><cid auto='no' address='7'/></vsock>"
) -> str:
    return (
        f"<domain type='kvm' id='1'>\n <name>{name}</name><uuid>{guid}</uuid><devices>{devices}</devices>\n</domain>\n"
    )


@pytest.fixture
def virsh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make virsh a script that answers ``domstats``, ``list`` and ``dumpxml``.

    It takes what it is asked about for an id first, then for a UUID, then for a name, as virsh does: the ids are 1, 2 and so on.
    """
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("LIBVIRT_DEFAULT_URI", raising=False)

    def make(stats: str, **domains: str) -> Path:
        asked = [list(map(str, range(1, len(domains) + 1))), [ID, OTHER, GONE], list(domains)]
        cases = "".join(
            f"'dumpxml --domain={word}') {body};;" for words in asked for word, body in zip(words, domains.values(), strict=False)
        )
        uuids = says("".join(f"{uuid}\n" for uuid in asked[1][: len(domains)]) + "\n")
        cases = f'"domstats --state") {stats};; "list --all --uuid") {uuids};; {cases}'
        body = f'shift 4; case "$*" in {cases} *) echo gone >&2; exit 1;; esac'
        return program(tmp_path / "bin/virsh", body)

    return make


def stats(**states: int) -> str:
    return says(
        "".join(f"Domain: '{name}'\n  state.state={state}\n  state.reason=1\n\n" for name, state in states.items())
    )


def test_each_domain_has_its_state_and_cid(virsh: Callable[..., Path]) -> None:
    virsh(stats(web=1, db=5), web=says(xml()), db=says(xml("db", OTHER, "<vsock><cid auto='no' address='8'/></vsock>")))
    assert libvirt.find(20) == [
        Machine("libvirt", "web", "running", id=ID, address=vsock(7)),
        Machine("libvirt", "db", "off", id=OTHER, address=vsock(8)),
    ]


@pytest.mark.parametrize(
    ("number", "word"), [(1, "running"), (3, "paused"), (4, "stopping"), (5, "off"), (6, "crashed"), (99, "unknown")]
)
def test_states_are_words(virsh: Callable[..., Path], number: int, word: str) -> None:
    virsh(stats(web=number), web=says(xml()))
    assert libvirt.find(20)[0].state == word


def test_a_name_with_spaces_is_one_word_of_the_command_to_type() -> None:
    for devices, command in (("", "virsh edit"), ("<vsock/>", "virsh start")):
        found = libvirt.read_domain(xml("it's mine", devices=devices).encode())
        assert found
        assert f"{command} {shlex.quote(found.name)}" in found.note


@pytest.mark.parametrize(
    ("devices", "note"),
    [
        ("", "virsh edit web"),
        ("<vsock/>", "virsh start web"),
        ("<vsock><cid auto='yes'/></vsock>", "virsh start web"),
        ("<vsock><cid address='2'/></vsock>", "virsh start web"),
        ("<vsock><cid address='x'/></vsock>", "virsh start web"),
    ],
)
def test_a_domain_without_a_cid_says_what_it_lacks(virsh: Callable[..., Path], devices: str, note: str) -> None:
    virsh(stats(web=1), web=says(xml(devices=devices)))
    (found,) = libvirt.find(20)
    assert found.address is None
    assert note in found.note


def test_virsh_is_asked_to_read_only_in_english_and_of_the_right_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, virsh: Callable[..., Path]
) -> None:
    record = shlex.quote(str(tmp_path / "asked"))
    program(tmp_path / "bin/virsh", f'echo "$LC_ALL $*" >> {record}')
    assert libvirt.find(20) == []
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "qemu:///session")
    libvirt.find(20)
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "qemu+ssh://elsewhere/system")
    libvirt.find(20)
    assert (tmp_path / "asked").read_text().splitlines() == [
        "C --readonly --quiet --connect qemu:///system domstats --state",
        "C --readonly --quiet --connect qemu:///session domstats --state",
        "C --readonly --quiet --connect qemu:///system domstats --state",
    ]


def test_a_domain_whose_name_is_anothers_id_or_uuid_is_taken_for_no_other(virsh: Callable[..., Path]) -> None:
    names = {"web": 7, "1": 8, ID: 9}
    domains = {
        name: says(xml(name, uuid, f"<vsock><cid address='{cid}'/></vsock>"))
        for (name, cid), uuid in zip(names.items(), (ID, OTHER, GONE), strict=True)
    }
    virsh(stats(**dict.fromkeys(names, 1)), **domains)
    assert [(one.name, one.address) for one in libvirt.find(20)] == [(name, vsock(cid)) for name, cid in names.items()]


def test_a_domain_that_is_gone_meanwhile_is_left_out(virsh: Callable[..., Path]) -> None:
    gone = says("", code=1, err="error: failed to get domain\nerror: Domain not found: no domain with matching uuid")
    virsh(stats(web=1, gone=1), web=says(xml()), gone=gone)
    assert [one.name for one in libvirt.find(20)] == ["web"]


def test_a_domain_that_may_not_be_described_is_listed_and_says_so(
    tmp_path: Path, virsh: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = says("", code=1, err="error: access denied: 'QEMU' denied access")
    listed = virsh(stats(web=1, db=3), db=denied, web=says(xml("web", OTHER)))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    db, web = libvirt.find(20)
    assert (web.name, web.address) == ("web", vsock(7))
    assert (db.name, db.id, db.state, db.address) == (ID, ID, "unknown", None)
    assert db.note == "virsh does not describe it: access denied: 'QEMU' denied access; sudo hvcopy vms may be told more"
    body = listed.read_text().partition("\n")[2].replace("*) echo gone", f"'domname --domain={ID}') echo db;; *) echo gone")
    program(tmp_path / "bin/virsh", body)
    assert [(one.name, one.state) for one in libvirt.find(20)] == [("db", "paused"), ("web", "running")]


@pytest.mark.parametrize(
    "err",
    [
        "error: no connection\nerror: Failed to connect socket to '/run/sock-ro': No such file or directory",
        "error: Failed to connect socket to '/run/x': Connection refused",
    ],
)
def test_where_libvirt_does_not_run_there_are_no_domains_unless_one_is_asked_for(
    virsh: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, err: str
) -> None:
    virsh(says("", code=1, err=err))
    assert libvirt.find(20) == []
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "qemu:///session")
    with pytest.raises(LocalFailure, match="did not tell its VMs"):
        libvirt.find(20)


@pytest.mark.parametrize(
    ("body", "kind", "words", "hint"),
    [
        (
            says("", code=1, err="error: Failed to connect: Permission denied"),
            NotAllowed,
            "may not ask libvirt",
            "usermod",
        ),
        (says("", code=1, err="error: authentication unavailable: no polkit agent"), NotAllowed, "may not ask", "sudo"),
        (says("", code=1, err="error: internal\x1b[2J error"), LocalFailure, r"did not tell its VMs: .*\\x1b", "virsh"),
        (says("", code=1), LocalFailure, "exit code 1", "virsh"),
        (says("what\x1b is this"), LocalFailure, r"makes no sense: what\\x1b", "virsh domstats"),
        (stats(web=1).replace("state.state=1", "state.state=x"), LocalFailure, "makes no sense", "virsh domstats"),
    ],
)
def test_each_way_in_which_virsh_fails_has_its_message(
    virsh: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    kind: type[HvcopyError],
    words: str,
    hint: str,
) -> None:
    virsh(body, web=says(xml()))
    for user in (1000, 0):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        with pytest.raises(kind, match=words) as caught:
            libvirt.find(20)
        assert (hint if user or kind is not NotAllowed else "virsh -c qemu:///system") in caught.value.hint
        assert user or "sudo" not in caught.value.hint


@pytest.mark.parametrize(
    "body", ["", "junk", "<domain/>", "<domain><name/></domain>", "<x><domain><name>n</name></domain>", "<other/>"]
)
def test_a_description_that_makes_no_sense_is_told(virsh: Callable[..., Path], body: str) -> None:
    virsh(stats(web=1), web=says(body))
    with pytest.raises(LocalFailure, match=f"about {ID} makes no sense"):
        libvirt.find(20)


@pytest.mark.parametrize(
    ("body", "words"), [(says("junk"), "makes no sense: junk"), (says("", code=1, err="error: lost"), "VMs: lost")]
)
def test_a_list_of_uuids_that_fails_or_makes_no_sense_is_told(
    tmp_path: Path, virsh: Callable[..., Path], body: str, words: str
) -> None:
    virsh(stats(web=1), web=says(xml()))
    program(tmp_path / "bin/virsh", f'shift 4; case "$*" in list*) {body};; *) {stats(web=1)};; esac')
    with pytest.raises(LocalFailure, match=words):
        libvirt.find(20)


def test_a_bomb_of_entities_is_not_read() -> None:
    bomb = "<!DOCTYPE d [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]>" + xml("&b;")
    assert libvirt.read_domain(bomb.encode()) is None
    assert libvirt.read_domain(b"<a>" * 100_000) is None


def test_virsh_that_hangs_is_told(virsh: Callable[..., Path]) -> None:
    virsh(HANGS)
    with pytest.raises(TimedOut, match="virsh did not answer within"):
        libvirt.find(0.3)


# ---- files


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The two folders of libvirt, where no virsh is."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("run", "etc"):
        (tmp_path / name).mkdir()
    return str(tmp_path / "run"), str(tmp_path / "etc")


def test_without_virsh_the_files_are_read_and_what_runs_comes_first(folders: tuple[str, str]) -> None:
    running, defined = map(Path, folders)
    (running / "web.xml").write_text(f"<domstatus state='running' pid='5'>{xml()}</domstatus>")
    (running / "web.pid").write_text("5")
    (defined / "web.xml").write_text(xml(devices=""))
    (defined / "db.xml").write_text("<!--\nWARNING: GENERATED\n-->\n" + xml("db", OTHER, ""))
    (defined / "junk.xml").write_text("junk")
    (defined / "networks.xml").mkdir()
    found = libvirt.find(20, folders)
    assert [(one.name, one.state, str(one.address or "-")) for one in found] == [
        ("web", "running", "vsock:7:18518"),
        ("db", "off", "-"),
    ]


def test_where_libvirt_is_not_installed_there_are_no_domains(folders: tuple[str, str]) -> None:
    assert libvirt.find(20, ("/nowhere", "/dev/null")) == []


@pytest.mark.parametrize("forbidden", ["etc", "etc/web.xml"])
def test_without_virsh_a_folder_or_a_file_that_may_not_be_read_is_told(
    monkeypatch: pytest.MonkeyPatch, forbidden: str
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are root's alone
        top = Path(name)
        (top / "etc").mkdir()
        (top / "etc/web.xml").write_text(xml())
        top.chmod(0o755)
        (top / forbidden).chmod(0)
        with without_roots_powers(), pytest.raises(NotAllowed, match=f"you may not read {top}/etc, where") as caught:
            libvirt.find(20, (f"{top}/run", f"{top}/etc"))
        (top / forbidden).chmod(0o700)
    assert caught.value.hint == "sudo hvcopy vms, or install virsh"


@contextmanager
def without_roots_powers() -> Iterator[None]:
    """Be nobody for a moment, where root runs the tests."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


# ---- beside others


def test_a_process_that_libvirt_told_of_is_listed_once() -> None:
    known = [
        Machine("libvirt", "a", "running", id=ID, address=vsock(7)),
        Machine("libvirt", "b", "off", id=OTHER, address=vsock(8)),
    ]
    processes = [
        Machine("qemu", "a", "running", id=ID, pid=5),
        Machine("qemu", "x", "running", pid=6, address=vsock(7)),
        Machine("qemu", "y", "running", pid=7, address=vsock(8)),
        Machine("qemu", "z", "running", pid=8),
    ]
    found, failed = find_all([("libvirt", lambda: known), ("QEMU", lambda: processes)])
    assert [one.name for one in found] == ["a", "b", "y", "z"]
    assert failed == []


def test_a_source_that_fails_takes_nothing_from_the_others() -> None:
    def fails() -> list[Machine]:
        raise TimedOut("too slow")

    found, failed = find_all([("one", fails), ("two", lambda: [Machine("qemu", "a", "running")])])
    assert [one.name for one in found] == ["a"]
    assert [(name, type(error)) for name, error in failed] == [("one", TimedOut)]
