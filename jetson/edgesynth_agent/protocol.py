"""What a measurement is to be, and what was seen of it: plain data, before any arithmetic."""

from typing import Any, Dict, List, NamedTuple, Sequence

from edgesynth_agent.conditions import Condition
from edgesynth_agent.power.base import PowerTrace

__all__ = ["IdleWindow", "Run", "Schedule", "TimedWindow"]

_QUICK_S, _QUICK_WINDOWS = 10.0, 5
_REPORTED_S = 60.0
# Idle power is steady: longer windows than this tell no more of it.
_LONGEST_IDLE_S = 10.0
# The share of an idle window to wait before it, for clocks to come down and the caches of what ran before to settle.
_REST = 0.1


class Schedule(NamedTuple):
    """How long to warm up (at least, at most) and how many windows of at least which duration to time."""

    warmup_min_s: float
    warmup_max_s: float
    windows: int
    window_s: float

    @property
    def tier(self) -> str:
        """It is "reported": windows of 60 s or more; "quick": 5 windows or more, of 10 s or more; else "screening"."""
        if self.window_s >= _REPORTED_S:
            return "reported"
        return "quick" if self.window_s >= _QUICK_S and self.windows >= _QUICK_WINDOWS else "screening"

    @property
    def idle_s(self) -> float:
        """The length of each of the two idle windows."""
        return min(self.window_s, _LONGEST_IDLE_S)

    @property
    def rest_s(self) -> float:
        """How long to wait before an idle window."""
        return _REST * self.idle_s

    @property
    def longest_s(self) -> float:
        """What it takes where inferences are short beside a window."""
        return self.warmup_max_s + self.windows * self.window_s + 2 * (self.idle_s + self.rest_s)


class TimedWindow(NamedTuple):
    """Inferences back to back: each begins where the one before ended, so their latencies add up to the window."""

    start_s: float
    end_s: float
    latencies_s: Sequence[float]


class IdleWindow(NamedTuple):
    """A stretch with the network loaded and nothing running, "before" the warm-up or "after" the windows."""

    when: str
    start_s: float
    end_s: float


class Run(NamedTuple):
    """What was seen. All times are of the measurement's clock."""

    warmup_s: float
    settled_s: float
    """From when on the warm-up was flat; where it never was, its end."""
    windows: List[TimedWindow]
    idle: List[IdleWindow]
    """None where there is no power sensor."""
    power: PowerTrace
    conditions: List[Condition]
    """From the beginning of the warm-up to the end of the last window."""
    before: Dict[str, Any]
    """Power mode, clocks and temperatures as `Conditions.snapshot` gives them."""
    after: Dict[str, Any]
    warnings: List[str]
