"""The agent of a board, reached by the user's own ssh."""

import shlex
from contextlib import AbstractContextManager, ExitStack

from edgesynth.devices.client import AgentClient
from edgesynth.devices.power_helper import HeldPowerMode
from edgesynth.devices.ssh import SshTransport
from edgesynth.devices.transport import Transport
from edgesynth.errors import DeviceError

__all__ = ["RemoteAgent", "agent_by_ssh"]

SOCKETS = ("/run/edgesynth/agent.sock", "/run/user/$(id -u)/edgesynth/agent.sock")
"""Where the agent of the system listens, and that of the user (docs/service.md)."""

_FIND = 'for s in {}; do [ -S "$s" ] || continue; [ -w "$s" ] && printf "%s" "$s" && exit 0; exit 3; done; exit 4'
_NOT_ALLOWED, _NONE = 3, 4


class RemoteAgent(AbstractContextManager[AgentClient]):
    """One connection for as long as the `with` block lasts, the agent's socket forwarded through it.

    May be entered again. Raises DeviceError where the board cannot be reached, has no agent, or does not let the user
    at it.
    """

    def __init__(self, transport: Transport, device: str) -> None:
        self._transport, self._device = transport, device
        self._held = ExitStack()

    def __enter__(self) -> AgentClient:
        with ExitStack() as stack:
            transport = stack.enter_context(self._transport)
            client = AgentClient(transport.forward(self._socket()), self._device)
            client.health()
            self._held = stack.pop_all()
        return client

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def hold_mode(self, number: int) -> HeldPowerMode:
        """The board's power mode set for a `with` block inside this one."""
        return HeldPowerMode(self._transport, number)

    def _socket(self) -> str:
        answer = self._transport.ask(_FIND.format(" ".join(f'"{path}"' for path in SOCKETS)))
        if answer.code == 0:
            return answer.out
        host = shlex.quote(self._transport.host)
        if answer.code == _NOT_ALLOWED:
            raise DeviceError(
                f"{self._device}: its agent's socket is not open to this user; add the user to the group edgesynth "
                "there (sudo usermod -aG edgesynth USER), and log in anew"
            )
        if answer.code == _NONE:
            raise DeviceError(
                f"{self._device}: no agent runs there; bring one by edgesynth deploy NETWORK --host {host}"
            )
        raise DeviceError(f"{self._device}: its shell does not answer ({answer.err.strip() or answer.code})")


def agent_by_ssh(where: str, device: str) -> RemoteAgent:
    """`where` as in an address: a host of the user's ssh config, user@host, user@host:port."""
    has_port = where.rpartition(":")[2].isdigit() and not where.endswith("]")
    return RemoteAgent(SshTransport(f"ssh://{where}" if has_port else where), device)
