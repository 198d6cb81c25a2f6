"""The agent as a service: started, restarted, stopped. Behind the same contract: systemd, a user's systemd, a child."""

import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from typing import List, Mapping, Optional, Sequence

from edgesynth_agent.errors import AgentError
from edgesynth_agent.releases.layout import Layout

__all__ = [
    "ACCOUNT",
    "AgentService",
    "ChildService",
    "SystemdService",
    "account_exists",
    "choose_service",
    "systemd_version",
]

ACCOUNT = "edgesynth"
UNIT = "edgesynth-agent.service"
_POWER_UNITS = "edgesynth-power@*.service"
_HOME = "/var/lib/edgesynth"
_POWER_STATE = "/run/edgesynth-power"

_LIMIT_S = 60.0
_POLL_S = 0.05
_LOG_LINES = 5


class AgentService(ABC):
    """Keeps the agent of a Layout running; what it runs is what `Layout.agents`/current leads to. One thread's."""

    kind = ""
    """ "systemd", "systemd --user", or "session": gone when this process is."""

    @abstractmethod
    def prepare(self) -> None:
        """Make what the agent needs to run, users and groups; nothing when it is there."""

    @abstractmethod
    def restart(self) -> None:
        """Start it, or start it anew; returns when it says that it is ready. Raises AgentError when it does not."""

    @abstractmethod
    def active(self) -> bool:
        """Whether it runs."""

    @abstractmethod
    def remove(self) -> None:
        """Stop it, and take away what `prepare` and `restart` made. Nothing happens where there is nothing."""

    def forget(self) -> None:  # noqa: B027  # most have nothing to do
        """Its files are gone."""

    def close(self) -> None:  # noqa: B027  # most have nothing to do
        """The session ends."""


class SystemdService(AgentService):
    """By systemctl. Stopping kills the job that runs, as it is meant."""

    def __init__(self, layout: Layout) -> None:
        self.kind = "systemd --user" if layout.user else "systemd"
        self._user = layout.user
        self._systemctl = ["systemctl", "--user"] if layout.user else ["systemctl"]

    def prepare(self) -> None:
        if self._user:
            return
        if _is_of_somebody():
            what = "there is a user {} already, and it is none that a deploy made".format(ACCOUNT)
            raise AgentError(what, "the agent's user", "deploy with --user, or give that user another name")
        _call(["groupadd", "--system", "--force", ACCOUNT])
        if not account_exists():
            account = ["useradd", "--system", "--gid", ACCOUNT, "--home-dir", _HOME, "--no-create-home"]
            _call(account + ["--shell", "/usr/sbin/nologin", ACCOUNT])
        # From JetPack 6 on, CUDA opens a render node too.
        if _call(["getent", "group", "render"], check=False) == 0:
            _call(["usermod", "--append", "--groups", "render", ACCOUNT])

    def restart(self) -> None:
        _call(self._systemctl + ["daemon-reload"])
        try:
            _call(self._systemctl + ["enable", "--quiet", UNIT])
            _call(self._systemctl + ["restart", UNIT])
        except AgentError as error:
            said = self._log()
            _call(self._systemctl + ["stop", UNIT], check=False)
            raise AgentError(said or error.what, "the agent's service", "see journalctl -u edgesynth-agent") from error

    def active(self) -> bool:
        return _call(self._systemctl + ["is-active", "--quiet", UNIT], check=False) == 0

    def remove(self) -> None:
        _call(self._systemctl + ["disable", "--now", "--quiet", UNIT], check=False)
        if self._user:
            return
        if os.path.exists(os.path.join(_POWER_STATE, "clocks")):
            _call(self._systemctl + ["start", "edgesynth-power@clocks-restore.service"], check=False)
        shutil.rmtree(_POWER_STATE, ignore_errors=True)
        if _is_of_somebody():
            return
        if account_exists():
            _call(["userdel", ACCOUNT])
        if _call(["getent", "group", ACCOUNT], check=False) == 0:
            _call(["groupdel", ACCOUNT])

    def forget(self) -> None:
        _call(self._systemctl + ["daemon-reload"], check=False)
        for units in (UNIT,) if self._user else (UNIT, _POWER_UNITS):
            _call(self._systemctl + ["reset-failed", units], check=False)

    def _log(self) -> str:
        """What the unit said last, in one line."""
        command = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--lines={}".format(_LOG_LINES)]
        try:
            said = subprocess.check_output(
                command + (["--user-unit"] if self._user else ["--unit"]) + [UNIT],
                stderr=subprocess.DEVNULL,
                timeout=10,
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        return " | ".join(line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip())


class ChildService(AgentService):
    """The agent as a child of this session, which ends with it: for machines without systemd, and other roots."""

    kind = "session"

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._process: Optional["subprocess.Popen[bytes]"] = None

    def prepare(self) -> None:
        pass

    def restart(self) -> None:
        self.close()
        agent = os.path.join(self._layout.agents, "current", "edgesynth-agent.pyz")
        os.makedirs(os.path.dirname(self._layout.socket), exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, agent, "serve", "--socket", self._layout.socket, "--store", self._layout.store]
            + ["--until-eof"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        end_s = time.monotonic() + _LIMIT_S
        while not os.path.exists(self._layout.socket):
            if self._process.poll() is not None or time.monotonic() > end_s:
                said = self._last_words()
                self._process = None
                raise AgentError(said or "it ended without a word", "the agent", "see what it said")
            time.sleep(_POLL_S)

    def active(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def remove(self) -> None:
        self.close()

    def close(self) -> None:
        if self._process is None:
            return
        self._last_words()
        self._process = None

    def _last_words(self) -> str:
        """End it; the last line that it wrote."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stderr is not None
        with self._process.stderr as stderr:
            lines = stderr.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""


def choose_service(layout: Layout, root: str, environ: Mapping[str, str]) -> AgentService:
    """systemd where it runs this machine, and a user's where there is one for them."""
    if root != "/" or not os.path.isdir("/run/systemd/system"):
        return ChildService(layout)
    if layout.user and not os.path.exists(os.path.join(environ.get("XDG_RUNTIME_DIR", "/nowhere"), "systemd/private")):
        return ChildService(layout)
    return SystemdService(layout)


def systemd_version() -> Optional[int]:
    """None where there is no systemctl."""
    try:
        said = subprocess.check_output(["systemctl", "--version"], stderr=subprocess.DEVNULL, timeout=10).decode()
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.match(r"systemd ([0-9]+)", said)
    return int(match.group(1)) if match else None


def account_exists() -> bool:
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        return False
    return True


def _is_of_somebody() -> bool:
    """Whether the account is there, and is a user of this device rather than what `prepare` makes."""
    return account_exists() and pwd.getpwnam(ACCOUNT).pw_dir != _HOME


def _call(command: Sequence[str], check: bool = True) -> int:
    """Run a tool; its exit code. With `check`, raises AgentError when it is not 0."""
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_LIMIT_S,
        )
        code, said = done.returncode, done.stderr.decode("utf-8", "replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        code, said = 1, str(error)
    if check and code != 0:
        lines: List[str] = said.strip().splitlines()
        what = lines[-1] if lines else "exit code {}".format(code)
        raise AgentError(what, " ".join(command[:3]), "see what it says when run by hand")
    return code
