"""From power samples to joules: pure integration, and how far it can be trusted."""

import bisect
import cmath
import math
from typing import List, NamedTuple, Optional, Sequence

from edgesynth_agent.power.base import PowerSample, PowerTrace
from edgesynth_agent.stats import quantile

__all__ = ["LIMIT", "WindowEnergy", "in_step", "integrate_j", "integration_error_j", "window_energy"]

LIMIT = 0.005
"""The greatest half-width of the 95 % interval of a window's energy, as a share of it, that still makes a figure."""

_LEAST_SAMPLES = 50
# Samples lie a gap apart when it is so many times the usual interval; the share of a window that gaps may take.
_GAP_INTERVALS = 5.0
_MOST_GAPS = 0.05
_NORMAL_95 = 1.96
# What a sample that may stand for a fluctuation adds, of its squared difference; see integration_error_j.
_FLUCTUATION = 0.66
# Harmonics of the load that samples may be in step with, and how far from random they must be: random ones are, for
# one harmonic, with a probability of exp(-3.5 ** 2) = 5e-6 (the Rayleigh test of uniformity).
_HARMONICS = 16
_IN_STEP = 3.5


class WindowEnergy(NamedTuple):
    """Energy of one window; None with the reason, a phrase, where the samples do not tell it well enough."""

    energy_j: Optional[float]
    error_j: Optional[float]
    """Half the width of its 95 % interval as far as sampling goes; None where there is no estimate."""
    samples: int
    """Samples inside the window."""
    reason: Optional[str] = None


def window_energy(
    trace: PowerTrace, start_s: float, end_s: float, load_s: Sequence[float] = (), limit: float = LIMIT
) -> WindowEnergy:
    """Joules between two instants.

    `load_s` are the instants at which the load began anew, such as each inference, and the last one's end: by them,
    samples that only ever see the same part of it are found out. The energy is None when `trace` is invalid, when the
    window has too few samples or too long a gap, when samples are in step with the load, or when `error_j` is more
    than `limit` of it.
    """
    inside = _inside(trace.samples, start_s, end_s)
    reason = trace.invalid or _why_too_few(inside, start_s, end_s)
    if reason is None and not trace.averages and in_step([sample.time_s for sample in inside], load_s):
        reason = "the sensor was read in step with the load, so it saw only parts of it; ask for another batch"
    if reason is not None:
        return WindowEnergy(None, None, len(inside), reason)
    line = _with_edges(trace.samples, start_s, end_s)
    energy_j = integrate_j(line, start_s, end_s)
    error_j = integration_error_j(line, trace.averages)
    if error_j <= limit * energy_j:
        return WindowEnergy(energy_j, error_j, len(inside))
    share = error_j / energy_j if energy_j > 0 else math.inf
    what = "power varies so much between samples that energy is known to {:.2%}, not {:.2%}".format(share, limit)
    return WindowEnergy(None, error_j, len(inside), what + "; ask for longer windows")


def integrate_j(samples: Sequence[PowerSample], start_s: float, end_s: float) -> float:
    """The area under straight lines from sample to sample; before the first and after the last, power stays as there.

    `samples` ascend strictly in time, at least one of them. Windows side by side add up to the window of both.
    """
    line = _with_edges(samples, start_s, end_s)
    pieces = zip(line, line[1:])
    return math.fsum((right.time_s - left.time_s) * (left.power_w + right.power_w) / 2 for left, right in pieces)


