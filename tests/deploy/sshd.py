"""A real sshd of this machine on a free port, with keys made for it; needs root and OpenSSH's server."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.needs import need

__all__ = ["LocalSshd"]

_LIMIT_S = 20.0


class LocalSshd:
    """Runs in `folder` for as long as the `with` block lasts. `config` is for ssh -F; it knows the host `board`."""

    def __init__(self, folder: Path) -> None:
        program = os.environ.get("EDGESYNTH_SSHD") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
        need(program and shutil.which("ssh-keygen"), "sshd, of the package openssh-server, or named by EDGESYNTH_SSHD")
        need(os.geteuid() == 0, "root, to run an sshd")
        self.program = str(program)
        self.folder = folder
        self.config = folder / "config"
        self.known_hosts = folder / "known_hosts"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def __enter__(self) -> "LocalSshd":
        for name in ("host", "user"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests", "-f", self.folder / name], check=True
            )
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd leaves its rights there
        (self.folder / "authorized_keys").write_text((self.folder / "user.pub").read_text())
        (self.folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host\nUsePAM no\nStrictModes no\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\nPasswordAuthentication no\nPermitRootLogin yes\n"
            f"PidFile none\nLogLevel ERROR\nKbdInteractiveAuthentication no\n"
        )
        self.know((self.folder / "host.pub").read_text())
        self.config.write_text(
            f"Host board stranger\n  HostName 127.0.0.1\n  Port {self.port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {self.folder}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile {self.known_hosts}\n"
            "  GlobalKnownHostsFile none\n  HostKeyAlias board\n  StrictHostKeyChecking ask\n"
        )
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen([self.program, "-D", "-e", "-f", self.folder / "sshd_config"], stderr=log)
        end_s = time.monotonic() + _LIMIT_S
        while True:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end_s
            time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def know(self, key: str) -> None:
        """From now on that is the known key of the host."""
        self.known_hosts.write_text(f"board {' '.join(key.split()[:2])}\n")

    def forget(self) -> None:
        self.known_hosts.write_text("")
