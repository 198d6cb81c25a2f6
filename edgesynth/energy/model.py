"""Latency and energy of a list of kernels on a GPU of NVIDIA's: pure functions, no files.

The host launches one kernel after the other; the GPU runs them in order, each as soon as it is launched and its
predecessor is done. Launching takes as long as the processor needs for it, whatever the kernel computes: `launch_us`,
for pooling `pooling_us`, and for a sum of tensors `sum_us` more, twice that where the sum has joined a convolution. A
kernel keeps the GPU busy for the longer of its arithmetic and its memory traffic:

    arithmetic   rows x (columns + h) x (depth + h) multiply-accumulates at peak x efficiency, h = `half_channels`:
                 a matrix with few columns or little depth leaves part of the GPU without work
    traffic      bytes at the memory's peak bandwidth

    latency  =  overhead + max over kernels i of ( launches up to i + all that the GPU runs from i on )
    energy   =  (idle + active power) x latency + energy per multiply-accumulate + energy per byte

So a network of small kernels costs what its launches cost, however little it computes. The overhead, paid once an
inference, belongs to the program around the engine. Launches and overhead go with the processor's clock, arithmetic
with the GPU's, traffic with the memory's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from edgesynth.energy.constants import Clocks, Constants, Power
from edgesynth.energy.kernels import Kernel, Precision

__all__ = ["Energy", "Load", "Timing", "energies_of", "energy_of", "timing_of"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Load:
    """What the model needs of kernels in the order of launch: arrays (K,), or (N, K) for N stacked networks.

    `launches` and `pools` are 1 for a kernel that is launched, or launched as pooling; `sums` is how often it pays
    `sum_us`. All are 0 in the padding of a stack. `fp16` is an array (1,) or (N, 1).
    """

    rows: Floats
    columns: Floats
    depth: Floats
    macs: Floats
    is_matrix: Bools
    moved_bytes: Floats
    launches: Floats
    pools: Floats
    sums: Floats
    fp16: Bools

    @classmethod
    def of(cls, kernels: Sequence[Kernel], precision: Precision) -> "Load":
        def column(values: list[int]) -> Floats:
            return np.array(values, dtype=np.float64)

        return cls(
            rows=column([kernel.rows * kernel.groups for kernel in kernels]),
            columns=column([kernel.columns for kernel in kernels]),
            depth=column([kernel.depth for kernel in kernels]),
            macs=column([kernel.macs for kernel in kernels]),
            is_matrix=np.array([kernel.kind in ("convolution", "matrix product") for kernel in kernels], dtype=bool),
            moved_bytes=column([kernel.bytes_read + kernel.bytes_written for kernel in kernels]),
            launches=column([kernel.kind != "pooling" for kernel in kernels]),
            pools=column([kernel.kind == "pooling" for kernel in kernels]),
            sums=column([(kernel.sums > 0) * (1 if kernel.kind == "sum" else 2) for kernel in kernels]),
            fp16=np.array([precision == "fp16"]),
        )

    @classmethod
    def stack(cls, loads: Sequence["Load"]) -> "Load":
        """Several networks as one, the shorter ones padded with kernels that cost nothing."""
        longest = max(len(load.macs) for load in loads)

        def padded(name: str) -> NDArray[np.generic]:
            columns = [getattr(load, name) for load in loads]
            if name == "fp16":
                return np.stack(columns)
            return np.stack([np.pad(column, (0, longest - len(column))) for column in columns])

        return cls(**{field.name: padded(field.name) for field in fields(cls)})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Timing:
    """Milliseconds. Per kernel: how long the GPU waited for its launch, and the two times it is bound by.

    `latency_ms` is overhead plus all waiting plus all busy time. `launch_bound_ms` is what overhead and launches
    alone would take. Both are arrays () of a network, (N,) of a stack.
    """

    latency_ms: Floats
    launch_bound_ms: Floats
    wait_ms: Floats
    arithmetic_ms: Floats
    memory_ms: Floats

    @property
    def busy_ms(self) -> Floats:
        return np.maximum(self.arithmetic_ms, self.memory_ms)


@dataclass(frozen=True)
class Energy:
    """Millijoules of one inference of the whole batch, by cause."""

    idle_mj: float
    active_mj: float
    arithmetic_mj: float
    memory_mj: float

    @property
    def total_mj(self) -> float:
        return self.idle_mj + self.active_mj + self.arithmetic_mj + self.memory_mj


def timing_of(load: Load, constants: Constants, clocks: Clocks | None = None) -> Timing:
    """When each kernel of `load` runs, and how long all of them take together, at `clocks` or else at those of the
    constants."""
    c, at = constants, clocks or constants.clocks
    efficiency = np.where(load.fp16, 2 * c.efficiency_fp16, c.efficiency_fp32)  # half2 instructions do two at a time
    macs_per_ms = c.gpu_cores * at.gpu_mhz * 1e3 * efficiency
    padded = load.rows * (load.columns + c.half_channels) * (load.depth + c.half_channels)
    arithmetic_ms = np.where(load.is_matrix, padded, load.macs) / macs_per_ms
    memory_ms = load.moved_bytes / (at.memory_mhz * 1e3 * c.memory_bytes_per_clock)
    busy_ms = np.maximum(arithmetic_ms, memory_ms)
    slower = c.cpu_clock_mhz / at.cpu_mhz
    launch_us = load.launches * c.launch_us + load.pools * c.pooling_us + load.sums * c.sum_us
    launched_ms = np.cumsum(slower * launch_us / 1e3, axis=-1)
    waited_ms = np.maximum.accumulate(launched_ms - (np.cumsum(busy_ms, axis=-1) - busy_ms), axis=-1)
    overhead_ms = np.squeeze(np.asarray(slower * c.overhead_ms))
    return Timing(
        latency_ms=np.asarray(overhead_ms + waited_ms[..., -1] + busy_ms.sum(axis=-1)),
        launch_bound_ms=np.asarray(overhead_ms + launched_ms[..., -1]),
        wait_ms=np.diff(waited_ms, prepend=0.0, axis=-1),
        arithmetic_ms=arithmetic_ms,
        memory_ms=memory_ms,
    )


def energy_of(load: Load, power: Power, latency_ms: float) -> Energy:
    """The energy of one inference of `load` (a single network) that takes `latency_ms`, at the module's input."""
    return Energy(
        idle_mj=power.idle_power_w * latency_ms,
        active_mj=power.active_power_w * latency_ms,
        arithmetic_mj=_mj_per_mac(load, power) * float(load.macs.sum()),
        memory_mj=power.memory_pj_per_byte * 1e-9 * float(load.moved_bytes.sum()),
    )


def energies_of(load: Load, power: Power, times_ms: Floats) -> Floats:
    """(K,) millijoules that each kernel of a single network takes beyond the idle power, in its part of the time."""
    work_mj = _mj_per_mac(load, power) * load.macs + power.memory_pj_per_byte * 1e-9 * load.moved_bytes
    return np.asarray(power.active_power_w * times_ms + work_mj)


def _mj_per_mac(load: Load, power: Power) -> float:
    ratio = power.fp16_energy_ratio if bool(load.fp16.all()) else 1.0
    return ratio * power.fp32_pj_per_mac * 1e-9
