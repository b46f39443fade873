"""What is said of a connection that broke, where the number alone would mislead."""

from __future__ import annotations

import errno
import os

import pytest

from hvcopy.channel import broken
from hvcopy.errors import ConnectionLost, LocalFailure

AF_HYPERV, AF_INET, AF_VSOCK = 34, 2, 40


def failed(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (10054, "its VM, has gone (WSAECONNRESET)"),
        (10053, "the VM was stopped or restarted"),
        (10058, "on this side"),
        (10060, "the VM answers no more"),  # connecting, it is that nobody listens
        (10051, "no way to that VM any more"),
    ],
)
def test_hyperv_names_the_cause(code: int, words: str) -> None:
    failure = broken("hyperv:parent:5", failed(code), family=AF_HYPERV)
    assert type(failure) is ConnectionLost
    assert failure.message.startswith("hyperv:parent:5: the connection broke: ")
    assert words in failure.message


def test_hyperv_without_memory_is_no_lost_connection() -> None:
    failure = broken("hyperv:parent:5", failed(10055), family=AF_HYPERV)
    assert type(failure) is LocalFailure
    assert "--buffer" in failure.hint


def test_eio_on_vsock_is_lost_and_says_that_it_may_be_an_end() -> None:
    failure = broken("vsock:host:5", failed(errno.EIO), family=AF_VSOCK)
    assert type(failure) is ConnectionLost
    assert "Linux 6.17" in failure.message


@pytest.mark.parametrize("family", [AF_INET, AF_VSOCK])
def test_all_else_keeps_the_systems_words(family: int) -> None:
    words = os.strerror(errno.ECONNRESET)
    failure = broken("x", failed(errno.ECONNRESET), family=family, what="it broke before everything was sent")
    assert failure.message == f"x: it broke before everything was sent: {words}"
    assert "Hyper-V" not in broken("x", failed(errno.EIO), family=AF_INET).message
