"""Sensors that are read again and again, from a thread."""

import random
import threading
import time
from abc import ABC, abstractmethod
from typing import Any, Callable, Dict, Iterator, List, Optional

from edgesynth_agent.clock import Clock
from edgesynth_agent.power.base import PowerSample, PowerSource, PowerTrace
from edgesynth_agent.power.readings import Raw, Reading, make_trace, update_period_s

__all__ = ["PolledPower", "Sensor", "polling_intervals_s"]

# How long to read at full speed to see how often the sensor updates, and how many changes are enough to know.
_PROBE_S = 2.0
_PROBE_CHANGES = 200
# The shortest pause, as a share of the period.
_LEAST_PAUSE = 0.25


def polling_intervals_s(period_s: float, even: bool, chance: Optional[random.Random] = None) -> Iterator[float]:
    """Pauses from one reading to the next, without end; `period_s` on the mean.

    Readings in step with a load that repeats would see the same part of it each time. So, unless they are to be even,
    intervals are random from half to one and a half of the period: one interval on, a reading is as likely at any
    part of a rhythm of that period, and a few on, of any other (additive random sampling: H. S. Shapiro and R. A.
    Silverman, "Alias-free sampling of random noise", 1960).
    """
    chance = chance or random.Random()
    while True:
        yield period_s * (1.0 if even else chance.uniform(0.5, 1.5))


class Sensor(ABC):
    """Something that can be read at any time. Used from one thread at a time."""

    name = ""
    """As records spell it: "ina3221", "rapl"."""

    period_s = 0.01
    """Read it so often: 100 Hz, unless a subclass knows better."""

    most_w = 0.0
    """No device that it may sit on takes more."""

    averages = False
    """Whether it gives means over time; known once it is open."""

    caveat: Optional[str] = None
    """See PowerSource."""

    @abstractmethod
    def open(self) -> None:
        """Raises OSError when it cannot be read."""

    @abstractmethod
    def read(self) -> Raw:
        """What it says now, not yet made numbers: reading is cheap, and arithmetic can wait. Raises OSError."""

    @abstractmethod
    def close(self) -> None:
        """May be called twice, and before `open`."""

    @abstractmethod
    def samples(self, readings: List[Reading], update_period_s: Optional[float]) -> List[PowerSample]:
        """The power that these new readings tell of. Raises ValueError for a reading that is none."""

    @abstractmethod
    def facts(self) -> Dict[str, Any]:
        """How it is set up; JSON values."""


class PolledPower(PowerSource):
    """Reads a sensor after `polling_intervals_s`, evenly if it gives means."""

    def __init__(self, sensor: Sensor, clock: Clock, sleep: Callable[[float], None] = time.sleep) -> None:
        self.caveat = sensor.caveat
        self._sensor = sensor
        self._clock = clock
        self._sleep = sleep
        self._thread: Optional[threading.Thread] = None
        self._stopping = False
        self._readings: List[Reading] = []
        self._failed: List[str] = []
        self._probed_s: Optional[float] = None
        self._start_s = 0.0
        self._last: Dict[str, Any] = {}

    def prepare(self) -> None:
        try:
            self._sensor.open()
        except OSError:
            return  # `stop` says so
        self._probed_s = update_period_s(self._read_at_full_speed())
        self._sensor.close()

    def start(self) -> None:
        self._readings, self._failed, self._stopping = [], [], False
        self._start_s = self._clock.now_s()
        try:
            self._sensor.open()
        except OSError as error:
            self._failed.append(str(error))
            return
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> PowerTrace:
        self._stopping = True
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._sensor.close()
        trace = make_trace(
            self._readings, self._failed, self._probed_s, self._samples, self._sensor.most_w, self._sensor.averages
        )
        self._last = {
            "readings": len(self._readings),
            "failed": len(self._failed),
            "samples": len(trace.samples),
            "update_period_s": trace.update_period_s,
            "averages": trace.averages,
        }
        self._readings, self._failed = [], []
        return trace

    def facts(self) -> Dict[str, Any]:
        facts = {"sensor": self._sensor.name, "reason": None, "asked_period_s": self._sensor.period_s}
        facts.update(self._sensor.facts())
        facts.update(self._last)
        return facts

    def _samples(self, readings: List[Reading], period_s: Optional[float]) -> List[PowerSample]:
        # A mean that began before `start` belongs to what was before.
        samples = self._sensor.samples(readings, period_s)
        return [sample for sample in samples if sample.time_s >= self._start_s]

    def _read_at_full_speed(self) -> List[Reading]:
        """The readings that differ from the one before."""
        end_s = self._clock.now_s() + _PROBE_S
        changed: List[Reading] = []
        while len(changed) <= _PROBE_CHANGES and self._clock.now_s() < end_s:
            try:
                reading = self._read()
            except OSError:
                continue
            if not changed or reading.raw != changed[-1].raw:
                changed.append(reading)
        return changed

    def _read(self) -> Reading:
        before_s = self._clock.now_s()
        raw = self._sensor.read()
        return Reading((before_s + self._clock.now_s()) / 2, raw)

    def _sample(self) -> None:
        due_s = self._clock.now_s()
        for interval_s in polling_intervals_s(self._sensor.period_s, self._sensor.averages):
            if self._stopping:
                return
            try:
                self._readings.append(self._read())
            except OSError as error:
                self._failed.append(str(error))
            # Always a pause: neither a slow sensor nor having been held up makes this a busy loop.
            now_s = self._clock.now_s()
            due_s = max(due_s + interval_s, now_s + self._sensor.period_s * _LEAST_PAUSE)
            self._sleep(due_s - now_s)
