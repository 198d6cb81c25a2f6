"""Figures in one power mode of a board: it is set while the board is held where that can be done from here, and it is
looked at before and after every measurement in any case."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from edgesynth.devices.client import AgentClient
from edgesynth.errors import DeviceError
from edgesynth.records import Measurement

__all__ = ["HoldMode", "WantedMode", "modes_seen"]

HoldMode = Callable[[int], AbstractContextManager[None]]
"""Sets the mode with that number for as long as the `with` block lasts, and the one of before at its end. Entering
raises DeviceError, whose text is the reason alone, where the mode cannot be set."""


class WantedMode:
    """The mode of nvpmodel that figures are wanted in, by its number on the board.

    Without `hold` the board must be in it already. Every failure is a DeviceError that names the device and what to do.
    """

    def __init__(self, number: int, hold: HoldMode | None = None) -> None:
        self._number = number
        self._hold = hold

    @contextmanager
    def held(self, client: AgentClient) -> Iterator[None]:
        """The board is in that mode when the `with` block begins. For whoever has the lease: it changes the board."""
        with ExitStack() as stack:
            now = self._known(client)
            if now["id"] != self._number:
                self._set(stack, client.name, now)
            self.require(client)
            yield

    def require(self, client: AgentClient) -> None:
        """Raises unless the board is in that mode now."""
        now = self._known(client)
        if now["id"] != self._number:
            raise self._other(client.name, now, "")

    def require_throughout(self, device: str, measurement: Measurement) -> None:
        """Raises unless the agent saw that mode before the first window and after the last."""
        seen = modes_seen(measurement)
        if any(mode is None or mode["id"] != self._number for mode in seen):
            before, after = (_words(mode) for mode in seen)
            raise DeviceError(
                f"{device}: its power mode was {before} before the run and {after} after it, not {self._number}: the "
                "figures were thrown away; see who sets the mode there, and measure again"
            )

    def _set(self, stack: ExitStack, device: str, now: Mapping[str, Any]) -> None:
        if self._hold is None:
            raise self._other(device, now, ", and without ssh it cannot be set from here")
        try:
            stack.enter_context(self._hold(self._number))
        except DeviceError as error:
            raise self._other(device, now, f", and setting it failed ({error})") from error

    def _known(self, client: AgentClient) -> Mapping[str, Any]:
        facts = client.device()
        mode: Mapping[str, Any] | None = facts.get("power_mode")
        if mode is None:
            reason = (facts.get("reasons") or {}).get("power_mode", "no reason given")
            raise DeviceError(
                f"{client.name}: its power mode is not known ({reason}), so nothing can be measured in mode "
                f"{self._number}; leave out --power-mode to measure as it is"
            )
        return mode

    def _other(self, device: str, now: Mapping[str, Any], why: str) -> DeviceError:
        return DeviceError(
            f"{device}: it is in power mode {_words(now)}, not {self._number}{why}; nothing was measured. "
            f"On the board: sudo nvpmodel -m {self._number}"
        )


def modes_seen(measurement: Measurement) -> list[Mapping[str, Any] | None]:
    """The power mode before the run and after it, as the agent saw them; None where it did not."""
    conditions = measurement.conditions or {}
    return [(conditions.get(when) or {}).get("power_mode") for when in ("before", "after")]


def _words(mode: Mapping[str, Any] | None) -> str:
    """As estimates write it: "3 (MAXP_CORE_ARM)"."""
    if mode is None:
        return "unknown"
    return f"{mode['id']} ({mode['name']})" if mode["name"] else str(mode["id"])
