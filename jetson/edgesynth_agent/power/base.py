"""The contract of a power sensor."""

from abc import ABC, abstractmethod
from typing import List, NamedTuple, Optional

__all__ = ["PowerSample", "PowerSource"]


class PowerSample(NamedTuple):
    """Total input power of the device at one instant of the measurement's clock."""

    time_s: float
    power_w: float


class PowerSource(ABC):
    """Samples the total input power of the device in the background, on the clock of the measurement.

    `start` and `stop` alternate, begin with `start`, and may be repeated. Used from one thread; sampling itself may
    happen in another, which must not outlive `stop`.
    """

    absence: Optional[str] = None
    """Why this source never has a sample, as one sentence; None for a source that samples."""

    @abstractmethod
    def start(self) -> None:
        """Begin to sample. Raises AgentError when the sensor cannot be read."""

    @abstractmethod
    def stop(self) -> List[PowerSample]:
        """End sampling; the samples since `start`, strictly ascending in time. None is made up or repeated."""
