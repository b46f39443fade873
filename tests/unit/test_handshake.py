"""The handshake: who agrees on what with whom, and who is turned away."""

from __future__ import annotations

import msgspec
import pytest

from hvcopy.errors import HvcopyError, NotAllowed, NotHvcopy
from hvcopy.session.handshake import FEATURES, Handshake, jobs_taken
from hvcopy.wire import messages as m
from hvcopy.wire.frames import HEADER, MAGIC, Type, parse_header

KEY = bytes(range(32))
Said = tuple[Type, bytes]


def end(*, connector: bool, role: str = "", key: bytes | None = None, address: str = "tcp:x:1") -> Handshake:
    """Return one end; a connector is a client unless *role* says otherwise."""
    return Handshake(
        connector=connector,
        role=role or ("client" if connector else "server"),
        nonce=bytes([connector]) * 32,
        address=address,
        software="hvcopy test",
        system="posix",
        key=key,
    )


def split(stream: bytes) -> list[Said]:
    """Return type and body of every frame of *stream*; HELLO comes after the preamble and is frame 0, PROOF is 1."""
    sequence = 0 if stream.startswith(MAGIC) else 1
    stream = stream.removeprefix(MAGIC)
    said: list[Said] = []
    while stream:
        kind, _, length = parse_header(stream[: HEADER.size], early=True, sequence=sequence + len(said))
        said.append((kind, stream[HEADER.size : HEADER.size + length]))
        stream = stream[HEADER.size + length :]
    return said


def shake(one: Handshake, other: Handshake) -> None:
    """Let connector *one* and listener *other* talk until neither has anything to say."""
    turn, waiting = [(other, one), (one, other)], split(one.opening())
    while waiting:
        (hearer, _), answers = turn[0], b""
        for frame in waiting:
            answers += hearer.on_frame(*frame)
        waiting, turn = split(answers), turn[::-1]


def hello(**changes: object) -> bytes:
    """Return the body of a HELLO of a listening server, with *changes*."""
    usual = m.Hello(1, 1, "server", bytes([2]) * 32, False, "tcp:x:1", list(FEATURES), "hvcopy test", "posix")
    return msgspec.msgpack.encode(msgspec.structs.replace(usual, **changes))


def test_two_ends_without_a_key_agree_unproven() -> None:
    one, other = end(connector=True), end(connector=False)
    shake(one, other)
    assert one.agreed is not None
    assert other.agreed is not None
    assert (one.agreed.version, one.agreed.proven, one.agreed.features) == (1, False, frozenset(FEATURES))
    assert (one.agreed.peer.role, other.agreed.peer.role) == ("server", "client")


def test_two_ends_with_one_key_agree_proven() -> None:
    one, other = end(connector=True, key=KEY), end(connector=False, key=KEY)
    shake(one, other)
    assert one.agreed is not None
    assert other.agreed is not None
    assert one.agreed.proven
    assert other.agreed.proven


def test_a_listening_client_agrees_with_a_connecting_server() -> None:
    one, other = end(connector=True, role="server", key=KEY), end(connector=False, role="client", key=KEY)
    shake(one, other)
    assert one.agreed is not None
    assert other.agreed is not None


@pytest.mark.parametrize(("key", "sent"), [(None, 1), (KEY, 2)])
def test_sent_counts_the_frames_for_what_follows(key: bytes | None, sent: int) -> None:
    one, other = end(connector=True, key=key), end(connector=False, key=key)
    shake(one, other)
    assert (one.sent, other.sent) == (sent, sent)


def test_opening_begins_with_the_preamble() -> None:
    assert end(connector=True).opening().startswith(b"\x89HVC\r\n\x1a\n")
    assert split(end(connector=True).opening())[0][0] is Type.HELLO


def test_two_keys_are_not_allowed_and_the_listener_proves_nothing() -> None:
    one, other = end(connector=True, key=KEY), end(connector=False, key=bytes(32))
    ((_, greeting),) = split(one.opening())
    ((_, answer),) = split(other.on_frame(Type.HELLO, greeting))
    ((kind, proof),) = split(one.on_frame(Type.HELLO, answer))
    assert kind is Type.PROOF
    with pytest.raises(NotAllowed, match="different key"):
        other.on_frame(Type.PROOF, proof)
    assert other.agreed is None


