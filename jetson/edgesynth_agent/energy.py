"""From power samples to joules: pure integration."""

from typing import Optional, Sequence, Tuple

from edgesynth_agent.power.base import PowerSample

__all__ = ["window_energy"]


def window_energy(samples: Sequence[PowerSample], start_s: float, end_s: float) -> Tuple[Optional[float], int]:
    """Joules between two instants, and how many samples lie between them.

    Trapezoids over the samples, each at its own time; at the two edges the power is read off the line to the next
    sample outside, or held where there is none. Fewer than two samples inside say too little: None.
    `samples` ascend in time.
    """
    inside = [sample for sample in samples if start_s <= sample.time_s <= end_s]
    if len(inside) < 2:
        return None, len(inside)
    before = [sample for sample in samples if sample.time_s < start_s][-1:]
    after = [sample for sample in samples if sample.time_s > end_s][:1]
    first = _power_at(start_s, before[0], inside[0]) if before else inside[0].power_w
    last = _power_at(end_s, inside[-1], after[0]) if after else inside[-1].power_w
    line = [PowerSample(start_s, first)] + inside + [PowerSample(end_s, last)]
    energy_j = 0.0
    for index, right in enumerate(line[1:]):
        left = line[index]
        energy_j += (right.time_s - left.time_s) * (left.power_w + right.power_w) / 2
    return energy_j, len(inside)


def _power_at(time_s: float, left: PowerSample, right: PowerSample) -> float:
    share = (time_s - left.time_s) / (right.time_s - left.time_s)
    return left.power_w + share * (right.power_w - left.power_w)
