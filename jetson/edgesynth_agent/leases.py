"""Exclusive use of the device, for as long as its holder shows that it lives."""

import threading
import uuid
from typing import Any, Callable, Dict, NamedTuple, Optional

from edgesynth_agent.clock import Clock
from edgesynth_agent.errors import BusyError, LeaseError, NotFoundError

__all__ = ["Lease", "Leases"]


class Lease(NamedTuple):
    """Who has the device, and until when on the agent's clock."""

    id: str
    holder: str
    ttl_s: float
    expires_s: float

    def document(self, now_s: float) -> Dict[str, Any]:
        """The lease as the API shows it. Clocks of two machines differ, so it tells what is left, not the moment."""
        left_s = round(max(0.0, self.expires_s - now_s), 3)
        return {"id": self.id, "holder": self.holder, "ttl_s": self.ttl_s, "expires_in_s": left_s}


class Leases:
    """At most one lease at a time. It ends when it is released, or `ttl_s` after the last heartbeat.

    `on_end(lease, how)` is called once for each lease that ended, `how` a phrase; the device counts as free when it
    returns. Leases live as long as the agent: a new agent has none. Safe for several threads.
    """

    def __init__(self, clock: Clock, on_end: Callable[[Lease, str], None] = lambda lease, how: None) -> None:
        self.on_end = on_end
        self._clock = clock
        self._changed = threading.Condition()
        self._lease: Optional[Lease] = None
        self._stopped = False

    def current(self) -> Optional[Dict[str, Any]]:
        """The lease that holds now, without its id, which is its holder's; None when the device is free."""
        self.expire()
        with self._changed:
            if self._lease is None:
                return None
            document = self._lease.document(self._clock.now_s())
        del document["id"]
        return document

    def grant(self, holder: str, ttl_s: float) -> Dict[str, Any]:
        """A new lease. Raises BusyError while another one holds."""
        self.expire()
        with self._changed:
            if self._lease is not None:
                left_s = self._lease.expires_s - self._clock.now_s()
                raise BusyError(
                    "{} has the lease, for {:.1f} s more unless it renews it".format(self._lease.holder, left_s),
                    "this device",
                    "wait, or ask another device",
                )
            lease = self._renewed(Lease(uuid.uuid4().hex, holder, ttl_s, 0.0))
            return lease.document(self._clock.now_s())

    def heartbeat(self, lease_id: str) -> Dict[str, Any]:
        """The lease, with all of its time ahead of it. Raises NotFoundError when it has ended or never was."""
        self.expire()
        with self._changed:
            return self._renewed(self._find(lease_id)).document(self._clock.now_s())

    def release(self, lease_id: str) -> Dict[str, Any]:
        """End a lease; the last that is seen of it. Raises NotFoundError."""
        self.expire()
        with self._changed:
            lease = self._find(lease_id)
            self._lease = None
            self._changed.notify_all()
        self.on_end(lease, "was released")
        return lease.document(self._clock.now_s())

    def require(self, lease_id: Optional[str]) -> Lease:
        """The lease of that name, if it holds. Raises LeaseError."""
        with self._changed:
            lease = self._lease
            if lease is not None and lease.id == lease_id and self._clock.now_s() < lease.expires_s:
                return lease
        what = "it holds no longer, or never did" if lease_id else "a job needs the lease of the device"
        raise LeaseError(what, "header Edgesynth-Lease", "take a lease by POST /v1/leases, and renew it in time")

    def expire(self) -> None:
        """End the lease if its time is over."""
        with self._changed:
            lease = self._lease
            if lease is None or self._clock.now_s() < lease.expires_s:
                return
            self._lease = None
        self.on_end(lease, "had no heartbeat for {:g} s".format(lease.ttl_s))

    def watch(self) -> None:
        """End leases in time until `stop`: for a thread of its own, which sleeps while there is none."""
        while True:
            with self._changed:
                if self._stopped:
                    return
                left_s = None if self._lease is None else self._lease.expires_s - self._clock.now_s()
                if left_s is None or left_s > 0:
                    self._changed.wait(left_s)
                    continue
            self.expire()

    def stop(self) -> None:
        """End `watch`."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _renewed(self, lease: Lease) -> Lease:
        self._lease = lease._replace(expires_s=self._clock.now_s() + lease.ttl_s)
        self._changed.notify_all()
        return self._lease

    def _find(self, lease_id: str) -> Lease:
        if self._lease is None or self._lease.id != lease_id:
            raise NotFoundError("it has ended, or never was", "lease " + lease_id, "take a new one by POST /v1/leases")
        return self._lease
