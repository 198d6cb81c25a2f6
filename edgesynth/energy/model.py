"""Latency and energy of a list of kernels on a TX2: pure functions, no files.

The host launches one kernel every `launch_us`; the GPU runs them in order, each as soon as it is launched and its
predecessor is done. A kernel keeps the GPU busy for the longer of its arithmetic and its memory traffic:

    arithmetic   rows x (columns + h) x (depth + h) multiply-accumulates at peak x efficiency, h = `half_channels`:
                 a matrix with few columns or little depth leaves part of the GPU without work
    traffic      bytes at the memory's peak bandwidth

    latency  =  overhead + max over kernels i of ( launch of i + all that the GPU runs from i on )
    energy   =  (idle + active power) x latency + energy per multiply-accumulate + energy per byte

So a network of small kernels costs what its launches cost, however little it computes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesynth.energy.constants import Constants
from edgesynth.energy.kernels import Kernel, Precision

__all__ = ["Energy", "Load", "Timing", "energy_of", "timing_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Load:
    """What the model needs of a list of kernels, one array element a kernel, in the order of launch."""

    rows: Floats
    columns: Floats
    depth: Floats
    macs: Floats
    is_matrix: NDArray[np.bool_]
    moved_bytes: Floats
    precision: Precision

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
            precision=precision,
        )


@dataclass(frozen=True)
class Timing:
    """Milliseconds. Per kernel: how long the GPU waited for its launch, and the two times it is bound by.

    `latency_ms` is overhead plus all waiting plus all busy time. `launch_bound_ms` is what overhead and launches
    alone would take.
    """

    latency_ms: float
    launch_bound_ms: float
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


def timing_of(load: Load, constants: Constants) -> Timing:
    """When each kernel of `load` runs, and how long all of them take together."""
    c = constants
    fp16 = load.precision == "fp16"
    efficiency = 2 * c.efficiency_fp16 if fp16 else c.efficiency_fp32  # half2 instructions do two at a time
    macs_per_ms = c.gpu_cores * c.gpu_clock_mhz * 1e3 * efficiency
    padded = load.rows * (load.columns + c.half_channels) * (load.depth + c.half_channels)
    arithmetic_ms = np.where(load.is_matrix, padded, load.macs) / macs_per_ms
    memory_ms = load.moved_bytes / (c.memory_clock_mhz * 1e3 * c.memory_bytes_per_clock)
    busy_ms = np.maximum(arithmetic_ms, memory_ms)
    launched_ms = c.launch_us / 1e3 * np.arange(1, len(busy_ms) + 1)
    waited_ms = np.maximum.accumulate(launched_ms - (np.cumsum(busy_ms) - busy_ms))
    return Timing(
        latency_ms=float(c.overhead_ms + waited_ms[-1] + busy_ms.sum()),
        launch_bound_ms=float(c.overhead_ms + launched_ms[-1]),
        wait_ms=np.diff(waited_ms, prepend=0.0),
        arithmetic_ms=arithmetic_ms,
        memory_ms=memory_ms,
    )


def energy_of(load: Load, constants: Constants, latency_ms: float) -> Energy:
    """The energy of one inference of `load` that takes `latency_ms`, at the module's input."""
    ratio = constants.fp16_energy_ratio if load.precision == "fp16" else 1.0
    return Energy(
        idle_mj=constants.idle_power_w * latency_ms,
        active_mj=constants.active_power_w * latency_ms,
        arithmetic_mj=ratio * constants.fp32_pj_per_mac * 1e-9 * float(load.macs.sum()),
        memory_mj=constants.memory_pj_per_byte * 1e-9 * float(load.moved_bytes.sum()),
    )
