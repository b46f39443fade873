"""A real sshd of the test's own, with keys, configuration and log of its own, and what clients need to log in there.

It does not touch the machine's sshd: nothing is read from /etc/ssh, and it listens on the loopback alone.  The log-in is
that of whoever runs the tests, but for its home: a shell's files there may take long, or say something.  Root's needs what
the package makes at each start of the machine, an empty /run/sshd.
"""

from __future__ import annotations

import os
import pwd
import shlex
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from commands import eventually
from starting import HVCOPY
from talkers import Talker, need

PRIVILEGE_SEPARATION = "/run/sshd"
"""sshd, started by root, looks for it before anything else (sshd(8), FILES)."""
ALIAS = "hvcopy-test"
_CONFIG = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
ListenAddress 127.0.0.1
PidFile none
UsePAM no
StrictModes no
UseDNS no
MaxStartups 100
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserRC no
PrintMotd no
SetEnv HOME={folder}
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class Ssh:
    """Keys and configuration in *folder*, made by ``prepare``."""

    folder: Path
    server: str
    user: str

    def daemon(self, port: int) -> list[str]:
        """The server's command: it stays in the foreground and says on standard error "Server listening on"."""
        return [self.server, "-D", "-e", "-f", f"{self.folder}/sshd_config", "-p", str(port)]

    def options(self) -> list[str]:
        """What each client, ssh, scp and sftp, needs to log in without a question, at whatever address."""
        options = {
            "User": self.user,
            "IdentityFile": f"{self.folder}/user_key",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "HostKeyAlias": ALIAS,
            "UserKnownHostsFile": f"{self.folder}/known_hosts",
            "GlobalKnownHostsFile": "none",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
        }
        return ["-F", "none", *(f"-o{name}={value}" for name, value in options.items())]

    def through(self, command: str, address: str) -> str:
        """The option that has a client reach *address* by a command of hvcopy."""
        return f"-oProxyCommand={shlex.join(HVCOPY)} {command} {address}"


def prepare(folder: Path, user: str | None = None) -> Ssh:
    """Make keys and configuration in the empty *folder*.  Without openssh the test is skipped, or fails in CI."""
    keygen = need("ssh-keygen", "openssh-client")
    server = need("sshd", "openssh-server")
    for name in ("host_key", "user_key"):
        command = [keygen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, timeout=20)
    (folder / "known_hosts").write_text(f"{ALIAS} {(folder / 'host_key.pub').read_text()}")
    (folder / "sshd_config").write_text(_CONFIG.format(folder=folder))
    return Ssh(folder, server, user or pwd.getpwuid(os.getuid()).pw_name)


def listening(stack: ExitStack, ssh: Ssh) -> int:
    """Start the server until *stack* ends; returns its port on the loopback."""
    if os.getuid() == 0:
        Path(PRIVILEGE_SEPARATION).mkdir(mode=0o755, exist_ok=True)

    def start() -> int | None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        server = stack.enter_context(Talker(*ssh.daemon(port)))
        eventually(lambda: "listening on" in server.err or server.process.poll() is not None, what="sshd")
        assert "listening on" in server.err or "in use" in server.err, server.err
        return port if server.process.poll() is None else None  # somebody else took the port

    return eventually(start, what="a port for sshd")
