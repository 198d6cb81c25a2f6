"""How far an estimate can be off: 95 % intervals from the errors on networks that the fit had not seen.

Three things add up, as variances of ln(estimate / truth):

    the model's error    that of unseen networks of the same kind: bound by launches, or by the GPU
    the constants        how much the estimate moves when a network is left out of the fit (jackknife); it grows
                         with the distance from the fitted networks, so extrapolation widens the interval by itself
    unidentified ones    energy per byte and at fp16 come from elsewhere: each may be off by a factor of 2

The low end also allows for a host without the Python code that most fitted rows were measured through.
"""

import math
from collections.abc import Sequence

from edgesynth.energy.constants import Calibration, Constants
from edgesynth.energy.model import Load, energy_of, timing_of

__all__ = ["energy_interval_mj", "latency_interval_ms"]

T95 = 2.571  # Student's t with 5 degrees of freedom: 6 networks bound by the GPU, 6 rows with joules
FACTOR_2 = math.log(2) / 1.96  # the standard deviation of a constant that a factor of 2 is 95 % sure to hold


def latency_interval_ms(load: Load, known: Calibration) -> tuple[float, float]:
    """The interval of the latency of `load`, in milliseconds."""
    latency_ms = timing_of(load, known.constants).latency_ms
    spread = math.exp(T95 * _latency_deviation(load, known))
    return (latency_ms - known.harness_ms) / spread, latency_ms * spread


def energy_interval_mj(load: Load, known: Calibration) -> tuple[float, float]:
    """The interval of the energy of one inference of `load`, in millijoules."""
    c = known.constants
    latency_ms = timing_of(load, c).latency_ms
    energy = energy_of(load, c, latency_ms)
    total = energy.total_mj
    refits = [energy_of(load, refit, latency_ms).total_mj for refit in known.energy_refits]
    by_time = (energy.idle_mj + energy.active_mj) / total
    unidentified = [energy.memory_mj / total]
    if load.precision == "fp16":
        unidentified.append(energy.arithmetic_mj / total)
    variance = (
        (by_time * _latency_deviation(load, known)) ** 2
        + known.energy_rms**2
        + _jackknife_variance(refits)
        + sum((share * FACTOR_2) ** 2 for share in unidentified)
    )
    spread = math.exp(T95 * math.sqrt(variance))
    harness_mj = (c.idle_power_w + c.active_power_w) * known.harness_ms
    return (total - harness_mj) / spread, total * spread


def _latency_deviation(load: Load, known: Calibration) -> float:
    """The standard deviation of ln(latency)."""
    timing = timing_of(load, known.constants)
    by_gpu = 1 - timing.launch_bound_ms / timing.latency_ms
    model = (1 - by_gpu) * known.launch_bound_rms + by_gpu * known.gpu_bound_rms
    return math.sqrt(model**2 + _jackknife_variance(_latencies(load, known.latency_refits)))


def _latencies(load: Load, refits: Sequence[Constants]) -> list[float]:
    return [timing_of(load, refit).latency_ms for refit in refits]


def _jackknife_variance(estimates: Sequence[float]) -> float:
    """Of the logarithm of a positive figure, from its estimates with one part of the data left out in turn."""
    logs = [math.log(estimate) for estimate in estimates]
    mean = sum(logs) / len(logs)
    return (len(logs) - 1) / len(logs) * sum((value - mean) ** 2 for value in logs)