def test_connector_checks_the_listeners_proof_too() -> None:
    one = end(connector=True, key=KEY)
    one.on_frame(Type.HELLO, hello(keyed=True))
    with pytest.raises(NotAllowed):
        one.on_frame(Type.PROOF, msgspec.msgpack.encode([bytes(32)]))
    assert one.agreed is None


def test_a_proof_sent_back_to_its_maker_is_not_allowed() -> None:
    """The label in the mac tells the two directions apart, even when the HELLOs are mirrored."""
    one = end(connector=True, key=KEY)
    ((_, proof),) = split(one.on_frame(Type.HELLO, hello(keyed=True)))
    with pytest.raises(NotAllowed):
        one.on_frame(Type.PROOF, proof)


def test_a_proof_of_an_earlier_session_is_not_allowed() -> None:
    one, other = end(connector=True, key=KEY), end(connector=False, key=KEY)
    ((_, greeting),) = split(one.opening())
    ((_, answer),) = split(other.on_frame(Type.HELLO, greeting))
    ((_, proof),) = split(one.on_frame(Type.HELLO, answer))
    later = Handshake(
        connector=False, role="server", nonce=b"n" * 32, address="tcp:x:1", software="", system="posix", key=KEY
    )
    later.on_frame(Type.HELLO, greeting)
    with pytest.raises(NotAllowed):
        later.on_frame(Type.PROOF, proof)


@pytest.mark.parametrize(("key", "theirs"), [(KEY, False), (None, True)])
@pytest.mark.parametrize("connector", [True, False])
def test_a_key_on_one_side_only_is_not_allowed(key: bytes | None, theirs: bool, connector: bool) -> None:
    one = end(connector=connector, key=key)
    with pytest.raises(NotAllowed, match="key") as caught:
        one.on_frame(Type.HELLO, hello(keyed=theirs, role="server" if connector else "client"))
    assert "--key-file" in caught.value.hint
    assert one.agreed is None


def test_an_empty_key_is_never_agreed_unproven() -> None:
    one = end(connector=True, key=b"")
    one.on_frame(Type.HELLO, hello(keyed=True))
    assert one.agreed is None


@pytest.mark.parametrize(
    ("role", "what", "hint"),
    [("client", "both sides want to send", "hvcopy recv"), ("server", "both sides want to receive", "hvcopy send")],
)
def test_two_ends_of_one_role_are_told_what_one_of_them_is_to_run(role: str, what: str, hint: str) -> None:
    with pytest.raises(NotHvcopy, match=what) as caught:
        end(connector=True, role=role).on_frame(Type.HELLO, hello(role=role))
    assert hint in caught.value.hint


def test_an_echo_is_no_peer_of_the_same_role() -> None:
    one = end(connector=True)
    ((kind, body),) = split(one.opening())
    with pytest.raises(NotHvcopy, match="gives back what it is sent") as caught:
        one.on_frame(kind, body)
    assert "hvcopy nc" in caught.value.hint


@pytest.mark.parametrize("role", ["host", "", "SERVER", "x\x1b[2J"])
def test_an_end_of_an_unknown_role_is_refused(role: str) -> None:
    with pytest.raises(NotHvcopy, match="does not know") as caught:
        end(connector=True).on_frame(Type.HELLO, hello(role=role))
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(("lowest", "highest"), [(1, 1), (0, 1), (1, 9), (0, 2**32 - 1)])
def test_a_range_with_our_version_in_it_is_agreed(lowest: int, highest: int) -> None:
    one = end(connector=True)
    one.on_frame(Type.HELLO, hello(lowest=lowest, highest=highest))
    assert one.agreed is not None
    assert one.agreed.version == 1


@pytest.mark.parametrize(("lowest", "highest"), [(2, 3), (0, 0), (3, 1), (2, 0)])
def test_no_version_in_common_is_refused_and_both_are_named(lowest: int, highest: int) -> None:
    with pytest.raises(NotHvcopy, match=f"{lowest} to {highest}"):
        end(connector=True).on_frame(Type.HELLO, hello(lowest=lowest, highest=highest, software="other\x1b[2J"))


