"""Made-up power over time with its exact energy, and sensors that look at it."""

import math
import random
from typing import NamedTuple, Optional, Tuple

from edgesynth_agent.power import PowerSample
from edgesynth_agent.power.polled import polling_intervals_s
from edgesynth_agent.power.readings import Reading, make_trace

__all__ = ["CURVES", "SENSORS", "Curve", "SeenBy", "watch"]


class Curve:
    """Power `power_w(t)`; `area_j(t)` is its integral from 0. `load_s` is the period of what repeats, if any."""

    def __init__(self, power_w, area_j, load_s=None):
        self.power_w = power_w
        self._area_j = area_j
        self.load_s = load_s

    def energy_j(self, start_s, end_s):
        return self._area_j(end_s) - self._area_j(start_s)

    def beginnings(self, start_s, end_s):
        """When the load began anew, around a window; nothing for a load that does not repeat."""
        if self.load_s is None:
            return []
        first, last = math.floor(start_s / self.load_s), math.ceil(end_s / self.load_s)
        return [index * self.load_s for index in range(first, last + 1)]


def ramp(from_w, w_per_s):
    return Curve(lambda t: from_w + w_per_s * t, lambda t: from_w * t + w_per_s * t * t / 2)


def square(low_w, high_w, period_s, share):
    """`high_w` for the first `share` of each period."""

    def area_j(t):
        turns = math.floor(t / period_s)
        high_s = turns * share * period_s + min(t - turns * period_s, share * period_s)
        return low_w * t + (high_w - low_w) * high_s

    return Curve(lambda t: high_w if t % period_s < share * period_s else low_w, area_j, period_s)


CURVES = {
    "constant": ramp(5.0, 0.0),
    "ramp": ramp(3.0, 0.05),
    "steep ramp": ramp(3.0, 0.3),
    "square of 100 ms": square(3.0, 5.0, 0.1, 0.5),
    "square of 100 ms, 37 %": square(3.0, 5.0, 0.1, 0.37),
    "high square of 100 ms": square(1.0, 10.0, 0.1, 0.5),
    "square of 3 ms": square(3.0, 6.0, 0.003, 0.4),
    "spikes of 50 ms": square(4.0, 14.0, 1.0, 0.05),
    "spikes of 5 ms": square(4.0, 14.0, 1.0, 0.005),
}


class SeenBy(NamedTuple):
    """A sensor: read every `read_s`; has a new value every `update_s`, or at each reading (None)."""

    read_s: float
    update_s: Optional[float] = None
    averages: bool = False
    even: bool = False
    probed_s: Optional[float] = None
    time_noise_s: float = 0.0
    silent: Optional[Tuple[float, float]] = None


SENSORS = {
    # JetPack 4 and the INA3221 as it is set at first: each reading is a conversion.
    "100 Hz": SeenBy(0.01, probed_s=0.002),
    # The same chip running on by itself: means over 422 ms.
    "means of 422 ms": SeenBy(0.01, 0.422, averages=True, even=True, probed_s=0.422),
    "tegrastats, 53 ms": SeenBy(0.053, even=True, probed_s=0.053),
    "tegrastats, 1 s": SeenBy(1.0, even=True, probed_s=1.0),
}

# Noise of a live sensor, and the step of its last digit, in watts.
_NOISE_W = 0.02
_STEP_W = 0.008


def watch(curve, seen, seconds, seed=0):
    """The trace of `curve` from 0 to `seconds`."""
    chance = random.Random(seed)
    readings, value, until_s, t = [], None, 0.0, chance.random() * seen.read_s
    for interval_s in polling_intervals_s(seen.read_s, seen.even, chance):
        if t >= until_s:
            value = _value_w(curve, seen, t) + chance.gauss(0.0, _NOISE_W)
            value = round(value / _STEP_W) * _STEP_W
            until_s = 0.0 if seen.update_s is None else (math.floor(t / seen.update_s) + 1) * seen.update_s
        if not (seen.silent and seen.silent[0] <= t < seen.silent[1]):
            readings.append(Reading(t + chance.gauss(0.0, seen.time_noise_s), (value,)))
        t += interval_s
        if t >= seconds:
            break
    readings.sort()
    return make_trace(readings, [], seen.probed_s, lambda new, period_s: _samples(new, seen), 400.0, seen.averages)


def _value_w(curve, seen, t):
    if seen.update_s is None:
        return curve.power_w(t)
    begun_s = math.floor(t / seen.update_s) * seen.update_s
    if not seen.averages:
        return curve.power_w(begun_s)
    return curve.energy_j(begun_s - seen.update_s, begun_s) / seen.update_s


def _samples(readings, seen):
    lag_s = seen.update_s / 2 if seen.averages else 0.0
    return [PowerSample(reading.time_s - lag_s, reading.raw[0]) for reading in readings]
