"""A power trace of earlier, played again."""

from typing import Any, Dict

from edgesynth_agent.clock import Clock
from edgesynth_agent.power.base import PowerSample, PowerSource, PowerTrace
from edgesynth_agent.power.trace_file import read_trace

__all__ = ["ReplayPower"]


class ReplayPower(PowerSource):
    """Each `start` begins the trace of a file anew, its first sample then; where the trace ends, there is no more.

    The constructor raises RefusedError for a file that is no trace.
    """

    caveat = "power is a recording played again, not of this run"

    def __init__(self, clock: Clock, path: str) -> None:
        self._clock = clock
        self._path = path
        self._trace, self._recorded = read_trace(path)
        self._start_s = clock.now_s()

    def start(self) -> None:
        self._start_s = self._clock.now_s()

    def stop(self) -> PowerTrace:
        now_s = self._clock.now_s()
        recorded = self._trace.samples
        moved = [PowerSample(time_s - recorded[0].time_s + self._start_s, power_w) for time_s, power_w in recorded]
        samples = [sample for sample in moved if sample.time_s <= now_s]
        invalid = self._trace.invalid
        if invalid is None and not samples:
            invalid = "the recording has no samples"
        return self._trace._replace(samples=samples, invalid=invalid)

    def facts(self) -> Dict[str, Any]:
        return {"sensor": "replay", "reason": None, "path": self._path, "recorded": self._recorded}
