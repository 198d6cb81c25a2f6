"""A power sensor for tests."""

from typing import Any, Callable, Dict

from edgesynth_agent.clock import Clock
from edgesynth_agent.power.base import PowerSample, PowerSource, PowerTrace

__all__ = ["FakePower"]


class FakePower(PowerSource):
    """Computes at `stop` what a sensor read every `period_s` would have seen of `power_w(time_s)` since `start`."""

    def __init__(self, clock: Clock, power_w: Callable[[float], float], period_s: float = 0.01) -> None:
        self._clock = clock
        self._power_w = power_w
        self._period_s = period_s
        self._start_s = clock.now_s()

    def start(self) -> None:
        self._start_s = self._clock.now_s()

    def stop(self) -> PowerTrace:
        count = int((self._clock.now_s() - self._start_s) / self._period_s)
        times = [self._start_s + index * self._period_s for index in range(count + 1)]
        samples = [PowerSample(time_s, self._power_w(time_s)) for time_s in times]
        return PowerTrace(samples, update_period_s=self._period_s)

    def facts(self) -> Dict[str, Any]:
        return {"sensor": "fake", "reason": None, "update_period_s": self._period_s}
