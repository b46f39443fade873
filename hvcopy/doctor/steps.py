"""Connecting to an address or listening there, one step after the other: which one fails, and what may be the cause.

It uses the dialing and the handshake of every other command; only that it stops after them.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Sequence

from hvcopy.address import Address, HybridAddress, HypervAddress, TcpAddress, UnixAddress
from hvcopy.channel import Channel
from hvcopy.doctor.finding import ADDRESS, FAIL, OK, UNKNOWN, WARN, Finding, failed
from hvcopy.errors import BadUsage, HvcopyError, LocalFailure, NobodyListens, NotAllowed, NotHvcopy, printable
from hvcopy.session.handshake import VERSION, Handshake
from hvcopy.transfer.greeting import shake_hands
from hvcopy.transfer.link import Link
from hvcopy.transfer.session import SOFTWARE
from hvcopy.transport import listen
from hvcopy.transport.connecting import as_channel, attempt
from hvcopy.transport.failures import start_there
from hvcopy.transport.patience import Patience, never

LOOKUP, SOCKET_FILE, CONNECT, MUXER = "lookup", "socket-file", "connect", "muxer"
GREETING, HELLO, ACCESS, LISTEN = "greeting", "version", "access", "listen"
_SPOKEN = (GREETING, HELLO, ACCESS)
_MUXER_WHY = {
    NobodyListens.exit_code: "the VMM is there; what is missing is in its guest",
    NotHvcopy.exit_code: "what listens there is no VMM's vsock device",
}
_WHY = {
    GREETING: "somebody listens there, but does not behave as hvcopy",
    HELLO: "the peer is hvcopy, but the two do not fit together",
    ACCESS: "the peer is hvcopy, and does not let this side in",
}


class Steps:
    """The steps for one address.  ``found`` is what they gave; each runs at most once, and none after one that failed.

    *machine* is what was found of this machine before: the likely causes.
    """

    def __init__(
        self,
        address: Address,
        machine: Sequence[Finding],
        *,
        key: bytes | None = None,
        timeout: float = 5.0,
        cancelled: Callable[[], bool] = never,
    ) -> None:
        self.found: list[Finding] = []
        self._address = address
        self._machine = machine
        self._key = key
        self._timeout = timeout
        self._cancelled = cancelled

    def connect(self) -> None:
        """Connect, greet, and leave.  Blocks; raises Interrupted only."""
        channel = self._reach()
        if channel:
            try:
                self._greet(channel)
            finally:
                channel.close()
        self._leave_out(self._planned())

    def listen(self) -> None:
        """Listen for an instant."""
        if not self._looked_up(listening=True):
            self._leave_out([LISTEN])
            return
        try:
            with listen(self._address) as listener:
                self._ok(LISTEN, f"listening works on {listener.address}")
        except BadUsage as error:
            self._fail(ADDRESS, error)
            self._leave_out([LISTEN])
        except HvcopyError as error:
            self._fail(LISTEN, error)

    def _planned(self) -> list[str]:
        match self._address:
            case TcpAddress() | HypervAddress():
                return [LOOKUP, CONNECT, *_SPOKEN]
            case UnixAddress():
                return [SOCKET_FILE, CONNECT, *_SPOKEN]
            case HybridAddress():
                return [SOCKET_FILE, CONNECT, MUXER, *_SPOKEN]
        return [CONNECT, *_SPOKEN]

    def _reach(self) -> Channel | None:
        if not self._looked_up() or not self._file_fits():
            return None
        patience = Patience(self._timeout, self._cancelled)
        try:
            if isinstance(self._address, HybridAddress):
                from hvcopy.transport import hybrid  # here and below, as Windows lacks what it imports

                sock = hybrid.reach(self._address, patience, None)
                self._ok(CONNECT, f"{self._address.path} takes connections")
                return self._ask(self._address, sock, patience)
            connected = attempt(self._address, patience, None)
        except (NobodyListens, NotAllowed) as error:
            self._fail(CONNECT, error)
            return None
        except BadUsage as error:
            self._fail(ADDRESS, error)
            return None
        except HvcopyError as error:
            if error.exit_code == 130:
                raise
            self._fail(CONNECT, error)
            return None
        channel = as_channel(self._address, connected, self._timeout)
        window = f", window {channel.window} bytes" if channel.window else ""
        self._ok(CONNECT, f"somebody listens on {self._address}{window}")
        return channel

    def _ask(self, address: HybridAddress, sock: socket.socket, patience: Patience) -> Channel | None:
        from hvcopy.transport import hybrid

        try:
            channel = as_channel(address, hybrid.ask(address, sock, patience), self._timeout)
        except HvcopyError as error:
            if error.exit_code == 130:
                raise
            self._fail(MUXER, error, why=_MUXER_WHY.get(error.exit_code, ""))
            return None
        self._ok(MUXER, f"the VMM has connected it to port {address.port} of its guest")
        return channel

    def _looked_up(self, *, listening: bool = False) -> bool:
        """Find what the names in the address stand for; says so as a step where there may be names."""
        if isinstance(self._address, HypervAddress):
            return self._found_vm(self._address, listening=listening)
        if not isinstance(self._address, TcpAddress):
            return True
        host = self._address.host
        try:
            answers = socket.getaddrinfo(host, self._address.port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            words = getattr(error, "strerror", None) or error
            what = f"the name {printable(host)} cannot be resolved ({words})"
            self._fail(LOOKUP, NobodyListens(what, hint="give the IP address in place of the name"))
            return False
        found = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
        self._ok(LOOKUP, f"{host} is {', '.join(found)}")
        return True

    def _found_vm(self, address: HypervAddress, *, listening: bool) -> bool:
        from hvcopy.transport.hyperv import check_here
        from hvcopy.transport.hyperv.lookups import of_this_machine
        from hvcopy.transport.hyperv.resolve import resolve

        try:
            check_here(address)
        except BadUsage as error:
            self._fail(ADDRESS, error)
            return False
        try:
            target = resolve(address, of_this_machine(), listening=listening)
        except HvcopyError as error:
            self._fail(LOOKUP, error)
            return False
        self._ok(LOOKUP, f"VM {target.vm}, service {target.service}")
        return True

    def _file_fits(self) -> bool:
        if not isinstance(self._address, UnixAddress | HybridAddress):
            return True
        path = self._address.path
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            self._fail(SOCKET_FILE, self._unseen(path, error))
            return False
        if not stat.S_ISSOCK(mode):
            hint = "give the path of the socket; a file that is in the way is left as it is"
            self._fail(SOCKET_FILE, LocalFailure(f"{printable(path)} is not a socket", hint=hint))
            return False
        if not os.access(path, os.W_OK):
            self._fail(
                SOCKET_FILE, NotAllowed(f"{printable(path)} may not be connected to by you", hint=_as_owner(path))
            )
            return False
        self._ok(SOCKET_FILE, f"{printable(path)} is a socket that you may connect to")
        return True

    def _unseen(self, path: str, error: OSError) -> HvcopyError:
        folder = printable(os.path.dirname(os.path.abspath(path)))
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            if isinstance(self._address, HybridAddress):
                hint = "start the VM with a vsock device there (Firecracker: uds_path; Cloud Hypervisor: socket=)"
                return NobodyListens(
                    f"{printable(path)} does not exist: no VMM has made its vsock socket there", hint=hint
                )
            return NobodyListens(
                f"{printable(path)} does not exist: nobody listens there", hint=start_there(str(self._address))
            )
        if isinstance(error, PermissionError):
            return NotAllowed(
                f"a folder above {printable(path)} is closed to you", hint=f"see who may enter: namei -l {folder}"
            )
        return LocalFailure(f"{printable(path)} cannot be looked at: {error.strerror}")

    def _greet(self, channel: Channel) -> None:
        link = Link(channel)
        shake = Handshake(
            connector=True,
            role="client",
            nonce=os.urandom(32),
            address=str(self._address),
            software=SOFTWARE,
            system=os.name,
            key=self._key,
        )
        try:
            agreed = shake_hands(link, shake, connector=True)
        except HvcopyError as error:
            if error.exit_code == 130:
                raise
            self._refused(shake, link, error)
            return
        self._fits(shake)
        proven = "the same key was proven both ways" if agreed.proven else "no key is asked for"
        self._ok(ACCESS, f"this side is let in; {proven}")

    def _fits(self, shake: Handshake) -> None:
        assert shake.peer is not None
        self._ok(GREETING, f"the peer is {printable(shake.peer.software)}")
        self._ok(HELLO, f"both speak version {VERSION} of the protocol")

    def _refused(self, shake: Handshake, link: Link, error: HvcopyError) -> None:
        """Say which step it is that *error* ended: what the peer has told by then decides."""
        step = GREETING
        if link.told:
            step = ACCESS if isinstance(error, NotAllowed) else HELLO if isinstance(error, NotHvcopy) else GREETING
        if shake.peer is not None:
            step = HELLO if isinstance(error, NotHvcopy) else ACCESS
        if step == ACCESS and shake.peer is not None:
            self._fits(shake)
        elif step != GREETING:
            who = printable(shake.peer.software) if shake.peer else "hvcopy"
            self._ok(GREETING, f"the peer is {who}")
            if step == ACCESS:
                self.found.append(Finding(HELLO, UNKNOWN, "the peer did not come to say its version"))
        self._fail(step, error, why=_WHY[step])

    def _ok(self, step: str, what: str) -> None:
        self.found.append(Finding(step, OK, what))

    def _fail(self, step: str, error: HvcopyError, *, why: str = "") -> None:
        refused = isinstance(error, NotAllowed)
        causes = [one for one in self._machine if step in (CONNECT, LISTEN) and self._may_explain(one, refused=refused)]
        if not error.hint:
            error.hint = next((one.fix for one in causes if one.fix), "")
        self.found.append(failed(step, error, why=why, causes=[one.id for one in causes]))

    def _may_explain(self, one: Finding, *, refused: bool) -> bool:
        """Policies explain refusals alone; whatever else does not work explains everything."""
        if one.id in ("system.selinux", "system.apparmor"):
            return refused and one.state == WARN
        return one.state == FAIL

    def _leave_out(self, planned: list[str]) -> None:
        done = {one.id for one in self.found}
        for step in planned:
            if step not in done:
                self.found.append(Finding(step, UNKNOWN, "not tried"))


def _as_owner(path: str) -> str:
    try:
        uid = os.stat(path).st_uid
    except OSError:
        return ""
    return f"it belongs to user {uid}: run hvcopy as that user (sudo -u '#{uid}' hvcopy ...)"
