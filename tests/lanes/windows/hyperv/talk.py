"""One end of a conversation over hvcopy's channels, as a program: talk.py dial|listen ADDRESS BYTES

Sends BYTES bytes, receives as many, and prints both digests, who the peer is, and what kind of socket it was.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading

from hvcopy.address import parse_address
from hvcopy.transport import dial, listen

PIECE = 1 << 20


def main() -> None:
    """Talk."""
    role, address, size = sys.argv[1], parse_address(sys.argv[2]), int(sys.argv[3])
    if role == "listen":
        with listen(address) as listener:
            print("listening", flush=True)
            channel = listener.accept(60)
            assert channel is not None
    else:
        channel = dial(address, wait=60)
    data = hashlib.shake_128(sys.platform.encode()).digest(PIECE) * (size // PIECE)
    sending = threading.Thread(target=channel.send, args=(data,))
    sending.start()
    received = bytearray(size)
    count = channel.receive_exact(received)
    sending.join()
    facts = {
        "sent": hashlib.sha256(data).hexdigest(),
        "received": hashlib.sha256(received[:count]).hexdigest(),
        "count": count,
        "identity": channel.identity,
        "family": int(channel.sock.family),
        "platform": sys.platform,
    }
    print(json.dumps(facts), flush=True)
    channel.shutdown()
    channel.close()


if __name__ == "__main__":
    main()
