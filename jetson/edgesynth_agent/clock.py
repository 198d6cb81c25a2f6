"""The one clock of a measurement."""

import time
from abc import ABC, abstractmethod

__all__ = ["Clock", "FakeClock", "MonotonicClock"]


class Clock(ABC):
    """Seconds since some fixed moment: never falls, is never set, and is safe to read from several threads.

    Latencies, windows and power samples of one measurement come from one clock, so they can be compared.
    """

    @abstractmethod
    def now_s(self) -> float:
        """The time in seconds. Never raises."""

    @abstractmethod
    def sleep(self, seconds: float) -> None:
        """Do nothing for at least so long, 0 or more."""


class MonotonicClock(Clock):
    """The machine's own (CLOCK_MONOTONIC), in steps well under a microsecond."""

    def now_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class FakeClock(Clock):
    """Stands still until told otherwise, so a test of an hour takes no time."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now_s(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass. Raises ValueError for a negative number."""
        if seconds < 0:
            raise ValueError("a clock does not go back")
        self._now_s += seconds
