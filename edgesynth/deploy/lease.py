"""The agent's own lease during a deploy: nobody measures there meanwhile, and none that measures is disturbed."""

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from edgesynth.deploy.board import BoardSession
from edgesynth.devices import AgentClient, HeldLease
from edgesynth.devices.transport import Transport
from edgesynth.errors import BusyDeviceError, DeviceError

__all__ = ["AgentLease"]

DEPLOY = "the deploy of"
TTL_S, PATIENCE_S, LOOK_S = 20.0, 30.0, 0.5


class AgentLease:
    """Taken where an agent runs, for as long as the `with` block lasts. Raises BusyDeviceError where another has it."""

    def __init__(self, transport: Transport, session: BoardSession, holder: str) -> None:
        self._transport = transport
        self._session = session
        self._holder = holder
        self._held = ExitStack()
        self._client: AgentClient | None = None
        self._lease: HeldLease | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    @property
    def client(self) -> AgentClient:
        """Of the agent there, through the forwarded socket."""
        if self._client is None:
            path = self._transport.forward(self._session.ask("socket")["path"])
            self._client = AgentClient(path, self._transport.host)
        return self._client

    @property
    def lease(self) -> HeldLease:
        if self._lease is None:
            raise DeviceError(f"{self._transport.host}: no agent runs there")
        return self._lease

    def take(self) -> bool:
        """Whether an agent runs, and is ours now."""
        try:
            self.client.health()
        except DeviceError:
            return False
        end_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._lease = self._held.enter_context(self.client.lease(f"{DEPLOY} {self._holder}", TTL_S))
                return True
            except DeviceError as error:
                # Who deploys holds the lock as well, and now this one does: that lease is of one that was cut off.
                if DEPLOY not in str(error) or time.monotonic() > end_s:
                    raise BusyDeviceError(str(error), None) from error
            time.sleep(LOOK_S)

    def take_again(self) -> None:
        """After the agent was started anew, which ends all leases."""
        self._held.close()
        self._lease = None
        if not self.take():
            raise DeviceError(f"{self._transport.host}: its agent does not answer through the forwarded socket")
