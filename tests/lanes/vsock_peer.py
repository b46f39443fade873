"""A small AF_VSOCK program for the lanes' own tests; refuses to run anywhere but inside a lane.

usage: vsock_peer.py echo PORT        serves connections at PORT, one thread each; says "listening" first
       vsock_peer.py answer PORT      the same, but says a line 100,000 times, and closes
       vsock_peer.py loop PORT        sends 1 MiB to an echo of its own at CID 1
       vsock_peer.py ask PORT TEXT    sends TEXT to the host (CID 2) and prints the answer
       vsock_peer.py flood PORT       sends zeros to the host until the connection ends
"""

import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

LOCAL, HOST = 1, 2
CHUNK = 1 << 16


def echo(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(CHUNK):
            connection.sendall(data)


def answer(connection: socket.socket) -> None:
    with connection:
        line = connection.makefile("rb").readline()
        connection.sendall(line * 100_000)


def listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_VSOCK)
    listener.bind((socket.VMADDR_CID_ANY, port))
    listener.listen()
    return listener


def serve(listener: socket.socket, behaviour: Callable[[socket.socket], None] = echo) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=behaviour, args=(connection,), daemon=True).start()


def connect(cid: int, port: int) -> socket.socket:
    connection = socket.socket(socket.AF_VSOCK)
    connection.settimeout(20)
    connection.connect((cid, port))
    return connection


def loop(port: int) -> None:
    listener = listen(port)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    sent = bytes(range(256)) * 4096
    with connect(LOCAL, port) as connection:
        threading.Thread(target=connection.sendall, args=(sent,), daemon=True).start()
        received = bytearray()
        while len(received) < len(sent) and (data := connection.recv(CHUNK)):
            received += data
    if received != sent:
        sys.exit(f"{len(received)} bytes came back, not the {len(sent)} that were sent")
    print("the same bytes came back")


def ask(port: int, text: str) -> None:
    with connect(HOST, port) as connection:
        connection.sendall(f"{text}\n".encode())
        print(connection.makefile("r").readline(), end="")


def flood(port: int) -> None:
    with connect(HOST, port) as connection:
        connection.settimeout(None)
        while True:
            connection.sendall(bytes(CHUNK))


def main(verb: str, port: int, *texts: str) -> None:
    if "User Mode Linux" not in Path("/proc/cpuinfo").read_text():
        sys.exit("vsock_peer.py runs only inside a lane: elsewhere CID 2 is somebody's real hypervisor")
    if verb in ("echo", "answer"):
        listener = listen(port)
        print("listening", flush=True)
        serve(listener, {"echo": echo, "answer": answer}[verb])
    elif verb == "loop":
        loop(port)
    elif verb == "ask":
        ask(port, *texts)
    elif verb == "flood":
        flood(port)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
