"""The other process of a benchmark against itself: answers on a unix socket until its standard input ends.

Run by ``myself``: python -m hvcopy.measuring.child PATH MOST_BUFFER TIMEOUT.  It ends with the process that started it, whatever
becomes of that one.
"""

from __future__ import annotations

import sys

from hvcopy import threads
from hvcopy.address import UnixAddress
from hvcopy.admission import Admission
from hvcopy.measuring.serving import BenchServer
from hvcopy.transport import listen


def main(path: str, most_buffer: int, timeout: float) -> None:
    """Serve until the end of standard input; the socket's mode decides who may connect."""
    with listen(UnixAddress(path), timeout=timeout) as listener:
        server = BenchServer(listener, Admission(), timeout=timeout, most_buffer=most_buffer)

        def wait() -> None:
            sys.stdin.read()
            server.stop()

        threads.start(wait, "end of input")
        server.run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
