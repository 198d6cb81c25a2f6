"""What the agent tells systemd: the protocol of sd_notify(3) in datagrams to $NOTIFY_SOCKET, without its library."""

import logging
import os
import socket
from typing import MutableMapping, Optional

from edgesynth_agent.clock import Clock

__all__ = ["ServiceManager"]

_log = logging.getLogger("edgesynth_agent")


class ServiceManager:
    """systemd as the agent sees it; where systemd did not start this process, every call does nothing.

    Takes the variables of the protocol out of `environ`, so that no child speaks in the agent's name. No call blocks
    or raises: a message that systemd does not take at once is dropped.
    """

    def __init__(self, environ: MutableMapping[str, str], clock: Clock) -> None:
        self._clock = clock
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        self._beat_every_s = _beat_every_s(usec, pid)
        self._next_beat_s = clock.now_s()

    def ready(self, status: str) -> None:
        """The agent answers from now on. `status` is one line for `systemctl status`."""
        self._tell("READY=1\nSTATUS=" + status)

    def stopping(self) -> None:
        self._tell("STOPPING=1\nSTATUS=ends the running job")

    def beat(self) -> None:
        """Called from the loop whose hanging is to be noticed, at least once a second; tells only when it is time."""
        if self._beat_every_s is None or self._clock.now_s() < self._next_beat_s:
            return
        if self._tell("WATCHDOG=1"):
            self._next_beat_s = self._clock.now_s() + self._beat_every_s

    def _tell(self, message: str) -> bool:
        if self._address is None:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.setblocking(False)
                channel.sendto(message.encode(), self._address)
        except OSError as error:
            _log.warning("systemd did not take '%s': %s", message.splitlines()[0], error)
            return False
        return True


def _address(path: str) -> Optional[bytes]:
    """An abstract socket is written with '@' for its NUL. What is neither that nor a path (vsock) is not spoken."""
    if path.startswith("@"):
        return b"\0" + os.fsencode(path[1:])
    return os.fsencode(path) if path.startswith("/") else None


def _beat_every_s(usec: str, pid: str) -> Optional[float]:
    """Half of the time after which systemd kills, as sd_watchdog_enabled(3) advises; None without a watchdog."""
    if not usec.isdigit() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 1e6 / 2
