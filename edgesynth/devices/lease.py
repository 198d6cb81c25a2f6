"""Holding a device: a lease that is renewed for as long as this process lives."""

import threading
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from edgesynth.errors import DeviceError

if TYPE_CHECKING:
    from edgesynth.devices.client import AgentClient

__all__ = ["HeldLease"]

_BEATS_IN_TTL = 3  # two heartbeats may get lost


class HeldLease:
    """A lease for as long as the `with` block lasts; a thread sends its heartbeats.

    If this process is killed, the device is free `ttl_s` later at the latest. `check` raises DeviceError when the
    device has let go of the lease, as it does when it was restarted.
    """

    def __init__(self, client: "AgentClient", lease_id: str, ttl_s: float) -> None:
        self.id = lease_id
        self._client = client
        self._period_s = ttl_s / _BEATS_IN_TTL
        self._released = threading.Event()
        self._lost: DeviceError | None = None
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._thread.join()
        with suppress(DeviceError):  # it ended by itself, or will
            self._client.release(self.id)

    def check(self) -> None:
        """Raises DeviceError when a heartbeat was refused."""
        if self._lost is not None:
            raise self._lost

    def _beat(self) -> None:
        while not self._released.wait(self._period_s):
            try:
                self._client.heartbeat(self.id)
            except DeviceError as error:
                self._lost = error
            else:
                self._lost = None