def test_what_the_peer_calls_itself_is_shown_escaped() -> None:
    with pytest.raises(NotHvcopy) as caught:
        end(connector=True).on_frame(Type.HELLO, hello(lowest=7, highest=7, software="x\x1b[2J"))
    assert "\x1b" not in caught.value.message


def test_features_are_those_named_by_both() -> None:
    one = end(connector=True)
    one.on_frame(Type.HELLO, hello(features=["stream", "teleport", "holes"]))
    assert one.agreed is not None
    assert one.agreed.features == {"stream", "holes"}


def test_a_server_says_which_jobs_it_takes_which_is_no_feature_that_is_agreed_on() -> None:
    said = hello(features=["holes", "takes-pull", "takes-list"])
    one = end(connector=True)
    one.on_frame(Type.HELLO, said)
    assert one.peer is not None
    assert jobs_taken(one.peer) == {"pull", "list"}
    assert one.agreed is not None
    assert one.agreed.features == {"holes"}


def test_a_second_hello_is_refused() -> None:
    one = end(connector=True, key=KEY)
    one.on_frame(Type.HELLO, hello(keyed=True))
    with pytest.raises(NotHvcopy, match="out of turn"):
        one.on_frame(Type.HELLO, hello(keyed=True))


def test_a_second_proof_is_refused() -> None:
    one, other = end(connector=True, key=KEY), end(connector=False, key=KEY)
    ((_, greeting),) = split(one.opening())
    ((_, answer),) = split(other.on_frame(Type.HELLO, greeting))
    ((_, proof),) = split(one.on_frame(Type.HELLO, answer))
    other.on_frame(Type.PROOF, proof)
    with pytest.raises(NotHvcopy):
        other.on_frame(Type.PROOF, proof)


@pytest.mark.parametrize("kind", sorted(set(Type) - {Type.HELLO}))
def test_anything_before_hello_is_refused(kind: Type) -> None:
    for one in (end(connector=True, key=KEY), end(connector=False)):
        with pytest.raises(NotHvcopy, match=kind.name):
            one.on_frame(kind, b"\x90")


@pytest.mark.parametrize("kind", sorted(set(Type) - {Type.HELLO, Type.PROOF}))
def test_anything_but_a_proof_after_hello_is_refused(kind: Type) -> None:
    """Nothing of the job is taken before the connection is proven (section 3)."""
    one = end(connector=False, key=KEY)
    one.on_frame(Type.HELLO, hello(keyed=True, role="client"))
    with pytest.raises(NotHvcopy):
        one.on_frame(kind, b"\x90")
    assert one.agreed is None


def test_a_proof_where_no_key_is_in_use_is_refused() -> None:
    one = end(connector=False)
    one.on_frame(Type.HELLO, hello(role="client"))
    with pytest.raises(NotHvcopy):
        one.on_frame(Type.PROOF, msgspec.msgpack.encode([bytes(32)]))


@pytest.mark.parametrize("body", [b"", b"\xc0", b"\x90", b"\x99" + b"\x01" * 9])
def test_a_hello_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(NotHvcopy):
        end(connector=False).on_frame(Type.HELLO, body)


def test_a_very_long_address_still_fits_the_bound_before_the_handshake() -> None:
    opening = end(connector=True, address="unix:/" + "\u00e4" * 5000).opening()
    assert split(opening)[0][0] is Type.HELLO


def test_addresses_of_both_sides_may_differ_and_are_proven_all_the_same() -> None:
    one = end(connector=True, key=KEY, address="hybrid:/run/vm.sock:5")
    other = end(connector=False, key=KEY, address="vsock:any:5")
    shake(one, other)
    assert other.agreed is not None
    assert other.agreed.peer.address == "hybrid:/run/vm.sock:5"


def test_every_refusal_is_an_error_of_ours() -> None:
    for body in (hello(role="client"), hello(lowest=9, highest=9), hello(keyed=True)):
        with pytest.raises(HvcopyError):
            end(connector=True).on_frame(Type.HELLO, body)
