"""Where the time and the energy of an estimate go, kernel by kernel."""

from collections.abc import Sequence

from edgesynth.energy.constants import Power
from edgesynth.energy.kernels import Kernel
from edgesynth.energy.model import Load, Timing, energies_of
from edgesynth.records import REST, LayerCost

__all__ = ["layer_costs"]

_REST_NAME = "overhead and idle"


def layer_costs(kernels: Sequence[Kernel], load: Load, timing: Timing, power: Power | None) -> list[LayerCost]:
    """One entry a kernel, in the order of launch, and the rest: the overhead of the program around the engine, and
    what the board draws at idle all the while. They add up to latency and energy of the network."""
    times_ms = timing.wait_ms + timing.busy_ms
    latency_ms = float(timing.latency_ms)
    overhead_ms = max(0.0, latency_ms - float(times_ms.sum()))
    energies_mj, rest_mj = [None] * len(kernels), None
    if power is not None:
        energies_mj = energies_of(load, power, times_ms).tolist()
        rest_mj = power.idle_power_w * latency_ms + power.active_power_w * overhead_ms
    costs = [
        LayerCost(layer=kernel.name, kind=kernel.kind, latency_ms=time_ms, energy_mj=energy_mj)
        for kernel, time_ms, energy_mj in zip(kernels, times_ms.tolist(), energies_mj, strict=True)
    ]
    return [*costs, LayerCost(layer=_REST_NAME, kind=REST, latency_ms=overhead_ms, energy_mj=rest_mj)]
