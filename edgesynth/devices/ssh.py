"""The system's OpenSSH as a transport: one connection a deploy, everything else goes through it.

The user's configuration, keys, agent, jump hosts and known hosts are the whole of it: only what a program needs is set
here (no questions, a sign of life, the control socket), and nothing of how hosts are checked.
"""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from edgesynth.devices.transport import Transport
from edgesynth.errors import DeviceError, EdgesynthError

__all__ = ["CONFIG_VARIABLE", "SshTransport", "explain"]

CONFIG_VARIABLE = "EDGESYNTH_SSH_CONFIG"
"""Names a file for ssh -F, instead of the user's own."""

CONNECT_LIMIT_S = 30.0
ALIVE_EVERY_S, ALIVE_COUNT = 5, 3
POLL_S = 0.02
LAST_WORDS_S = 5.0

# OpenSSH's messages (sshconnect.c, ssh.c, clientloop.c of 7.6 to 10): what they mean, and what to do.
_EXPLAINED = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the known one: either the device was installed anew, or somebody is between. If it was "
        "installed anew: {remove}, then ssh {host} once, and compare the key that it shows",
    ),
    (
        r"Host key verification failed|No .* host key is known",
        "its host key is not known yet: ssh {host} once by hand, and compare the key that it shows",
    ),
    (r"Permission denied", "it does not let this user in ({said}): check the user, and ssh {host} by hand"),
    (r"Could not resolve hostname", "no such host ({said}): check the name, or your ssh config"),
    (
        r"Connection refused|timed out|No route to host|Network is unreachable|Connection reset|closed by remote",
        "it cannot be reached ({said}): is it on, and does ssh {host} work?",
    ),
    (r"Bad configuration|No such file", "ssh does not take its configuration ({said})"),
)
_OFFENDING = re.compile(r"Offending \S+ key in (.+):(\d+)")


class SshTransport(Transport):
    """`host` is what ssh takes: a host of the user's config, user@host, or ssh://user@host:port."""

    def __init__(self, host: str, config: Path | None = None) -> None:
        if not host or host.startswith("-") or not host.isprintable() or any(c.isspace() for c in host):
            raise EdgesynthError(f"--host {host!r} is no host: give user@board, or a host of your ssh config")
        self.host = host
        named = os.environ.get(CONFIG_VARIABLE)
        self._config = config or (Path(named).expanduser() if named else None)
        self._folder: Path | None = None
        self._master: subprocess.Popen[bytes] | None = None
        self._forwarded = 0

    def __enter__(self) -> Self:
        # Paths of sockets are short (108 bytes, and ssh adds some): not below a long TMPDIR.
        self._folder = Path(tempfile.mkdtemp(prefix="es-", dir="/tmp"))
        try:
            self._connect()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def open(self, command: str) -> "subprocess.Popen[bytes]":
        self._require()
        # Never a connection of its own, not even when the first has just broken.
        alone = ["-o", "ControlMaster=no", "-o", "ProxyCommand=false"]
        return self._start([*self._ssh(), *alone, "-T", "--", self.host, command], stdin=subprocess.PIPE)

    def forward(self, remote: str) -> Path:
        self._require()
        self._forwarded += 1
        local = self._place / f"{self._forwarded}.sock"
        done = self._control("forward", "-L", f"{local}:{remote}")
        if done.returncode != 0 or not local.exists():
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise DeviceError(
                f"{self.host}: its sshd does not forward sockets ({said[-1] if said else 'no reason given'}); "
                "AllowStreamLocalForwarding must be yes in its sshd_config"
            )
        return local

    def broken(self) -> str | None:
        if self._master is None:
            return "not connected"
        if self._master.poll() is None:
            return None
        return f"the connection broke ({self._said() or 'without a word'}); deploy again, it goes on where it was"

    @property
    def _place(self) -> Path:
        if self._folder is None:
            raise DeviceError(f"{self.host}: not connected")
        return self._folder

    def _ssh(self) -> list[str]:
        config = [] if self._config is None else ["-F", str(self._config)]
        # A command that the user's configuration has for this host would stand in the way of those given here.
        own = ["-o", "BatchMode=yes", "-o", "RemoteCommand=none"]
        return ["ssh", *config, *own, "-o", f"ControlPath={self._place / 'm'}"]

    def _connect(self) -> None:
        alive = ["-o", f"ServerAliveInterval={ALIVE_EVERY_S}", "-o", f"ServerAliveCountMax={ALIVE_COUNT}"]
        limit = ["-o", f"ConnectTimeout={CONNECT_LIMIT_S / 2:.0f}"]
        own = ["-o", "ControlMaster=yes", "-o", "ControlPersist=no", "-o", "StreamLocalBindUnlink=yes"]
        # A file, not a pipe: nobody reads along, and ssh must never wait for that.
        with (self._place / "log").open("wb") as log:
            # It waits for the end of its stdin, so that it ends with this program, however that ends.
            command = [*self._ssh(), *own, *alive, *limit, "-T", "--", self.host, "exec cat >/dev/null"]
            self._master = self._start(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)
        end_s = time.monotonic() + CONNECT_LIMIT_S
        while not (self._place / "m").exists():
            if self._master.poll() is not None:
                raise DeviceError(f"{self.host}: {explain(self._log(), self.host)}")
            if time.monotonic() > end_s:
                raise DeviceError(f"{self.host}: {explain('Connection timed out', self.host)}")
            time.sleep(POLL_S)

    def _start(
        self, command: list[str], stdin: int, stdout: int | IO[bytes] = -1, stderr: int | IO[bytes] = -1
    ) -> "subprocess.Popen[bytes]":
        """Pipes, unless said otherwise."""
        try:
            # Ctrl-C in the terminal is for this program, which then ends the connection in order.
            return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)
        except FileNotFoundError as error:
            raise DeviceError("there is no ssh on this machine; install OpenSSH's client") from error

    def _control(self, what: str, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        command = [*self._ssh(), "-O", what, *arguments, "--", self.host]
        return subprocess.run(
            command, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=CONNECT_LIMIT_S
        )

    def _log(self) -> str:
        with suppress(OSError):
            return (self._place / "log").read_text(errors="replace")
        return ""

    def _said(self) -> str:
        lines = self._log().strip().splitlines()
        return lines[-1] if lines else ""

    def _leave(self) -> None:
        if self._master is not None:
            if self._master.stdin is not None:
                self._master.stdin.close()
            with suppress(OSError, subprocess.SubprocessError):
                self._control("exit")
            try:
                self._master.wait(LAST_WORDS_S)
            except subprocess.TimeoutExpired:
                self._master.kill()
                self._master.wait()
            self._master = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def explain(said: str, host: str) -> str:
    """What ssh wrote when it could not connect, as one line with what to do."""
    lines = [line.strip().rstrip(".") for line in said.splitlines() if line.strip()]
    for pattern, words in _EXPLAINED:
        telling = [line for line in lines if re.search(pattern, line)]
        if telling:
            return words.format(host=host, said=telling[-1].removeprefix("ssh: "), remove=_removal(said, host))
    return f"ssh could not connect ({lines[-1] if lines else 'it said nothing'})"


def _removal(said: str, host: str) -> str:
    found = _OFFENDING.search(said)
    if found is None:
        return f"ssh-keygen -R {shlex.quote(host.rpartition('@')[2])}"
    return f"remove line {found[2]} of {found[1]} (sed -i {found[2]}d {shlex.quote(found[1])})"
