"""Two connected channels of each family, made by dial and listen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hvcopy.address import Address, HybridAddress, TcpAddress, UnixAddress, VsockAddress
from hvcopy.channel import Channel
from hvcopy.transport import Listener, dial, listen

PORT = 18518


def meet(address: Address, listener: Listener) -> tuple[Channel, Channel]:
    """Connect to *address* and accept that connection on *listener*."""
    dialled = dial(address, timeout=10)
    accepted = listener.accept(10)
    assert accepted is not None
    return dialled, accepted


@contextmanager
def connected(address: Address) -> Iterator[tuple[Channel, Channel]]:
    """(dialled, accepted) over an address that can be both listened on and connected to."""
    with listen(address) as listener:
        pair = meet(listener.address, listener)
        try:
            yield pair
        finally:
            close(pair)


@contextmanager
def hybrid_pair(folder: Path) -> Iterator[tuple[Channel, Channel]]:
    """(dialled through a muxer, the guest's end of it)."""
    from transport.muxer import Muxer, normal  # of no use where there are no unix sockets

    path = str(folder / "v.sock")
    with Muxer(path, normal) as muxer:
        dialled = dial(HybridAddress(path, PORT), timeout=10)
        guest = Channel(muxer.guest(), peer="the guest")
        try:
            yield dialled, guest
        finally:
            close((dialled, guest))
    with suppress(FileNotFoundError):
        (folder / "v.sock").unlink()


def close(pair: tuple[Channel, Channel]) -> None:
    for channel in pair:
        channel.close()


def unix_address(folder: Path) -> UnixAddress:
    return UnixAddress(str(folder / "hv.sock"))


LOOPBACK = TcpAddress("127.0.0.1", 0)
VSOCK_LOOPBACK = VsockAddress(1, 0)
