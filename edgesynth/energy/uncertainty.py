"""How far an estimate can be off: 95 % intervals from the errors on networks that the fit had not seen.

Random errors add up, as variances of ln(estimate / truth):

    the model's error    that of unseen networks of the same kind: bound by launches, or by the GPU
    the constants        their covariance, through the model: it grows with the distance from the fitted networks
    unidentified ones    energy per byte and at fp16 come from elsewhere: each may be off by a factor of 2

What is not random moves the ends apart before that:

    the overhead         of edgesynth's agent: its least below, its greatest above
    joined sums          below, a sum that joined a convolution costs nothing, as NVIDIA's catalogue of fusions has it;
                         the measured networks say otherwise
    fp16                 above, two kernels convert the input and the output, which stay fp32
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgesynth.energy.constants import Calibration, Clocks, Constants, Power
from edgesynth.energy.model import Load, energy_of, timing_of

__all__ = ["energy_interval_mj", "latency_interval_ms"]

T95 = 2.571  # Student's t with 5 degrees of freedom: so few networks are bound by the GPU, or have joules
FACTOR_2 = math.log(2) / 1.96  # the standard deviation of a constant that a factor of 2 is 95 % sure to hold
CONVERSIONS = 2

Floats = NDArray[np.float64]
T = TypeVar("T", Constants, Power)


def latency_interval_ms(load: Load, known: Calibration, clocks: Clocks | None = None) -> tuple[float, float]:
    """The interval of the latency of `load`, in milliseconds."""
    low_ms, high_ms = _bounds_ms(load, known, clocks)
    spread = math.exp(T95 * _latency_deviation(load, known, clocks))
    return low_ms / spread, high_ms * spread


def energy_interval_mj(
    load: Load, known: Calibration, power: Power, clocks: Clocks | None = None
) -> tuple[float, float]:
    """The interval of the energy of one inference of `load`, in millijoules."""
    latency_ms = float(timing_of(load, known.constants, clocks).latency_ms)
    energy = energy_of(load, power, latency_ms)
    total = energy.total_mj
    by_time = (energy.idle_mj + energy.active_mj) / total
    unidentified = [energy.memory_mj / total]
    if load.fp16.all():
        unidentified.append(energy.arithmetic_mj / total)

    def estimate(changed: Power) -> float:
        return energy_of(load, changed, latency_ms).total_mj

    variance = (
        (by_time * _latency_deviation(load, known, clocks)) ** 2
        + known.energy_rms**2
        + _variance(estimate, power, known.energy_fitted, known.energy_covariance)
        + sum((share * FACTOR_2) ** 2 for share in unidentified)
    )
    spread = math.exp(T95 * math.sqrt(variance))
    low_mj, high_mj = (energy_of(load, power, bound_ms).total_mj for bound_ms in _bounds_ms(load, known, clocks))
    return low_mj / spread, high_mj * spread


def _bounds_ms(load: Load, known: Calibration, clocks: Clocks | None) -> tuple[float, float]:
    """Latencies with all that is not random at its least, and at its greatest."""
    least, greatest = (replace(known.constants, overhead_ms=ms) for ms in known.overhead_range_ms)
    joined = replace(load, sums=np.where(load.sums > 1, 0.0, load.sums))
    conversions_us = CONVERSIONS * known.constants.launch_us * bool(load.fp16.all())
    greatest = replace(greatest, overhead_ms=greatest.overhead_ms + conversions_us / 1e3)
    return float(timing_of(joined, least, clocks).latency_ms), float(timing_of(load, greatest, clocks).latency_ms)


def _latency_deviation(load: Load, known: Calibration, clocks: Clocks | None) -> float:
    """The standard deviation of ln(latency)."""
    timing = timing_of(load, known.constants, clocks)
    by_gpu = 1 - float(timing.launch_bound_ms / timing.latency_ms)
    model = (1 - by_gpu) * known.launch_bound_rms + by_gpu * known.gpu_bound_rms

    def estimate(changed: Constants) -> float:
        return float(timing_of(load, changed, clocks).latency_ms)

    return math.sqrt(model**2 + _variance(estimate, known.constants, known.fitted, known.covariance))


def _variance(estimate: Callable[[T], float], at: T, names: tuple[str, ...], covariance: Floats) -> float:
    """Of the logarithm of an estimate, from the covariance of the logarithms of its constants."""
    step = 0.01
    slopes = []
    for name in names:
        value = getattr(at, name)
        up, down = (estimate(replace(at, **{name: value * math.exp(by)})) for by in (step, -step))
        slopes.append(math.log(up / down) / (2 * step))
    gradient = np.array(slopes)
    return float(gradient @ covariance @ gradient)
