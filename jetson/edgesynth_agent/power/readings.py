"""From what was read of a sensor to a trace of its power: what is new, how often, and whether it can be. Pure."""

import math
from typing import Callable, Hashable, List, NamedTuple, Optional, Sequence, Tuple

from edgesynth_agent.power.base import PowerSample, PowerTrace

__all__ = ["Raw", "Reading", "make_trace", "new_readings", "update_period_s"]

Raw = Tuple[Hashable, ...]

# Fewer changes say nothing of how often a sensor changes.
_LEAST_CHANGES = 3
# Both periods are means of what was seen, so they may differ by as much where they are the same.
_AS_FAST = 1.1
# A sensor is stuck when it reads the same for so many of its own updates, and for so long or from beginning to end.
_STUCK_UPDATES = 30
_STUCK_READINGS = 50
_STUCK_S = 10.0
# The share of failed readings above which the others are not to be trusted either.
_MOST_FAILED = 0.1

ToSamples = Callable[[List["Reading"], Optional[float]], List[PowerSample]]


class Reading(NamedTuple):
    """What a sensor said at one instant, as it said it."""

    time_s: float
    raw: Raw


def update_period_s(readings: Sequence[Reading]) -> Optional[float]:
    """Seconds from one change to the next, on the mean; None for too few changes.

    An update that happens to repeat the value before is not seen, so the sensor may be faster than this, never slower.
    """
    changes = [reading.time_s for index, reading in enumerate(readings[1:]) if reading.raw != readings[index].raw]
    if len(changes) < _LEAST_CHANGES:
        return None
    return (changes[-1] - changes[0]) / (len(changes) - 1)


def new_readings(readings: Sequence[Reading], period_s: Optional[float]) -> List[Reading]:
    """Those that tell something new: a change, or the same again when the sensor must have updated since.

    A sensor that is read faster than it updates says each value several times; those are one reading. One that is read
    no faster than it updates is new each time.
    """
    between_s = (readings[-1].time_s - readings[0].time_s) / max(1, len(readings) - 1) if readings else 0.0
    each_is_new = period_s is not None and period_s <= _AS_FAST * between_s
    kept: List[Reading] = []
    for reading in readings:
        if kept and reading.time_s <= kept[-1].time_s:
            continue
        again = bool(kept) and not each_is_new and reading.raw == kept[-1].raw
        if again and (period_s is None or reading.time_s - kept[-1].time_s < period_s):
            continue
        kept.append(reading)
    return kept


def make_trace(
    readings: Sequence[Reading],
    failed: Sequence[str],
    probed_s: Optional[float],
    to_samples: ToSamples,
    most_w: float,
    averages: bool,
) -> PowerTrace:
    """The trace of a sensor.

    `failed` says why, once a failed reading. `probed_s` is the update period seen when reading at full speed, where
    that was done. `to_samples(new readings, update period)` gives power, or raises ValueError for what is no reading.
    """
    seen = [period for period in (probed_s, update_period_s(readings)) if period is not None]
    period_s = min(seen) if seen else None
    if not readings:
        return PowerTrace([], "no reading succeeded: " + failed[-1] if failed else "there was no time for a reading")
    try:
        samples = to_samples(new_readings(readings, period_s), period_s)
    except ValueError as error:
        return PowerTrace([], "a reading cannot be used: {}".format(error), period_s, averages)
    if not samples:
        return PowerTrace([], "there was no time for a reading", period_s, averages)
    invalid = _why_failed(readings, failed) or _why_stuck(readings, period_s) or _why_implausible(samples, most_w)
    return PowerTrace(samples, invalid, period_s, averages)


def _why_failed(readings: Sequence[Reading], failed: Sequence[str]) -> Optional[str]:
    tried = len(readings) + len(failed)
    if len(failed) <= _MOST_FAILED * tried:
        return None
    return "{} of {} readings failed: {}".format(len(failed), tried, failed[-1])


def _why_stuck(readings: Sequence[Reading], period_s: Optional[float]) -> Optional[str]:
    """Whether the sensor said the same for longer than a live one does: even steady power moves its last digits.

    A trace goes from idle to work and back to idle, so one that never changes is stuck however short it is; but only
    where the sensor has been seen to change, since else nothing says how often it would.
    """
    longest_s, count, since = 0.0, 0, 0
    for index in range(1, len(readings)):
        if readings[index].raw != readings[since].raw:
            since = index
        if readings[index].time_s - readings[since].time_s > longest_s:
            longest_s, count = readings[index].time_s - readings[since].time_s, index - since + 1
    never_changed = period_s is not None and count == len(readings)
    limit_s = max(0.0 if never_changed else _STUCK_S, _STUCK_UPDATES * (period_s or 0.0))
    if longest_s < limit_s or count < _STUCK_READINGS:
        return None
    return "the sensor is stuck: {} readings over {:.1f} s were all the same".format(count, longest_s)


def _why_implausible(samples: Sequence[PowerSample], most_w: float) -> Optional[str]:
    wrong = [power_w for _, power_w in samples if not (math.isfinite(power_w) and 0 < power_w <= most_w)]
    if not wrong:
        return None
    return "the sensor is implausible: {} of {} samples are not between 0 and {:g} W, such as {:g} W".format(
        len(wrong), len(samples), most_w, wrong[0]
    )
