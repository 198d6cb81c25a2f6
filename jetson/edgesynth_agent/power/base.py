"""The contract of a power sensor."""

from abc import ABC, abstractmethod
from typing import Any, Dict, List, NamedTuple, Optional

__all__ = ["PowerSample", "PowerSource", "PowerTrace"]


class PowerSample(NamedTuple):
    """Total input power of the device at one instant of the measurement's clock."""

    time_s: float
    power_w: float


class PowerTrace(NamedTuple):
    """What a source saw from `start` to `stop`."""

    samples: List[PowerSample]
    """Strictly ascending in time. Each is something new from the sensor: none is made up, or a reading said again."""

    invalid: Optional[str] = None
    """Why no figure may be made of the samples, as a phrase; None when they are good."""

    update_period_s: Optional[float] = None
    """How often the sensor was seen to have something new, in seconds; None when it was not seen often enough."""

    averages: bool = False
    """Whether a sample is the mean over the time since the one before; otherwise it is the power of an instant."""


class PowerSource(ABC):
    """Samples the total input power of the device in the background, on the clock of the measurement.

    `prepare` at most once, then `start` and `stop` in turn, as often as wanted. Used from one thread; sampling itself
    may happen in another, or in a child process, neither of which outlives `stop`. A sensor that is missing, stuck,
    implausible or lost makes the trace invalid, with the reason: nothing raises for it, and no power is ever 0 for it.
    """

    absence: Optional[str] = None
    """Why this source never has a sample, as one sentence; None for a source that samples."""

    caveat: Optional[str] = None
    """What its power leaves out or rests on, as one sentence for the record; None for the input of the device."""

    def prepare(self) -> None:  # noqa: B027 - many sources have nothing to find out
        """Find out how often the sensor has something new; takes up to some seconds. Best before all warming up."""

    @abstractmethod
    def start(self) -> None:
        """Begin to sample."""

    @abstractmethod
    def stop(self) -> PowerTrace:
        """End sampling; what was seen since `start`."""

    @abstractmethod
    def facts(self) -> Dict[str, Any]:
        """A JSON object: `sensor`, `reason` when there is none, how it is set, and after `stop` how it did."""