def integration_error_j(samples: Sequence[PowerSample], averages: bool = False) -> float:
    """How far the area under `samples` may be from the energy: half the width of the 95 % interval.

    Between two samples that differ, power jumped at some instant: the trapezoid is off by a uniform error, difference
    times interval over the root of 12. Where the next sample goes back again, power may have fluctuated any number of
    times: such samples are as if taken at random, and tell its mean to the standard deviation over the root of their
    number. 0.66 of the squared difference adds up to at least that for normal, uniform, sinusoidal, exponential and
    two-valued power, be the second value ever so rare. Through a long gap, power may have been anything that it was
    elsewhere. Samples that are means miss nothing but the window's two edges, each by half an interval.
    """
    spans_s = [right.time_s - left.time_s for left, right in zip(samples, samples[1:])]
    steps = [right.power_w - left.power_w for left, right in zip(samples, samples[1:])]
    powers = [sample.power_w for sample in samples]
    spread_w = max(powers) - min(powers)
    gap_s = _gap_s(spans_s)
    gaps_s = sum(span_s for span_s in spans_s if span_s > gap_s)
    if averages:
        return _usual_s(spans_s) * max(map(abs, steps)) + gaps_s * spread_w / 2
    variance = 0.0
    for index, (span_s, step) in enumerate(zip(spans_s, steps)):
        if span_s <= gap_s:
            neighbours = steps[max(0, index - 1) : index] + steps[index + 1 : index + 2]
            back = max((other * other for other in neighbours if other * step < 0), default=0.0)
            variance += span_s * span_s * (step * step / 12 + _FLUCTUATION * min(step * step, back))
    return _NORMAL_95 * math.sqrt(variance) + gaps_s * spread_w / 2


def in_step(times_s: Sequence[float], load_s: Sequence[float]) -> bool:
    """Whether samples at these times fall on some parts of a repeating load more than by chance.

    `load_s` ascend: the beginnings of its repetitions and the end of the last. Few samples are never found in step.
    """
    turns = []
    for time_s in times_s:
        index = bisect.bisect_right(load_s, time_s)
        if 0 < index < len(load_s):
            begin_s, end_s = load_s[index - 1], load_s[index]
            turns.append(cmath.exp(2j * math.pi * (time_s - begin_s) / (end_s - begin_s)))
    limit = _IN_STEP * math.sqrt(len(turns))
    powers = list(turns)
    for _ in range(_HARMONICS if len(turns) >= _LEAST_SAMPLES else 0):
        if abs(sum(powers)) > limit:
            return True
        powers = [power * turn for power, turn in zip(powers, turns)]
    return False


def _why_too_few(inside: Sequence[PowerSample], start_s: float, end_s: float) -> Optional[str]:
    length_s = end_s - start_s
    if len(inside) < _LEAST_SAMPLES:
        return "only {} power samples in {:.3g} s, of at least {}; ask for longer windows".format(
            len(inside), length_s, _LEAST_SAMPLES
        )
    times_s = [start_s] + [sample.time_s for sample in inside] + [end_s]
    spans_s = [right - left for left, right in zip(times_s, times_s[1:])]
    gap_s = _gap_s(spans_s)
    gaps_s = sum(span_s for span_s in spans_s if span_s > gap_s)
    if gaps_s > _MOST_GAPS * length_s:
        return "the sensor said nothing for {:.3g} s of {:.3g} s".format(gaps_s, length_s)
    return None


def _usual_s(spans_s: Sequence[float]) -> float:
    """The upper quartile, because intervals may be uneven on purpose."""
    return quantile(sorted(spans_s), 0.75)


def _gap_s(spans_s: Sequence[float]) -> float:
    """Longer is a gap."""
    return _GAP_INTERVALS * _usual_s(spans_s)


def _inside(samples: Sequence[PowerSample], start_s: float, end_s: float) -> List[PowerSample]:
    return list(samples[bisect.bisect_left(samples, (start_s,)) : bisect.bisect_right(samples, (end_s, math.inf))])


def _with_edges(samples: Sequence[PowerSample], start_s: float, end_s: float) -> List[PowerSample]:
    """The samples inside, and one at each end of the window."""
    line = [sample for sample in _inside(samples, start_s, end_s) if start_s < sample.time_s < end_s]
    return [_at(samples, start_s)] + line + [_at(samples, end_s)]


def _at(samples: Sequence[PowerSample], time_s: float) -> PowerSample:
    """Power read off the line from the sample before to the one after, or held where there is only one of them."""
    index = bisect.bisect_left(samples, (time_s,))
    if index == len(samples) or (index == 0 and samples[0].time_s >= time_s):
        return PowerSample(time_s, samples[min(index, len(samples) - 1)].power_w)
    left, right = samples[index - 1], samples[index]
    share = (time_s - left.time_s) / (right.time_s - left.time_s)
    return PowerSample(time_s, left.power_w + share * (right.power_w - left.power_w))
