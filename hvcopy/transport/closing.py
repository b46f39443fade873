"""Which transports can end one direction and keep the other."""

from __future__ import annotations

from hvcopy.address import Address, HybridAddress


def half_closes(address: Address) -> bool:
    """False where the end of one direction is made the end of both: behind a VMM's unix socket.

    Firecracker and vhost-device-vsock do that, Cloud Hypervisor did until v53 (docs/transports.md), and nothing
    tells which of them listens there.
    """
    return not isinstance(address, HybridAddress)
